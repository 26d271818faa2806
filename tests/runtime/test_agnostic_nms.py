"""Suppression across classes: torchvision.ops.nms, not batched, is the judge; refused where the graph suppresses."""

import json

import cv2
import numpy as np
import pytest
from command_line import edgesmith, on_device
from detection_bundle import LABELS, golden_images, paint, write_detection_bundle
from floor import workstation

from edgesmith.exporter.tasks.detection.plan import plan_detection
from edgesmith.models.registry import find
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.detection.detection import DetectionRule, keep

# red and blue on one patch: cell 0 is both, so two boxes of two classes lie on each other
TWO = paint((0, 0, 8, 8, "red"), (0, 0, 8, 8, "blue"), (24, 24, 32, 32, "green"))


@pytest.mark.parametrize("iou", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(4))
@workstation
def test_what_stays_is_what_torchvision_keeps(seed, iou):
    import torch
    from torchvision.ops import nms

    random = np.random.default_rng(seed)
    corners = random.uniform(0, 60, (150, 2))
    boxes = np.concatenate([corners, corners + random.uniform(1, 30, (150, 2))], axis=1).astype(np.float32)
    scores = (random.permutation(150 * 4).reshape(150, 4) / 600).astype(np.float32)  # no two alike: ties have no judge
    rule = DetectionRule("runtime", 0.2, iou, 100_000, agnostic_nms=True)
    cells, classes = np.nonzero(scores > np.float32(0.2))
    values = scores[cells, classes]
    stay = nms(torch.from_numpy(boxes[cells]), torch.from_numpy(values), iou).numpy()
    kept = keep(np.concatenate([boxes, scores], axis=1), rule)
    np.testing.assert_array_equal(kept.boxes, boxes[cells[stay]])
    np.testing.assert_array_equal(kept.scores, values[stay])
    np.testing.assert_array_equal(kept.classes, classes[stay])
    assert iou == 1 or len(stay) < len(
        keep(np.concatenate([boxes, scores], axis=1), rule.override(agnostic_nms=False)).scores
    )


def test_a_session_takes_it_for_one_call(tmp_path):
    with load(write_detection_bundle(tmp_path / "d.edge")) as session:
        assert sorted(d.label for d in session(TWO)) == ["blue", "green", "red"]
        assert sorted(d.label for d in session(TWO, agnostic_nms=True)) in (["blue", "green"], ["green", "red"])
        assert len(session(TWO, agnostic_nms=False)) == 3
        with pytest.raises(UserMistake, match="agnostic_nms is yes or no"):
            session(TWO, agnostic_nms="yes")


def test_a_bundle_may_say_it_and_a_call_may_say_otherwise(tmp_path):
    rule = DetectionRule("runtime", 0.5, 0.3, agnostic_nms=True)
    assert DetectionRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    assert "agnostic_nms" not in rule.override(agnostic_nms=False).to_json(), (
        "what older runtimes do not know is left out"
    )
    with load(write_detection_bundle(tmp_path / "d.edge", detection=rule.to_json())) as session:
        assert len(session(TWO)) == 2 and len(session(TWO, agnostic_nms=False)) == 3


@pytest.mark.parametrize("nms", ["graph", "none"])
def test_where_the_runtime_does_not_suppress_it_is_refused(tmp_path, nms):
    write_detection_bundle(tmp_path / "d.edge", nms=nms)
    cv2.imwrite(str(tmp_path / "a.png"), TWO[:, :, ::-1])
    for answer in (
        edgesmith("run", str(tmp_path / "d.edge"), str(tmp_path / "a.png"), "--agnostic-nms"),
        edgesmith("eval", str(tmp_path / "d.edge"), "--data", str(tmp_path / "x.json"), "--agnostic-nms"),
    ):
        assert answer.code == 2 and "--nms runtime" in answer.err and "agnostic_nms" in answer.err
    with pytest.raises(UserMistake, match="agnostic_nms is not usable"):
        DetectionRule(nms, 0.5, 0.3, agnostic_nms=True)
    with pytest.raises(UserMistake, match=f"(?s)across classes.*--agnostic-nms --nms {nms}"):
        from edgesmith.exporter.plan.targets import find_target

        plan_detection(find("damo_yolo_nano_small"), find_target("cpu"), {"nms": nms, "agnostic_nms": True})


def test_run_and_eval_take_it_on_workstation_and_device(tmp_path):
    write_detection_bundle(tmp_path / "d.edge", images=golden_images())
    cv2.imwrite(str(tmp_path / "a.png"), TWO[:, :, ::-1])
    annotations = [
        {"id": 1 + n, "image_id": 1, "category_id": 1 + LABELS.index(label), "bbox": box, "area": 144, "iscrowd": 0}
        for n, (label, box) in enumerate(
            (("red", [0, 0, 12, 12]), ("blue", [0, 0, 12, 12]), ("green", [20, 20, 12, 12]))
        )
    ]
    categories = [{"id": n + 1, "name": label} for n, label in enumerate(LABELS)]
    images = [{"id": 1, "file_name": "a.png", "width": 32, "height": 32}]
    (tmp_path / "x.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    words = "run", str(tmp_path / "d.edge"), str(tmp_path / "a.png"), "--json"
    for flags, count in (((), 3), (("--agnostic-nms",), 2)):
        ours, theirs = edgesmith(*words, *flags), on_device(*words, *flags)
        assert len(json.loads(ours.out)[0]["detections"]) == count, ours.err
        assert len(json.loads(theirs.out)[0]["detections"]) == count, theirs.err
    words = "eval", str(tmp_path / "d.edge"), "--data", str(tmp_path / "x.json"), "--json"
    for flags, found in (((), 3), (("--agnostic-nms",), 2)):
        (row,) = json.loads(edgesmith(*words, *flags).out)["rows"]
        assert row["found"] == found and row.get("agnostic_nms", False) is bool(flags)
        (row,) = json.loads(on_device(*words, *flags).out)["rows"]
        assert row["found"] == found and row["ar100"] is not None
