"""What the detection fixture learned by: the right cells answer, a right answer costs nothing, a worse one costs more."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

PATH = Path(__file__).parents[2] / "tools" / "train_detector_loss.py"
REACH, CLASSES = 7, 3


@pytest.fixture(scope="module")
def losses():
    spec = importlib.util.spec_from_file_location(PATH.stem, PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[PATH.stem] = module  # dataclasses and named tuples look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[PATH.stem]


def cells_of(losses, side=64):
    points = torch.cartesian_prod(torch.arange(0.0, side, 8), torch.arange(0.0, side, 8)).flip(1)  # x, y row by row
    return losses.Cells(points, torch.full((len(points),), 8.0), REACH)


def truths_of(losses):
    boxes = torch.tensor([[[8.0, 8.0, 40.0, 32.0], [0.0, 0.0, 0.0, 0.0]]])  # the second is padding
    return losses.Truths(boxes, torch.tensor([[2, 0]]), torch.tensor([[True, False]]))


def answers(losses, logit=8.0, shift=0.0):
    """Logits, sides and boxes of a model that says the first box everywhere inside it, ``shift`` pixels off."""
    cells, truths = cells_of(losses), truths_of(losses)
    box = truths.boxes[0, 0] + shift
    away = losses.distances(cells, box.expand(len(cells.points), 4)).clamp(0, REACH - 0.01)
    below = away.long()
    share = (away - below)[..., None]
    bins = torch.nn.functional.one_hot(below, REACH + 1) * (1 - share)
    bins = bins + torch.nn.functional.one_hot(below + 1, REACH + 1) * share
    logits = torch.full((1, len(cells.points), CLASSES), -8.0)
    inside = (losses.distances(cells, truths.boxes[0, 0].expand(len(cells.points), 4)) >= 0).all(-1)
    logits[0, inside, 2] = logit
    boxes = box.expand(1, len(cells.points), 4)
    return logits, bins.clamp(min=1e-7).log()[None], boxes, cells, truths


def test_cells_inside_the_box_answer_for_it(losses):
    logits, _, boxes, cells, truths = answers(losses)
    found = losses.assign(logits.sigmoid(), boxes, cells, truths)
    points = cells.points[found.weights[0] > 0]
    assert losses.TOP <= len(points) <= 5 * 4  # equal answers tie
    assert (points >= torch.tensor([8.0, 8.0])).all() and (points <= torch.tensor([40.0, 32.0])).all()
    assert (found.boxes[0][found.weights[0] > 0] == truths.boxes[0, 0]).all()
    assert found.scores[..., :2].sum() == 0 and found.scores[..., 2].max() == pytest.approx(1.0)


def test_the_promise_is_the_overlap(losses):
    logits, _, boxes, cells, truths = answers(losses, shift=4.0)
    found = losses.assign(logits.sigmoid(), boxes, cells, truths)
    iou, giou = losses.ious(boxes[0, 0], truths.boxes[0, 0])
    assert found.scores.max() == pytest.approx(iou.item(), rel=1e-4)
    assert iou == pytest.approx(28 * 20 / (2 * 32 * 24 - 28 * 20)) and giou < iou


def test_a_box_beyond_reach_is_left_to_a_coarser_level(losses):
    cells = cells_of(losses, 128)
    truths = losses.Truths(torch.tensor([[[0.0, 0.0, 128.0, 128.0]]]), torch.tensor([[0]]), torch.tensor([[True]]))
    boxes = truths.boxes[0].expand(1, len(cells.points), 4)
    found = losses.assign(torch.full((1, len(cells.points), CLASSES), 0.5), boxes, cells, truths)
    assert found.weights.sum() == 0  # 7 cells of 8 pixels reach 56, no point is that near to all four sides


def test_a_right_answer_costs_little_and_a_worse_one_more(losses):
    right, parts = losses.detection_loss(*answers(losses))
    by_class, by_box, by_side = parts.tolist()
    assert by_class < 1e-2 and by_box < 1e-5
    moved, moved_parts = losses.detection_loss(*answers(losses, shift=4.0))
    unsure, unsure_parts = losses.detection_loss(*answers(losses, logit=-2.0))
    assert moved_parts[1] > 0.3 and moved_parts[2] > by_side + 0.1
    assert unsure_parts[0] > 10 * by_class and unsure > right and moved > right


def test_a_picture_without_boxes_teaches_to_be_silent(losses):
    logits, sides, boxes, cells, truths = answers(losses)
    none = truths._replace(present=torch.zeros_like(truths.present))
    logits.requires_grad_()
    loss, parts = losses.detection_loss(logits, sides, boxes, cells, none)
    loss.backward()
    assert parts[1] == parts[2] == 0 and (logits.grad >= 0).all() and logits.grad.max() > 0
