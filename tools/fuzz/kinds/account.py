"""Signatures, keys, and the files that an account keeps: counters, secret, engines, timings, the last good bundle. What is damaged
is never believed: an engine or timings that were taken are the ones that were kept.
"""

from __future__ import annotations

import json
import os
import random as random_
import shutil
import sys
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from json_damage import damaged, damaged_text

NAME = "account"
BUNDLE, PLACE = "small.edge", "app.edge"
ENGINE, TIMINGS = b"engine " * 300, b"timings " * 300
JSON = ("signature.json", "counters.json", "current.json")


def prepare(folder: Path) -> None:
    from small_bundle import write_small_bundle

    from edgesmith.runtime.backends.engine_cache import save_engine
    from edgesmith.runtime.backends.gpu.timing_cache import save_timings
    from edgesmith.runtime.bundle.bundle import open_bundle
    from edgesmith.runtime.bundle.trust.believe import believe
    from edgesmith.runtime.bundle.trust.keyring import new_key, read_signer
    from edgesmith.runtime.bundle.trust.signature import sign
    from edgesmith.runtime.commands.device.last_good import keep

    place = folder / "account"
    (place / "keys").mkdir(parents=True)
    bundle = open_bundle(write_small_bundle(place / BUNDLE))
    with patch.dict(os.environ, _home(place)):
        new_key(place / "keys" / "maker.key")
        sign(bundle.path, bundle.manifest, read_signer(place / "keys" / "maker.key"), 5)
        believe(bundle, place / "keys")
        save_engine(bundle, _key(bundle), ENGINE)
        save_timings(_timings(), TIMINGS)
        with _standing_in(place):
            assert keep(bundle, PLACE)


def mutant(random: random_.Random, folder: Path, target: Path) -> Path:
    place = target / "account"
    shutil.copytree(folder / "account", place)
    files = [path for path in sorted(place.rglob("*")) if path.is_file() and _is_ours(path, place)]
    kinds = sorted({path.name.split("-")[0] for path in files})
    kind = random.choice(kinds)
    path = random.choice([one for one in files if one.name.split("-")[0] == kind])
    content = path.read_bytes()
    if path.name in JSON and random.random() < 0.7:
        content = json.dumps(damaged(random, json.loads(content), 1 + random.randrange(3))).encode()
    else:
        content = damaged_text(random, content)
    path.unlink()
    if random.random() < 0.05:
        path.symlink_to(
            random.choice(("/dev/null", "../nothing", ".", str(folder / "account" / BUNDLE / "manifest.json")))
        )
    elif random.random() < 0.05:
        path.mkdir()
    else:
        path.write_bytes(content)
    return place


def use(path: Path) -> None:
    from edgesmith.runtime.backends.engine_cache import load_engine
    from edgesmith.runtime.backends.gpu.timing_cache import load_timings
    from edgesmith.runtime.bundle.bundle import open_bundle
    from edgesmith.runtime.bundle.trust.believe import believe
    from edgesmith.runtime.bundle.trust.keyring import read_signer
    from edgesmith.runtime.commands.device.last_good import last_good
    from edgesmith.runtime.errors import EdgesmithError

    with patch.dict(os.environ, _home(path)), _standing_in(path):
        first: EdgesmithError | None = None
        try:
            bundle = open_bundle(path / BUNDLE)
        except EdgesmithError:  # a link or a folder where its signature was
            assert last_good(PLACE) is not None
            raise
        assert load_engine(bundle, _key(bundle)) in (None, ENGINE)
        assert load_timings(_timings()) in (b"", TIMINGS)
        good = last_good(PLACE)
        assert good is None or good.manifest == bundle.manifest
        for step in (lambda: believe(bundle, path / "keys"), lambda: read_signer(path / "keys" / "maker.key")):
            try:
                step()
            except EdgesmithError as error:
                first = first or error
        if first is not None:
            raise first
        if good is None:
            raise EdgesmithError("no last good bundle")


def _is_ours(path: Path, place: Path) -> bool:
    name = path.relative_to(place).as_posix()
    return (
        name.startswith(("keys/", "config/", "cache/timing/"))
        or path.name in ("signature.json", "current.json")
        or "device-" in name
    )


def _home(place: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(place / "config"), "EDGESMITH_CACHE": str(place / "cache")}


def _standing_in(place: Path):
    """The copy that counts is found by its place, and an account is copied from folder to folder here."""
    return patch("edgesmith.runtime.commands.device.last_good.folder_of", lambda _: place / "cache" / "good" / "app")


def _timings() -> Path | None:
    from fake_gpu import DEVICE

    from edgesmith.runtime.backends.gpu.timing_cache import timing_file

    return timing_file("tensorrt", "10.3.0", DEVICE)


def _key(bundle) -> str:
    from fake_gpu import DEVICE

    from edgesmith.runtime.backends.engine_cache import engine_key

    return engine_key(bundle, "tensorrt", "10.3.0", DEVICE)
