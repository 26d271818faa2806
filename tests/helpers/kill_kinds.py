"""What a device and a fleet write, each killed at any moment (kills.py, kill_steps.py): signatures, keys, repositories, last good bundles.

A kind has ``run(number)``, which writes the state of that number, ``found()``, the state that is there, whole, or an AssertionError,
``next_run()``, and ``expected``, the names that may lie in its folder afterwards; ``prepare(number)`` is not killed.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

BUILDER = """
import json, sys
from pathlib import Path
asked = json.loads(sys.stdin.read())
Path(asked["timings"][1]).write_bytes(b"timings " * 20_000)
Path(asked["engine"]).write_bytes(sys.argv[1].encode() + b" engine " * 100_000)
print(json.dumps({"event": "done", "version": "10.3.0", "parse_seconds": 0.0, "build_seconds": 0.0, "layers": 1}))
"""


class Kind:
    """What most of them share."""

    def __init__(self, folder: Path) -> None:
        from small_bundle import write_small_bundle

        self.folder = folder
        self.bundle = write_small_bundle(folder / "small.edge")
        self.expected = {"small.edge"}

    def prepare(self, number: int) -> None:
        """What comes before."""

    def run(self, number: int) -> None:
        raise NotImplementedError

    def found(self) -> str:
        raise NotImplementedError

    def next_run(self) -> None:
        self.run(int(self.found()))


class Sign(Kind):
    """A signature in place of another one."""

    def __init__(self, folder: Path) -> None:
        from edgesmith.runtime.bundle.trust.keyring import new_key, read_keyring, read_signer

        super().__init__(folder)
        new_key(folder / "maker.key")
        self.signer, self.keys = read_signer(folder / "maker.key"), read_keyring(folder / "maker.pub")
        self.expected |= {"maker.key", "maker.pub"}

    def run(self, number: int) -> None:
        from edgesmith.runtime.bundle.bundle import open_bundle
        from edgesmith.runtime.bundle.trust.signature import sign

        opened = open_bundle(self.bundle)
        sign(opened.path, opened.manifest, self.signer, number)

    def found(self) -> str:
        from edgesmith.runtime.bundle.bundle import open_bundle
        from edgesmith.runtime.bundle.trust.signature import signed_by

        opened = open_bundle(self.bundle)
        return str(signed_by(opened.path, opened.manifest, self.keys)[0].counter)


class NewKey(Kind):
    """A key where there was none: nothing, the private half, from which the other can be had, or both."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.expected, self.newest = folder, set[str](), 0

    def run(self, number: int) -> None:
        from edgesmith.runtime.bundle.trust.keyring import new_key

        new_key(self.folder / f"{number}.key")

    def found(self) -> str:
        from edgesmith.runtime.bundle.trust.keyring import read_keyring, read_signer

        names = {path.name for path in self.folder.iterdir() if not path.name.endswith((".part", ".lock"))}
        self.expected = names
        private = {name.removesuffix(".key") for name in names if name.endswith(".key")}
        public = {name.removesuffix(".pub") for name in names if name.endswith(".pub")}
        assert public <= private
        for name in private:
            signer = read_signer(self.folder / f"{name}.key")
            assert name not in public or signer.key in read_keyring(self.folder / f"{name}.pub")
        return max(private, key=int, default="0")

    def next_run(self) -> None:
        from edgesmith.runtime.bundle.trust.keyring import new_key

        new_key(self.folder / "999999.key")
        for end in ("key", "pub"):
            (self.folder / f"999999.{end}").unlink()


class Counters(Kind):
    """The counter of what was taken."""

    def __init__(self, folder: Path) -> None:
        os.environ["XDG_CONFIG_HOME"] = str(folder)
        self.expected = {"edgesmith"}

    def run(self, number: int) -> None:
        from edgesmith.runtime.bundle.trust.counters import take
        from edgesmith.runtime.bundle.trust.signature import Signature

        take(Signature("small", number, "00" * 32, b"k" * 32, b""))

    def found(self) -> str:
        from edgesmith.runtime.bundle.trust.counters import _read, counters_path

        return str(next(iter(_read(counters_path()).values()), 0))


class Secret(Kind):
    """The secret of an account that had none."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.newest, self.expected = folder, 0, set[str]()

    def run(self, number: int) -> None:
        from edgesmith.runtime.backends.engine_seal import secret

        os.environ["XDG_CONFIG_HOME"] = str(self.folder / str(number))
        self.newest = number
        secret()

    def found(self) -> str:
        there = [path.parents[1].name for path in self.folder.glob("*/edgesmith/engine.seal")]
        for name in there:
            assert len((self.folder / name / "edgesmith" / "engine.seal").read_bytes()) == 32
        self.expected = {path.name for path in self.folder.iterdir()}
        return max(there, key=int, default="0")

    def next_run(self) -> None:
        for path in self.folder.iterdir():
            self.run(int(path.name))


class Triton(Kind):
    """A model repository in place of another one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.repository = folder / "repository"
        self.expected |= {"repository"}
        self.files: set[str] = set()

    def run(self, number: int) -> None:
        from edgesmith.runtime.commands.triton.command import write
        from edgesmith.runtime.commands.triton.options import Asked

        write(Asked((str(self.bundle),), str(self.repository), threads=number, force=True))

    def found(self) -> str:
        files = {path.relative_to(self.repository).as_posix(): path for path in self.repository.rglob("*.*")}
        self.files = self.files or set(files)
        assert set(files) == self.files
        text = "".join(path.read_text() for name, path in files.items() if name.endswith("config.pbtxt"))
        (threads,) = set(re.findall(r'key: "threads"\s*value \{\s*string_value: "(\d+)"', text))
        for name in ("small_prepare/1/bundle.edge/manifest.json", "small_engine/1/model.onnx"):
            assert (self.repository / name).read_bytes() == (self.bundle / Path(name).name).read_bytes()
        return str(threads)


class LastGood(Kind):
    """The bundle that a rollback would take, in place of another one."""

    def __init__(self, folder: Path) -> None:
        os.environ["EDGESMITH_CACHE"] = str(folder / "cache")
        self.folder, self.place, self.expected = folder, folder / "app.edge", {"cache"}

    def prepare(self, number: int) -> None:
        from small_bundle import write_small_bundle

        write_small_bundle(self.folder / f"{number}.edge", name=str(number))
        self.expected.add(f"{number}.edge")

    def run(self, number: int) -> None:
        from edgesmith.runtime.bundle.bundle import open_bundle
        from edgesmith.runtime.commands.device.last_good import keep

        keep(open_bundle(self.folder / f"{number}.edge"), self.place)

    def found(self) -> str:
        from edgesmith.runtime.commands.device.last_good import last_good

        good = last_good(self.place)
        assert good is not None
        return good.name

    def next_run(self) -> None:
        from edgesmith.runtime.commands.device.last_good import folder_of

        super().next_run()
        assert len(list(folder_of(self.place).iterdir())) == 2, "the pointer and one copy"


class Build(Kind):
    """An engine built by a stand-in for the library, kept in the bundle, and the timings beside it."""

    def __init__(self, folder: Path) -> None:
        from fake_gpu import DEVICE

        from edgesmith.runtime.backends import engine_cache
        from edgesmith.runtime.bundle.bundle import open_bundle

        super().__init__(folder)
        self.opened, self.device = open_bundle(self.bundle), DEVICE
        self.key = engine_cache.engine_key(self.opened, "tensorrt", "10.3.0", DEVICE)
        engine_cache.secret()

    def run(self, number: int) -> None:
        from edgesmith.runtime.backends import engine_build, engine_cache
        from edgesmith.runtime.backends.gpu.ladder import build_on_device, only_builder

        engine_build.COMMAND = [sys.executable, "-S", "-E", "-c", BUILDER, str(number)]
        with only_builder(engine_cache.builder_place(self.key), "small"):
            engine, _ = build_on_device(self.opened, "tensorrt", "10.3.0", self.device, self.opened.main)
            engine_cache.save_engine(self.opened, self.key, engine)

    def found(self) -> str:
        from edgesmith.runtime.backends.engine_cache import load_engine
        from edgesmith.runtime.backends.gpu.timing_cache import load_timings, timing_file
        from edgesmith.runtime.bundle.bundle import open_bundle

        open_bundle(self.bundle)
        engine = load_engine(self.opened, self.key)
        assert engine is not None
        number, _, rest = engine.partition(b" ")
        assert rest == b"engine " + b" engine " * 99_999
        assert load_timings(timing_file("tensorrt", "10.3.0", self.device)) == b"timings " * 20_000
        return number.decode()


class Health(Kind):
    """The file of --health, written again and again."""

    def __init__(self, folder: Path) -> None:
        self.file, self.expected = folder / "health.json", {"health.json"}

    def run(self, number: int) -> None:
        from edgesmith.runtime.commands.device import health

        where, _ = health.place_of(str(self.file))
        told = health.Health("small")
        told.facts(rebuilds=number)
        health.Reporter(told, where).say()

    def found(self) -> str:
        return str(json.loads(self.file.read_bytes())["rebuilds"])


KINDS: dict[str, Any] = {
    "sign": Sign, "new key": NewKey, "counters": Counters, "secret": Secret, "triton": Triton, "last good": LastGood,
    "build": Build, "health": Health,
}  # fmt: skip
