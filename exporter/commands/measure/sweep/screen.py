"""What a person sees of a sweep while it runs: one line a cell that ended, and a bar that knows about how long it takes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...screen import console, seconds
from .flow import Progress
from .table import line

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class SweepScreen(Progress):
    """Lines everywhere, the bar in a terminal."""

    def __init__(self, stderr: bool = False) -> None:
        self.console = console(stderr)
        self.bar: Bar | None = None

    def begin(self, cells: int, kept: int) -> None:
        if kept:
            self.console.print(f"{kept} of {cells} rows are there from before; --again runs them again")
        if not self.console.is_terminal or kept == cells:
            return
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
        self.bar = Progress(*columns, TextColumn("{task.fields[left]}"), console=self.console, transient=True)
        self.task = self.bar.add_task(f"{kept} of {cells} cells", total=cells, completed=kept, left="")
        self.bar.start()

    def cell(self, row: dict[str, Any], done: int, cells: int, left_s: float) -> None:
        left = f"about {seconds(left_s)} left" if done < cells else ""
        took = f"{row['timing']['seconds']:.0f} s" if "seconds" in row["timing"] else ""
        self.console.print("  ".join(filter(None, (f"{done}/{cells}", line(row), took, left))))
        if self.bar:
            self.bar.update(self.task, completed=done, description=f"{done} of {cells} cells", left=left)

    def close(self) -> None:
        """Also where it was interrupted."""
        if self.bar:
            with suppress(OSError):  # a terminal that has gone
                self.bar.stop()
            self.bar = None
