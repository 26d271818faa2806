"""A build on the device that runs it, again with less where memory was short; one builder at a time for an engine.

    full  ->  optimisation level 2  ->  level 2 and half the workspace  ->  words

Timings of kernels are kept after every try, those that failed too, so that each begins where the one before stopped. What has
run where: docs/hardware.md.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...bundle.bundle import Bundle
from ...bundle.graphs import GraphSpec
from ...errors import EdgesmithError, UserMistake
from ...ground.scratch import alone, temporary_folder
from ..engine_build import build_engine
from .cuda import Device
from .failures import BuildFailed
from .memory import free_for, read_memory
from .progress import Watch, spoken
from .timing_cache import load_timings, save_timings, timing_file

WAIT_S = 3600.0  # for another process that builds the same engine
TOLD_EVERY_S = 60.0  # meanwhile
log = logging.getLogger("edgesmith")


@dataclass(frozen=True)
class Rung:
    """What is asked of the builder: None is the library's own level."""

    words: str
    level: int | None
    share: float  # of the workspace


RUNGS = (
    Rung("all tactics", None, 1.0),
    Rung("optimisation level 2, which tries fewer", 2, 1.0),
    Rung("optimisation level 2 and half the workspace", 2, 0.5),
)


def build_on_device(
    bundle: Bundle,
    library: str,
    version: str,
    device: Device,
    graph: GraphSpec,
    dla_core: int | None = None,
    watch: Watch | None = None,
) -> tuple[bytes, float]:
    """(engine, seconds) for the GPU in this machine.

    Raises:
        BuildFailed: no rung of the ladder held; its words tell of swap, desktop and memory in pieces.
        UserMistake, BackendUnavailable: as ``engine_build.run_builder``.
    """
    watch = watch or Watch()
    timings, begun, failed = timing_file(library, version, device), time.monotonic(), None
    for rung in RUNGS:
        if failed is not None:
            log.warning("%s (%s); again, with %s", failed.what, failed.found.splitlines()[0], rung.words)
        with _disk_in_words(bundle, library), temporary_folder() as folder:
            before, after = folder / "timings before", folder / "timings after"
            before.write_bytes(load_timings(timings))
            free_bytes = int(free_for(device, read_memory()) * rung.share)
            try:
                engine = build_engine(
                    bundle, library, free_bytes, graph=graph, level=rung.level, dla_core=dla_core, timings=(before, after),
                    watch=watch,
                )  # fmt: skip
                return engine, time.monotonic() - begun
            except BuildFailed as error:
                if not error.of_memory:
                    raise
                failed = error
            finally:
                if after.exists():
                    save_timings(timings, after.read_bytes())
    assert failed is not None
    tried = "; ".join(rung.words for rung in RUNGS)
    raise BuildFailed(
        failed.what,
        found=f"{failed.found}\nafter {len(RUNGS)} tries in {spoken(time.monotonic() - begun)}: {tried}",
        because=failed.because,
        attempt=failed.attempt,
    )


@contextmanager
def _disk_in_words(bundle: Bundle, library: str) -> Iterator[None]:
    """The builder works in the folder for temporary files; where that takes nothing, the graph is not to blame."""
    try:
        yield
    except OSError as error:
        raise BuildFailed(
            f"{library} could not build an engine for {bundle.name}",
            found=str(error),
            expected="room for timings and the engine in the folder for temporary files",
            attempt="free some space there, or name another folder in TMPDIR",
        ) from None


@contextmanager
def only_builder(place: Path | None, name: str) -> Iterator[bool]:
    """Within it nobody else of this account builds the engine of that file; whether we had to wait for somebody.

    Raises:
        UserMistake: another process has been building it for an hour.
    """
    waited: list[float] = []

    def tell(seconds: float) -> None:
        if not waited or seconds - waited[-1] >= TOLD_EVERY_S:
            waited.append(seconds)
            log.warning("another process builds the engine of %s; waiting for it, %s so far", name, spoken(seconds))

    with ExitStack() as stack:
        try:
            if place is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(alone(place, wait_s=WAIT_S, waiting=tell))
        except OSError:  # nothing can be written there: then two may build, and the later engine stays
            pass
        except UserMistake as error:
            raise EdgesmithError(
                f"another process has been building the engine of {name} for {spoken(WAIT_S)}",
                found=error.found,
                attempt="look at it, and end it if it hangs",
            ) from None
        yield bool(waited)
