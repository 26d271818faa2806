"""What was aimed at and what was reached, counted over all models of the list: a row that is missing counts as one that failed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
Rows = Mapping[tuple[str, str], Row]
SLOWER = 1.03  # of the plain export's CPU time
FUSED_SHARE = 260 / 318  # of the attention blocks; the 318 were counted on another list of models


@dataclass(frozen=True)
class Total:
    """One line of the table: what, the aim, what was found, and the models it stands on or that miss it."""

    what: str
    aim: str
    found: str
    reached: bool
    models: tuple[str, ...] = ()


def exports(row: Row) -> bool:
    """Whether the step came to its end with parity."""
    return not row.get("failed") and not row.get("ended") and bool(row.get("parity", {}).get("holds"))


def builds(row: Row, form: str = "ours") -> bool:
    """Whether there is an engine; an export of ours stops before it where parity does not hold."""
    return "kernels" in row.get(form, {}) and (form != "ours" or exports(row))


def totals(names: Sequence[str], rows: Rows) -> list[Total]:
    """The aims of the zoo beside what the rows say."""
    cpu, time, rtx = ({name: rows.get((name, step), {}) for name in names} for step in ("cpu", "time", "rtx"))
    exported = [name for name in names if exports(cpu[name])]
    wrong = [name for name in names if cpu[name].get("left_out") or rtx[name].get("left_out")]
    built = [name for name in names if builds(rtx[name])]
    plain_built = [name for name in names if builds(rtx[name], "plain")]
    ratios = {name: time[name]["ratio"] for name in names if "ratio" in time[name]}
    slower = sorted((name for name in ratios if ratios[name] > SLOWER), key=lambda name: -ratios[name])
    attending = {name: cpu[name].get("attentions", 0) for name in names if cpu[name].get("attentions")}
    blocks = sum(attending.values())
    fused = sum(rtx[name]["ours"]["fused"] for name in built)
    plain = sum(rtx[name]["plain"]["fused"] for name in plain_built)
    fewer = [name for name in built if builds(rtx[name], "plain") and rtx[name]["ours"]["fused"] < rtx[name]["plain"]["fused"]]  # fmt: skip
    due = [name for name in names if exports(cpu[name]) or not cpu[name]]  # the others have no more rows
    timed, tried = all(time[name] for name in due), all(cpu[name] for name in names) and all(rtx[name] for name in due)
    return [
        _share("exported with parity on the CPU", 0.98, exported, names),
        _none("rewritten graph wrong: a pass that had to be left out, CPU or RTX", wrong, len(exported), tried),
        _none("slower than the plain export by more than 3 %", slower, len(ratios), timed),
        _share("TensorRT-RTX builds in fp16 (sm89)", 0.95, built, names),
        Total("attention blocks fused by TensorRT-RTX", f">= {FUSED_SHARE:.0%} (260 of 318)", f"{fused} of {blocks}, plain {plain}", tried and bool(blocks) and fused >= FUSED_SHARE * blocks),
        _none("models with fewer fused than the plain export", fewer, len(built), tried),
        _median("CPU time to plain, median, models with attention", 0.90, [ratios[n] for n in attending if n in ratios], timed),
        _median("CPU time to plain, median, all", 0.97, list(ratios.values()), timed),
    ]  # fmt: skip


def _share(what: str, aim: float, have: Sequence[str], names: Sequence[str]) -> Total:
    share = len(have) / len(names)
    missing = tuple(name for name in names if name not in set(have))
    return Total(what, f">= {aim:.0%}", f"{len(have)} of {len(names)}, {share:.1%}", share >= aim, missing)


def _none(what: str, wrong: Sequence[str], measured: int, all_rows: bool) -> Total:
    """Reached only where every row is there: a model that was not measured may be the wrong one."""
    return Total(what, "0", f"{len(wrong)} of {measured}", not wrong and all_rows, tuple(wrong))


def _median(what: str, aim: float, ratios: Iterable[float], all_rows: bool) -> Total:
    found = list(ratios)
    if not found:
        return Total(what, f"<= {aim:.2f}", "not measured", False)
    median = statistics.median(found)
    return Total(what, f"<= {aim:.2f}", f"{median:.3f} over {len(found)}", all_rows and median <= aim)
