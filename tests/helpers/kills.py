"""SIGKILL at a random moment, many times over: what is there afterwards, and what lies about after the next run.

    python tests/helpers/kills.py publish|export|int8|calibration|engines|sign|... KILLS [SEED]

A child of this process does the work and is killed; libraries are imported once, before. Every time what the child works on must
be the old one or the new one, whole, and after the beginning of the next run nothing else may lie there or among the temporary
files. Prints one JSON object: how many were killed before they were done, how often the old and the new one was found, and what
was left lying, by the run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from kill_kinds import KINDS as OF_A_FLEET

KEY = "0123456789ab-" + "0" * 64  # of an engine


class Publish:
    """A bundle of some megabytes replaced by another one; in turns as where two names cannot be exchanged."""

    def __init__(self, folder: Path) -> None:
        from small_bundle import write_small_bundle

        from edgesmith.runtime.bundle import publish

        self.place, self.publish, self.exchange, self.turns = folder / "small.edge", publish, publish.exchange, 0
        write_small_bundle(self.place, name="0")
        self.weights = np.random.default_rng(0).bytes(4_000_000)
        self.expected = {"small.edge"}

    def run(self, number: int) -> None:
        from edgesmith.runtime.bundle.bundle import open_bundle, write_bundle

        self.publish.exchange = self.exchange if number % 2 else lambda *_: False
        old = open_bundle(self.place)
        files: dict[str, Any] = {name: (old.path / name).read_bytes() for name in old.manifest["files"]}
        files["weights.bin"] = self.weights
        write_bundle(self.place, files, {**old.manifest, "name": str(number)}, overwrite=True)

    def found(self) -> str:
        from edgesmith.runtime.bundle.bundle import open_bundle

        return open_bundle(self.place).name

    def next_run(self) -> None:
        from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle

        update_bundle(open_bundle(self.place), {})


class Export:
    """A whole export over the bundle of the one before."""

    def __init__(self, folder: Path) -> None:
        import onnxscript  # noqa: F401
        import timm  # noqa: F401
        import torch  # noqa: F401

        from edgesmith.exporter import pipeline

        self.place, self.export = folder / "van.edge", pipeline.export
        self.settings: dict[str, Any] = {"num_classes": 2, "image_size": 32, "out": self.place, "overwrite": True}
        self.expected, self.name = {"van.edge"}, "van_b0"

    def run(self, number: int) -> None:
        self.export(self.name, seed=number, **self.settings)

    def found(self) -> str:
        from edgesmith.runtime.bundle.bundle import open_bundle

        return str(open_bundle(self.place).manifest["weights"]["seed"])

    def next_run(self) -> None:
        from edgesmith.runtime.ground.scratch import temporary_folder

        self.export(self.name, dry_run=True, **self.settings)
        with temporary_folder():
            pass


class Int8(Export):
    """The same in int8 with static scales: each run calibrates with another number of pictures, so none is found in the cache."""

    def __init__(self, folder: Path) -> None:
        from digit_pictures import WEIGHTS, write_npz

        data, name = write_npz(folder.parent / "digits.npz"), "vit_ggem_mnist"
        super().__init__(folder)
        weights = str(WEIGHTS / f"{name}.safetensors")
        self.settings = {"weights": weights, "out": self.place, "overwrite": True, "data": data, "precision": "int8", "int8_form": "static"}  # fmt: skip
        self.name, self.beside = name, self.place.with_suffix(".fp32.edge")  # its rival, where that is faster here
        self.expected.add(self.beside.name)

    def run(self, number: int) -> None:
        self.export(self.name, calib_images=8 + number, **self.settings)

    def found(self) -> str:
        from edgesmith.runtime.bundle.bundle import open_bundle

        if self.beside.exists():
            open_bundle(self.beside)
        return str(open_bundle(self.place).manifest["quantisation"]["data"]["images"] - 8)


class Calibration:
    """Statistics of random images; saved after every batch."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime  # noqa: F401
        from observed_graph import TENSORS, RandomImages, small_net

        self.folder, self.tensors, self.images, self.net = folder, TENSORS, RandomImages, small_net
        self.expected: set[str] = set()

    def run(self, number: int) -> None:
        from edgesmith.calibration.statistics.collect import collect

        collect(self.net(), self.tensors, self.images(64, seed=number), cache=self.folder, batch=2, save_every=1)

    def found(self) -> str:
        """Every file can be read to its end; ``new`` would be the number of a run that nobody can tell from here."""
        from edgesmith.calibration.statistics.cache import read

        files = list(self.folder.glob("*.npz"))
        for path in files:
            read(path)
        self.expected = {path.name for path in files}
        return "whole"

    def next_run(self) -> None:
        from edgesmith.calibration.statistics.cache import Cache
        from edgesmith.calibration.statistics.fingerprint import fingerprint

        Cache(fingerprint("statistics", self.net(), self.tensors, self.images(1)), self.folder).load(lambda _: None)


class Engines:
    """An engine of some megabytes, kept in the bundle."""

    def __init__(self, folder: Path) -> None:
        from small_bundle import write_small_bundle

        from edgesmith.runtime.backends import engine_cache
        from edgesmith.runtime.bundle.bundle import open_bundle

        self.bundle, self.cache = open_bundle(write_small_bundle(folder / "small.edge")), engine_cache
        self.engine = np.random.default_rng(0).bytes(8_000_000)
        self.expected = {"small.edge"}
        engine_cache.secret()

    def run(self, number: int) -> None:
        self.cache.save_engine(self.bundle, KEY, number.to_bytes(4, "little") + self.engine)

    def found(self) -> str:
        from edgesmith.runtime.bundle.bundle import open_bundle

        open_bundle(self.bundle.path)
        engine = self.cache.load_engine(self.bundle, KEY)
        assert engine is None or engine[4:] == self.engine
        return "0" if engine is None else str(int.from_bytes(engine[:4], "little"))

    def next_run(self) -> None:
        self.cache.save_engine(self.bundle, KEY, self.cache.load_engine(self.bundle, KEY) or self.engine)
        (engine,) = (self.bundle.path / "engines").iterdir()
        assert engine.suffix == ".engine", engine


KINDS: dict[str, Callable[[Path], Any]] = {
    "publish": Publish,
    "export": Export,
    "int8": Int8,
    "calibration": Calibration,
    "engines": Engines,
    **OF_A_FLEET,
}


def at_work(kind: str, folder: Path) -> tuple[Any, Path, Path]:
    """(the kind at work in a folder of its own, that folder, where its temporary files are)."""
    temporary, place = folder / "tmp", folder / "place"
    temporary.mkdir()
    place.mkdir()
    caches = {
        "EDGESMITH_CACHE": "cache",
        "XDG_CONFIG_HOME": "config",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
    }  # torch's stays
    os.environ |= {variable: str(folder / name) for variable, name in caches.items()}
    tempfile.tempdir = str(temporary)
    return KINDS[kind](place), place, temporary


def litter(folder: Path, place: Path, temporary: Path, expected: set[str]) -> list[str]:
    """What lies about: names that nobody expects, and half-written things wherever they are."""
    from edgesmith.runtime.ground import scratch

    found = [path for path in place.iterdir() if path.name not in expected] + list(temporary.iterdir())
    ours = (scratch.WORK, scratch.FILES)
    found += [path for path in folder.rglob(".*") if path.name.startswith(".engine.seal")]
    found += [path for path in folder.rglob("*") if any(one.fullmatch(path.name) for one in ours)]
    return sorted({path.relative_to(folder).as_posix() for path in found})


def in_a_child(action: Callable[[], object], after_s: float | None = None) -> int:
    """The exit code of a child that does it, killed after so many seconds."""
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            action()
            os._exit(0)
        except BaseException:  # noqa: BLE001 told by the code
            import traceback

            traceback.print_exc()
            os._exit(1)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kills(kind: str, count: int, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Kill ``count`` runs of a kind; AssertionError where what is found is neither the old one nor the new one."""
    work, place, temporary = at_work(kind, folder)
    prepare = getattr(work, "prepare", lambda number: None)
    moments = np.random.default_rng(seed)
    prepare(1)
    started = time.monotonic()
    assert in_a_child(lambda: work.run(1)) == 0
    takes_s = time.monotonic() - started
    codes, seen, last = Counter[int](), Counter[str](), work.found()
    left: dict[int, list[str]] = {}
    for number in range(2, count + 2):
        prepare(number)
        code = in_a_child(lambda number=number: work.run(number), moments.uniform(0, 1.1 * takes_s))  # type: ignore[misc]
        assert code in (0, -signal.SIGKILL)
        codes[code] += 1
        found = work.found()
        assert found in (last, str(number)), f"{found} after {last} and {number}"
        seen["old" if found == last else "new"] += 1
        work.next_run()
        last = work.found()
        if names := litter(folder, place, temporary, work.expected):
            left[number] = names
    return {"kind": kind, "killed": codes[-signal.SIGKILL], "done before": codes[0], **seen, "left": left}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as own:
        print(json.dumps(kills(sys.argv[1], int(sys.argv[2]), Path(own), *map(int, sys.argv[3:]))))
