"""Suppression without a loop gives what the loop gives, and what ONNX Runtime's NonMaxSuppression gives, to the bit."""

from functools import lru_cache

import damo_yolo_reference as reference
import numpy as np
import pytest
from damo_yolo_reference import CASES, VARIANTS
from floor import workstation
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesmith.runtime.tasks.detection import nms as module
from edgesmith.runtime.tasks.detection.detection import DetectionRule, keep
from edgesmith.runtime.tasks.detection.nms import nms

NMS = """
<ir_version: 10, opset_import: ["" : 20]>
nms (float[1, N, 4] boxes, float[1, K, N] scores, int64[1] most, float[1] iou, float[1] score) => (int64[M, 3] kept)
{
  kept = NonMaxSuppression(boxes, scores, most, iou, score)
}
"""


@lru_cache
def session():
    import onnx
    import onnxruntime

    model = onnx.parser.parse_model(NMS)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def onnxruntime_keeps(boxes, scores, score, iou):
    """(N, 4), (N, K) -> sorted rows (cell, class), all that ONNX Runtime's operator keeps; corners in any order."""
    feeds = {
        "boxes": boxes[None],
        "scores": np.ascontiguousarray(scores.T)[None],
        "most": np.array([len(boxes)], np.int64),  # for each class
        "iou": np.array([iou], np.float32),
        "score": np.array([score], np.float32),
    }
    (kept,) = session().run(None, feeds)
    return sorted((int(cell), int(label)) for _, label, cell in kept)


def ours(boxes, scores, score, iou):
    """The same rows from the pieces that ``keep`` is made of; the box of a detection tells its cell."""
    cells, classes = np.nonzero(scores > np.float32(score))
    best = nms(boxes[cells], scores[cells, classes], classes, iou)
    return sorted(zip(cells[best].tolist(), classes[best].tolist(), strict=True))


def loop(boxes, scores, classes, iou):
    """The definition: the best box left stays and drops those of its class that it overlaps by more than ``iou``."""
    left, kept = np.argsort(-scores, kind="stable").tolist(), []

    def area(sides):
        return sides[0] * sides[1]

    while left:
        best = left.pop(0)
        kept.append(best)
        rest = []
        for other in left:
            a, b = boxes[best], boxes[other]
            common = area(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), np.float32(0)))
            union = area(a[2:] - a[:2]) + area(b[2:] - b[:2]) - common
            if classes[best] != classes[other] or not common > 0 or not common / union > np.float32(iou):
                rest.append(other)
        left = rest
    return kept


@st.composite
def crowds(draw):
    """Boxes on a coarse grid (exact ties of overlap), few scores (ties), up to three classes; some without an area."""
    count, labels = draw(st.integers(0, 40)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner = rng.integers(0, draw(st.sampled_from([4, 20, 100])), (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 12, (count, 2))], axis=1).astype(np.float32)
    if draw(st.booleans()):
        boxes = (boxes * np.float32(1.7) - rng.random((count, 4), np.float32)).astype(np.float32)
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
    scores = (rng.integers(0, draw(st.sampled_from([4, 1000])), (count, labels)) / 1000).astype(np.float32)
    return boxes, scores


IOUS = st.sampled_from([0.0, 0.2, 0.25, 1 / 3, 0.5, 0.65, 0.7, 0.99, 1.0])


@settings(deadline=None, max_examples=300)
@given(crowds(), IOUS, st.sampled_from([0.0, 0.002, 0.3]))
def test_suppression_keeps_what_onnx_runtime_keeps(crowd, iou, score):
    boxes, scores = crowd
    assert ours(boxes, scores, score, iou) == (onnxruntime_keeps(boxes, scores, score, iou) if len(boxes) else [])


@settings(deadline=None, max_examples=150)
@given(crowds(), IOUS, st.integers(1, 8), st.data())
def test_equals_the_loop_in_its_order_in_blocks_of_any_size(crowd, iou, block, data):
    boxes, scores = crowd
    cells, classes = np.nonzero(scores > 0)
    values = scores[cells, classes]
    expected = loop(boxes[cells], values, classes, iou)
    limit = data.draw(st.one_of(st.none(), st.integers(1, 10)))
    with pytest.MonkeyPatch.context() as patch:
        for size in (block, module.BLOCK):
            patch.setattr(module, "BLOCK", size)
            assert nms(boxes[cells], values, classes, iou, limit).tolist() == expected[:limit]


@settings(deadline=None, max_examples=100)
@given(crowds(), IOUS, st.randoms(use_true_random=False))
def test_the_order_of_the_boxes_matters_only_among_equals(crowd, iou, random):
    boxes, scores = crowd
    cells, classes = np.nonzero(scores > 0)
    values = scores[cells, classes] + np.arange(len(cells), dtype=np.float32)  # no two are equal
    order = np.array(random.sample(range(len(cells)), len(cells)), int)
    again = nms(boxes[cells][order], values[order], classes[order], iou)
    assert order[again].tolist() == nms(boxes[cells], values, classes, iou).tolist()


def test_corners_in_any_order_as_in_onnx():
    boxes = np.array([[10, 10, 0, 0], [0, 10, 10, 0], [1, 0, 10, 10]], np.float32)
    scores = np.array([[0.9], [0.8], [0.7]], np.float32)
    assert ours(boxes, scores, 0.1, 0.5) == onnxruntime_keeps(boxes, scores, 0.1, 0.5) == [(0, 0)]


def test_boxes_far_apart_and_huge_do_not_lose_a_pair():
    """Coordinates at which classes * span swallows the pixels: pairs must not be lost to that rounding."""
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [1e15, 0, 3e15, 10], [1e15, 0, 3.1e15, 10]], np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    assert nms(boxes, scores, np.full(4, 79), 0.5).tolist() == [0, 2]
    assert nms(boxes, scores, np.array([78, 79, 78, 79]), 0.5).tolist() == [0, 1, 2, 3]


def test_boxes_whose_area_no_float32_holds():
    boxes = np.array([[0, 0, 1e30, 1e30], [0, 0, 1e30, 1e30], [0, 0, 1e-30, 1e-30], [0, 0, 1e-30, 1e-30]], np.float32)
    scores = np.linspace(1, 0.5, 4, dtype=np.float32)[:, None]
    assert ours(boxes, scores, 0.1, 0.5) == onnxruntime_keeps(boxes, scores, 0.1, 0.5)


def test_nothing_in_nothing_out():
    empty = np.empty((0, 4), np.float32)
    assert nms(empty, np.empty(0, np.float32), np.empty(0, np.int64), 0.5).shape == (0,)


def test_a_chain_is_settled_from_the_best_box_on():
    """Each box overlaps the next one only: every second one stays, however long the chain."""
    left = np.arange(300, dtype=np.float32) * 4
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1)
    kept = nms(boxes, np.linspace(1, 0.1, 300, dtype=np.float32), np.zeros(300, int), 0.3)
    assert kept.tolist() == list(range(0, 300, 2))


RUNS = [
    pytest.param(v, case, marks=() if case == "b1_416x416" else pytest.mark.slow) for v in VARIANTS for case in CASES[v]
]


@workstation
@pytest.mark.parametrize(("variant", "case"), RUNS)
def test_suppression_keeps_what_the_authors_keep(variant, case):
    """Golden detections from the network's outputs; 1 % may differ by the rounding of those (see the golden files)."""
    import torch

    described, stored = reference.facts(variant)["cases"][case], reference.arrays(variant)
    with torch.inference_mode():
        boxes, scores = (v.numpy() for v in reference.model(variant)(torch.from_numpy(reference.picture(**described["input"]))))  # fmt: skip
    for image, facts in enumerate(described["nms"]):
        rule = DetectionRule("runtime", facts["conf_threshold"], facts["iou_threshold"], facts["max_per_image"])
        found = keep(np.concatenate([boxes[image], scores[image]], axis=1), rule)
        expected = [stored[f"{case}/det{image}_{part}"] for part in ("boxes", "scores", "labels")]
        allowed = len(expected[0]) // 100 + 1
        assert abs(len(found.scores) - len(expected[0])) <= allowed
        lonely = sum(
            not (
                (np.abs(found.boxes - box).max(axis=1) <= 0.5)
                & (np.abs(found.scores - score) <= 1e-3)
                & (found.classes == label)
            ).any()
            for box, score, label in zip(*expected, strict=True)
        )
        assert lonely <= allowed
        assert ours(boxes[image], scores[image], rule.score, rule.iou) == onnxruntime_keeps(
            boxes[image], scores[image], rule.score, rule.iou
        )
