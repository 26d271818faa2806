"""A quantised graph of any tool, some pictures -> one row a place, in the words of ``manifest["quantisation"]["nodes"]``.

    activation SQNR, clipped share    the value before its rounding against the value after it, in the graph itself
    reasons                           from the statistics of the value before
    weight SQNR                       against the reference's weight of the same name, or its own float before its Q

Every other rounding is in force while one is looked at, as the file computes; nothing is fused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.read import attribute, constant, is_op
from ...graph.run import open_session
from ..judge.accuracy import sqnr_db
from ..nouns import Site
from ..statistics.observers import LARGEST, Observer
from .quantised_file import MICROSOFT, PROBE, Place, Rounded
from .report import reasons

if TYPE_CHECKING:
    import onnx_ir as ir

    Values = Mapping[str, np.ndarray]

INNER = 16  # pictures whose inner values are read; energies over thousands of values a picture settle quickly
SMOOTHED_DB = 3.0  # gained by taking out a factor a channel: rounding alone gains less, a smoothed weight tens
UNLIKE_DB = 8.0  # below this (four bits have 15 and more) a weight is not the reference's one rounded, but another
WEIGHT_AT = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}  # of all other products it is input 1
CONVOLUTIONS = {"Conv", "ConvInteger", "QLinearConv"}
PRODUCTS = CONVOLUTIONS | {"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"}
MICROSOFTS = {"QLinearConv", "QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits"}  # of its domain


class Tally:
    """Energies of one rounded activation, summed over pictures."""

    def __init__(self, rounded: Rounded, channel_axis: int) -> None:
        self.rounded, self.observer = rounded, Observer(rounded.before, channel_axis)
        self.signal = self.noise = 0.0
        self.outside = self.count = 0
        self.seen = False

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        exact = before.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):  # a file of others may hold infinities
            self.signal += float((exact**2).sum())
            self.noise += float(((after.astype(np.float64) - exact) ** 2).sum())
        if bounds := self.rounded.bounds():
            self.outside += int(((exact < bounds[0]) | (exact > bounds[1])).sum())
        self.count += before.size
        if before.ndim > 1 and before.size and np.abs(exact).max() < LARGEST:  # NaN is not
            self.observer.add(before.astype(np.float32), 1)
            self.seen = True

    @property
    def db(self) -> float:
        return float("inf") if self.noise == 0 else 10 * float(np.log10(max(self.signal, 1e-300) / self.noise))


def measure_places(
    model: ir.Model,
    places: Sequence[Place],
    images: np.ndarray | None = None,
    reference: ir.Model | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """A row for each place of the probed graph ``model``; ``images`` (n, 3, H, W) are run one by one, at most ``INNER``.

    Without images a row holds what the file alone tells: types, scale, zero point.
    """
    kinds = _kinds(model)
    if images is None:
        return [_row(place, kinds, {}, None, None) for place in places]
    tallies = _activations(model, places, images[:INNER], progress)
    shares, weights = _once(model, places, full_batch(model, images[0]))
    known = _floats(reference) if reference is not None else {}
    return [
        _row(place, kinds, tallies, shares.get(place.node, 0.0), _weight_db(place, weights, known)) for place in places
    ]


def full_batch(model: ir.Model, image: np.ndarray) -> np.ndarray:
    """One picture (3, H, W) in as many copies as the graph wants, 1 where its batch is open."""
    shape = model.graph.inputs[0].shape
    first = shape[0] if shape is not None else 1
    return np.repeat(image[None], first if isinstance(first, int) else 1, axis=0)


def _activations(
    model: ir.Model, places: Sequence[Place], images: np.ndarray, progress: Callable[[int, int], None] | None
) -> dict[str, Tally]:
    """Value after the rounding -> its tally over the images."""
    found = {}
    for place in places:
        for one in place.activations:
            if one.before and one.after:
                found[one.after] = Tally(one, 1 if "Conv" in place.op else -1)
    names = sorted({name for tally in found.values() for name in (tally.rounded.before, tally.rounded.after)})
    session = open_session(model, names, optimise=False)
    feed = session.get_inputs()[0].name
    fetched = [name for name in names if name != feed]
    for done, image in enumerate(images, start=1):
        filled = full_batch(model, image)
        values = dict(zip(fetched, session.run(fetched, {feed: filled}), strict=True)) if fetched else {}
        values[feed] = filled
        for tally in found.values():
            tally.add(values[tally.rounded.before], values[tally.rounded.after])
        if progress is not None:
            progress(done, len(images))
    return found


def _row(
    place: Place,
    kinds: Mapping[str, str],
    tallies: Mapping[str, Tally],
    share: float | None,
    weight: tuple[float, float] | None,
) -> dict[str, Any]:
    """One place; the worst of its activations stands for it."""
    kind = kinds.get(place.node, "")
    row: dict[str, Any] = {
        "node": place.node, "op": place.op, "kind": kind, "share": share, "quantised": True, "why": "as in the file",
        "types": place.types, "reasons": [],
    }  # fmt: skip
    shown = place.activations[0] if place.activations else None
    measured = [tally for one in place.activations if (tally := tallies.get(one.after)) is not None and tally.count]
    if measured:
        worst = min(measured, key=lambda tally: tally.db)
        shown, row["activation_sqnr_db"] = worst.rounded, worst.db
        if shown.bounds():
            row["clipped"] = worst.outside / worst.count
        site = Site(place.node, place.op, shown.before, "", (), 1, 1, 0, kind=kind)
        row["reasons"] = reasons(
            site, worst.observer.stats() if worst.seen else None, symmetric=not shown.dtype.startswith("u")
        )
    if shown is not None and shown.scale is not None:
        row |= {"scale": shown.scale, "zero_point": shown.zero_point}
    if place.weight is not None:
        row["weight_scales"] = place.weight.scales
    if weight is not None and max(weight) < UNLIKE_DB:
        row["why"] += "; its weight is not that of the reference and was not compared"
    elif weight is not None:
        plain, scaled = weight
        row["weight_sqnr_db"] = scaled if scaled > plain + SMOOTHED_DB else plain
        if scaled > plain + SMOOTHED_DB:
            row["why"] += (
                "; its weight is that of the reference times a factor a channel (smoothed), compared without it"
            )
    return row


def _once(
    model: ir.Model, places: Sequence[Place], image: np.ndarray
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """One picture: share of the MACs of every product, and both sides of every weight."""
    products = [node for node in model.graph if _is_product(node) and not str(node.name).endswith(PROBE)]
    sides = {name for one in places if one.weight for name in (one.weight.before, one.weight.after) if name}
    seconds = {_second(node) for node in products}
    outputs = {str(node.outputs[0].name) for node in products}
    constants = {
        str(value.name): array
        for node in model.graph
        for value in node.inputs
        if value is not None and str(value.name) in sides | seconds and (array := constant(value)) is not None
    }
    session = open_session(model, sorted((sides | seconds | outputs) - set(constants)), optimise=False)
    feed = session.get_inputs()[0].name
    names = sorted((sides | seconds | outputs) - set(constants) - {feed})
    values = {**constants, feed: image, **dict(zip(names, session.run(names, {feed: image}), strict=True))}
    macs = {}
    for node in products:
        out = values[str(node.outputs[0].name)]
        macs[str(node.name)] = int(out.size) * _depth(node, values[_second(node)].shape)
    total = max(sum(macs.values()), 1)
    return {name: count / total for name, count in macs.items()}, {name: values[name] for name in sides}


def _second(node: ir.Node) -> str:
    """The name of what a product multiplies its activation with."""
    value = _weight(node)
    return "" if value is None else str(value.name)


def _is_product(node: ir.Node) -> bool:
    return is_op(node, PRODUCTS) or is_op(node, MICROSOFTS, MICROSOFT)


def _is_convolution(node: ir.Node) -> bool:
    return is_op(node, CONVOLUTIONS) or is_op(node, "QLinearConv", MICROSOFT)


def _weight(node: ir.Node) -> ir.Value | None:
    """What a product multiplies its activation with."""
    index = WEIGHT_AT.get(node.op_type, 1)
    return node.inputs[index] if index < len(node.inputs) else None


def _depth(node: ir.Node, weight: tuple[int, ...]) -> int:
    """Multiplications for one number of the output."""
    if _is_convolution(node):
        return int(np.prod(weight[1:]))
    if is_op(node, "MatMulNBits", MICROSOFT):
        return int(attribute(node, "K"))
    if attribute(node, "transB", 0):
        return weight[-1]
    return weight[-2] if len(weight) > 1 else weight[0]


def _weight_db(place: Place, weights: Values, known: Values) -> tuple[float, float] | None:
    """SQNR of a place's weight as it is, and with the best factor of every channel; None where nothing is known to compare."""
    if place.weight is None or place.weight.after not in weights:
        return None
    found = weights[place.weight.after]
    before = weights.get(place.weight.before)
    if before is None:
        names = [name for name in known if name == place.node or _called_after(place.weight.codes, name)]
        before = known[max(names, key=len)] if names else None
    if before is None:
        return None
    if before.shape != found.shape:
        before = before.T
    if before.shape != found.shape or before.ndim < 2:
        return None
    if not np.isfinite(found).all():
        return -np.inf, -np.inf
    return sqnr_db(before, found), sqnr_db(_with_factors(before, found), found)


def _called_after(codes: str, name: str) -> bool:
    """``w1_quantized`` is called after ``w1``, ``w12_quantized`` is not."""
    return codes.startswith(name) and not codes[len(name) : len(name) + 1].isalnum()


def _with_factors(weight: np.ndarray, found: np.ndarray) -> np.ndarray:
    """``weight`` times the factors a_i b_j of its first two axes that bring it closest to ``found``, in turns."""
    scaled, target = weight.astype(np.float64), found.astype(np.float64)
    for axis in (0, 1, 0, 1):
        others = tuple(one for one in range(scaled.ndim) if one != axis)
        energy = (scaled**2).sum(axis=others, keepdims=True)
        scaled = scaled * ((scaled * target).sum(axis=others, keepdims=True) / np.maximum(energy, 1e-30))
    return scaled


def _floats(reference: ir.Model) -> dict[str, np.ndarray]:
    """The reference's weights by their own name, and by the name of the node that reads them."""
    found = {}
    for node in reference.graph:
        weight = _weight(node) if _is_product(node) else None
        if weight is not None and (array := constant(weight)) is not None:
            found[str(node.name)] = found[str(weight.name)] = array
    return found


def _kinds(model: ir.Model) -> dict[str, str]:
    """Depthwise where every channel has a filter of its own, else conv, linear or other."""
    found = {}
    for node in model.graph:
        conv = _is_convolution(node)
        weight = _weight(node)
        shape = weight.shape if weight is not None else None
        groups = attribute(node, "group", 1)
        depthwise = conv and groups > 1 and (shape is None or shape[1] == 1)
        found[str(node.name)] = (
            "depthwise" if depthwise else "conv" if conv else "linear" if _is_product(node) else "other"
        )
    return found
