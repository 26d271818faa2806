"""``edgesmith sweep`` as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...options import RAY, Json, Text, print_json


def add_to(app: typer.Typer) -> None:
    app.command()(sweep)


def sweep(
    models: Annotated[list[str], typer.Argument(help="Files with one model and its settings a line, or models.")],
    target: Annotated[str, typer.Option("--target", "-t", help="Targets, comma between: cpu,rtx.")] = "cpu",
    precision: Annotated[
        Text, typer.Option("--precision", "-p", help="Precisions, comma between (default: the target's).")
    ] = None,
    out: Annotated[
        str, typer.Option("--out", "-o", help="Folder of rows, bundles and logs; a sweep goes on there.")
    ] = "sweep",
    limit_s: Annotated[float, typer.Option(help="Seconds that a cell may take.")] = 1800,
    limit_mb: Annotated[float, typer.Option(help="Memory that a cell may hold, in MB.")] = 6000,
    rounds: Annotated[int, typer.Option(help="Rounds that time a bundle beside the plain export; 0: none.")] = 10,
    threads: Annotated[int, typer.Option(help="CPU threads of PyTorch in a cell; with --ray the CPUs of a cell.")] = 1,
    again: Annotated[bool, typer.Option("--again", help="Run cells that have a row, too.")] = False,
    ray: Annotated[Text, typer.Option(help=RAY)] = None,
    as_json: Json = False,
) -> None:
    """Models x targets x precisions in one table; exit 1 when a cell fails that is possible."""
    from ... import screen
    from .flow import Asked, exit_code
    from .flow import sweep as run
    from .screen import SweepScreen
    from .store import PAGE, TABLE
    from .table import COLUMNS, NUMBERS, cells_of

    shown = SweepScreen(stderr=as_json)
    try:
        told = run(Asked(models, target, precision, out, limit_s, limit_mb, rounds, threads, again, ray), shown)
    finally:
        shown.close()
    if as_json:
        print_json(told)
    else:
        to = screen.console()
        to.print()
        to.print(screen.table(COLUMNS, [cells_of(row) for row in told["rows"]], right=NUMBERS))
        to.print(f"\n  table    {Path(out) / TABLE}\n  page     {Path(out) / PAGE}")
    if code := exit_code(told):
        raise typer.Exit(code)
