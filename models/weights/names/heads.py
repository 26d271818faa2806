"""A classifier that stands apart from the trunk: ``backbone.*`` beside ``head.*``, as OpenMMLab, transformers and Lightning save.

{"backbone.norm.weight": ..., "classifier.weight": (K, C), "classifier.bias": (K,)} -> trunk with head.weight, head.bias
"""

from __future__ import annotations

from collections.abc import Mapping

from ...spec import ModelSpec
from ..files.stored import Stored
from .shapes import is_head, is_head_bias, renamed, wanted

LAYERS = ("head", "fc", "classifier", "linear", "cls_head", "head_fc", "logits")  # the last part of a classifier's name


def head_apart(
    spec: ModelSpec, tensors: dict[str, Stored], prefix: str, outside: Mapping[str, Stored]
) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors with a classifier that the trunk lacks, and where it was taken: {its name: the network's}.

    Taken is only a pair of weight (K, C) and bias (K,) of the network's own input width, where one such pair is nearest to the
    trunk's ``prefix``: of a student and a teacher each has its own.
    """
    ours = wanted(spec, {})
    there = renamed(spec, tensors)
    weights = [name for name in ours if is_head(spec, name) and len(ours[name]) == 2]
    biases = [name for name in ours if is_head_bias(spec, name)]
    if len(weights) != 1 or len(biases) != 1 or weights[0] in there or biases[0] in there:
        return tensors, {}
    width = ours[weights[0]][1]
    found = []
    for name, value in outside.items():
        layer = name.removesuffix(".weight")
        bias = outside.get(f"{layer}.bias")
        if not name.endswith(".weight") or layer.split(".")[-1] not in LAYERS or bias is None:
            continue
        if len(value.shape) == 2 and value.shape[1] == width and bias.shape == value.shape[:1]:
            found.append((name, f"{layer}.bias"))
    near = max((_shared(prefix, weight) for weight, _ in found), default=0)
    found = [pair for pair in found if _shared(prefix, pair[0]) == near]
    if len(found) != 1:
        return tensors, {}
    weight, bias_name = found[0]
    taken = {**tensors, weights[0]: outside[weight], biases[0]: outside[bias_name]}
    if not {weights[0], biases[0]} <= renamed(spec, taken).keys():  # a layout in which these names are others
        return tensors, {}
    return taken, {weight: weights[0], bias_name: biases[0]}


def _shared(prefix: str, name: str) -> int:
    """How many parts two names have in common from the beginning on."""
    pairs = zip(prefix.split("."), name.split("."), strict=False)
    return next((count for count, (one, other) in enumerate(pairs) if one != other), 0)
