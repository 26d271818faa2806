"""What the outside hears while a run goes on: stages that start, move and end; and the numbered files they leave.

A run writes into one hidden folder beside the bundle. Artefacts that are to be kept are moved out of it, and it is removed in
every case, an interrupt included; after a kill the next run beside it does that (runtime/ground/scratch.py).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...runtime.errors import UserMistake
from ...runtime.ground.places import real_place
from ...runtime.ground.scratch import work_folder

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
    """One run: its stages so far, its numbered graphs, and a folder for its files."""

    folder: Path
    progress: Progress
    stages: list[Stage] = field(default_factory=list)
    graphs: dict[str, ir.Model] = field(default_factory=dict)  # of the stages, by the names of their files

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
        """Remember a graph as ``10-exported.onnx`` and the like, as it is now; the bytes of its weights.

        Few runs keep their graphs, so they are written by ``keep``. Those whose weights lie beside them share that file.
        """
        from ...graph.beside import settle, weight_bytes
        from ...graph.edit import clone

        settle(model)
        # a graph that is not whole has no copy; it is told where it is first run
        with contextlib.suppress(RuntimeError):
            self.graphs[f"{number}-{name}.onnx"] = clone(model)
        return weight_bytes(model)


@contextlib.contextmanager
def run_beside(out: Path, progress: Progress | None) -> Iterator[Run]:
    """A run whose folder is a hidden sibling of ``out``; the folder is gone afterwards."""
    with work_folder(real_place(out)) as folder:
        yield Run(folder, progress or Silent())


def keep(run: Run, destination: Path) -> Path:
    """Write the graphs of a run to ``destination``, or to the next free ``destination-2`` ...; the path they have now."""
    import onnx_ir

    for name, model in run.graphs.items():
        onnx_ir.save(model, run.folder / name)  # here first: weights beside them are found from here
    place = _free(destination)
    place.mkdir()
    for path in sorted(run.folder.iterdir()):
        if path.name[:2].isdigit():  # those graphs, and 00-weights.data
            path.rename(place / path.name)
    return place


@contextlib.contextmanager
def not_lost(draft: Path, out: Path) -> Iterator[None]:
    """Where the bundle cannot be put at ``out`` after all, the verified draft is kept, and the error says where."""
    try:
        yield
    except UserMistake as mistake:
        kept = _keep_bundle(draft, out)
        if kept is None:
            raise
        raise UserMistake(
            mistake.what,
            found=mistake.found,
            expected=mistake.expected,
            because=f"{out} changed, or the disk filled up, while the export ran; the finished bundle, without its report, is {kept}",
            attempt=f"edgesmith test {shlex.quote(str(kept))}, and move it to where you want it",
        ) from mistake


def _keep_bundle(draft: Path, out: Path) -> Path | None:
    """Where a finished bundle is that could not be put at ``out``: beside it, else with the temporary files; None if nowhere.

    Moved within its folder it needs no room, so a full disk does not lose it.
    """
    with contextlib.suppress(OSError):
        place = _free(real_place(out))
        draft.rename(place)
        return place
    with contextlib.suppress(OSError):
        return Path(shutil.copytree(draft, Path(tempfile.mkdtemp(prefix="edgesmith-kept-"), out.name)))
    return None


def _free(place: Path) -> Path:
    """``place``, or the first of ``NAME-2.edge`` ... at which nothing is."""
    path, number = place, 1
    while os.path.lexists(path):
        number += 1
        path = place.with_name(f"{place.stem}-{number}{place.suffix}")
    return path
