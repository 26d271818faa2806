"""Patches summed back onto a map as transposed convolutions: sizes, strides, pads and dilations of every kind, and what stays."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from graph_asserts import assert_refuses, assert_rewrites, distance_to_eager, op_types
from near_misses import assert_sound, half
from rtx_build import builds_on_rtx
from torch import Tensor, nn

from edgesmith.exporter.engine.buildable import buildable
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.patterns.tokens.folds_as_convolutions import FoldsAsConvolutions
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.graph.run import open_session
from edgesmith.runtime.errors import UserMistake

CONVOLVED, VIEWS = ["Reshape", "ConvTranspose", "Reshape"], ["Reshape", "Transpose", "Reshape"]
FOLD = """
<ir_version: 10, opset_import: ["" : 18]>
fold (float[BATCH, CHANNELS, PATCHES] x) => (float[BATCH, c, SIDES] y)
<int64[AXES] image = {IMAGE}, int64[AXES] block = {BLOCK}>
{
  [sum] y = Col2Im<ATTRIBUTES>(x, image, block)
}
"""


def fold(image: tuple[int, ...], block: tuple[int, ...], patches: int, channels: int = 3, batch: int | str = 2, **attributes: object) -> str:  # fmt: skip
    """ONNX text of one Col2Im; ``channels`` are those of the map."""
    told = ", ".join(f"{name} = {list(value)}" for name, value in attributes.items())  # type: ignore[call-overload]
    words = {
        "BATCH": batch, "CHANNELS": channels * int(np.prod(block)), "PATCHES": patches, "AXES": len(image),
        "SIDES": ", ".join(map(str, image)), "IMAGE": str(list(image))[1:-1], "BLOCK": str(list(block))[1:-1],
    }  # fmt: skip
    text = FOLD.replace("<ATTRIBUTES>", f"<{told}>" if told else "")
    for word, value in words.items():
        text = text.replace(word, str(value))
    return text


OUTLOOK = fold((6, 6), (3, 3), 9, strides=(2, 2), pads=(1, 1, 1, 1))  # VOLO's, on a smaller map


@pytest.mark.parametrize(
    "text",
    [
        OUTLOOK,
        fold((5, 7), (2, 3), 20),  # every default
        fold((10, 8), (2, 3), 6, strides=(3, 4), dilations=(2, 1)),  # pixels that no patch reaches, on both axes
        fold((6, 5), (3, 2), 28, pads=(1, 0, 2, 1), dilations=(1, 2), strides=(1, 1)),  # other pads before than behind
        fold((4, 4), (2, 2), 1, strides=(3, 3), pads=(0, 0, 0, 0)),
        fold((4, 4), (1, 1), 4, strides=(2, 2), pads=(0, 0, 0, 0)),  # a pixel a patch, holes between
        fold((7,), (3,), 3, strides=(2,), pads=(0, 0)),
        fold((3, 4, 5), (2, 2, 2), 24),
        fold((6, 6), (2, 3), 4, strides=(2, 3), dilations=(3, 1)),  # as many pixels as in patches, but scattered
        fold((6, 6), (3, 3), 9, channels=1, batch=1, strides=(2, 2), pads=(1, 1, 1, 1)),
    ],
)  # fmt: skip
def test_overlapping_patches_become_a_transposed_convolution(text):
    assert_rewrites(FoldsAsConvolutions, text, to=CONVOLVED)


@pytest.mark.parametrize(
    "text",
    [
        fold((4, 6), (2, 3), 4, strides=(2, 3), pads=(0, 0, 0, 0)),
        fold((96, 96), (48, 48), 4, strides=(48, 48)),
        fold((6,), (2,), 3, strides=(2,)),
        fold(
            (2, 4, 6), (1, 2, 3), 8, strides=(1, 2, 3), dilations=(5, 1, 1)
        ),  # of a side of one pixel nothing is apart
        fold((4, 6), (2, 3), 4, batch="batch", strides=(2, 3)),
    ],
)
def test_patches_side_by_side_become_views(text):
    assert_rewrites(FoldsAsConvolutions, text, to=VIEWS, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("text", "because"),
    [
        (OUTLOOK.replace("2, 27, 9]", "2, c27, 9]"), "a known number of channels"),
        (fold((96, 96), (48, 48), 9, strides=(24, 24)), "5308416 numbers"),
        (fold((3, 3, 2, 2), (2, 2, 1, 1), 16), "at most 3 axes"),
    ],
)  # fmt: skip
def test_refuses_what_is_not_known_or_too_large(text, because):
    assert_refuses(FoldsAsConvolutions, ir.from_onnx_text(text), because=because)


def test_refuses_a_size_that_is_computed_or_fed():
    fed = OUTLOOK.replace("x) =>", "x, int64[2] image) =>").replace("int64[2] image = {6, 6}, ", "")
    assert_refuses(FoldsAsConvolutions, ir.from_onnx_text(fed), because="computed in the graph")
    default = OUTLOOK.replace("x) =>", "x, int64[2] image) =>")  # an initializer that a caller may replace
    assert_refuses(FoldsAsConvolutions, ir.from_onnx_text(default), because="computed in the graph")


def test_refuses_whole_numbers():
    model = ir.from_onnx_text(OUTLOOK.replace("float[", "int32["))
    assert_refuses(FoldsAsConvolutions, model, because="of type INT32")


def test_an_open_batch_stays_open_and_half_precision_stays_half():
    text = fold((6, 6), (3, 3), 9, batch="batch", strides=(2, 2), pads=(1, 1, 1, 1)).replace("c, 6", "3, 6")
    assert_sound(FoldsAsConvolutions, text, 1)
    assert_sound(FoldsAsConvolutions, OUTLOOK.replace("2, c,", "2, 3,").replace("[sum]", "[sum_of_patches]"), 1)
    assert FoldsAsConvolutions().run(half(OUTLOOK.replace("2, c,", "2, 3,"))).count == 1


def test_a_sum_that_is_read_twice_and_handed_out_stays_what_it_was():
    text = OUTLOOK.replace("(float[2, c, 6, 6] y)", "(float[2, 3, 6, 6] y, float[2, 3, 6, 6] z, float[2, 27, 9] p)")
    text = text.replace("[sum] y = Col2Im", "p = Relu(x) [sum] y = Col2Im").replace("(x, image", "(p, image")
    text = text.replace("\n}", "\n  a = Neg(y) b = Abs(y) z = Mul(a, b)\n}")
    model = assert_sound(FoldsAsConvolutions, text, 1)
    assert sorted(op_types(model)) == sorted([*CONVOLVED, "Relu", "Neg", "Abs", "Mul"])


def test_two_folds_share_their_kernels():
    text = OUTLOOK.replace("y = Col2Im", "w = Col2Im").replace("\n}", "\n  t = Sigmoid(x) v = Col2Im<strides = [2, 2], pads = [1, 1, 1, 1]>(t, image, block) y = Add(v, w)\n}")  # fmt: skip
    model = assert_rewrites(FoldsAsConvolutions, text, to=[*CONVOLVED, *CONVOLVED, "Sigmoid", "Add"], count=2)
    assert sum(value.const_value.size for value in model.graph.initializers.values() if value.shape.rank() == 4) == 81


class Outlook(nn.Module):
    """The values of VOLO's outlook attention: weighed patches of 3 x 3 summed onto the map that they were taken from."""

    def forward(self, images: Tensor) -> Tensor:
        patches = nn.functional.unfold(images, 3, padding=1, stride=2)
        weighed = patches.reshape(len(images), 9, 3, -1).softmax(dim=1).reshape(patches.shape) * patches
        return nn.functional.fold(weighed, images.shape[2:], 3, padding=1, stride=2)


@pytest.mark.parametrize("target", ["rtx", "tensorrt", "rtx-quantised", "cpu", "openvino"])
def test_torchs_own_fold_and_the_targets_that_have_none(target):
    shape = (1, 3, 8, 8)
    exported = trace(Outlook(), Shapes.fixed(*shape), outputs=("logits",))
    assert "Col2Im" in op_types(exported.model)
    rewritten = rewrite(exported, target).model
    assert ("Col2Im" in op_types(rewritten)) is (target in ("cpu", "openvino"))
    assert distance_to_eager(Outlook(), rewritten, shape) < 1e-5


@pytest.mark.parametrize("text", [OUTLOOK, fold((10, 8), (2, 3), 6, strides=(3, 4), dilations=(2, 1)), fold((7,), (3,), 3, strides=(2,))])  # fmt: skip
def test_tensorrt_rtx_builds_it(text):
    model = half(text.replace(", c, ", ", 3, "))
    with pytest.raises(UserMistake, match="does not build this graph") as refused:
        buildable(model, "tensorrt_rtx")
    assert "node sum (Col2Im)" in refused.value.found
    FoldsAsConvolutions().run(model)
    proto = ir.to_proto(buildable(model, "tensorrt_rtx")[0])
    onnx.checker.check_model(proto)
    assert builds_on_rtx(proto) > 0


def test_every_pixel_is_the_sum_that_torch_gives():
    torch.manual_seed(0)
    patches = torch.randn(2, 3 * 9, 9)
    expected = nn.functional.fold(patches, (6, 6), 3, padding=1, stride=2).numpy()
    model = ir.from_onnx_text(OUTLOOK)
    FoldsAsConvolutions().run(model)
    found = open_session(model).run(None, {"x": patches.numpy()})[0]
    np.testing.assert_allclose(found, expected, atol=2e-6)  # sums of at most four numbers of size 1
