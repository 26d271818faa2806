"""``edgesmith export | run | test | bench | eval | serve | triton | sweep | compare | inspect | list | doctor | sign | verify``: words in, the
verbs of the story called.

Exit codes: 0 done, 1 a result does not hold (parity, budget), 2 the user's mistake, 70 a bug of ours, 128 + its number
after a signal (130: Ctrl-C).
With ``--json`` exactly one JSON document goes to stdout, and stage lines to stderr.
"""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ...runtime.commands.cli import EVAL_OPTIONS, RUN_HELP, RUN_OPTIONS
from ...runtime.commands.serve.words import LOOPBACK, SERVE_HELP, SERVE_OPTIONS
from ...runtime.commands.triton.options import HELP as TRITON_HELP
from ...runtime.commands.triton.options import OPTIONS as TRITON_OPTIONS
from ...runtime.commands.trust import KEYRING, OLDER, SIGN_HELP, SIGN_OPTIONS, VERIFY_HELP
from ...runtime.ground.version import __version__
from ..plan.settings import Words
from . import look as cli_look
from . import usage
from .measure.sweep import command as cli_sweep
from .options import EXPORT, RAY, SPELLINGS, Json, Number, Text, Threads, print_json, with_options

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From a PyTorch vision checkpoint to a verified bundle for an edge device.",
    epilog="Settings may also be written key=value, as in: edgesmith export model=smt precision=fp16",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edgesmith {__version__}")
        raise typer.Exit()


@app.callback()
def _face(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


def export(**asked: Any) -> None:
    """Checkpoint -> verified bundle."""
    from ..pipeline import export as run
    from . import screen

    as_json = asked.pop("as_json")
    spellings = (asked.pop(name) for name in SPELLINGS)
    asked["precision"] = usage.one_precision(asked["precision"], *spellings)
    result = run(**asked, progress=screen.StageScreen(stderr=as_json))
    if as_json:
        print_json(result.to_json())
    elif asked["dry_run"]:
        screen.console().print(screen.plan_table(result.plan))
    else:
        screen.closing(result, screen.console())


app.command()(with_options(export, EXPORT))


@app.command(help=RUN_HELP)
def run(
    bundle: Annotated[str, typer.Argument(help="A folder that edgesmith export wrote.")],
    images: Annotated[Words, typer.Argument(help="Pictures, or folders of them.")] = None,
    source: Annotated[Text, typer.Option(help=RUN_OPTIONS["--source"][1])] = None,
    save: Annotated[Text, typer.Option(help=RUN_OPTIONS["--save"][1])] = None,
    masks: Annotated[Text, typer.Option(help=RUN_OPTIONS["--masks"][1])] = None,
    force: Annotated[bool, typer.Option("--force", "--overwrite", help=RUN_OPTIONS["--force"][1])] = False,
    score: Annotated[float | None, typer.Option(help=RUN_OPTIONS["--score"][1])] = None,
    iou: Annotated[float | None, typer.Option(help=RUN_OPTIONS["--iou"][1])] = None,
    max_detections: Annotated[Number, typer.Option(help=RUN_OPTIONS["--max-detections"][1])] = None,
    agnostic_nms: Annotated[bool, typer.Option("--agnostic-nms", help=RUN_OPTIONS["--agnostic-nms"][1])] = False,
    top: Annotated[Number, typer.Option(help=RUN_OPTIONS["--top"][1])] = None,
    instruction: Annotated[Words, typer.Option(help=RUN_OPTIONS["--instruction"][1])] = None,
    instructions: Annotated[Text, typer.Option(help=RUN_OPTIONS["--instructions"][1])] = None,
    zoom: Annotated[Number, typer.Option(help=RUN_OPTIONS["--zoom"][1])] = None,
    pool_mb: Annotated[float | None, typer.Option(help=RUN_OPTIONS["--pool-mb"][1])] = None,
    max_frames: Annotated[Number, typer.Option(help=RUN_OPTIONS["--max-frames"][1])] = None,
    reconnect: Annotated[bool, typer.Option("--reconnect", help=RUN_OPTIONS["--reconnect"][1])] = False,
    json_lines: Annotated[bool, typer.Option("--json-lines", help=RUN_OPTIONS["--json-lines"][1])] = False,
    keyring: Annotated[Text, typer.Option(help=RUN_OPTIONS["--keyring"][1])] = None,
    allow_older: Annotated[bool, typer.Option("--allow-older", help=RUN_OPTIONS["--allow-older"][1])] = False,
    health: Annotated[Text, typer.Option(help=RUN_OPTIONS["--health"][1])] = None,
    require: Annotated[bool, typer.Option("--require-tensorrt", help=RUN_OPTIONS["--require-tensorrt"][1])] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help=RUN_OPTIONS["--rollback"][1])] = False,
    backend: Annotated[Text, typer.Option(help="onnxruntime, openvino, tensorrt_rtx, tensorrt.")] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    from ...runtime.commands.run import Asked
    from ...runtime.commands.run import run as look

    asked = Asked(
        bundle, tuple(images or ()), source, save, score, iou, max_detections, top, max_frames, backend, threads,
        as_json, json_lines, force, agnostic_nms, reconnect, tuple(instruction or ()), instructions, zoom, pool_mb,
        masks, keyring, allow_older, health, require, rollback,
    )  # fmt: skip
    if code := look(asked):
        sys.exit(code)


@app.command()
def test(
    bundle: Annotated[str, typer.Argument(help="A folder that edgesmith export wrote.")],
    backend: Annotated[Text, typer.Option(help="onnxruntime, openvino, tensorrt_rtx, tensorrt.")] = None,
    threads: Threads = None,
    keyring: Annotated[Text, typer.Option(help=KEYRING)] = None,
    allow_older: Annotated[bool, typer.Option("--allow-older", help=OLDER)] = False,
    as_json: Json = False,
) -> None:
    """Compare this device with the golden outputs in the bundle; exit 1 when they do not hold."""
    from ...runtime.commands.cli import self_test, show_self_test

    rows = self_test(bundle, backend, threads, keyring, allow_older)
    if as_json:
        print_json(rows)
    else:
        print(show_self_test(rows))
    if not all(row["passed"] for row in rows):
        raise typer.Exit(1)


@app.command()
def bench(
    bundle: Annotated[str, typer.Argument(help="A folder that edgesmith export wrote.")],
    weights: Annotated[Text, typer.Option("--weights", "-w", help="The checkpoint, if it has moved.")] = None,
    model: Annotated[
        Text, typer.Option("--model", "-m", help="The network, if it is a file or folder of yours: net.py:make.")
    ] = None,
    against: Annotated[
        Text, typer.Option(help="Peers, comma between: eager,compile,plain,openvino; or none (default: all installed).")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Measured rounds; each runs every candidate once.", min=2)] = 30,
    threads: Annotated[int, typer.Option(help="CPU threads for every candidate alike.", min=1)] = 1,
    batch: Annotated[
        Number, typer.Option("--batch", "-b", help="Batch to measure (default: the bundle's usual).")
    ] = None,
    clock: Annotated[str, typer.Option(help="wall, or cpu: time of this process on all cores.")] = "wall",
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Peak memory, each in its own process.")] = True,
    device: Annotated[
        Text,
        typer.Option(
            help="Measure nothing: add what edgesmith bench --json printed on a device, a file, to the bundle."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle beside PyTorch and the plain export, interleaved in one run."""
    from . import screen

    if device is not None:
        from ...runtime.commands.device.bench import show
        from .measure.device import add_device

        added = add_device(bundle, device)
        if as_json:
            print_json(added)
        else:
            print(show(added))
        return
    from .measure.bench import bench as measure
    from .measure.bench import columns, rows

    result = measure(
        bundle, weights=weights, model=model, against=against, rounds=rounds, threads=threads, batch=batch, clock=clock, memory=memory,
        progress=screen.StageScreen(stderr=as_json),
    )  # fmt: skip
    if as_json:
        print_json(result)
        return
    to = screen.console()
    head = columns(result)
    to.print(screen.table(head, rows(result), right=head[1:]))
    if "not_kept" in result:
        to.print(f"\nnot kept in the bundle: {result['not_kept']}")
    else:
        to.print(f"\n  report   {Path(bundle) / 'report.html'}")


@app.command("eval")
def eval_(
    bundles: Annotated[list[str], typer.Argument(help="Folders that edgesmith export wrote.")],
    data: Annotated[
        str,
        typer.Option(
            help="Detectors: COCO-style .json, YOLO data.yaml. Classifiers: folder whose sub-folders are the classes. Segmenters: "
            "folder with images/ and masks/."
        ),
    ],
    images: Annotated[Text, typer.Option(help=EVAL_OPTIONS["--images"][1])] = None,
    weights: Annotated[
        Text, typer.Option("--weights", "-w", help="Also PyTorch, with this checkpoint of the first bundle.")
    ] = None,
    limit: Annotated[Number, typer.Option(help=EVAL_OPTIONS["--limit"][1], min=1)] = None,
    score: Annotated[float | None, typer.Option(help=EVAL_OPTIONS["--score"][1])] = None,
    iou: Annotated[float | None, typer.Option(help=EVAL_OPTIONS["--iou"][1])] = None,
    agnostic_nms: Annotated[bool, typer.Option("--agnostic-nms", help=EVAL_OPTIONS["--agnostic-nms"][1])] = False,
    ignore_label: Annotated[Number, typer.Option(help=EVAL_OPTIONS["--ignore-label"][1])] = None,
    reduce_labels: Annotated[bool, typer.Option("--reduce-labels", help=EVAL_OPTIONS["--reduce-labels"][1])] = False,
    backend: Annotated[Text, typer.Option(help="onnxruntime, openvino, tensorrt_rtx, tensorrt.")] = None,
    threads: Threads = None,
    per_class: Annotated[bool, typer.Option("--per-class", help=EVAL_OPTIONS["--per-class"][1])] = False,
    save: Annotated[Text, typer.Option(help=EVAL_OPTIONS["--save"][1])] = None,
    report: Annotated[Text, typer.Option(help=EVAL_OPTIONS["--report"][1])] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", "--force", help=EVAL_OPTIONS["--overwrite"][1])] = False,
    log: Annotated[Text, typer.Option(help=EVAL_OPTIONS["--log"][1])] = None,
    ray: Annotated[Text, typer.Option(help=RAY)] = None,
    as_json: Json = False,
) -> None:
    """Accuracy of bundles on your own set: mAP of detectors, top-1 of classifiers, mean IoU of segmenters."""
    from . import screen
    from .measure.evaluate import Asked, evaluate, show
    from .quant_report.screen import watched

    asked = Asked(images, limit, score, iou, backend, threads, agnostic_nms, ignore_label, reduce_labels)
    with watched(screen.StageScreen(stderr=as_json), "evaluate", "pictures") as step:
        result = evaluate(
            bundles,
            data,
            asked,
            weights=weights,
            save=save,
            ray=ray,
            report=report,
            overwrite=overwrite,
            log=log,
            progress=step,
        )
    if as_json:
        print_json(result)
    else:
        screen.console().print(show(result, per_class))
    if "not_saved" in result:
        raise typer.Exit(1)


@app.command(help=SIGN_HELP)
def sign(
    bundle: Annotated[Text, typer.Argument(help="A folder that edgesmith export wrote.")] = None,
    key: Annotated[Text, typer.Option(help=SIGN_OPTIONS["--key"][1])] = None,
    new_key: Annotated[Text, typer.Option(help=SIGN_OPTIONS["--new-key"][1])] = None,
    counter: Annotated[Number, typer.Option(help=SIGN_OPTIONS["--counter"][1])] = None,
    as_json: Json = False,
) -> None:
    from ...runtime.commands.trust import sign, sign_words

    made = sign(bundle, key, new_key, counter)
    print_json(made) if as_json else print(sign_words(made))


@app.command(help=VERIFY_HELP)
def verify(
    bundle: Annotated[str, typer.Argument(help="A folder that edgesmith export wrote.")],
    keyring: Annotated[str, typer.Option(help="A folder of public keys (NAME.pub), or one of them.")],
    allow_older: Annotated[bool, typer.Option("--allow-older", help=OLDER)] = False,
    as_json: Json = False,
) -> None:
    from ...runtime.commands.trust import verify, verify_words

    found = verify(bundle, keyring, allow_older)
    print_json(found) if as_json else print(verify_words(found))


@app.command(help=TRITON_HELP)
def triton(
    bundles: Annotated[Words, typer.Argument(help="Folders that edgesmith export wrote.")] = None,
    out: Annotated[Text, typer.Option(help=TRITON_OPTIONS["--out"][1])] = None,
    backend: Annotated[Text, typer.Option(help=TRITON_OPTIONS["--backend"][1])] = None,
    max_batch: Annotated[Number, typer.Option(help=TRITON_OPTIONS["--max-batch"][1])] = None,
    instances: Annotated[Number, typer.Option(help=TRITON_OPTIONS["--instances"][1])] = None,
    wait_us: Annotated[Number, typer.Option(help=TRITON_OPTIONS["--wait-us"][1])] = None,
    threads: Annotated[Number, typer.Option(help=TRITON_OPTIONS["--threads"][1])] = None,
    force: Annotated[bool, typer.Option("--force", "--overwrite", help=TRITON_OPTIONS["--force"][1])] = False,
    check: Annotated[Text, typer.Option(help=TRITON_OPTIONS["--check"][1])] = None,
    keyring: Annotated[Text, typer.Option(help=TRITON_OPTIONS["--keyring"][1])] = None,
    allow_older: Annotated[bool, typer.Option("--allow-older", help=TRITON_OPTIONS["--allow-older"][1])] = False,
    url: Annotated[Text, typer.Option(help=TRITON_OPTIONS["--url"][1])] = None,
    as_json: Json = False,
) -> None:
    from ...runtime.commands.triton.command import triton as serve
    from ...runtime.commands.triton.options import Asked

    given = tuple(bundles or ())
    words = out, backend, max_batch, instances, wait_us, threads, force, check, keyring, allow_older, url, as_json
    if code := serve(Asked(given, *words)):
        raise typer.Exit(code)


@app.command(help=SERVE_HELP)
def serve(
    bundles: Annotated[list[str], typer.Argument(help="Folders that edgesmith export wrote.")],
    host: Annotated[str, typer.Option(help=SERVE_OPTIONS["--host"][1])] = LOOPBACK,
    port: Annotated[int, typer.Option(help=SERVE_OPTIONS["--port"][1])] = 8000,
    token_file: Annotated[Text, typer.Option(help=SERVE_OPTIONS["--token-file"][1])] = None,
    queue: Annotated[int, typer.Option(help=SERVE_OPTIONS["--queue"][1])] = 64,
    workers: Annotated[int, typer.Option(help=SERVE_OPTIONS["--workers"][1])] = 1,
    batch: Annotated[int, typer.Option(help=SERVE_OPTIONS["--batch"][1])] = 1,
    max_mb: Annotated[float, typer.Option(help=SERVE_OPTIONS["--max-mb"][1])] = 32.0,
    timeout_s: Annotated[float, typer.Option(help=SERVE_OPTIONS["--timeout-s"][1])] = 30.0,
    pool_mb: Annotated[float | None, typer.Option(help=SERVE_OPTIONS["--pool-mb"][1])] = None,
    keyring: Annotated[Text, typer.Option(help=SERVE_OPTIONS["--keyring"][1])] = None,
    backend: Annotated[Text, typer.Option(help="onnxruntime, openvino, tensorrt_rtx, tensorrt.")] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    from ...runtime.commands.serve.command import serve as run_server
    from ...runtime.commands.serve.words import Asked

    asked = Asked(
        tuple(bundles), host, port, token_file, queue, workers, batch, max_mb, timeout_s, pool_mb, backend, threads, as_json,
        keyring,
    )  # fmt: skip
    if code := run_server(asked):
        sys.exit(code)


cli_look.add_to(app)
cli_sweep.add_to(app)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script; never returns, always exits with one of the codes above."""
    words = sys.argv[1:] if arguments is None else arguments
    command = _command(words)
    usage.finish(
        lambda: command.main(usage.strict(words, command), prog_name="edgesmith", standalone_mode=False), words, command
    )


def _command(words: list[str]) -> Any:
    """The app as a parser. Only the command that is asked for has its settings, the others stand for their names and
    sentences: putting all of them together takes as long as the rest of ``edgesmith --help``.
    """
    if "_EDGESMITH_COMPLETE" in os.environ:  # a shell asks for any of them
        return typer.main.get_command(app)
    few = copy.copy(app)
    few.registered_commands = []
    for info in app.registered_commands:
        name = info.name or str(info.callback and info.callback.__name__)
        if [name] == words[:1]:
            few.registered_commands.append(info)
        else:
            few.command(name, help=info.help or info.callback.__doc__)(_stand_in)
    return typer.main.get_command(few)


def _stand_in() -> None:
    """In the place of a command that is not asked for."""
