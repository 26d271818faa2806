"""Everything that has to be seen on a GPU, in one command of less than ten minutes: ``make gpu-check``.

    python3 tests/gpu/check.py [--quick] [--only OP ...] [--out FILE.json] [--pack kernels.zip]

Needs torch, numpy, an NVIDIA GPU with its driver, and this checkout; no TensorRT, no onnx, nothing installed of ours.
Exit code 0: everything within its limits; 1: something is not, or was not reached; 2: no GPU, or no pack.
"""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu.driver import Driver

    from edgesmith.runtime.plugins.pack import KernelPack

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# seconds: at most for each of the first two parts; the times get what is then left of the whole, under ten minutes
CORRECTNESS_S, SANITIZER_S, WHOLE_S = 180, 120, 560
WORKERS = 4  # processes that compare at once; the references are the slow part, and run on the CPU


def importable() -> None:
    """The checkout is the package ``edgesmith``: reach it by that name through a link, and tests/ beside it."""
    sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != HERE]  # its names are common words
    folder = Path(tempfile.mkdtemp(prefix="edgesmith-gpu-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "edgesmith").symlink_to(ROOT, target_is_directory=True)
    sys.path[:0] = [str(folder), str(HERE.parent)]


def main(arguments: list[str]) -> int:
    asked = _options(arguments)
    from edgesmith.runtime.errors import EdgesmithError

    try:
        if asked.worker:
            return work(asked)
        return whole(asked)
    except EdgesmithError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what was finished stands in the .partial.json file", file=sys.stderr)
        return 130


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="check.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="correctness only, no sanitizer and no times")
    parser.add_argument("--only", nargs="+", metavar="OP", help="these ops alone")
    parser.add_argument("--out", type=Path, help="the JSON file; default benchmarks/gpu/<device>.json")
    parser.add_argument("--pack", type=Path, help="another kernels.zip than the one that is shipped")
    parser.add_argument("--driver", choices=["cuda", "interpreter"], default="cuda", help=argparse.SUPPRESS)
    parser.add_argument("--worker", choices=["correctness", "sanitize", "times"], help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=1e9, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.driver == "interpreter" and not (asked.worker or asked.out):
        parser.error("--driver interpreter is for tests and needs --out")  # its results are no GPU's
    return asked


def open_all(asked: argparse.Namespace) -> tuple[Driver, KernelPack]:
    """The driver and the pack; EdgesmithError in words when there is no GPU or no pack."""
    from gpu.driver import Driver

    from edgesmith.exporter.plugins import OPS
    from edgesmith.exporter.plugins.pack.pack import PACKED
    from edgesmith.runtime.backends.gpu.cuda import find_driver
    from edgesmith.runtime.errors import BackendUnavailable
    from edgesmith.runtime.plugins.pack import read_pack

    if asked.driver == "interpreter":
        from gpu.fake_cuda import FakeCuda
        from gpu.stand_in import stand_in_pack

        pack = read_pack(asked.pack) if asked.pack else stand_in_pack(OPS.values())
        return Driver(FakeCuda(pack, dict(OPS))), pack
    try:
        find_driver()
    except BackendUnavailable as error:
        raise BackendUnavailable(
            "The kernels cannot be checked here",
            found=error.found,
            expected="an NVIDIA GPU from Ampere on (compute capability 8.0), with its driver",
            because="they are machine code for such a GPU; Triton's interpreter has checked them on the CPU (make test)",
            attempt="copy the checkout to a machine with a GPU and torch, there: make gpu-check (tests/gpu/README.md)",
        ) from None
    return Driver(), read_pack(asked.pack or PACKED)


# --- a worker: one part on some ops, a line of JSON a result


def work(asked: argparse.Namespace) -> int:
    from gpu.supervise import tell

    from edgesmith.exporter.plugins import OPS

    end = time.monotonic() + asked.seconds
    driver, pack = open_all(asked)
    for name in asked.only:
        tell({"begin": name})
        try:
            _part(asked, driver, pack, OPS[name], lambda: time.monotonic() < end, tell)
        except Exception as error:  # noqa: BLE001 whatever it was, it is a row of the result and not a reason to stop
            tell({"op": name, "ok": False, "why": f"{type(error).__name__}: {error}"})
        tell({"end": name})
    return 0


def _part(
    asked: argparse.Namespace, driver: Driver, pack: KernelPack, op: Any, go_on: Callable[[], bool],
    tell: Callable[[Any], None],
) -> None:  # fmt: skip
    if asked.worker == "correctness":
        from gpu.correctness import check_op

        for row in check_op(driver, pack, op, real=asked.driver == "cuda", go_on=go_on):
            tell(row)
    elif asked.worker == "sanitize":
        from gpu.sanitizer import launch_all

        launch_all(driver, pack, op, go_on, tell)
    else:
        from gpu.contest import time_op

        for row in time_op(driver, pack, op, go_on):
            tell(row)


# --- the whole: parts one after the other, results written after each


def whole(asked: argparse.Namespace) -> int:
    from gpu.report import Report, say

    from edgesmith.exporter.plugins import OPS
    from edgesmith.exporter.plugins.pack.pack import PACKED
    from edgesmith.runtime.errors import UserMistake

    for ending in (signal.SIGINT, signal.SIGTERM):  # a time limit of others ends like Ctrl-C
        signal.signal(ending, _interrupted)
    driver, pack = open_all(asked)
    if unknown := sorted(set(asked.only or ()) - set(pack.ops)):
        raise UserMistake("no such op in the pack", found=", ".join(unknown), expected=", ".join(pack.ops))
    ops = [name for name in pack.ops if not asked.only or name in asked.only]
    report = Report.start(driver.about(), pack, asked.pack or PACKED, asked.out, sys.argv[1:])
    report.check_pack(OPS, complete=not asked.only)
    say(
        f"{report.found['device']['name']}: {len(ops)} ops, {sum(len(pack.ops[name].launches) for name in ops)} kernels"
    )
    for part, run in parts(asked, ops, report):
        begin = time.monotonic()
        try:
            say(part)
            run()
        finally:
            report.seconds(part, time.monotonic() - begin)
            report.write(finished=False)
    return report.finish()


def _interrupted(number: int, frame: object) -> None:
    from gpu.supervise import stop

    stop()
    raise KeyboardInterrupt


def parts(asked: argparse.Namespace, ops: list[str], report: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    from gpu.report import say
    from gpu.sanitizer import sanitize
    from gpu.supervise import supervise

    begin = time.monotonic()
    options = ["--driver", asked.driver, *(["--pack", str(asked.pack)] if asked.pack else [])]
    command = [sys.executable, str(HERE / "check.py"), *options, "--worker"]

    def correctness() -> None:
        end = time.monotonic() + CORRECTNESS_S
        workers = min(WORKERS, os.cpu_count() or 1)
        threads_each = str(max(1, (os.cpu_count() or 1) // workers))
        environment = {"OPENBLAS_NUM_THREADS": threads_each, "OMP_NUM_THREADS": threads_each}
        if asked.driver == "interpreter":
            environment["TRITON_INTERPRET"] = "1"
        lock = threading.Lock()

        def one(op: str) -> None:
            rows: list[dict[str, Any]] = []
            supervise([*command, "correctness"], [op], end - time.monotonic(), rows.append, environment)
            with lock:
                report.correctness(op, rows)

        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(one, ops))

    def sanitizer() -> None:
        report.found["sanitizer"] = sanitize(ops, SANITIZER_S, say, options)

    def times() -> None:
        supervise([*command, "times"], ops, begin + WHOLE_S - time.monotonic(), report.time_row)

    yield "correctness", correctness
    if not asked.quick:
        yield "sanitizer", sanitizer
        yield "times", times


if __name__ == "__main__":
    importable()
    sys.exit(main(sys.argv[1:]))
