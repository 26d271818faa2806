"""sites + recipe -> which sites are quantised, each with its reason in words.

Only inputs of products with a weight are ever quantised; the residual stream, LayerNormalization, softmax, GELU and the
products of attention have no site and stay as they are.  On trained networks this gives 35 dB where quantising
everything gives 19 to 27 (docs/quantisation.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..nouns import Decision, Recipe, Site

HIGH = {
    "stem": "the first layer reads the picture: of all sites its int8 costs most",
    "head": "the last layer makes the scores: its error is not averaged by anything behind it",
    "depthwise": "depthwise: one weight channel a map, no arithmetic to save; int8 was slower (0.5 to 0.8 of float32)",
}
ALSO = {"depthwise": "depthwise, between layers in codes: in floating point it would cost a conversion on either side"}
CUTS = ("Gelu", "LayerNormalization")  # computed in float32: what comes in and goes out changes its type
# dynamic int8 of a (K, N) product against float32, one thread: 0.71 at 16 x 16, 0.84 at 32 x 32, 0.98 at 48 x 48, 1.12
# at 64 x 64, 0.83 at 16 x 64 (196 rows); the harmonic mean of K and N orders them
SMALLEST_MEAN = 48
SMALLEST_SIDE = 16  # what an int8 matrix instruction eats at once; TensorRT pads to it


def place(sites: Sequence[Site], recipe: Recipe) -> dict[str, Decision]:
    """Site node -> decision, for every site, in the order of the sites."""
    return {site.node: _decide(site, recipe) for site in sites}


def float_convolutions(sites: Sequence[Site]) -> dict[str, str]:
    """For ``Recipe.keep`` of the portable file on a CPU: ONNX Runtime has no integer Conv whose output is float."""
    why = "Conv: ONNX Runtime would dequantise and compute in float32, at 0.6 to 0.7 of the speed"
    return {site.node: why for site in sites if site.op == "Conv"}


def narrow_points(sites: Sequence[Site], least: int = 64) -> dict[str, str]:
    """For ``Recipe.keep`` of the form "u8" where GELU or LayerNormalization cut the chains, as in VAN.

    VAN-b0 against its plain export, one thread: 0.92 with all of its 1x1 convolutions on codes, 1.11 without these.
    """
    why = f"1x1 narrower than {least} channels: quantising what comes in and goes out costs more than it saves"
    thin = [
        site for site in sites if site.op == "Conv" and site.kind == "linear" and min(site.weight_shape[:2]) < least
    ]
    return {site.node: why for site in thin}


def in_chains(sites: Sequence[Site]) -> tuple[str, ...]:
    """For ``Recipe.also`` of the form "u8" where nothing cuts the chains of codes: the depthwise layers.

    DAMO-YOLO nano-small at 416 against float32 on ONNX Runtime, one thread: 0.83 of its time with them, 1.24 without.
    """
    return tuple(site.node for site in sites if site.kind == "depthwise")


def _decide(site: Site, recipe: Recipe) -> Decision:
    if site.node in recipe.keep:
        return Decision(False, recipe.keep[site.node])
    if recipe.form == "dynamic" and site.op == "Conv":
        return Decision(False, "Conv: ONNX Runtime quantises activations as they arrive for MatMul only")
    if site.node in recipe.also:
        asked = f"asked for, although {site.kind} layers stay as they are by default"
        return Decision(True, ALSO.get(site.kind, asked))
    if site.kind in HIGH:
        return Decision(False, HIGH[site.kind])
    outputs = site.weight_shape[site.weight_out_axis]
    inner = int(np.prod(site.weight_shape)) // outputs  # K of the product: input channels times kernel
    if recipe.form == "dynamic" and 2 * inner * outputs < SMALLEST_MEAN * (inner + outputs):
        return Decision(False, f"{inner} x {outputs} is too small: int8 was slower than float32 at this size")
    if recipe.form == "qdq" and min(inner, outputs // site.groups) < SMALLEST_SIDE:
        return Decision(
            False, f"{inner} x {outputs // site.groups} is thinner than an int8 matrix instruction, {SMALLEST_SIDE}"
        )
    return Decision(True, f"{site.op} with a weight")
