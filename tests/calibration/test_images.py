"""The same call draws the same pictures everywhere; calibration and held-out pictures never meet; labels stay true."""

import hashlib
import os
import shutil

import cv2
import numpy as np
import pytest

from edgesmith.calibration.pictures import files as image_files
from edgesmith.calibration.pictures import iterables as image_iterables
from edgesmith.calibration.pictures.images import open_data
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.preprocess import ImageContract, preprocess, read_image

CONTRACT = ImageContract(size=(8, 8), crop_fraction=1.0)
LABELS = ("cat", "dog", "Red_Fox")
PINNED = ("picture 22", "picture 20", "picture 15", "picture 25", "picture 11", "picture 18")


def picture(value: int) -> np.ndarray:
    """uint8 (12, 10, 3), another for each ``value``."""
    return np.random.RandomState(value).randint(0, 256, (12, 10, 3)).astype(np.uint8)


def write(path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture(value)[:, :, ::-1])


def folder(root, counts: dict[str, int], first: int = 0):
    for name, count in counts.items():
        for index in range(count):
            write(root / name / f"{index:03d}.png", first := first + 1)
    return root


def test_a_folder_gives_balanced_labelled_pictures_in_exact_pixels(tmp_path):
    root = folder(tmp_path / "data", {"cat": 40, "dog": 12, "red fox": 4})
    data = open_data(root, CONTRACT, labels=LABELS, count=18, held_out=1000)
    # half of each class is kept to judge by, so foxes and dogs run out and the cats take the rest
    assert np.bincount(data.calibration.labels).tolist() == [10, 6, 2]
    assert len(data.held_out) == 56 - 18 and np.bincount(data.held_out.labels).tolist() == [30, 6, 2]
    assert not {*data.calibration.names} & {*data.held_out.names} and data.notes == () == data.skipped
    for part in (data.calibration, data.held_out):
        assert all(LABELS[i].replace("Red_Fox", "red fox") == n.split("/")[0] for n, i in zip(part.names, part.labels))
        got = list(part.batches(7))
        assert [len(batch) for batch in got[:-1]] == [7] * (len(got) - 1) and got[0].dtype == np.float32
        np.testing.assert_array_equal(np.concatenate(got), preprocess([root / name for name in part.names], CONTRACT))
    np.testing.assert_array_equal(
        np.concatenate(list(data.calibration.batches(5, start=11))),
        np.concatenate(list(data.calibration.batches(18)))[11:],
    )


def test_the_draw_and_the_digest_depend_on_contents_and_seed_only(tmp_path):
    first = open_data(folder(tmp_path / "a", {"cat": 30, "dog": 30}), CONTRACT, labels=LABELS, count=20)
    shutil.copytree(tmp_path / "a", tmp_path / "far" / "b")
    os.utime(tmp_path / "far" / "b" / "cat" / "000.png", (1, 1))
    second = open_data(tmp_path / "far" / "b", CONTRACT, labels=LABELS, count=20)
    assert first.calibration.digest == second.calibration.digest and first.held_out.digest == second.held_out.digest
    assert first.calibration.names == second.calibration.names
    files = [(tmp_path / "a" / name).read_bytes() for name in first.calibration.names]
    expected = hashlib.sha256("\n".join(hashlib.sha256(data).hexdigest() for data in files).encode()).hexdigest()
    assert first.calibration.digest == expected
    other = open_data(tmp_path / "a", CONTRACT, labels=LABELS, count=20, seed=1)
    assert other.calibration.digest != first.calibration.digest
    write(tmp_path / "far" / "b" / first.calibration.names[3], 9999)
    changed = open_data(tmp_path / "far" / "b", CONTRACT, labels=LABELS, count=20)
    assert changed.calibration.names == first.calibration.names
    assert changed.calibration.digest != first.calibration.digest


def test_the_draw_is_the_one_we_ship():
    """Pinned, so that a new numpy or a new order is noticed: it would make every cache and every report incomparable."""
    pixels = np.arange(40 * 4 * 5 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 4, 5, 3)
    data = open_data({"images": pixels, "labels": np.arange(40) % 3}, CONTRACT, count=6, held_out=0)
    assert data.calibration.names == PINNED
    assert data.calibration.labels == tuple(int(name.split()[1]) % 3 for name in PINNED)


def test_train_and_val_folders_are_kept_apart(tmp_path):
    folder(tmp_path / "Train", {"cat": 20, "dog": 20})
    folder(tmp_path / "val", {"cat": 3, "dog": 5}, first=100)
    folder(tmp_path / "extra", {"cat": 3}, first=200)
    data = open_data(tmp_path, CONTRACT, labels=LABELS, count=16)
    assert all(name.startswith("Train/") for name in data.calibration.names) and len(data.calibration) == 16
    assert sorted(data.held_out.names) == [f"val/cat/{i:03d}.png" for i in range(3)] + [
        f"val/dog/{i:03d}.png" for i in range(5)
    ]
    assert sorted(data.held_out.labels) == [0] * 3 + [1] * 5


def test_a_model_with_a_class_called_train_keeps_it(tmp_path):
    folder(tmp_path, {"train": 20, "test": 20})
    data = open_data(tmp_path, CONTRACT, labels=("test", "train"), count=10)
    assert sorted(data.calibration.labels) == [0] * 5 + [1] * 5


TEN = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.mark.parametrize(
    ("folders", "labels", "numbers", "said"),
    [
        (("n03", "n01", "n02"), LABELS, [0, 1, 2], "sorted order are taken as the classes of the model: n01 = cat"),
        (("0", "2"), LABELS, [0, 2], "taken as class numbers"),
        ([str(i) for i in range(11)], [f"class {i}" for i in range(11)], list(range(11)), "taken as class numbers"),
        (("cat", "cow"), LABELS, None, "1 of 2 sub-folders are no class of the model (cow)"),
        (("cat", "dog"), (), None, "not known"),
        (("cat",), ("cat", "cat"), None, "no class"),  # a name that two classes share says nothing
        # torchvision trains on 1, 10, 2 ..., timm on 1, 2 ... 10
        ([str(i) for i in range(1, 11)], TEN, None, "is 1, 10, 2 ... as texts and 1, 2, 3 ... by their numbers, and"),
        ([f"c{i}" for i in range(1, 11)], TEN, None, "is c1, c10, c2 ... as texts and c1, c2, c3 ... by their numbers"),
        (("Banana", "apple", "pear"), LABELS, None, "is Banana, apple, pear as texts and apple, Banana, pear by"),
        ([str(i) for i in range(1, 10)], TEN, None, "may be class numbers from 0 or from 1 of the 10 classes"),
        (("1", "2"), LABELS, None, "may be class numbers from 0 or from 1 of the 3 classes"),
        (
            [f"{i:02d}" for i in range(1, 11)],
            TEN,
            list(range(10)),
            "sorted order are taken as the classes of the model: 01 = zero",
        ),
        (("1", "2", "3"), LABELS, [0, 1, 2], "sorted order are taken as the classes of the model: 1 = cat"),
        (("bird", "cat", "dog"), ("cat", "dog", "owl"), None, "cat would be dog, and the model has a class cat"),
    ],
)
def test_sub_folders_become_class_numbers_or_a_note(tmp_path, folders, labels, numbers, said):
    folder(tmp_path, dict.fromkeys(folders, 3))
    data = open_data(tmp_path, CONTRACT, labels=labels, count=len(folders), held_out=0)
    assert any(said in note for note in data.notes)
    if numbers is None:
        assert data.calibration.labels is None
        assert len({name.split("/")[0] for name in data.calibration.names}) == len(folders)  # still balanced
    else:
        order = sorted(folders) if folders[0].startswith("n") else sorted(folders, key=int)
        assert {
            name.split("/")[0]: label for name, label in zip(data.calibration.names, data.calibration.labels)
        } == dict(zip(order, numbers, strict=True))


@pytest.mark.parametrize(
    "labels",
    [
        [str(i) for i in range(1, 11)],  # the class map of a checkpoint that timm trained
        ["1", "10", "2", "3", "4", "5", "6", "7", "8", "9"],  # the classes of one that torchvision's ImageFolder gave
    ],
)
def test_folders_of_the_names_that_a_checkpoint_brings_are_its_classes(tmp_path, labels):
    folder(tmp_path, dict.fromkeys(labels, 2))
    data = open_data(tmp_path, CONTRACT, labels=labels, count=20, held_out=0)
    assert [labels[number] for number in data.calibration.labels] == [
        name.split("/")[0] for name in data.calibration.names
    ]
    assert not any("sub-folders" in note for note in data.notes)


def test_folders_that_differ_in_capitals_only_are_the_classes_of_those_names(tmp_path):
    folder(tmp_path, {"B": 4, "a": 4, "b": 4, "A": 4})
    data = open_data(tmp_path, CONTRACT, labels=("a", "b", "A", "B"), count=16, held_out=0)
    assert ["abAB"[number] for number in data.calibration.labels] == [name[0] for name in data.calibration.names]


def test_pictures_beside_the_class_folders_leave_no_labels(tmp_path):
    folder(tmp_path, {"cat": 3, "dog": 3})
    write(tmp_path / "stray.png", 77)
    assert open_data(tmp_path, CONTRACT, labels=LABELS, count=7).calibration.labels is None


def test_loops_links_hidden_files_and_pipes(tmp_path):
    folder(tmp_path / "elsewhere", {"cat": 3}, first=50)
    root = folder(tmp_path / "data", {"cat": 4, "dog": 4})
    (root / "cat" / "loop").symlink_to(root)
    (root / "cat" / "self").symlink_to(root / "cat" / "self")
    (root / "cat" / "gone.png").symlink_to(tmp_path / "no such file")
    (root / "fox").symlink_to(tmp_path / "elsewhere" / "cat")
    (root / "a cat again").symlink_to(root / "cat")
    write(root / ".hidden" / "a.png", 1)
    write(root / "dog" / "._a.png", 2)
    write(root / "__MACOSX" / "b.png", 3)
    write(root / "dog" / "@eaDir" / "c.png", 3)
    os.mkfifo(root / "dog" / "pipe.png")
    names, others = image_files._walk(root)
    expected = [f"{kind}/{i:03d}.png" for kind, count in (("cat", 4), ("dog", 4), ("fox", 3)) for i in range(count)]
    assert names == expected and others.total() == 0


def test_a_list_file_names_paths_and_labels(tmp_path):
    folder(tmp_path / "pics", {"a b": 20})
    names = [f"pics/a b/{i:03d}.png" for i in range(20)]
    (tmp_path / "plain.txt").write_text("# comment\n" + "\n".join(names) + "\n\n", encoding="utf-8-sig")
    plain = open_data(tmp_path / "plain.txt", CONTRACT, count=20, held_out=0)
    assert sorted(plain.calibration.names) == names and plain.calibration.labels is None
    said = ["dog", "2", "Red_Fox", "red fox"]
    lines = [f"{name}{chr(9) if i % 4 == 3 else ' '}{said[i % 4]}" for i, name in enumerate(names)]
    lines[0] = f"{tmp_path / names[0]} dog"
    (tmp_path / "labelled.txt").write_text("\r\n".join(lines))
    data = open_data(tmp_path / "labelled.txt", CONTRACT, labels=LABELS, count=18, held_out=2)
    assert data.calibration.kind == "list" and len(data.held_out) == 2
    for name, label in zip(data.calibration.names, data.calibration.labels):
        assert label == (1, 2, 2, 2)[int(name[-7:-4]) % 4]


def test_pictures_and_labels_are_read_from_npz_npy_and_mappings(tmp_path):
    pixels = np.stack([picture(i) for i in range(40)])
    labels = np.arange(40) % 2
    np.savez_compressed(tmp_path / "a.npz", X=pixels, y=labels[:, None], other=np.zeros(3))
    data = open_data(tmp_path / "a.npz", CONTRACT, labels=LABELS, count=10)
    assert sorted(data.calibration.labels) == [0] * 5 + [1] * 5 and len(data.held_out) == 30
    chosen = [int(name.split()[1]) for name in data.calibration.names]
    np.testing.assert_array_equal(next(data.calibration.batches(10)), preprocess(list(pixels[chosen]), CONTRACT))
    np.save(tmp_path / "a.npy", pixels[:, :, :, 0])
    grey = open_data(tmp_path / "a.npy", CONTRACT, count=20)
    chosen = [int(name.split()[1]) for name in grey.calibration.names]
    np.testing.assert_array_equal(
        next(grey.calibration.batches(20)), preprocess(list(pixels[chosen, :, :, 0]), CONTRACT)
    )
    ready = preprocess(list(pixels), CONTRACT)
    parts = {"images": ready[:20], "labels": ["cat"] * 20, "val_images": ready[20:23], "val_labels": [0, 1, 2]}
    split = open_data(parts, CONTRACT, labels=LABELS)
    assert len(split.calibration) == 20 and sorted(split.held_out.labels) == [0, 1, 2]
    assert {batch.tobytes() for batch in split.calibration.batches(1)} == {one.tobytes() for one in ready[:20]}


def test_arrays_of_the_caller_are_copied():
    pixels = np.stack([picture(i) for i in range(20)])
    data = open_data(pixels, CONTRACT, count=4, held_out=0)
    before = next(data.calibration.batches(4))
    pixels[:] = 0
    np.testing.assert_array_equal(next(data.calibration.batches(4)), before)


class Tensor:
    """What we use of a torch tensor on another device."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.shape = self.values.shape

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self.values

    def item(self):
        return self.values.item()


def test_iterables_of_paths_arrays_tensors_pairs_and_batches(tmp_path):
    write(tmp_path / "a.png", 1)
    ready = preprocess([picture(i) for i in range(8)], CONTRACT)

    def mixed():
        yield tmp_path / "a.png", 0
        yield picture(2), "dog"
        yield Tensor(ready[3]), Tensor(2)
        yield Tensor(ready[4:6]), Tensor([0, 1])
        yield [picture(6)[:, :, 0], np.int64(2)]

    data = open_data(mixed(), CONTRACT, labels=LABELS, count=6, held_out=0)
    assert data.calibration.kind == "iterable" and len(data.calibration) == 6
    expected = [
        *preprocess([picture(1), picture(2)], CONTRACT),
        *ready[3:6],
        *preprocess([picture(6)[:, :, 0]], CONTRACT),
    ]
    by_bytes = {one.tobytes(): label for one, label in zip(expected, (0, 1, 2, 0, 1, 2), strict=True)}
    got = np.concatenate(list(data.calibration.batches(4)))
    assert [by_bytes[one.tobytes()] for one in got] == list(data.calibration.labels)
    assert open_data((p for p in [picture(1), (picture(2), 1)]), CONTRACT, count=2).calibration.labels is None


def test_an_endless_iterable_ends(monkeypatch):
    monkeypatch.setattr(image_iterables, "MAX_BYTES", 30 * picture(0).nbytes)
    data = open_data((picture(i) for i in iter(int, 1) for i in range(1000)), CONTRACT, count=10)
    assert len(data.calibration) == 10 and len(data.held_out) == 21
    assert any("up to picture 31 only" in note for note in data.notes)


def test_random_is_loud_and_the_same_every_time():
    first, second = (open_data("random", CONTRACT, count=32, seed=5) for _ in range(2))
    assert "RANDOM DATA" in first.notes[0] and first.calibration.kind == "random"
    got = np.concatenate(list(first.calibration.batches(10)))
    np.testing.assert_array_equal(got, np.concatenate(list(second.calibration.batches(32))))
    assert got.shape == (32, 3, 8, 8) and abs(got.mean()) < 0.05 and abs(got.std() - 1) < 0.05
    assert first.calibration.digest == second.calibration.digest != open_data("random", CONTRACT).calibration.digest
    assert len(first.held_out) == 32 and not {*first.held_out.names} & {*first.calibration.names}


def test_few_pictures_warn_and_leave_nothing_to_judge_by():
    data = open_data([picture(i) for i in range(15)], CONTRACT)
    assert len(data.calibration) == 15 and len(data.held_out) == 0 and list(data.held_out.batches(4)) == []
    assert any("only 15 pictures" in note for note in data.notes) and any("no held-out" in note for note in data.notes)
    enough = open_data([picture(i) for i in range(32)], CONTRACT, count=16)
    assert len(enough.held_out) == 16 and enough.notes == ()


def test_what_calibrates_does_not_judge():
    pixels = [picture(i % 20) for i in range(60)]  # every picture three times
    data = open_data(pixels, CONTRACT, count=16)
    drawn = {batch.tobytes() for batch in data.calibration.batches(1)}
    assert not drawn & {batch.tobytes() for batch in data.held_out.batches(1)}
    assert any("the same contents" in note for note in data.notes) and data.skipped == ()


def test_copies_by_the_thousand_end_the_search_for_held_out_pictures():
    data = open_data([picture(0)] * 600, CONTRACT, count=2, held_out=20)
    assert len(data.held_out) == 0 and any(note.startswith("80 pictures left out") for note in data.notes)


@pytest.mark.parametrize(
    "total, halves", [(32, (16, 16)), (33, (17, 16)), (100, (50, 50)), (128, (64, 64)), (130, (65, 65))]
)
def test_a_set_too_small_for_both_is_halved_and_the_notes_say_so(total, halves):
    data = open_data([picture(i) for i in range(total)], CONTRACT)
    assert (len(data.calibration), len(data.held_out)) == halves
    assert not {*data.calibration.names} & {*data.held_out.names}
    assert any(f"{halves[0]} pictures calibrate, {halves[1]} others judge" in note for note in data.notes)
    again = open_data([picture(i) for i in range(total)], CONTRACT)
    assert (again.calibration.digest, again.held_out.digest) == (data.calibration.digest, data.held_out.digest)


def test_halves_have_the_same_mix_of_classes(tmp_path):
    data = open_data(folder(tmp_path, {"cat": 60, "dog": 30, "red fox": 10}), CONTRACT, labels=LABELS)
    assert np.bincount(data.calibration.labels).tolist() == [30, 15, 5] == np.bincount(data.held_out.labels).tolist()


def test_one_picture_of_each_class_is_halved_too():
    data = open_data({"images": np.stack([picture(i) for i in range(40)]), "labels": np.arange(40)}, CONTRACT)
    assert len(data.calibration) == len(data.held_out) == 20


def test_a_copy_counts_once_on_either_side():
    data = open_data([picture(i % 40) for i in range(160)], CONTRACT)  # every picture four times
    both = [batch.tobytes() for part in (data.calibration, data.held_out) for batch in part.batches(1)]
    assert len(data.calibration) == len(data.held_out) == 20 and len({*both}) == 40
    assert any("120 pictures left out: others have the same contents" in note for note in data.notes)


def test_few_pictures_are_shared_only_where_some_must_judge():
    four = [picture(i) for i in range(4)]
    assert [len(open_data(four, CONTRACT, keep_back=back).held_out) for back in (None, 0, 1, 1000)] == [0, 0, 1, 2]
    assert len(open_data(four[:1], CONTRACT, keep_back=1000).held_out) == 0


def test_fewer_held_out_than_half_leave_the_others_to_the_calibration():
    data = open_data([picture(i) for i in range(60)], CONTRACT, count=50, held_out=10)
    assert (len(data.calibration), len(data.held_out)) == (50, 10) and data.notes == ()


def test_the_numbers_of_a_split_give_it_again():
    """``quant-report`` has the counts of the manifest, and must not judge on what calibrated."""
    pictures = [picture(i % 70) for i in range(90)]
    first = open_data(pictures, CONTRACT, count=60, held_out=10)
    again = open_data(pictures, CONTRACT, count=len(first.calibration), held_out=1000, keep_back=len(first.held_out))
    assert again.calibration.digest == first.calibration.digest
    assert again.held_out.digest == first.held_out.digest


def test_a_file_that_changes_under_our_hands_is_noticed(tmp_path):
    data = open_data(folder(tmp_path, {"cat": 4}), CONTRACT)
    write(tmp_path / "cat" / "002.png", 500)
    with pytest.raises(UserMistake, match=r"002\.png changed while it was in use"):
        list(data.calibration.batches(4))


def test_files_are_decoded_when_they_are_asked_for(tmp_path, monkeypatch):
    data = open_data(folder(tmp_path, {"cat": 40}), CONTRACT, count=8)
    assert sum(len(str(item)) for item in data.calibration.items) < 8 * 400  # a path and a digest each, no pixels
    read: list[str] = []
    original = read_image.__globals__["decode_image"]
    monkeypatch.setattr(
        "edgesmith.calibration.pictures.items.decode_image",
        lambda d, n, alpha: (read.append(n), original(d, n, alpha))[1],
    )
    batches = data.calibration.batches(3)
    assert read == []
    next(batches)
    assert len(read) == 3
