"""The commands that look at something and change nothing: ``compare``, ``list``, ``inspect``, ``quant-report``, ``doctor``,
``kv-bytes``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...runtime.errors import UserMistake
from ...runtime.ground.limits import FP32
from ...runtime.tasks.grounding.screens.kv_bytes import KIVI
from .options import Data, Json, Number, Text, print_json

if TYPE_CHECKING:
    from rich.table import Table

QWEN = "Qwen2.5-VL-3B has"
COMPARED = ("output", "inputs", "shape", "how far", "limit", "")


def add_to(app: typer.Typer) -> None:
    """Put the commands into the app, in the order in which help lists them."""
    for name, command in COMMANDS.items():
        app.command(name)(command)


def compare(
    first: Annotated[str, typer.Argument(help="Bundle, ONNX file, or name of a model: the judge.")],
    second: Annotated[str, typer.Argument(help="Bundle, ONNX file, or name of a model.")],
    weights: Annotated[Text, typer.Option("--weights", "-w", help="For a name of a model.")] = None,
    num_classes: Annotated[Number, typer.Option(help="For a name of a model.")] = None,
    precision: Annotated[str, typer.Option("--precision", "-p", help="Which limit to hold: fp32, fp16, bf16.")] = FP32,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Run two on the same inputs: how far apart are the outputs, and from which node on? Exit 1 past the limit."""
    from . import screen
    from .inspect.compare import compare as measure
    from .inspect.compare import table_rows

    result = measure(first, second, weights=weights, num_classes=num_classes, precision=precision, data=data)
    if as_json:
        print_json(result)
    else:
        to = screen.console()
        to.print(screen.table(COMPARED, table_rows(result)))
        for note in result["notes"]:
            to.print(f"note: {note}")
        if result["first_difference"]:
            to.print(f"\nfirst difference: {result['first_difference']}")
    if not result["agree"]:
        raise typer.Exit(1)


def list_(
    timm: Annotated[
        Text, typer.Option("--timm", help="Names of timm that match, as 'swin*'.", metavar="PATTERN")
    ] = None,
    as_json: Json = False,
) -> None:
    """Families and variants, with parameters, paper and licence; or names of timm."""
    from .listing import show, show_timm

    if timm is None:
        show(as_json)
    else:
        show_timm(timm, as_json)


def inspect(
    path: Annotated[str, typer.Argument(help="Bundle, ONNX file or TensorRT engine; with --ops also a model's name.")],
    gpu_arch: Annotated[
        Text, typer.Option(help="Also build the graph for this GPU and look inside: sm89, 8.9.")
    ] = None,
    ops: Annotated[bool, typer.Option("--ops", help="Which fused ops it holds, and each target's route.")] = False,
    as_json: Json = False,
) -> None:
    """What is inside: nodes, weights, attention blocks, and the kernels of an engine; no GPU needed."""
    from . import screen

    if ops:
        from .inspect.ops import inspect_ops, lines

        if gpu_arch:
            raise typer.BadParameter("--ops reads the graph and builds no engine: leave --gpu-arch or --ops out")
        told = inspect_ops(path)
        if as_json:
            print_json(told)
        else:
            for line in lines(told):
                screen.console().print(line, markup=False, highlight=False)
        return
    from .inspect.inspect import inspect as look
    from .inspect.inspect import show

    findings = look(path, gpu_arch)
    if as_json:
        print_json(findings)
    else:
        show(findings, screen.console())


def quant_report(
    path: Annotated[str, typer.Argument(help="Quantised bundle, or quantised ONNX file of any tool.")],
    ref: Annotated[Text, typer.Option(help="The float ONNX file or bundle that it was made from.")] = None,
    model: Annotated[Text, typer.Option("--model", "-m", help="Or the name of the model, with --weights.")] = None,
    weights: Annotated[Text, typer.Option("--weights", "-w", help="Checkpoint of --model, or of the bundle.")] = None,
    num_classes: Annotated[Number, typer.Option(help="Classes of your own checkpoint.")] = None,
    data: Annotated[Text, typer.Option(help="Pictures to measure on: folder, list file, .npz, or random.")] = None,
    images: Annotated[Text, typer.Option(help="Folder of the pictures that a COCO .json names.")] = None,
    eval_images: Annotated[int, typer.Option(help="How many of them at most.", min=1)] = 1000,
    max_drop: Annotated[
        float | None, typer.Option(help="Accuracy budget in points; exit 1 when missed.", min=0)
    ] = None,
    sensitivity: Annotated[bool, typer.Option("--sensitivity", help="Also one node at a time.")] = False,
    as_json: Json = False,
) -> None:
    """What quantisation cost, node by node, and why; exit 1 when the accuracy budget is missed."""
    from . import screen
    from .quant_report.report import Asked
    from .quant_report.report import quant_report as look
    from .quant_report.screen import lines, watched

    asked = Asked(ref, model, weights, num_classes, data, eval_images, max_drop, sensitivity, images)
    with watched(screen.StageScreen(stderr=as_json)) as step:
        result = look(path, asked, step)
    if as_json:
        print_json(result)
    else:
        for line in lines(result):
            screen.console().print(line)
    if result["met"] is False:
        raise typer.Exit(1)


def doctor(as_json: Json = False) -> None:
    """What is installed, what is missing, what each target can do on this machine."""
    from . import screen
    from .doctor import doctor as look
    from .doctor import show

    findings = look()
    if as_json:
        print_json(findings)
    else:
        show(findings, screen.console())


def kv_bytes(
    path: Annotated[Text, typer.Argument(metavar="[BUNDLE]", help="A grounding bundle: its sizes of screen.")] = None,
    head_dim: Annotated[int, typer.Option(help=f"Channels of one head; {QWEN} 128.")] = 128,
    kv_heads: Annotated[int, typer.Option(help=f"Heads of keys and values; {QWEN} 2.")] = 2,
    layers: Annotated[int, typer.Option(help=f"Decoder layers; {QWEN} 36.")] = 36,
    hidden: Annotated[int, typer.Option(help=f"Channels of the model; {QWEN} 2048.")] = 2048,
    tokens: Annotated[int, typer.Option(help="Cached tokens; GUI-AIMA has 99 of text, and 2691 for 1920x1080.")] = 2790,
    scheme: Annotated[str, typer.Option(help="kivi or rotatekv.")] = KIVI,
    as_json: Json = False,
) -> None:
    """Bytes of a cached screen, keys and values in 16, 8, 4 and 2 bits, and how many a GB holds."""
    from ..plugins.kv import weight
    from . import screen

    if path is None:
        data = weight.kv_bytes(head_dim, kv_heads, layers, tokens, hidden, scheme)
        rows = weight.table(data)
        sizes = f"{kv_heads} kv heads of {head_dim} channels, {layers} layers"
        title = f"{sizes}, {scheme}; bytes a token, and a screen of {tokens} tokens"
    else:
        data = weight.of_bundle(_grounding(path))
        rows = weight.bundle_table(data)
        title = f"{path} stores keys and values in {data['bits']} bits, {data['scheme']}"
    if as_json:
        print_json(data)
    else:
        screen.console().print(_table(title, rows))


def _grounding(path: str) -> Mapping[str, Any]:
    """What the manifest of a bundle says of its cache."""
    from ...runtime.bundle.bundle import open_bundle
    from ...runtime.tasks.grounding.facts import KEY

    bundle = open_bundle(path)
    part: Mapping[str, Any] | None = bundle.manifest.get(KEY)
    if not part:
        raise UserMistake(
            f"{path} keeps no keys and values",
            found=f"a bundle for {bundle.manifest.get('task')}",
            expected=f"one for {KEY}",
            attempt="edgesmith kv-bytes without a bundle, with the sizes as options",
        )
    return part


def _table(title: str, rows: list[tuple[str, ...]]) -> Table:
    """Rows as a table on a screen, the first its head; all columns but the first are numbers."""
    from rich.table import Table

    head, *rest = rows
    shown = Table(box=None, title=title, title_justify="left")
    for index, column in enumerate(head):
        shown.add_column(column, justify="right" if index else "left")
    for row in rest:
        shown.add_row(*row)
    return shown


COMMANDS: dict[str, Callable[..., None]] = {
    "compare": compare,
    "list": list_,
    "inspect": inspect,
    "quant-report": quant_report,
    "doctor": doctor,
    "kv-bytes": kv_bytes,
}
