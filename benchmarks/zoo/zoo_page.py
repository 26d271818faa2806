"""Rows -> zoo.md and zoo.json: the totals beside their aims, a line a model, and why a row failed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from totals import Row, Rows, Total, builds, exports, totals

CLEANUP = ("CleanUp", "DropCasts", "ListsApart", "FoldConstants", "FoldShapes", "DropNoOps", "DropZeroPads")
STEPS = ("cpu", "time", "rtx")
HEAD = """# Every module of timm through the product

The smallest variant of each module of timm ([models.txt](models.txt), a rule in [choose.py](choose.py)), with seeded random weights in
which no path is dead ([living.py](living.py)): LayerScale, gates, biases and norms are spread, BatchNorm has statistics. No figure here
says anything about accuracy. `make bench-zoo` makes the rows (in `build/zoo`; a run that breaks goes on there) and this page.

- **parity**: `edgesmith export timm:NAME --target cpu`, its largest distance from PyTorch; a row that does not hold fails.
- **nodes** and **passes**: of that export, before and after; passes that only clean up are not listed.
- **CPU**: the plain `torch.onnx.export` and the bundle's graph on ONNX Runtime, one thread, in turns, CPU time of the process, medians.
- **RTX**: kernels and fused attention in fp16 engines for sm89, built without a GPU and read by the X-ray: launches, not latency.
- **attention**: Softmax between two products of values, counted in the plain export.
- The picture has the network's own size; networks for more than 256 pixels a side see 224 where they can.
"""


def write(names: Sequence[str], rows: Rows, folder: Path, machine: dict[str, Any]) -> None:
    """Both files; rows of models that are not in the list are left out."""
    found = [{"model": name, **{step: rows[name, step] for step in STEPS if (name, step) in rows}} for name in names]  # fmt: skip
    summed = totals(names, rows)
    told = {**machine, "totals": [vars(one) for one in summed], "rows": found}
    (folder / "zoo.json").write_text(json.dumps(told, indent=1) + "\n")
    (folder / "zoo.md").write_text("\n".join(lines(found, summed, machine)) + "\n")


def lines(found: Sequence[Row], summed: Sequence[Total], machine: dict[str, Any]) -> Iterator[str]:
    chip = machine["machine"]
    packages = ", ".join(f"{name} {machine[name]}" for name in ("torch", "timm", "onnxruntime", "tensorrt-rtx"))
    yield HEAD
    yield f"{machine['date']}, {chip['cpu']}, {chip['cores']} cores, load {chip['load']}, {packages}."
    yield measured(found)
    yield "\n| | aim | found | |\n|---|---|---|---|"
    for one in summed:
        yield f"| {one.what} | {one.aim} | {one.found} | {'reached' if one.reached else 'missed'} |"
    yield "\n| model | side | parity | nodes | passes | CPU ms plain | ours | ratio (quartiles) | RTX kernels | fused of attention |"
    yield "|" + "---|" * 10
    yield from (line(row) for row in found)
    told = [words for row in found for words in why(row)]
    if told:
        yield "\n## What failed, and why\n"
        yield from (f"- {words}" for words in told)


def measured(found: Sequence[Row]) -> str:
    """How many rows there are, and of how many states of the code."""
    counts = ", ".join(f"{step} {sum(step in row for row in found)}" for step in STEPS)
    states = {row[step].get("code", "") for row in found for step in STEPS if step in row}
    mixed = f" The rows are of {len(states)} states of the code: `--again` makes them anew." if len(states) > 1 else ""
    return f"Rows measured of {len(found)} models: {counts}. What is missing counts as failed, and an aim is reached only where nothing is missing.{mixed}"


def line(row: Row) -> str:
    """A model; an empty cell was not measured."""
    cpu, time, rtx = row.get("cpu", {}), row.get("time", {}), row.get("rtx", {})
    own = f" of {max(cpu['own_size'])}" if cpu.get("size") != cpu.get("own_size") else ""
    cells = [
        row["model"],
        f"{max(cpu['size'])}{own}" if cpu.get("size") else "",
        f"{cpu['parity']['max_abs']:.0e} of {cpu['parity']['largest']:.2g}" if exports(cpu) else "no" if cpu else "",
        f"{cpu['nodes_before']} > {cpu['nodes_after']}" if "nodes_after" in cpu else "",
        ", ".join(f"{name} {count}" for name, count in cpu.get("passes", {}).items() if name not in CLEANUP),
        f"{time['plain_ms']:.1f}" if "ratio" in time else "",
        f"{time['ours_ms']:.1f}" if "ratio" in time else "",
        f"{time['ratio']:.3f} ({time['low']:.3f}-{time['high']:.3f})" if "ratio" in time else "",
        " > ".join(_of(rtx, form, "kernels") for form in ("plain", "ours")) if rtx else "",
        " > ".join(_of(rtx, form, "fused") for form in ("plain", "ours")) + f" of {cpu['attentions']}" if rtx and cpu.get("attentions") else "",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def why(row: Row) -> Iterator[str]:
    """What failed in the steps of a model, in words."""
    for step in STEPS:
        told = row.get(step, {})
        words = [told[key] for key in ("failed", "ended") if told.get(key)][:1]
        parity = told.get("parity", {"holds": True})
        if not parity["holds"]:
            words.append(f"parity does not hold: max abs {parity['max_abs']:.1e}, limit {parity['limit']}")
        words += [f"left out {one}" for one in told.get("left_out", ())]
        words += [f"the {form} graph: {told[form]['failed']}" for form in ("ours", "plain") if "failed" in told.get(form, {})]  # fmt: skip
        if words:
            yield f"**{row['model']}**, {step}: " + "; ".join(words)


def _of(rtx: Row, form: str, key: str) -> str:
    return str(rtx[form][key]) if builds(rtx, form) else "none"
