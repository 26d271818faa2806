"""What users of a detector get wrong at the export, as data (of the run and eval commands: test_run_*, test_eval*)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from one_screen import Case, assert_told

EXPORT = "export --model damo_yolo_nano_small "
INT8 = EXPORT + "--precision int8 --image-size 64 "
CASES = [
    Case("size that is no multiple of 32", EXPORT + "--image-size 400", ("400x400", "--image-size 384 384")),
    Case("place for NMS that is none", EXPORT + "--nms host", ("host", "runtime, graph, none")),
    Case("NMS in an engine without it", EXPORT + "--nms graph --target rtx", ("NonMaxSuppression", "--nms")),
    Case("NMS of a classifier", "export --model van_b0 --nms graph", ("--nms", "classification")),
    Case("score of a classifier", "export --model van_b0 --score 0.5", ("--score", "--model damo_yolo")),
    Case("fit of a classifier", "export --model van_b0 --fit letterbox", ("--fit", "classification")),
    Case("score in percent", EXPORT + "--score 50", ("50", "0 to 1", "0.03")),
    Case("score that is no number", EXPORT + "--score nan", ("nan", "0 to 1")),
    Case("overlap below nothing", EXPORT + "--iou -0.1", ("-0.1", "0.65")),
    Case("no detections wanted", EXPORT + "--max-detections 0", ("--max-detections 0", "500")),
    Case("more detections than TopK has", EXPORT + "--max-detections 9000", ("9000", "3840")),
    Case("fit that is none", EXPORT + "--fit crop", ("crop", "stretch, letterbox")),
    Case("file of names that is missing", EXPORT + "--labels names.txt", ("names.txt", "one name a line")),
    Case("file of names that is empty", EXPORT + "--labels empty.txt", ("empty.txt", "no names")),
    Case("file of names with a hole", EXPORT + "--labels hole.txt", ("hole.txt", "an empty one")),
    Case("names that are no list", EXPORT + "--labels numbers.json", ("numbers.json", "one name")),
    Case("names for other classes", EXPORT + "--labels three.txt --num-classes 5", ("3 names", "--num-classes 5")),
    Case("checkpoint of other classes", EXPORT + "--weights eighty.pth --num-classes 3", ("80", "3")),
    Case("annotations that are missing", INT8 + "--data coco.json", ("coco.json",)),
    Case("annotations that are no JSON", INT8 + "--data broken.json --images pictures", ("broken.json",)),
    Case("categories of another set", INT8 + "--data unicorns.json --images pictures", ("unicorn",)),
    Case("pictures that are elsewhere", INT8 + "--data cats.json --images nowhere", ("nowhere",)),
    Case("pictures without annotations for a budget", EXPORT + "--max-drop 1", ("--max-drop", "int8")),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import cv2
    import numpy as np
    import torch

    from edgesmith.models import create

    made = tmp_path_factory.mktemp("bad-detector")
    (made / "empty.txt").write_text("\n\n")
    (made / "hole.txt").write_text("cat\n\ndog\n")
    (made / "three.txt").write_text("cat\ndog\nbird\n")
    (made / "numbers.json").write_text("[1, 2, 3]")
    (made / "broken.json").write_text('{"images": [')
    (made / "pictures").mkdir()
    for index in range(3):
        cv2.imwrite(str(made / "pictures" / f"{index}.png"), np.full((64, 64, 3), 80 * index, np.uint8))
    images = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in range(3)]
    boxes = [{"id": 1, "image_id": 0, "category_id": 7, "bbox": [1, 2, 30, 40], "area": 1200, "iscrowd": 0}]
    for name in ("cat", "unicorn"):
        coco = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": name}]}
        (made / f"{name}s.json").write_text(json.dumps(coco))
    torch.save({"model": create("damo_yolo_nano_small").state_dict()}, made / "eighty.pth")
    return made


def test_there_are_at_least_twenty():
    assert len(CASES) >= 20 and len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_told_in_one_screen(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    assert_told(case, folder)
