"""Annotation files as people really have them: read right, left out with a note, or refused in words."""

import copy
import json
import struct

import cv2
import numpy as np
import pytest

from edgesmith.runtime.coco.annotations import read_coco
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.file import read_image
from edgesmith.runtime.pictures.size import picture_size

LABELS = ("person", "traffic light", "dog")
CATEGORIES = [{"id": 1, "name": "Person"}, {"id": 10, "name": "traffic_light"}, {"id": 18, "name": "dog"}]
NAMES = ("b.png", "a.jpg", "c.jpg")
HEIGHT, WIDTH = 48, 64


def document() -> dict:
    """Three pictures, the last one without annotations; ids as sparse as COCO's."""
    boxes = [(7, 18, [1.5, 2, 10, 20]), (7, 1, [20, 10, 30, 30]), (9, 10, [0, 0, 64, 48])]
    return {
        "images": [
            {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for number, name in zip((9, 7, 30), NAMES, strict=True)
        ],
        "categories": copy.deepcopy(CATEGORIES),
        "annotations": [
            {
                "id": index,
                "image_id": image,
                "category_id": category,
                "bbox": box,
                "area": box[2] * box[3] / 2,
                "iscrowd": 0,
            }
            for index, (image, category, box) in enumerate(boxes)
        ],
    }


def jpeg(orientation: int = 0) -> bytes:
    """48 rows of 64, with the EXIF orientation where one is given."""
    data = cv2.imencode(".jpg", np.random.RandomState(0).randint(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8))[
        1
    ].tobytes()
    if not orientation:
        return data
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + data[2:]


def write(folder, found=None, pictures="images", orientation=0):
    (folder / pictures).mkdir(parents=True, exist_ok=True)
    (folder / "coco.json").write_text(json.dumps(document() if found is None else found))
    for name in NAMES:
        data = (
            jpeg(orientation)
            if name.endswith("jpg")
            else cv2.imencode(".png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()
        )
        (folder / pictures / name).write_bytes(data)
    return folder / "coco.json"


def test_boxes_classes_and_files_are_read_from_annotations(tmp_path):
    found = read_coco(write(tmp_path), tmp_path / "images", LABELS)
    assert found.ids == (7, 9, 30) and [path.name for path in found.paths] == ["a.jpg", "b.png", "c.jpg"]
    first, second, third = found.truths
    np.testing.assert_array_equal(first.boxes, [[1.5, 2, 11.5, 22], [20, 10, 50, 40]])
    assert first.boxes.dtype == np.float64 and first.classes.tolist() == [2, 0] and first.area.tolist() == [100, 450]
    assert first.image_size == (48, 64) and not first.crowd.any() and second.classes.tolist() == [1]
    assert len(third) == 0 and third.boxes.shape == (0, 4)
    assert found.category_of_class == {0: 1, 1: 10, 2: 18}
    assert found.notes == ("1 of 3 pictures have no annotation: whatever is found in them is wrong",)


def changed(key, position, **values):
    def change(found):
        for name, value in values.items():
            found[key][position][name] = value
            if value is KeyError:
                del found[key][position][name]

    return change


def set_list(key, value):
    return lambda found: found.__setitem__(key, value)


def append(key, **entry):
    return lambda found: found[key].append(entry)


def every_box(make):
    def change(found):
        for one in found["annotations"]:
            one["bbox"] = make(*one["bbox"])

    return change


REFUSED = {
    "no list of categories": (lambda found: found.pop("categories"), "lists images, annotations, categories"),
    "an entry that is no object": (lambda found: found["annotations"].append(5), "entry 3 of annotations"),
    "a picture without a name": (changed("images", 1, file_name=KeyError), "entry 1 of images"),
    "a picture without an id": (changed("images", 1, id=None), "entry 1 of images"),
    "two pictures of one id": (changed("images", 1, id=9), "same id"),
    "one picture twice": (changed("images", 1, file_name="b.png"), "lists one picture twice"),
    "no pictures": (set_list("images", []), "lists no picture"),
    "no categories": (set_list("categories", []), "lists no category"),
    "two categories of one id": (changed("categories", 1, id=1), "two categories with the id 1"),
    "two categories of one name": (append("categories", id=40, name="DOG"), "18 dog, 40 DOG"),
    "a category without a name": (changed("categories", 0, name=3), "entry 0 of categories"),
    "wrong category ids": (
        lambda found: [category.update(name=f"thing {category['id']}") for category in found["categories"][:2]] and
        found["categories"].append({"id": 90, "name": "x"}),
        r"found     4 categories: 1 thing 1, 10 thing 10, 18 dog, 90 x\n  expected  3 classes: person, traffic light, dog",
    ),
    "names in another order": (
        lambda found: [found["categories"][0].update(name="dog"), found["categories"][2].update(name="hound")],
        "cannot be matched by their order",
    ),
    "an unknown category": (changed("annotations", 0, category_id=2), r"category_id 2\n  expected  one of 1, 10, 18"),
    "a category that is a list": (changed("annotations", 0, category_id=[1]), "not listed"),
    "an unknown picture": (changed("annotations", 0, image_id=8), "1 of 3 annotations are of pictures that are not listed"),
    "a box of words": (changed("annotations", 0, bbox=["1", "2", "3", "4"]), "annotation 0 has no usable box"),
    "a box with NaN": (changed("annotations", 0, bbox=[1, 2, float("nan"), 4]), "NaN"),
    "three numbers": (changed("annotations", 2, bbox=[1, 2, 3]), "annotation 2 has no usable box"),
    "a mask without a box": (
        changed("annotations", 0, bbox=KeyError, segmentation={"counts": "abc", "size": [48, 64]}), "a mask without bbox",
    ),
    "boxes without size": (every_box(lambda x, y, w, h: [x, y, 0, h]), "3 of 3 boxes have no size"),
    "boxes as corners": (every_box(lambda x, y, w, h: [30, 20, 55, 45]), "x2 - x1"),
    "boxes as shares": (every_box(lambda x, y, w, h: [0.1, 0.2, 0.3, 0.4]), "the boxes are no pixels"),
    "no annotation at all": (set_list("annotations", []), "no annotated box"),
    "crowds only": (lambda found: [one.update(iscrowd=1) for one in found["annotations"]], "no annotated box"),
    "pictures of another size": (
        lambda found: [one.update(width=640, height=480) for one in found["images"]],
        "3 of 3 pictures cannot be used: broken or not of the size",
    ),
    "a missing picture": (append("images", id=31, file_name="gone.jpg", width=1, height=1), "1 of 4 pictures .* are missing\n  found     gone.jpg"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_annotations_that_cannot_be_used_are_refused_in_words(tmp_path, what):
    change, words = REFUSED[what]
    found = document()
    change(found)
    with pytest.raises(UserMistake, match=words) as caught:
        read_coco(write(tmp_path, found), tmp_path / "images", LABELS)
    assert caught.value.found and len(str(caught.value).splitlines()) < 12


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "an empty file"), (b"{", "no JSON"), (b"[]", "a list"), (b"\xff\xfe\x00", "no JSON"), (b'"x"', "found     str"),
     (b'[{"image_id": 1, "category_id": 1, "bbox": [], "score": 1}]', "a list of results")],
)  # fmt: skip
def test_files_that_are_no_annotations(tmp_path, content, words):
    (tmp_path / "coco.json").write_bytes(content)
    with pytest.raises(UserMistake, match=words):
        read_coco(tmp_path / "coco.json", tmp_path, LABELS)


def test_a_missing_file_and_a_missing_folder(tmp_path):
    with pytest.raises(UserMistake, match="No such file"):
        read_coco(tmp_path / "gone.json", tmp_path, LABELS)
    with pytest.raises(UserMistake, match="nothing at that path"):
        read_coco(write(tmp_path), tmp_path / "gone", LABELS)


def test_many_missing_pictures_are_counted(tmp_path):
    found = document()
    found["images"] += [{"id": 100 + n, "file_name": f"x{n}.jpg", "width": 1, "height": 1} for n in range(9)]
    with pytest.raises(UserMistake, match="9 of 12 pictures .* missing\n  found     x0.jpg, x1.jpg, x2.jpg and 6 more"):
        read_coco(write(tmp_path, found), tmp_path / "images", LABELS)


def test_a_few_odd_boxes_stay_with_a_note(tmp_path):
    found = document()
    usual = found["annotations"][0]
    found["annotations"] += [{**usual, "id": 50 + n} for n in range(30)]
    odd = ([5, 5, 0, 5], [5, 5, 5, -1], [70, 5, 10, 10], [60, 5, 10, 10])
    found["annotations"] += [{**usual, "id": 90 + n, "bbox": box} for n, box in enumerate(odd)]
    found["annotations"].append({**usual, "id": 99, "bbox": None, "segmentation": [[1, 2, 9, 4, 5, 12]], "area": None})
    read = read_coco(write(tmp_path, found), tmp_path / "images", LABELS)
    assert sum(map(len, read.truths)) == 3 + 30 + 5
    np.testing.assert_array_equal(read.truths[0].boxes[-1], [1, 2, 9, 12])
    assert read.truths[0].area[-1] == 80
    said = "\n".join(read.notes)
    for words in ("2 boxes have no size and count as never found, as in COCO's own code: annotation 90, annotation 91", "1 boxes lie outside",
                  "1 boxes reach past their picture", "1 annotations have no bbox"):  # fmt: skip
        assert words in said


def test_crowds_are_kept_apart(tmp_path):
    found = document()
    found["annotations"][0]["iscrowd"] = 1
    assert read_coco(write(tmp_path, found), None, LABELS).truths[0].crowd.tolist() == [True, False]


def test_annotations_may_share_an_id(tmp_path):
    """pycocotools would lose one of them; we number them ourselves."""
    found = document()
    found["annotations"][1]["id"] = 0
    assert sum(map(len, read_coco(write(tmp_path, found), None, LABELS).truths)) == 3


def test_categories_that_the_model_does_not_have(tmp_path):
    """A category that is not annotated (some tools write a root category) is nothing; the others of all names count."""
    found = document()
    found["categories"].append({"id": 0, "name": "objects"})
    found["annotations"].append({**found["annotations"][0], "category_id": 0, "id": 77})
    read = read_coco(write(tmp_path, found), None, LABELS)
    assert read.category_of_class == {0: 1, 1: 10, 2: 18} and sum(map(len, read.truths)) == 3
    assert "categories that the model does not have: objects" in read.notes
    assert "1 annotations are of categories that the model does not have, and are left out" in read.notes


def test_a_set_of_some_of_the_classes(tmp_path):
    read = read_coco(write(tmp_path), None, ("cat", "dog", "person", "traffic light", "car"))
    assert read.category_of_class == {2: 1, 3: 10, 1: 18} and read.truths[0].classes.tolist() == [1, 2]
    assert "2 classes of the model have no category and do not count: cat, car" in read.notes


def test_a_name_that_two_classes_of_the_model_share_says_nothing(tmp_path):
    """A crane is a bird and a machine: what the second class finds would count nowhere."""
    with pytest.raises(UserMistake, match="several classes of the model are called dog"):
        read_coco(write(tmp_path), None, ("person", "traffic light", "dog", "dog"))
    found = document()
    found["annotations"] = found["annotations"][1:]
    read = read_coco(write(tmp_path, found), None, ("person", "traffic light", "dog", "dog"))
    assert read.category_of_class == {0: 1, 1: 10}, "the dogs are not annotated"
    in_order = read_coco(write(tmp_path), None, ("person", "dog", "dog"))
    assert in_order.category_of_class == {0: 1, 1: 10, 2: 18}


def test_as_many_categories_as_classes_are_taken_in_order(tmp_path):
    read = read_coco(write(tmp_path), None, ("class 0", "class 1", "class 2"))
    assert read.category_of_class == {0: 1, 1: 10, 2: 18}
    assert (
        "3 categories are taken in the order of their ids: Person = class 0, traffic_light = class 1, dog = class 2"
        in read.notes
    )


@pytest.mark.parametrize("place", ["images", ".", "coco", "val2017"])
def test_the_folder_is_looked_for_beside_the_file(tmp_path, place):
    file = write(tmp_path / "annotations", pictures=place if place != "val2017" else "../val2017")
    if place == "val2017":
        file = file.rename(file.with_name("instances_val2017.json"))
    read = read_coco(file, None, LABELS)
    assert len(read) == 3 and read.notes[0].startswith("pictures of ")


def test_no_folder_beside_the_file(tmp_path):
    with pytest.raises(UserMistake, match="--images DIR") as caught:
        read_coco(write(tmp_path, pictures="elsewhere"), None, LABELS)
    assert "a.jpg in none of" in caught.value.found


def test_a_limit_draws_the_same_pictures_again(tmp_path):
    file = write(tmp_path)
    first = read_coco(file, None, LABELS, limit=2)
    assert len(first) == 2 and first.ids == read_coco(file, None, LABELS, limit=2).ids
    assert "2 of 3 pictures, drawn with a fixed seed" in first.notes
    assert len(read_coco(file, None, LABELS, limit=99)) == 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_of_a_turned_picture(tmp_path, orientation):
    (tmp_path / "a.jpg").write_bytes(jpeg(orientation))
    expected = read_image(tmp_path / "a.jpg").shape[:2]
    assert picture_size(tmp_path / "a.jpg") == expected == ((64, 48) if orientation > 4 else (48, 64))


def test_a_picture_that_exif_turns_is_not_the_one_that_was_annotated(tmp_path):
    with pytest.raises(UserMistake, match="EXIF") as caught:
        read_coco(write(tmp_path, orientation=6), None, LABELS)
    assert "a.jpg: 48 x 64, annotated at 64 x 48" in caught.value.found


def test_one_turned_picture_of_many_is_left_out(tmp_path):
    found, file = document(), write(tmp_path)
    for number in range(200):
        name = f"{number}.jpg"
        found["images"].append({"id": 1000 + number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        (tmp_path / "images" / name).write_bytes(jpeg(8 if number == 0 else 0))
    file.write_text(json.dumps(found))
    read = read_coco(file, None, LABELS)
    assert (
        len(read) == 202 and 1000 not in read.ids and any("left out" in note and "0.jpg" in note for note in read.notes)
    )


def test_sizes_that_the_file_does_not_say_are_those_of_the_pictures(tmp_path):
    found = document()
    for one in found["images"]:
        del one["width"], one["height"]
    assert read_coco(write(tmp_path, found), None, LABELS).truths[0].image_size == (48, 64)


def test_ids_may_be_texts_and_pictures_may_lie_in_folders(tmp_path):
    found = document()
    for one in found["images"]:
        one["id"], one["file_name"] = f"image-{one['id']}", "C:\\data\\" + one["file_name"]
    for one in found["annotations"]:
        one["image_id"] = f"image-{one['image_id']}"
    read = read_coco(write(tmp_path, found), None, LABELS)
    assert read.ids == ("image-30", "image-7", "image-9") and len(read.truths[1]) == 2


def test_a_picture_that_is_broken(tmp_path):
    file = write(tmp_path)
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    with pytest.raises(UserMistake, match="1 of 3 pictures cannot be used") as caught:
        read_coco(file, None, LABELS)
    assert "a.jpg: an empty file" in caught.value.found
