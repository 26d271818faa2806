"""Bad calibration inputs: each is refused in a few lines that say what was found, or skipped by name among good ones."""

import io
import os
import pickle
import zipfile

import cv2
import numpy as np
import pytest

from edgesmith.calibration.pictures import arrays as image_arrays
from edgesmith.calibration.pictures.images import open_data
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.preprocess import ImageContract

CONTRACT = ImageContract(size=(8, 8), crop_fraction=1.0)
LABELS = ("cat", "dog")
PIXELS = np.random.RandomState(0).randint(0, 256, (40, 10, 12, 3)).astype(np.uint8)


def encoded(index: int, kind: str = ".jpg") -> bytes:
    return cv2.imencode(kind, PIXELS[index])[1].tobytes()


def fill(root, count: int, first: int = 0):
    root.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (root / f"{index:02d}.jpg").write_bytes(encoded(first + index))
    return root


def empty_folder(path):
    return path


def no_pictures(path):
    for name in ("a.csv", "b.csv", "c.heic"):
        (path / name).write_text("no picture")
    return path


def only_hidden(path):
    (path / ".a.jpg").write_bytes(encoded(0))
    return path


def missing_path(path):
    return path / "gone"


def all_corrupt(path):
    for index in range(30):
        (path / f"{index:02d}.jpg").write_bytes(encoded(index)[:-30])
    return path


def zero_byte_picture(path):
    (path / "a.jpg").write_bytes(b"")
    return path


def zero_byte_list(path):
    (path / "list.txt").write_bytes(b"")
    return path / "list.txt"


def zero_byte_npz(path):
    (path / "a.npz").write_bytes(b"")
    return path / "a.npz"


def zero_byte_npy(path):
    (path / "a.npy").write_bytes(b"")
    return path / "a.npy"


def archive(path):
    (path / "photos.zip").write_bytes(b"PK")
    return path / "photos.zip"


def pipe(path):
    os.mkfifo(path / "pipe.npz")
    return path / "pipe.npz"


def npz(**arrays):
    def write(path):
        np.savez(path / "a.npz", **arrays)
        return path / "a.npz"

    return write


def npz_of_objects(path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(path / "it ran"),))

    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    with zipfile.ZipFile(path / "a.npz", "w") as target:
        target.writestr("images.npy", stream.getvalue() + pickle.dumps(Bomb()))
    return path / "a.npz"


def truncated_npz(path):
    np.savez_compressed(path / "a.npz", images=PIXELS)
    data = (path / "a.npz").read_bytes()
    (path / "a.npz").write_bytes(data[: len(data) // 2])
    return path / "a.npz"


def damaged_npz(path):
    np.savez_compressed(path / "a.npz", images=PIXELS)
    data = bytearray((path / "a.npz").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (path / "a.npz").write_bytes(data)
    return path / "a.npz"


def truncated_npy(path):
    np.save(path / "a.npy", PIXELS)
    (path / "a.npy").write_bytes((path / "a.npy").read_bytes()[:-100])
    return path / "a.npy"


def listing(text):
    def write(path):
        fill(path, 3)
        (path / "list.txt").write_bytes(text.encode() if isinstance(text, str) else text)
        return path / "list.txt"

    return write


def given(data):
    return lambda path: data


READY = np.zeros((20, 3, 8, 8), np.float32) + np.linspace(-2, 2, 8, dtype=np.float32)

BAD = {
    "empty folder": (empty_folder, {}, "an empty folder"),
    "folder without pictures": (no_pictures, {}, "3 other files: 2 .csv, 1 .heic"),
    "only hidden pictures": (only_hidden, {}, "an empty folder"),
    "missing path": (missing_path, {}, "nothing at that path"),
    "all corrupt": (all_corrupt, {}, "30 that cannot be read"),
    "zero-byte picture": (zero_byte_picture, {}, "an empty file"),
    "zero-byte list": (zero_byte_list, {}, "lists no picture"),
    "zero-byte npz": (zero_byte_npz, {}, "cannot read the arrays"),
    "zero-byte npy": (zero_byte_npy, {}, "cannot read the arrays"),
    "archive": (archive, {}, "a .zip file"),
    "pipe": (pipe, {}, "neither a file nor a folder"),
    "npz without pictures": (npz(pictures=PIXELS, y=np.zeros(40, int)), {}, "arrays pictures, y"),
    "npz with channels first": (npz(images=PIXELS.transpose(0, 3, 1, 2)), {}, "transpose(0, 2, 3, 1)"),
    "npz with two channels": (npz(images=PIXELS[..., :2]), {}, "uint8 of shape (40, 10, 12, 2)"),
    "npz with one picture": (npz(images=PIXELS[0]), {}, "images[None]"),
    "npz with no picture": (npz(images=PIXELS[:0]), {}, "shape (0, 10, 12, 3)"),
    "npz of a scalar": (npz(images=np.uint8(3)), {}, "uint8 of shape ()"),
    "npz of int64": (npz(images=PIXELS.astype(np.int64)), {}, "astype(np.uint8)"),
    "npz of floats, channels last": (npz(images=PIXELS.astype(np.float32)), {}, "(N, 3, 8, 8)"),
    "npz of floats of another size": (npz(images=READY[..., :6]), {}, "float32 of shape (20, 3, 8, 6)"),
    "npz not preprocessed": (npz(images=READY * 50 + 127), {}, "are not preprocessed"),
    "npz of objects": (npz_of_objects, {}, "runs code from the file"),
    "npz cut off": (truncated_npz, {}, "cannot read the arrays"),
    "npz damaged": (damaged_npz, {}, "cannot read the arrays"),
    "npy cut off": (truncated_npy, {}, "cannot read the arrays"),
    "too few labels": (npz(images=PIXELS, labels=np.zeros(39, int)), {}, "39 labels for 40 pictures"),
    "one-hot labels": (npz(images=PIXELS, labels=np.eye(40)), {}, "argmax"),
    "label too high": (npz(images=PIXELS, labels=np.arange(40)), {}, "found     39"),
    "label below 0": (npz(images=PIXELS, labels=np.arange(40) - 39), {}, "found     -39"),
    "label of no class": (npz(images=PIXELS, labels=["cow"] * 40), {}, "'cow'"),
    "pictures all NaN": (npz(images=READY * np.float32("nan")), {}, "NaN or infinity"),
    "list with missing files": (listing("00.jpg\ngone.jpg\nlost.jpg 1\n"), {}, "line 2: gone.jpg\n"),
    "list with an unknown label": (listing("00.jpg 0\n01.jpg cow\n"), {}, "line 2 is no class"),
    "list with a label too high": (listing("00.jpg 0\n01.jpg 2\n"), {}, "expected  0 to 1"),
    "list with some labels": (listing("00.jpg 0\n01.jpg\n"), {}, "1 of 2 lines without one"),
    "list of blank lines": (listing("\n  \n# nothing\n"), {}, "lists no picture"),
    "list that is a picture": (listing(encoded(0)), {}, "no UTF-8 text"),
    "list with a NUL": (listing("\0\n" + "x" * 5000), {}, "2 of 2 pictures listed"),
    "empty iterable": (given([]), {}, "no element"),
    "used generator": (given(iter(())), {}, "make a new one"),
    "iterable of numbers": (given([1, 2]), {}, "element 0 of the iterable is no picture"),
    "iterable of lists": (given([PIXELS[0], PIXELS.tolist()]), {}, "element 1 of the iterable is no picture"),
    "iterable of int32": (given([PIXELS[0], PIXELS[1].astype(np.int32)]), {}, "element 1"),
    "iterable with a bad label": (given([(PIXELS[0], 1), (PIXELS[1], 1.5)]), {}, "1.5"),
    "iterable with a true label": (given([(PIXELS[0], True)]), {}, "True"),
    "batch with too few labels": (given([(READY, [0, 1])]), {}, "2 labels for 20 pictures"),
    "iterable of missing paths": (given(["gone/a.jpg"]), {}, "no such file"),
    "not iterable": (given(7), {}, "found     int"),
    "bytes": (given(b"a.jpg"), {}, "found     bytes"),
    "count 0": (given(PIXELS), {"count": 0}, "count = 0"),
    "negative count": (given(PIXELS), {"count": -4}, "count = -4"),
    "count of a half": (given(PIXELS), {"count": 0.5}, "count = 0.5"),
    "negative held-out": (given(PIXELS), {"held_out": -1}, "held_out = -1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_words(name, tmp_path):
    make, options, said = BAD[name]
    with pytest.raises(UserMistake) as caught:
        open_data(make(tmp_path), CONTRACT, labels=LABELS, **options)
    text = str(caught.value)
    assert said in text
    assert caught.value.exit_code == 2 and len(text.splitlines()) <= 8 and "  found " in text or "  expected " in text
    assert not (tmp_path / "it ran").exists()


def test_one_corrupt_picture_is_skipped_named_counted_and_replaced(tmp_path):
    fill(tmp_path / "cat", 20)
    fill(tmp_path / "dog", 20, first=20)
    whole = open_data(tmp_path, CONTRACT, labels=LABELS, count=16, held_out=4)
    victim = whole.calibration.names[5]
    (tmp_path / victim).write_bytes((tmp_path / victim).read_bytes()[:-40])
    data = open_data(tmp_path, CONTRACT, labels=LABELS, count=16, held_out=4)
    assert [one.name for one in data.skipped] == [victim] and "without its end" in data.skipped[0].why
    assert any(note.startswith("1 picture cannot") and victim in note for note in data.notes)
    assert {*whole.calibration.names} - {*data.calibration.names} == {victim}
    assert data.calibration.labels == whole.calibration.labels  # the next of the same class
    assert len(np.concatenate(list(data.calibration.batches(5)))) == 16


@pytest.mark.parametrize("broken", [b"", b"<html>not found</html>", encoded(0)[:200], encoded(0, ".png")[:-6]])
def test_corrupt_held_out_pictures_are_skipped_too(tmp_path, broken):
    fill(tmp_path / "train", 16)
    held = fill(tmp_path / "val", 6, first=20)
    (held / "03.jpg").write_bytes(broken)
    data = open_data(tmp_path, CONTRACT)
    assert [one.name for one in data.skipped] == ["val/03.jpg"]
    assert len(data.held_out) == 5 == len(np.concatenate(list(data.held_out.batches(2))))


def test_a_class_of_corrupt_pictures_leaves_its_places_to_the_others(tmp_path):
    fill(tmp_path / "cat", 20)
    fill(tmp_path / "dog", 4, first=20)
    for path in (tmp_path / "dog").iterdir():
        path.write_bytes(b"gone")
    data = open_data(tmp_path, CONTRACT, labels=LABELS, count=16, held_out=4)
    assert data.calibration.labels == (0,) * 16 and len(data.skipped) == 4 and len(data.held_out) == 4


def test_one_array_with_nan_is_skipped_by_name():
    ready = np.random.RandomState(0).uniform(-2, 2, READY.shape).astype(np.float32)
    ready[7, 1, 2, 3] = np.nan
    data = open_data(ready, CONTRACT, count=19)
    assert [one.name for one in data.skipped] == ["picture 7"] and len(data.calibration) == 19


@pytest.mark.parametrize("ready", [READY / 8 + 0.5, READY * 4])
def test_floats_of_another_scale_are_noted(ready):
    data = open_data(ready, CONTRACT, held_out=0)
    assert sum("where the model's preprocessing gives" in note for note in data.notes) == 1
    assert open_data(READY, CONTRACT, count=20, held_out=0).notes == ()


def test_an_npz_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((50, 100, 100, 3), np.uint8))
    monkeypatch.setattr(image_arrays, "MAX_ARRAY_BYTES", 1_000_000)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("the array was read"))
    with pytest.raises(UserMistake, match=r"1,500,\d+ bytes unpacked"):
        open_data(tmp_path / "a.npz", CONTRACT)


def test_formats_that_are_not_read_are_counted(tmp_path):
    fill(tmp_path, 16)
    (tmp_path / "a.heic").write_bytes(b"x")
    data = open_data(tmp_path, CONTRACT, count=16, held_out=0)
    assert any(note.startswith("1 picture left out, 1 .heic") for note in data.notes)


def test_names_that_would_move_the_cursor_are_escaped(tmp_path):
    fill(tmp_path, 16)
    os.rename(tmp_path / "03.jpg", tmp_path / "a\x1b[2Jb\n.jpg")
    os.rename(tmp_path / "04.jpg", os.fsencode(tmp_path) + b"/b\xff.jpg")
    (tmp_path / "a\x1b[2Jb\n.jpg").write_bytes(b"")
    data = open_data(tmp_path, CONTRACT, count=16, held_out=0)
    assert all(name.isprintable() for name in data.calibration.names) and len(data.calibration) == 15
    assert r"b\udcff.jpg" in data.calibration.names
    assert [one.name for one in data.skipped] == [r"a\x1b[2Jb\n.jpg"]
    assert all(note.isprintable() for note in data.notes)
