"""What the outside hears while a run goes on: stages that start, move and end; and the numbered files they leave.

A run writes into one hidden folder beside the bundle. It is renamed when the artefacts are to be kept, and removed in
every other case, an interrupt included.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass
class Stage:
    """One line of the story: what it did, how long it took, how large the result is."""

    name: str
    detail: str = ""
    seconds: float = 0.0
    size_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "detail": self.detail,
            "seconds": round(self.seconds, 3),
            "size_bytes": self.size_bytes,
        }


class Progress(Protocol):
    """Who wants to hear of the stages; the default, ``Silent``, does not."""

    def start(self, name: str, doing: str) -> None: ...
    def step(self, note: str, done: int, total: int) -> None: ...
    def end(self, stage: Stage) -> None: ...
    def abandon(self) -> None: ...


class Silent:
    """No listener: what the Python call uses unless it is given another."""

    def start(self, name: str, doing: str) -> None:
        pass

    def step(self, note: str, done: int, total: int) -> None:
        pass

    def end(self, stage: Stage) -> None:
        pass

    def abandon(self) -> None:
        pass


@dataclass
class Run:
    """One run: its stages so far and the folder of its numbered artefacts."""

    folder: Path
    progress: Progress
    stages: list[Stage] = field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, name: str, doing: str) -> Iterator[Stage]:
        """Time a stage and tell the listener; the body fills in ``detail`` and ``size_bytes``."""
        stage, start = Stage(name), time.perf_counter()
        self.progress.start(name, doing)
        try:
            yield stage
        except BaseException:
            self.progress.abandon()
            raise
        stage.seconds = time.perf_counter() - start
        self.stages.append(stage)
        self.progress.end(stage)

    def save(self, number: int, name: str, model: ir.Model) -> int:
        """Write ``10-exported.onnx`` and the like into the run's folder; its size in bytes."""
        import onnx_ir

        path = self.folder / f"{number}-{name}.onnx"
        onnx_ir.save(model, path)
        return path.stat().st_size


@contextlib.contextmanager
def run_beside(out: Path, progress: Progress | None) -> Iterator[Run]:
    """A run whose folder is a hidden sibling of ``out``; the folder is gone afterwards unless ``keep`` moved it."""
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    try:
        yield Run(folder, progress or Silent())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(run: Run, destination: Path) -> Path:
    """Move the artefacts to ``destination``, or to the next free ``destination-2`` ...; the path they have now."""
    place, number = destination, 1
    while place.exists():
        number += 1
        place = destination.with_name(f"{destination.name}-{number}")
    place.mkdir()
    for path in sorted(run.folder.iterdir()):
        if path.name[:2].isdigit():
            path.rename(place / path.name)
    return place
