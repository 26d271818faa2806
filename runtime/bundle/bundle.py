"""The bundle: a folder ``<name>.edge`` with everything a device needs, and a manifest that vouches for it.

    manifest.json  model.onnx (+ external data; or several graphs)  golden.npz  labels.json  engines/  report.html

It exists whole or not at all (publish.py), and a reader sees the old one or the new one while it is replaced; it is opened only
if its schema, names, sizes and hashes hold (vet.py). Engines that the runtime builds on the device are kept in ``engines/`` beside it.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BundleRefused, UserMistake
from ..ground.places import real_place
from ..ground.regular import read_regular
from ..ground.version import __version__
from ..pictures.contract import ImageContract
from ..tasks.known import task_of
from .golden import GOLDEN, Golden, read_golden
from .graphs import EngineFile, GraphSpec, check_pictures, read_graphs
from .kept import Held, State, changed, check_same, place_of, states, was_moved, weights_of
from .manifest import MANIFEST, SCHEMA, TensorSpec, read_manifest
from .vet import SIGNATURE, check_folder, check_name

if TYPE_CHECKING:
    from .publish import Content  # what writes bundles is imported by those who write one

MAX_LABELS_BYTES = 64 * 1024 * 1024
OPEN_TRIES = 5  # while somebody replaces it


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; the properties read the manifest. What is read later is of this bundle, or refused (kept.py)."""

    path: Path  # absolute
    manifest: dict[str, Any]
    seen: Mapping[str, State] = field(
        default_factory=dict, compare=False, repr=False
    )  # of its files when they were hashed

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def task(self) -> str:
        return str(self.manifest["task"])

    @property
    def target(self) -> str:
        return str(self.manifest["target"])

    @property
    def precision(self) -> str:
        return str(self.manifest["precision"])

    @cached_property
    def graphs(self) -> dict[str, GraphSpec]:
        """The graphs by name; most bundles have one."""
        return read_graphs(self.path, self.manifest)

    @property
    def main(self) -> GraphSpec:
        """The first graph, or the only one."""
        return next(iter(self.graphs.values()))

    @property
    def graph(self) -> Path:
        return self.main.path

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.main.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.main.outputs

    @property
    def picture_input(self) -> TensorSpec:
        """The one input of the one graph; UserMistake for a bundle that pictures alone do not feed."""
        if len(self.graphs) > 1 or len(self.inputs) != 1:
            told = (f"{one.name}({', '.join(spec.name for spec in one.inputs)})" for one in self.graphs.values())
            raise UserMistake(
                f"{self.name} does not take pictures alone",
                found=f"{len(self.graphs)} graphs: " + ", ".join(told),
                expected="one graph with one input",
                attempt="edgesmith.load(bundle).run({name: array}, graph=name)",
            )
        return self.inputs[0]

    @property
    def engines(self) -> tuple[EngineFile, ...]:
        """The engines that travel in the bundle (those built on this device are not among them)."""
        return self.main.engines

    @cached_property  # a session asks for every batch
    def contract(self) -> ImageContract:
        if not isinstance(self.manifest.get("input_contract"), dict):
            raise BundleRefused(f"{self.path} takes no pictures", found="no input_contract in the manifest")
        return ImageContract.from_json(self.manifest["input_contract"])

    @cached_property  # a session asks for every batch
    def labels(self) -> list[str]:
        """The names of the classes, in the order of the logits."""
        name = check_name(self.labels_file)
        if name not in self.manifest["files"]:
            raise BundleRefused(
                f"{self.path} does not name its classes",
                found=f"no file {name}",
                expected="a JSON list of names, one a class",
                attempt="export it again, with --labels",
            )
        try:
            with self.reading(name):
                labels = json.loads(read_regular(self.path / name, MAX_LABELS_BYTES).decode())
        except (OSError, ValueError, RecursionError) as error:
            raise BundleRefused(f"{self.path} has no readable labels", found=f"{name}: {error}") from None
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise BundleRefused(f"{self.path} has no readable labels", found=name, expected="a JSON list of names")
        return labels

    @property
    def labels_file(self) -> str:
        return str(self.manifest.get("labels") or "labels.json")

    @cached_property
    def _golden_file(self) -> Held | None:
        if GOLDEN not in self.manifest["files"]:
            return None
        with self.reading(GOLDEN):
            return Held(self.path / GOLDEN)

    @property
    def golden(self) -> Golden:
        """Inputs and what PyTorch made of them, for the self-test."""
        inputs = task_of(self.task).golden_inputs(self)
        held = self._golden_file
        path = held.path if held else self.path / GOLDEN
        golden = read_golden(path, inputs, task_of(self.task).golden_outputs(self))
        if held and not held.is_untouched():
            raise changed(self.path, GOLDEN)
        return golden

    @cached_property
    def _task_files(self) -> dict[str, Held]:
        names = [check_name(name) for name in task_of(self.task).kept_files(self)]
        with self.reading(*names):
            return {name: Held(self.path / name) for name in names}

    def held(self, name: str, most_bytes: int) -> bytes:
        """The content of a file that the task reads while a session is open."""
        file = self._task_files[name]
        data = read_regular(file.path, most_bytes)
        if not file.is_untouched():
            raise changed(self.path, name)
        return data

    def keep(self) -> None:
        """Read, or hold open, what a session needs later on beside its graph. BundleRefused where that cannot be read."""
        _ = self._golden_file, self._task_files
        self.keep_words()

    def keep_words(self) -> None:
        """Read what a session needs before and behind its graph: what becomes of a picture, and the names of the classes."""
        if self.labels_file in self.manifest["files"]:
            _ = self.labels
        if self.manifest.get("input_contract") is not None:
            _ = self.contract

    @contextmanager
    def reading(self, *names: str) -> Iterator[None]:
        """What is read inside is what was checked: BundleRefused before where it is not, and after if it was replaced meanwhile."""
        place = place_of(self.path)
        check_same(self.path, names, self.seen, self.manifest)
        try:
            yield
        except FileNotFoundError:
            raise changed(self.path, ", ".join(names)) from None
        check_same(self.path, names, self.seen, self.manifest)
        if was_moved(place, place_of(self.path)):  # away and back: what was read may be another's
            raise changed(self.path, ", ".join(names))

    def files_of(self, graph: GraphSpec) -> tuple[str, list[str]]:
        """The file of a graph and those with its external weights, by their names in the bundle."""
        return graph.path.relative_to(self.path).as_posix(), weights_of(graph.path, self.manifest["files"])


def open_bundle(path: str | os.PathLike[str], check: bool = True) -> Bundle:
    """Open a bundle. ``check=False`` skips the hashes (for a start in milliseconds), never the names and the paths.

    Raises:
        BundleRefused: it is not there, not a bundle, of a newer schema, damaged, or points outside of itself.
    """
    folder = Path(path)
    if "\0" in str(folder):
        raise BundleRefused("no bundle can lie there", found=f"a path with a zero byte: {str(folder)!r:.80}")
    for left in reversed(range(OPEN_TRIES)):
        before = None
        try:
            if not folder.is_dir():
                from .publish import pick_up

                pick_up(Path(os.path.realpath(folder)))
            before = _identity(folder)
            bundle = _open(folder, check)
        except BundleRefused:
            if not left or _identity(folder) == before:
                raise
        except OSError as error:
            if not left or (before is not None and _identity(folder) == before):
                raise BundleRefused(
                    f"cannot open the bundle {folder}",
                    found=f"{error.strerror or error}: {error.filename or folder}",
                    because="it cannot be read, or was moved away meanwhile",
                    attempt="a shorter name"
                    if error.errno == errno.ENAMETOOLONG
                    else "look at its permissions, or try again when nobody writes to it",
                ) from error
        else:
            if _identity(folder) == before:
                return bundle
    raise BundleRefused(
        f"cannot open the bundle {folder}",
        found="another one each time: it is being replaced again and again",
        attempt="wait for the program that writes it",
    )


def _identity(folder: Path) -> tuple[int, ...] | None:
    """Differs when another bundle has come to this place, even one that got the number of a deleted folder."""
    try:
        ours, manifest = folder.stat(), (folder / MANIFEST).stat()
    except OSError:
        return None
    return (ours.st_dev, ours.st_ino, manifest.st_ino, manifest.st_mtime_ns, manifest.st_size)


def _open(folder: Path, check: bool) -> Bundle:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing at that path"
        raise BundleRefused(
            f"cannot open the bundle {folder}",
            found=found,
            expected="a folder written by edgesmith export",
            attempt="give the folder itself, such as smt_tiny.edge",
        )
    manifest = read_manifest(folder)
    seen = states(folder, map(check_name, manifest["files"]))
    check_folder(folder, manifest, hashes=check)
    bundle = Bundle(folder.absolute(), manifest, seen)
    graphs = bundle.graphs  # a spec that cannot be read is refused now, not at the first picture
    if manifest.get("input_contract") is not None:
        check_pictures(folder, graphs, bundle.contract)
    task_of(bundle.task).check_bundle(bundle)
    return bundle


def write_bundle(
    out: str | os.PathLike[str], files: Mapping[str, Content], manifest: Mapping[str, Any], overwrite: bool = False
) -> Bundle:
    """Write a bundle: ``files`` maps names in it to bytes, to a file to copy or as publish.py has them; schema, version and hashes are added.

    Raises:
        UserMistake: the place is taken, or it cannot be written (permissions, disk full). Nothing is left behind.
    """
    from .publish import check_place, publish, writing

    place = real_place(out)
    head = {"schema": SCHEMA, "edgesmith": __version__}
    with writing(place):
        check_place(place, overwrite)
        publish(place, {**head, **{key: value for key, value in manifest.items() if key not in head}}, files)
    return open_bundle(out, check=False)


def update_bundle(
    bundle: Bundle, files: Mapping[str, Content | None], manifest_changes: Mapping[str, Any] | None = None
) -> Bundle:
    """Add, replace or (with None) remove files and change manifest keys, all at once or not at all.

    A link that led to the bundle leads to the new one. What is returned has the path that both have.

    Raises:
        UserMistake: the bundle is signed, or cannot be written (permissions, disk full); it is as it was.
    """
    from .publish import publish, writing

    place = Path(os.path.realpath(bundle.path))
    with writing(place):
        old = open_bundle(place, check=False).manifest
        if os.path.lexists(place / SIGNATURE):
            raise UserMistake(
                f"{place.name} is signed, and stays as it is",
                because="a bundle that is changed is not the one that was signed",
                attempt=f"delete its {SIGNATURE}, and sign it again afterwards",
            )
        publish(place, {**old, **(manifest_changes or {}), "schema": SCHEMA}, files, old)
    return open_bundle(place, check=False)
