"""What there is to say of a quantised model, in words and figures: the report and the terminal say the same.

Input is ``manifest["quantisation"]`` (calibration/report/report.py writes it); every part of it may be missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf, log10
from typing import Any

from ..ground.limits import FP32, INT8
from ..ground.words import speed_verdict, time_ratio
from .page import figure, size

Data = Mapping[str, Any]
METRICS = {"top1": "top-1"}


def number(value: Any) -> float | None:
    """A figure of the manifest, where infinity is the word ``inf``; None for what is no number."""
    try:
        return None if isinstance(value, (bool, Mapping)) or value is None else float(value)
    except (TypeError, ValueError):
        return None


def verdict(told: Data) -> str:
    """One sentence: how much is quantised and what it costs."""
    accuracy = told.get("accuracy") or {}
    run = "read weights in" if told.get("form") in ("weights", "nbits") else "run in"
    words = f"{percent(told.get('share'))} of the multiplications {run} {told.get('precision', INT8)}"
    if drop := accuracy.get("drop"):
        words += f"; {lost(accuracy)} ({interval(drop)}, {drop.get('n')} pictures)"
    return words


def budget_words(told: Data) -> tuple[bool, str] | None:
    """Whether the budget holds, and the words for it; None where there is none."""
    budget = told.get("budget") or {}
    limit = number(budget.get("max_drop"))
    if limit is None:
        return None
    held = bool(budget.get("met"))
    return held, f"the budget of {limit:g} points {'holds' if held else 'is MISSED'}"


def lost(accuracy: Data) -> str:
    """``top-1 falls by 0.30 points, 94.10 % to 93.80 %``."""
    points = number((accuracy.get("drop") or {}).get("points")) or 0.0
    metric = str(accuracy.get("metric"))
    if metric == "agreement":
        return f"{points:.2f} % of the answers are others than before"
    before, after = (number((accuracy.get(key) or {}).get("value")) for key in ("reference", "quantised"))
    name = METRICS.get(metric, metric)
    if not points:
        return f"{name} stays" + ("" if after is None else f" at {after:.2f} %")
    ends = "" if before is None or after is None else f", {before:.2f} % to {after:.2f} %"
    return f"{name} {'falls' if points > 0 else 'rises'} by {abs(points):.2f} points{ends}"


def interval(found: Data) -> str:
    """``95 % sure: -0.41 to +1.01``."""
    return f"95 % sure: {figure(found.get('low'), '+.2f')} to {figure(found.get('high'), '+.2f')}"


def warnings(told: Data) -> list[str]:
    """What makes the figures above worth less, in capital letters."""
    data, latency = told.get("data") or {}, told.get("latency") or {}
    found = []
    if data.get("kind") == "random":
        found.append(
            "CALIBRATED WITH RANDOM NUMBERS: ranges and accuracy say nothing about real pictures. Export again with --data."
        )
    if (taken := time_ratio_of(latency)) and taken[2] >= 1:
        said = f"{told.get('precision', INT8)} {speed_verdict(*taken[1:])} on the machine that made this"
        found.append(f"{said}: {_latency(latency)}.")
    audit = told.get("xray") or {}
    found += [
        f"FUSION LOST against fp16: attention of {', '.join(block)}" for block in audit.get("attention_lost") or []
    ]
    if named := audit.get("in_name_only"):
        found.append(f"QUANTISED IN NAME ONLY, the kernel multiplies 16-bit numbers: {', '.join(named)}")
    return found


def summary(told: Data) -> dict[str, Any]:
    """Name -> value of the figures for the whole model, those that are known."""
    accuracy, data = told.get("accuracy") or {}, told.get("data") or {}
    sizes, latency = told.get("sizes") or {}, told.get("latency") or {}
    nodes = told.get("nodes") or []
    count = sum(bool(one.get("quantised")) for one in nodes)
    skipped = data.get("skipped") or []
    labelled = accuracy.get("metric") != "agreement"
    return {
        "form": told.get("form"),
        "in " + str(told.get("precision", INT8)): _share(told, f"{count} of {len(nodes)} places"),
        "float model": _score(accuracy.get("reference")) if labelled else "",
        "quantised model": _score(accuracy.get("quantised")) if labelled else "",
        "drop": _drop(accuracy.get("drop")),
        "agreement": f"{figure(accuracy['agreement'], '.2f')} % of the answers" if "agreement" in accuracy else "",
        "outputs": _outputs(accuracy),
        "file": _sizes(sizes),
        "time": _latency(latency),
        "calibrated with": f"{data['images']} pictures of {data.get('source')}" if data.get("images") else "",
        "hash of the pictures": data.get("sha256"),
        "judged on": f"{data['held_out']} {'other ' if data.get('images') else ''}pictures" if data.get("held_out") else "",
        "skipped": f"{len(skipped)}: " + "; ".join(f"{one.get('name')} ({one.get('why')})" for one in skipped[:5]) if skipped else "",
        "hash of the scales": told.get("scales_sha256"),
        "recipe": ", ".join(f"{key} {value}" for key, value in (told.get("recipe") or {}).items() if value not in ((), [], None)),
    }  # fmt: skip


def _share(told: Data, places: str) -> str:
    return f"{percent(told['share'])} of the MACs, {places}" if number(told.get("share")) is not None else places


def worst(rows: Iterable[Data], count: int = 10) -> list[Data]:
    """The quantised rows that lose most, most first."""
    known = [(db, one) for one in rows if one.get("quantised") and (db := loss_db(one)) is not None]
    return [one for _, one in sorted(known, key=lambda pair: pair[0])[:count]]


def loss_db(one: Data) -> float | None:
    """What orders the rows: SQNR of the output where it was scanned, else of a product whose factors have the SQNR told."""
    if (scanned := number(one.get("output_sqnr_db"))) is not None:
        return scanned
    found = [number(one.get(key)) for key in ("activation_sqnr_db", "weight_sqnr_db")]
    parts = [part for part in found if part is not None]
    noise = sum(10 ** (-part / 10) for part in parts)  # relative error energies of independent factors add up
    return None if not parts else inf if noise == 0 else -10 * log10(noise)


def rule_words(one: Data) -> str:
    """``mse (minmax 1.8 x)``: the rule that won, and what the others would have cost in local error."""
    tried = {key: number(value) for key, value in (one.get("tried") or {}).items()}
    best = tried.get(str(one.get("rule")))
    others = [
        f"{key} {value / best:.2g} x" for key, value in tried.items() if key != one.get("rule") and value and best
    ]
    return str(one.get("rule") or "") + (f" ({', '.join(others)})" if others else "")


def percent(share: Any) -> str:
    found = number(share)
    return "" if found is None else f"{found:.1%}"


def _score(told: Data | None) -> str:
    if not told:
        return ""
    return f"{figure(told.get('value'), '.2f')} % of {told.get('n')} (95 %: {figure(told.get('low'), '.1f')} to {figure(told.get('high'), '.1f')})"


def _drop(told: Data | None) -> str:
    if not told:
        return ""
    sides = f"; {told['lost']} lost, {told['won']} won" if told.get("lost") is not None else ""
    return f"{figure(told.get('points'), '+.2f')} points ({interval(told)}{sides})"


def _outputs(told: Data) -> str:
    """``34.8 dB SQNR, smallest cosine 0.999812``; an infinite SQNR is left out of the JSON: the outputs are equal."""
    found = {"{} dB SQNR": figure(told.get("sqnr_db"), ".1f"), "smallest cosine {}": figure(told.get("cosine"), ".6f")}
    return ", ".join(words.format(value) for words, value in found.items() if value)


def _sizes(told: Data) -> str:
    before, after = number(told.get(FP32)), number(told.get("quantised"))
    if not before or after is None:
        return ""
    return f"{size(after)}, {after / before:.2f} of {size(before)} in float32"


def time_ratio_of(told: Data) -> tuple[float, float, float] | None:
    """The time ratio and its quartiles; bundles of version 0.1.0 call it a ``ratio``."""
    ratio = number(told.get("time_ratio", told.get("ratio")))
    if ratio is None:
        return None
    keys = (("time_ratio_low", "ratio_low", "low"), ("time_ratio_high", "ratio_high", "high"))
    ends = (next((value for key in names if (value := number(told.get(key))) is not None), None) for names in keys)
    low, high = (ratio if end is None else end for end in ends)
    return ratio, low, high


def _latency(told: Data) -> str:
    taken = time_ratio_of(told)
    if taken is None:
        return ""
    runner = f", {told['runner']}" if told.get("runner") else ""
    return time_ratio(*taken, str(told.get("against", "the float bundle"))) + runner
