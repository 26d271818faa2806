"""What a person sees: one line a stage as it ends, a bar while it runs, tables, and the next commands at the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...runtime.commands.streams import bare
from ...runtime.errors import shown
from ...runtime.report.parts import RANKS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from ..pipeline import Result
    from ..plan.plan import Plan
    from ..run.stages import Stage


def console(stderr: bool = False) -> Console:
    """A console that leaves plain text alone: no colours for numbers, no folding of long lines, no markup in names.

    It steers the terminal itself, so it writes past the guard of the streams and guards each piece of text.
    """
    from rich.console import Console

    class Guarded(Console):
        def render(self, renderable: Any, options: Any = None) -> Iterable[Any]:
            for piece in super().render(renderable, options):
                yield piece if piece.control else piece._replace(text=shown(piece.text))

    to = bare(sys.stderr if stderr else sys.stdout)
    return Guarded(file=to, highlight=False, markup=False, soft_wrap=True)


def size(count_bytes: int | None) -> str:
    """``46.1 MB``; empty when nothing was written."""
    if not count_bytes:
        return ""
    return f"{count_bytes / 1e6:.1f} MB" if count_bytes >= 1e5 else f"{count_bytes / 1e3:.1f} kB"


def seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"


class StageScreen:
    """Progress for a person: a spinner or a bar in a terminal, and one line for each stage that ended, everywhere."""

    def __init__(self, stderr: bool = False) -> None:
        self.console = console(stderr)
        self.bar: Progress | None = None

    def start(self, name: str, doing: str) -> None:
        self.abandon()  # of the stage that this one is a part of
        if not self.console.is_terminal:
            return
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
        self.bar = Progress(*columns, console=self.console, transient=True)
        self.task = self.bar.add_task(f"{name:<10}{doing}", total=None)
        self.bar.start()

    def step(self, note: str, done: int, total: int) -> None:
        if self.bar:
            self.bar.update(self.task, completed=done, total=total or None)

    def end(self, stage: Stage) -> None:
        from rich.text import Text

        self.abandon()
        line = f"{stage.name:<10}{stage.detail:<72}{seconds(stage.seconds):>9}{size(stage.size_bytes):>11}"
        self.console.print(Text(line.rstrip()))

    def abandon(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None


def closing(result: Result, to: Console) -> None:
    """The last block of an export: what was made, how well it agrees, what to do next."""
    if result.bundle is None:
        return
    from rich.text import Text

    out = result.plan.out
    held = sum(row.passed for row in result.parity)
    to.print()
    to.print(Text(f"{out}   {held} of {len(result.parity)} parity checks hold", style="bold"))
    for line in quantised_lines(result):
        to.print(Text(f"  {line}"))
    for note in result.notes:
        to.print(Text(f"  note     {note}"))
    if result.artefacts:
        to.print(Text(f"  stages   {result.artefacts}"))
    to.print(Text(f"  report   {out / 'report.html'}"))
    for label, command in zip(("next", "", "", ""), next_commands(result), strict=False):
        to.print(Text(f"  {label:<8} {command}"))


def quantised_lines(result: Result) -> list[str]:
    """What quantisation cost and brought: the verdict of the report, the trade curve, and the bundle kept beside."""
    from ...runtime.report.words import budget_words, verdict

    told = result.quantisation
    if not told:
        return []
    lines = [f"{result.plan.precision:<8} {verdict(told)}"]
    if budget := budget_words(told):
        lines.append(f"budget   {budget[1]}")
        lines += [
            f"         {row['high']:>3} nodes high  {row['share']:>6.1%} of the MACs  drop {row['drop']['points']:+.2f} points"
            for row in told["budget"]["curve"]
        ]
    if result.beside:
        lines.append(f"beside   {result.beside.path}: not slower on this machine, so both are kept")
    return lines


def next_commands(result: Result) -> list[str]:
    """What works from here: on this machine, or on the device when the engine could not run here."""
    from ...models.registry import names_a_place
    from ...models.weights.place import NAMED

    spec = result.plan.spec
    out, weights = shlex.quote(str(result.plan.out)), result.plan.weights
    task = result.plan.task
    inspect, run = f"edgesmith inspect {out}", f"edgesmith run {out} {task.shown}{task.asked}"
    if task.flow and any(row.stage == "bundle" for row in result.parity):
        return [run, f"edgesmith test {out}", inspect]
    if not any(row.stage == "bundle" for row in result.parity):
        return [
            inspect,
            f"copy {out} to the device, and there",
            f"edgesmith test {out}",
            run,
        ]
    network = f" --model {shlex.quote(spec.name)}" if names_a_place({"model": spec.name}) else ""
    come_with_it = spec.file is not None or weights in (*NAMED, spec.usual_weights)
    checkpoint = "" if come_with_it else f" --weights {shlex.quote(weights)}"
    return [run, f"edgesmith bench {out}{network}{checkpoint}", inspect]


def parity_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows of the manifest's ``parity`` as a table."""
    rows = list(rows)
    if any("detections" in row for row in rows):
        return _matched_table(rows)
    ranks = {key: words for key, words in RANKS.items() if any(key in row for row in rows)}
    columns = ("stage", "on", "inputs", "shape", "max abs", "cosine", *ranks.values(), "limit", "")
    body = [
        (
            row["stage"],
            row["runner"],
            f"{row['count']} {row['inputs']}",
            "x".join(map(str, row["shape"])),
            f"{row['max_abs']:.1e}",
            f"{row['cosine']:.6f}",
            *(f"{row[key]:.0%}" if key in row else "" for key in ranks),
            row["limit"],
            "holds" if row["passed"] else "FAILS",
        )
        for row in rows
    ]
    return table(columns, body, right=("max abs", "cosine", *ranks.values()))


def _matched_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The same of a detector."""
    columns = ("stage", "on", "inputs", "shape", "boxes", "missing", "extra", "flips", "px", "score", "limit", "")
    body = [
        (
            row["stage"],
            row["runner"],
            f"{row['count']} {row['inputs']}",
            "x".join(map(str, row["shape"])),
            row["detections"],
            row["missing"],
            row["extra"],
            row["flips"],
            f"{row['box_px']:.2f}",
            f"{row['score_abs']:.1e}",
            row["limit"],
            "holds" if row["passed"] else "FAILS",
        )
        for row in rows
    ]
    return table(columns, body, right=columns[4:10])


def table(columns: Sequence[str], body: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> str:
    """Aligned columns as plain text, nothing cut off: it can be pasted, and a pipe gets the same as a terminal."""
    rows = [list(columns), *([str(cell) for cell in row] for row in body)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(columns, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(line for line in lines if line)


def plan_table(plan: Plan) -> str:
    """What ``--dry-run`` shows: one choice a line."""
    return table(("choice", "value"), [(key, _plain(value)) for key, value in plan.to_json().items()])


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        joiner = "x" if value and all(isinstance(item, int) for item in value) else ", "
        return joiner.join(map(str, value)) or "none"
    return "none" if value is None else str(value)
