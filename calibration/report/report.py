"""QuantisedGraph and what was measured -> plain data: ``manifest["quantisation"]``, read by the report and the commands.

    describe(graph)         what was decided: one row a site, with scales, rule, SQNR, and why it is hard or was left alone
    accuracy_report(...)    what it costs: accuracy with its interval, agreement, SQNR and cosine of the outputs
    data_report(...)        what it was calibrated with: source, count, hash, what was skipped

    {**describe(graph), "data": data_report(data), "accuracy": accuracy_report(...), "budget": budget.to_json(),
     "floor": floor.to_json(), "sizes": {"fp32", "quantised"}, "latency": {"time_ratio", "time_ratio_low", "time_ratio_high", "runner"}, "xray": audit.to_json()}

Shares are of 1, SQNR in dB, accuracy in percent and drops in points, as accuracy.py has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..nouns import Decision, QuantisedGraph, Recipe, Site
from ..precisions import PRECISIONS, Codes

if TYPE_CHECKING:
    from ..judge.accuracy import Score
    from ..judge.evaluation import Figures
    from ..pictures.images import CalibrationData
    from ..statistics.observers import TensorStats

OUTLIER = 8.0  # largest channel against the median one: three of the seven bits of the median channel are lost
ONE_SIDED = 0.1  # the smaller side of the range against the larger: a symmetric code wastes almost one bit
TAIL = 4.0  # largest value against the 99.9 % quantile: two bits go to one value in a thousand
FINE = 4096  # steps of |x| in which that quantile is found
ACTIVATIONS = {"u8": "uint8", "dynamic": "dynamic uint8"}  # form -> what int8 weights meet, where that is not int8
WEIGHTS_ONLY = ("weights", "nbits")


def describe(graph: QuantisedGraph, scanned: Mapping[str, float] | None = None) -> dict[str, Any]:
    """What was decided for every site; ``scanned`` is the output's SQNR in dB with this one node quantised."""
    found = scanned or {}
    return {
        "precision": graph.recipe.precision,
        "form": graph.recipe.form,
        "recipe": recipe_report(graph.recipe),
        "share": graph.share,
        "share_of_weighted": graph.share_of_weighted,
        "nodes": [row(graph, site, found.get(site.node)) for site in graph.sites],
        "smoothed": [dict(group) for group in graph.smoothed],
        "scales_sha256": graph.scales.sha256(),
        "notes": list(graph.notes),
    }


def recipe_report(recipe: Recipe) -> dict[str, Any]:
    """The choices that shaped this graph; nodes that were kept on purpose stand in the rows."""
    told = asdict(recipe)
    unused = {"keep", "precision", "form"} | (
        {"block"} if recipe.form != "weights" else {"rules", "smooth", "equalise"}
    )
    return {key: value for key, value in told.items() if key not in unused}


def row(graph: QuantisedGraph, site: Site, output_sqnr_db: float | None = None) -> dict[str, Any]:
    """One site as plain data; what does not apply is left out."""
    decision = graph.decisions.get(site.node, Decision(False, "not considered"))
    told: dict[str, Any] = {
        "node": site.node,
        "op": site.op,
        "kind": site.kind,
        "share": site.share,
        "quantised": decision.quantise,
        "why": decision.why,
        "types": types(graph.recipe, decision.quantise),
        "reasons": reasons(site, graph.statistics.get(site.input), graph.recipe.form not in ("u8", "dynamic")),
    }
    if decision.quantise and (range_ := graph.scales.activations.get(site.node)):
        told |= {"scale": range_.scale, "zero_point": range_.zero_point, "low": range_.low, "high": range_.high}
        told |= {"rule": range_.rule, "tried": dict(range_.tried), "clipped": range_.clipped}
        told |= {"activation_sqnr_db": range_.sqnr_db}
    if decision.quantise and (weight := graph.scales.weights.get(site.node)):
        told |= {"weight_sqnr_db": weight.sqnr_db, "weight_rule": weight.rule, "weight_scales": weight.scale.size}
        told |= {"block": weight.block} if weight.block else {}
    return told if output_sqnr_db is None else {**told, "output_sqnr_db": output_sqnr_db}


def types(recipe: Recipe, quantised: bool) -> str:
    """``int8 x int8``: the types of activation and weight as the node reads them; float is what the target computes in."""
    if not quantised:
        return "float x float"
    codes = PRECISIONS[recipe.precision].codes
    weight = codes.value if codes else recipe.precision
    if recipe.form in WEIGHTS_ONLY:
        return f"float x {weight}"
    return f"{ACTIVATIONS.get(recipe.form, weight) if codes is Codes.INT8 else weight} x {weight}"


def reasons(site: Site, stats: TensorStats | None, symmetric: bool = True) -> list[str]:
    """Why the input of a site is hard to quantise, in words with the figure; empty where nothing stands out.

    One-sided values waste codes only where the code is ``symmetric``: a zero point shifts the range.
    """
    found = ["depthwise: few values for each scale"] if site.kind == "depthwise" else []
    if stats is None or float(stats.absmax.max()) == 0:
        return found
    largest, usual = float(stats.absmax.max()), float(np.median(stats.absmax))
    if largest > OUTLIER * usual:
        times = f"{largest / usual:.0f} x the median channel" if usual else "the median channel is zero"
        found.append(f"outlier channel {int(stats.absmax.argmax())}: {times}")
    low, high = float(stats.low.min()), float(stats.high.max())
    sides = sorted((max(-low, 0.0), max(high, 0.0)))
    if symmetric and sides[0] < ONE_SIDED * sides[1]:
        found.append(f"one-sided: {low:.3g} to {high:.3g}")
    tail = largest / max(quantile(stats, 0.999), 1e-30)
    if tail > TAIL:
        found.append(f"heavy tail: largest is {tail:.0f} x the 99.9 % quantile")
    return found


def quantile(stats: TensorStats, share: float) -> float:
    """The smallest bound that at least ``share`` of all |x| lie under, to one step in ``FINE`` of the largest."""
    largest = float(stats.absmax.max())
    steps = np.minimum(np.abs(stats.centres()) * (FINE / largest), FINE - 1).astype(np.int64)
    counts = np.bincount(steps.ravel(), weights=stats.counts.ravel().astype(np.float64), minlength=FINE)
    return (int(np.searchsorted(np.cumsum(counts), share * counts.sum())) + 1) * largest / FINE


def accuracy_report(figures: Figures, expected: Score) -> dict[str, Any]:
    """What the quantised graph loses on the pictures it was judged on; ``expected`` is the float graph's own score."""
    told = figures.to_json()
    return {"metric": expected.metric, "reference": asdict(expected), "quantised": told.pop("score"), **told}


def data_report(data: CalibrationData, images: int | None = None) -> dict[str, Any]:
    """What the ranges were measured on, and what the accuracy: counts, hashes, and every picture that was skipped."""
    used, judged = data.calibration, data.held_out
    return {
        "source": str(used.source),
        "kind": used.kind,
        "images": len(used) if images is None else images,
        "sha256": used.digest,
        "held_out": len(judged),
        "held_out_sha256": judged.digest if len(judged) else None,
        "skipped": [{"name": one.name, "why": one.why} for one in data.skipped],
        "notes": list(data.notes),
    }
