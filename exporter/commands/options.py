"""Options that several commands have in common, those of ``export`` from the table of settings, and how ``--json`` prints."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from ...runtime.ground.limits import INT8
from ..plan.settings import SETTINGS, Number, Setting, Text

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Threads = Annotated[Number, typer.Option(help="CPU threads; the engine decides when left out.")]
Data = Annotated[
    Text, typer.Option(help="Folder of pictures to judge by (default: photographs of installed packages).")
]
RAY = "Ray cluster that shares the work: HOST:PORT, auto, or local."

SPELLINGS = {  # of --precision, as people know them from elsewhere
    "half": Setting("Same as --precision fp16.", ("--half",), bool, False),
    INT8: Setting("Same as --precision int8.", ("--int8",), bool, False),
    "quantize": Setting("16, 8 or 4: same as --precision fp16, int8, int4."),
}
AT_THE_END = {
    "dry_run": Setting(
        "Say what would be done, and stop.", ("--dry-run",), bool, False,
        page="print the plan and stop; torch is not even imported",
    ),
    "as_json": Setting("One JSON document on stdout, nothing else.", ("--json",), bool, False),
}  # fmt: skip
EXPORT: dict[str, Setting] = {}  # every option of ``edgesmith export``, in the order of its help
for _name, _one in SETTINGS.items():
    EXPORT |= {_name: _one, **(SPELLINGS if _name == "precision" else {})}
EXPORT |= AT_THE_END


def with_options(command: Callable[..., None], options: Mapping[str, Setting]) -> Callable[..., None]:
    """``command``, which takes any keyword, with the signature that typer reads its options from."""
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if one.default is ... else one.default,
            annotation=Annotated[one.kind, typer.Option(*one.flags, help=one.help, metavar=one.metavar)],
        )
        for name, one in options.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def print_json(document: Any) -> None:
    from ...runtime.bundle.manifest import plain

    print(json.dumps(plain(document), indent=2))
