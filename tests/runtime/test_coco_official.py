"""Quirky annotation files: the mAP is that of COCO's own code on the same file, or the file is refused; never silently lower."""

import contextlib
import copy
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgesmith.runtime.coco.annotations import read_coco
from edgesmith.runtime.coco.average_precision import evaluate_boxes
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.detection.boxes import Kept

LABELS = ("person", "bus", "dog")
CATEGORIES = {1: "person", 18: "dog", 6: "bus"}
PICTURES = 8
HEIGHT, WIDTH = 240, 320


def plain() -> dict:
    """Eight pictures with 40 boxes and three crowds, written as COCO writes them."""
    rng = np.random.RandomState(0)
    annotations = []
    for number in range(1, 44):
        x, y = (int(value) for value in rng.randint(0, (200, 120)))
        width, height = (int(value) for value in rng.choice([12, 40, 115], 2))
        annotations.append(
            {
                "id": number,
                "image_id": 10 + int(rng.randint(PICTURES)),
                "category_id": int(rng.choice(list(CATEGORIES))),
                "bbox": [x, y, width, height],
                "area": width * height * 0.75,
                "iscrowd": int(number > 40),
            }
        )
    return {
        "info": {},
        "images": [
            {"id": 10 + n, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} for n in reversed(range(PICTURES))
        ],
        "categories": [{"id": number, "name": name} for number, name in CATEGORIES.items()],
        "annotations": annotations,
    }


def detections() -> list[Kept]:
    """What a fair detector finds in the plain set: most things, a little beside them, and some that are not there."""
    rng = np.random.RandomState(1)
    found: list[Kept] = []
    for number in range(PICTURES):
        some = [one for one in plain()["annotations"] if one["image_id"] == 10 + number]
        boxes = [np.array(one["bbox"], float) + rng.randint(-3, 4, 4) for one in some] + [np.array([5, 5, 60, 50.0])]
        kinds = [LABELS.index(CATEGORIES[one["category_id"]]) for one in some] + [0]
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32)
        scores = rng.permutation(len(boxes)).astype(np.float32) / 50 + 0.1
        order = np.argsort(-scores)
        found.append(Kept(corners[order], scores[order], np.array(kinds, np.int64)[order]))
    return found


def official(file: Path) -> list[float]:
    """mAP and its parts in percent as COCO's own code gives them for the file as it is."""
    numbers = {name: number for number, name in CATEGORIES.items()}
    rows = [
        {
            "image_id": 10 + number,
            "category_id": numbers[LABELS[index]],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for number, one in enumerate(detections())
        for (x1, y1, x2, y2), score, index in zip(
            one.boxes.astype(float).tolist(), one.scores.astype(float).tolist(), one.classes.tolist(), strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(str(file))
        judge = COCOeval(api, api.loadRes(rows), "bbox")
        judge.evaluate(), judge.accumulate(), judge.summarize()
    return [100 * value for value in judge.stats[:12]]


FIGURES = (
    "map", "map50", "map75", "small", "medium", "large", "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip


def change(number: int, **values):
    return lambda found: found["annotations"][number].update(values)


def every(**values):
    return lambda found: [one.update(values) for one in found["annotations"]]


def each(edit):
    return lambda found: [edit(one) for one in found["annotations"]]


def both(*edits):
    return lambda found: [edit(found) for edit in edits]


PLAIN = "the figure of the plain file: COCO's own code fails, or takes it wrongly"
AS_IT_IS = "the figure of COCO's own code on the file itself"
QUIRKS = {
    "nothing odd": (lambda found: None, AS_IT_IS),
    "crowds as booleans": (each(lambda one: one.update(iscrowd=bool(one["iscrowd"]))), AS_IT_IS),
    "crowds as 0.0 and 1.0": (each(lambda one: one.update(iscrowd=float(one["iscrowd"]))), AS_IT_IS),
    "crowds as texts": (each(lambda one: one.update(iscrowd=str(one["iscrowd"]))), PLAIN),
    "no crowd said": (each(lambda one: one["iscrowd"] or one.pop("iscrowd")), PLAIN),
    "a crowd of another number": (change(4, iscrowd=2), "annotation 5 has no usable iscrowd"),
    "a crowd in words": (change(4, iscrowd="false"), "annotation 5 has no usable iscrowd"),
    "a crowd that is a list": (change(4, iscrowd=[]), "annotation 5 has no usable iscrowd"),
    "the field ignore": (change(4, ignore=1), AS_IT_IS),
    "annotations numbered from 0": (each(lambda one: one.update(id=one["id"] - 1)), PLAIN),
    "annotations of one id": (change(4, id=6), PLAIN),
    "annotations without an id": (each(lambda one: one.pop("id")), PLAIN),
    "annotations with a text as id": (each(lambda one: one.update(id=f"a{one['id']}")), PLAIN),
    "an annotation twice": (lambda found: found["annotations"].append({**found["annotations"][3], "id": 99}), AS_IT_IS),
    "boxes without size": (both(change(3, bbox=[9, 9, 0, 9], area=0), change(8, bbox=[9, 9, 9, -9], area=81)), AS_IT_IS),
    "a box outside of its picture": (change(3, bbox=[400, 9, 20, 9]), AS_IT_IS),
    "a box beyond the edge": (change(3, bbox=[300, 9, 40, 9]), AS_IT_IS),
    "areas of 0": (change(3, area=0), AS_IT_IS),
    "areas of 0 everywhere": (
        lambda found: [one.update(area=0) for one in found["annotations"][2:]]
        + [found["annotations"][0].update(area=2e3), found["annotations"][1].update(area=1e4)],
        AS_IT_IS,
    ),
    "areas at the ends of small and medium": (
        lambda found: [
            one.update(area=(1024, 9216, 1024.0000001, 9215.9999)[number % 4])
            for number, one in enumerate(found["annotations"])
        ],
        AS_IT_IS,
    ),
    "a negative area": (change(3, area=-1), "annotation 4 has no usable area"),
    "an area as a text": (change(3, area="900"), "annotation 4 has no usable area"),
    "an area that is no number": (change(3, area=float("nan")), "annotation 4 has no usable area"),
    "an area beyond float64": (change(3, area=10**400), "annotation 4 has no usable area"),
    "a box of texts": (change(3, bbox=["1", "2", "3", "4"]), "annotation 4 has no usable box"),
    "a box with infinity": (change(3, bbox=[1, 2, float("inf"), 4]), "annotation 4 has no usable box"),
    "a box beyond float64": (change(3, bbox=[1, 2, 10**400, 4]), "annotation 4 has no usable box"),
    "a box of truths": (change(3, bbox=[True, True, 5, 5]), "annotation 4 has no usable box"),
    "a box of five": (change(3, bbox=[1, 2, 3, 4, 5]), "annotation 4 has no usable box"),
    "polygons of texts": (change(3, bbox=None, segmentation=[["1", "2", "3", "4"]]), "annotation 4 has no usable box"),
    "a polygon that is flat": (change(3, bbox=None, segmentation=[1, 2, 3, 4]), "annotation 4 has no usable box"),
    "pictures as texts": (
        each(lambda one: one.update(image_id=str(one["image_id"]))),
        'the type differs: "1[0-7]" is a text, 1[0-7] is a whole number',
    ),
    "pictures as floats": (
        each(lambda one: one.update(image_id=float(one["image_id"]))),
        r"the type differs: 1[0-7]\.0 is a number with a point, 1[0-7] is a whole number",
    ),
    "a picture that is true": (
        both(change(3, image_id=True), lambda found: found["images"][0].update(id=1)),
        "true is true or false, which names nothing",
    ),
    "ids of pictures as texts": (
        lambda found: [one.update(id=str(one["id"])) for one in found["images"]],
        'the type differs: 1[0-7] is a whole number, "1[0-7]" is a text',
    ),
    "categories as texts": (
        each(lambda one: one.update(category_id=str(one["category_id"]))),
        'the type differs: "(1|6|18)" is a text, (1|6|18) is a whole number',
    ),
    "categories as floats": (
        each(lambda one: one.update(category_id=float(one["category_id"]))),
        r"the type differs: (1|6|18)\.0 is a number with a point",
    ),
    "a category that is true": (change(3, category_id=True), "true is true or false, which names nothing"),
    "a category of a text id": (lambda found: found["categories"][0].update(id="1"), "entry 0 of categories"),
    "a category twice": (lambda found: found["categories"].append({"id": 1, "name": "cat"}), "two categories with the id 1"),
    "a width as a text": (
        lambda found: found["images"][2].update(width="320"), r'the picture 15 has no usable width\n  found     width "320": a text',
    ),
    "a height of half a pixel": (lambda found: found["images"][2].update(height=240.5), "the picture 15 has no usable height"),
    "a width as 320.0": (lambda found: found["images"][2].update(width=320.0), AS_IT_IS),
    "no width and height": (lambda found: [(one.pop("width"), one.pop("height")) for one in found["images"]], AS_IT_IS),
    "another width alone": (lambda found: [(one.update(width=99), one.pop("height")) for one in found["images"]], "annotated at 99 x None"),
}  # fmt: skip


def write(folder: Path, found: dict) -> Path:
    data = cv2.imencode(".png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()
    for number in range(PICTURES):
        (folder / f"{number}.png").write_bytes(data)
    (folder / "coco.json").write_text(json.dumps(found))
    return folder / "coco.json"


@pytest.mark.parametrize("what", QUIRKS)
def test_a_quirky_file_has_the_official_figure_or_is_refused(tmp_path, what):
    edit, outcome = QUIRKS[what]
    found = plain()
    edit(found)
    file = write(tmp_path, copy.deepcopy(found))
    if outcome not in (AS_IT_IS, PLAIN):
        with pytest.raises(UserMistake, match=outcome):
            read_coco(file, tmp_path, LABELS)
        return
    read = read_coco(file, tmp_path, LABELS)
    assert read.ids == tuple(range(10, 10 + PICTURES))
    told = evaluate_boxes(detections(), read.truths, LABELS, interval=False)
    if outcome == PLAIN:
        file.write_text(json.dumps(plain()))
    # 1e-9: sums in another order
    ours = [told[name] for name in FIGURES]
    assert ours == pytest.approx(official(file), abs=1e-9)
    assert 20 < told["map"] < 80, "neither nothing nor everything is found, so that a lost box shows"


@pytest.mark.parametrize(
    ("what", "note"),
    [
        ("annotations of one id", "1 annotations have the id of another one"),
        ("an annotation twice", "1 annotations repeat another one"),
        ("areas of 0", '1 annotations say "area": 0 of a box that has one, and count as small'),
        ("areas of 0 everywhere", '41 annotations say "area": 0'),
        ("boxes without size", "2 boxes have no size and count as never found, as in COCO's own code: annotation 4, annotation 9"),
        ("a box outside of its picture", "1 boxes lie outside of their picture and count as never found"),
    ],
)  # fmt: skip
def test_what_lowers_a_figure_is_told(tmp_path, what, note):
    found = plain()
    QUIRKS[what][0](found)
    assert any(words.startswith(note) for words in read_coco(write(tmp_path, found), tmp_path, LABELS).notes)
