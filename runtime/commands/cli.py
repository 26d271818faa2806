"""The command on a device: ``edgesmith run``, ``test``, ``bench``, ``eval``, ``serve``, ``triton``, ``sign`` and ``verify``, with nothing
installed but the runtime.

Where the export extra is installed too, the full command (exporter/commands/cli.py) takes its place and has all of these.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..errors import EdgesmithError, UserMistake
from ..errors.addresses import shown_in
from ..ground import signals
from ..ground.version import __version__
from .mistakes import mistake_of
from .serve.words import SERVE_HELP, SERVE_OPTIONS
from .streams import closing, shown_streams
from .triton.options import HELP as TRITON_HELP
from .triton.options import OPTIONS as TRITON_OPTIONS
from .trust import KEYRING, OLDER, SIGN_HELP, SIGN_OPTIONS, VERIFY_HELP

RUN_HELP = "Classify, detect, segment or point, in pictures, a video, a camera or a stream."
RUN_OPTIONS: dict[str, tuple[type, str]] = {  # of both commands; what each may be is said by run.Asked
    "--source": (str, "A video, a folder of pictures, a camera as 0, or a URL (rtsp://, http://)."),
    "--save": (str, "Draw the answers: out.jpg, a folder, or a video as out.mp4, .avi, .webm; features: out.npy."),
    "--masks": (str, "Segmenter: keep the class of each pixel, as a grey out.png, or a folder for several."),
    "--force": (bool, "Replace what --save and --masks find in their place."),
    "--score": (
        float,
        "Detector: show what scores above this (default 0.3; the bundle itself keeps much weaker boxes).",
    ),
    "--iou": (float, "Detector: of two boxes of a class that overlap more, the better stays (default: the bundle's)."),
    "--max-detections": (int, "Detector: at most so many boxes a picture (default: the bundle's)."),
    "--agnostic-nms": (bool, "Detector: a better box drops what overlaps it whatever the classes."),
    "--top": (
        int,
        "Classifier, segmenter: how many classes to print (default 5, 10); grounding: how many regions (default 3).",
    ),
    "--instruction": (list, "Grounding: what to click, in words; may be given several times."),
    "--instructions": (str, "Grounding: a file with one instruction a line."),
    "--zoom": (int, "Grounding: look again at the surroundings of the point, 2 or 4 times as large."),
    "--pool-mb": (float, "Grounding: at most so many MB for what is kept of open screens (default 512)."),
    "--max-frames": (int, "Stop after so many frames or pictures."),
    "--reconnect": (bool, "Open a camera or stream that is lost again; give up after five minutes without a frame."),
    "--json-lines": (bool, "One JSON object a frame on stdout, at once."),
    "--keyring": (str, KEYRING),
    "--allow-older": (bool, OLDER),
    "--health": (str, "Say once a second how the run fares, as JSON: a file, or a port of this machine alone."),
    "--require-tensorrt": (
        bool,
        "End where the bundle's own engine cannot be had; else another takes its place, loudly.",
    ),
    "--rollback": (bool, "Self-test first; where it fails, take the last bundle of this place that held it."),
}

# of the full command alone
WORKSTATION = ("compare", "doctor", "export", "inspect", "kv-bytes", "list", "quant-report", "sweep")
WORKSTATION_FLAGS = {  # of its commands that are here too, which then need the exporter
    "bench": (
        "-w",
        "--weights",
        "-m",
        "--model",
        "--against",
        "-b",
        "--batch",
        "--clock",
        "--memory",
        "--no-memory",
        "--device",
    ),
    "eval": ("-w", "--weights", "--ray"),
}

EVAL_OPTIONS: dict[str, tuple[type, str]] = {  # of both commands
    "--images": (str, "Folder of the pictures that the .json names, or that the masks in --data are of."),
    "--limit": (int, "So many pictures at most, drawn with a fixed seed."),
    "--score": (float, "Lowest score that is kept (default: the bundle's)."),
    "--iou": (float, "Overlap above which the weaker box goes (default: the bundle's)."),
    "--agnostic-nms": (bool, "A better box drops what overlaps it whatever the classes."),
    "--ignore-label": (int, "Masks: the value that is no class (default 255)."),
    "--reduce-labels": (bool, "Masks: classes count from 1, and 0 is none, as in ADE20K."),
    "--per-class": (bool, "Also the figures of every class."),
    "--save": (str, "Write the boxes to a COCO results file (one bundle)."),
    "--report": (str, "Write a page for people: page.html, with curves, confusion and pictures."),
    "--overwrite": (bool, "Replace the file that --report finds in its place."),
    "--log": (str, "Append each row to a table, csv:FILE, or to MLflow: mlflow, or mlflow:URI."),
}


def self_test(
    bundle: str,
    backend: str | None = None,
    threads: int | None = None,
    keyring: str | None = None,
    allow_older: bool = False,
) -> list[dict[str, Any]]:
    """Golden outputs against what this device computes, one entry an output."""
    from ..backends.load import load

    with load(bundle, backend=backend, threads=threads, keyring=keyring, allow_older=allow_older) as session:
        return [row.to_json() for row in session.self_test()]


def show_self_test(rows: Sequence[dict[str, Any]]) -> str:
    """The self-test as text, one line an output."""
    return "\n".join(
        f"{row['output']}: {'holds' if row['passed'] else 'FAILS'}, {row['told'] or 'nothing to compare'} "
        f"over {row['cases']} inputs, limit {row['limit']}"
        for row in rows
    )


def main(words: list[str] | None = None) -> None:
    """Exit code 0 done, 1 the self-test failed, 2 a mistake, 74 the output could not be written (141: its reader has left),
    128 + its number after a signal (130: Ctrl-C).
    """
    words = sys.argv[1:] if words is None else words
    with shown_streams():
        code = closing(_outcome(words))
    sys.exit(code)


def _outcome(words: list[str]) -> int:
    """Do what was asked; the exit code. Mistakes, an interrupt and a full disk are told."""
    as_json = "--json" in words
    try:
        return _do(words, as_json)
    except SystemExit as leave:  # of the parser, which has told why
        return leave.code if isinstance(leave.code, int) else 0
    except EdgesmithError as error:
        return _tell(error, as_json)
    except KeyboardInterrupt:
        return signals.tell()
    except Exception as error:
        if signals.stopped():
            return signals.tell()
        if (mistake := mistake_of(error)) is None:
            raise
        return _tell(mistake, as_json)


def _tell(error: EdgesmithError, as_json: bool) -> int:
    """With ``--json`` one document on stdout, as the full command prints it; else text on stderr. The exit code."""
    if as_json:
        print(json.dumps(error.to_json(), indent=2))
    else:
        print(f"edgesmith: {error}", file=sys.stderr)
    return error.exit_code


def _do(words: list[str], as_json: bool) -> int:
    import argparse  # the full command reads the tables above and has its own parser

    if asked := _asks_for_the_workstation(words):
        raise _of_the_workstation(asked)

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            told = shown_in(message)  # it repeats what was typed
            if as_json:
                raise UserMistake(
                    f"{self.prog} cannot read its command line", found=told, attempt=f"{self.prog} --help"
                )
            super().error(told)

    parser = Parser("edgesmith", description=__doc__, epilog="pip install 'edgesmith[export]' adds export.")
    parser.add_argument("--version", action="version", version=f"edgesmith {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    look = verbs.add_parser("run", help=RUN_HELP)
    look.add_argument("bundle")
    look.add_argument("images", nargs="*", help="Pictures, or folders of them.")
    for flag, (kind, help_text) in RUN_OPTIONS.items():
        how: dict[str, Any] = {"type": kind}
        if kind is bool:
            how = {"action": "store_true"}
        elif kind is list:
            how = {"action": "append", "default": []}
        look.add_argument(flag, help=help_text.replace("%", "%%"), **how)
    test = verbs.add_parser("test", help="compare this device with the golden outputs")
    test.add_argument("bundle")
    test.add_argument("--keyring", help=KEYRING)
    test.add_argument("--allow-older", action="store_true", help=OLDER)
    signing = verbs.add_parser("sign", help=SIGN_HELP)
    signing.add_argument("bundle", nargs="?")
    for flag, (kind, help_text) in SIGN_OPTIONS.items():
        signing.add_argument(flag, type=kind, help=help_text)
    asking = verbs.add_parser("verify", help=VERIFY_HELP)
    asking.add_argument("bundle")
    asking.add_argument("--keyring", required=True, help="A folder of public keys (NAME.pub), or one of them.")
    asking.add_argument("--allow-older", action="store_true", help=OLDER)
    accuracy = verbs.add_parser("eval", help="mAP of detectors, mean IoU of segmenters, on your own set")
    accuracy.add_argument("bundles", nargs="+")
    accuracy.add_argument(
        "--data",
        required=True,
        help="Boxes: COCO-style .json, or YOLO data.yaml. Masks: folder with images/ and masks/.",
    )
    for flag, (kind, help_text) in EVAL_OPTIONS.items():
        accuracy.add_argument(flag, help=help_text, **({"action": "store_true"} if kind is bool else {"type": kind}))
    speed = verbs.add_parser("bench", help="how fast this device runs the bundle, beside its clocks, heat and power")
    speed.add_argument("bundle")
    speed.add_argument(
        "--rounds", type=int, default=100, help="Measured rounds; each runs every way once (default 100)."
    )
    repository = verbs.add_parser("triton", help=TRITON_HELP)
    repository.add_argument("bundles", nargs="*")
    for flag, (kind, help_text) in TRITON_OPTIONS.items():
        repository.add_argument(flag, help=help_text, **({"action": "store_true"} if kind is bool else {"type": kind}))
    server = verbs.add_parser("serve", help=SERVE_HELP)
    server.add_argument("bundles", nargs="+")
    for flag, (kind, help_text) in SERVE_OPTIONS.items():
        server.add_argument(flag, help=help_text.replace("%", "%%"), type=kind, default=argparse.SUPPRESS)
    for command in (look, test, speed, accuracy, server):
        command.add_argument("--backend")
        command.add_argument("--threads", type=int)
    for command in (look, test, speed, accuracy, server, repository, signing, asking):
        command.add_argument("--json", action="store_true", dest="as_json", help="One JSON document on stdout.")
    told = vars(parser.parse_args(words))
    run_verb: dict[str, Callable[..., int]] = {
        "run": _run, "test": _test, "bench": _bench, "eval": _evaluate, "serve": _serve, "triton": _triton, "sign": _sign,
        "verify": _verify,
    }  # fmt: skip
    return run_verb[told.pop("verb")](**told)


def _asks_for_the_workstation(words: Sequence[str]) -> str:
    """``export is a command``, ``eval --weights is an option``; empty where the device has all that is asked for."""
    verb = words[0] if words else ""
    flags = [flag for word in words if (flag := word.partition("=")[0]) in WORKSTATION_FLAGS.get(verb, ())]
    if flags:
        return f"{verb} {flags[0]} is an option"
    return f"{verb} is a command" if verb in WORKSTATION else ""


def _of_the_workstation(what: str) -> UserMistake:
    return UserMistake(
        f"edgesmith {what} of the workstation",
        found="the base install, which is for devices: run, test, bench, eval, serve, triton, sign and verify",
        expected="the extra named export, which brings PyTorch and the exporter",
        attempt="pip install 'edgesmith[export]'",
    )


def _run(images: list[str], instruction: list[str], **asked: Any) -> int:
    from .run import Asked, run

    return run(Asked(images=tuple(images), instruction=tuple(instruction), **asked))


def _sign(bundle: str | None, key: str | None, new_key: str | None, counter: int | None, as_json: bool) -> int:
    from .trust import sign, sign_words

    made = sign(bundle, key, new_key, counter)
    print(json.dumps(made, indent=2) if as_json else sign_words(made))
    return 0


def _verify(bundle: str, keyring: str, allow_older: bool, as_json: bool) -> int:
    from .trust import verify, verify_words

    found = verify(bundle, keyring, allow_older)
    print(json.dumps(found, indent=2) if as_json else verify_words(found))
    return 0


def _test(bundle: str, as_json: bool, **asked: Any) -> int:
    rows = self_test(bundle, **asked)
    print(json.dumps(rows, indent=2) if as_json else show_self_test(rows))
    return 0 if all(row["passed"] for row in rows) else 1


def _bench(bundle: str, rounds: int, backend: str | None, threads: int | None, as_json: bool) -> int:
    from ..bundle.manifest import plain
    from .device.bench import bench, show

    result = bench(bundle, backend, rounds, threads)
    print(json.dumps(plain(result), indent=2) if as_json else show(result))
    return 0


def _evaluate(
    bundles: list[str], data: str, save: str | None, report: str | None, overwrite: bool, log: str | None, per_class: bool, as_json: bool,
    **asked: Any,
) -> int:  # fmt: skip
    from ..bundle.manifest import plain
    from ..tasks.evaluation import Asked
    from .evaluation.evaluate import evaluate, show

    progress = None if as_json or not sys.stderr.isatty() else _counted
    result = evaluate(
        bundles, data, Asked(**asked), save=save, report=report, overwrite=overwrite, log=log, progress=progress
    )
    print(json.dumps(plain(result), indent=2) if as_json else show(result, per_class))
    return 1 if "not_saved" in result else 0


def _triton(bundles: list[str], **asked: Any) -> int:
    from .triton.command import triton
    from .triton.options import Asked

    return triton(Asked(bundles=tuple(bundles), **asked))


def _serve(bundles: list[str], **asked: Any) -> int:
    from .serve.command import serve
    from .serve.words import Asked

    return serve(Asked(tuple(bundles), **asked))


def _counted(name: str, done: int, total: int) -> None:
    print(f"\r{name}: {done} of {total} pictures", end="\n" if done == total else "", file=sys.stderr, flush=True)
