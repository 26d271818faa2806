"""Engines built on this device: the secret that seals them, which of them stay, and what killed processes leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from many_threads import all_at_once

from edgesmith.runtime.backends import engine_cache, engine_seal
from edgesmith.runtime.backends.gpu.cuda import Device
from edgesmith.runtime.errors import EdgesmithError

DEVICE = Device("sm87", 16, 64 << 30, 32 << 30, 12060, 12060)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGESMITH_CACHE", raising=False)


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "config" / "edgesmith" / "engine.seal"
    path.parent.mkdir(parents=True)
    return path


def saved(bundle, library="tensorrt", version="10.3.0", device=DEVICE, engine=b"engine"):
    return engine_cache.save_engine(bundle, engine_cache.engine_key(bundle, library, version, device), engine)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_secret_of_another_length_is_refused_and_stays(tiny, secret_file, caplog, size):
    """A full disk left an empty one: engines sealed with nothing, by anybody, were loaded."""
    secret_file.write_bytes(b"x" * size)
    with pytest.raises(EdgesmithError, match=f"engine.seal has {size} bytes(.|\n)*32 bytes(.|\n)*delete that file"):
        engine_seal.secret()
    key = engine_cache.engine_key(tiny, "tensorrt", "10.3.0", DEVICE)
    assert engine_cache.save_engine(tiny, key, b"engine") is None and not (tiny.path / "engines").exists()
    assert engine_cache.load_engine(tiny, key) is None and "are not believed" in caplog.text
    assert secret_file.read_bytes() == b"x" * size and engine_seal.seal_of(b"engine") == ""


def test_an_engine_sealed_with_nothing_is_not_loaded(tiny, secret_file):
    """As whoever makes a bundle would write it, for a device whose secret is empty."""
    import hashlib
    import hmac
    import json

    key = engine_cache.engine_key(tiny, "tensorrt", "10.3.0", DEVICE)
    header = json.dumps({"key": key, "sha256": hashlib.sha256(b"evil").hexdigest(), "bundle": str(tiny.path)}).encode()
    forged = b"EDGE" + len(header).to_bytes(4, "little") + header + hmac.digest(b"", header, "sha256") + b"evil"
    path = saved(tiny)
    path.write_bytes(forged)
    engine_seal.secret_path().write_bytes(b"")
    assert engine_cache.load_engine(tiny, key) is None


def test_a_secret_of_zeros_is_none(secret_file):
    """The length is right, but everybody knows it: what a power cut may leave of a file."""
    engine_seal.secret_path().parent.mkdir(parents=True, exist_ok=True)
    engine_seal.secret_path().write_bytes(bytes(32))
    with pytest.raises(engine_seal.NoSecret, match="zeros"):
        engine_seal.secret()


def test_many_first_users_have_one_secret():
    code = "import sys; sys.stdin.read(1); from edgesmith.runtime.backends.engine_seal import secret; print(secret().hex())"
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)
    ]
    for child in children:
        child.stdin.close()
    seen = {child.stdout.read() for child in children}
    for child in children:
        child.stdout.close()
        assert child.wait() == 0
    assert len(seen) == 1 and len(bytes.fromhex(seen.pop().decode())) == 32
    assert names(engine_seal.secret_path().parent) == ["engine.seal"]


def test_threads_that_make_the_secret_at_once_have_one():
    assert len(set(all_at_once(lambda _: engine_seal.secret()))) == 1


def test_nobody_reads_half_a_secret(monkeypatch):
    """Its name appears when all its bytes are on the disk."""
    seen = []
    synchronise = os.fsync

    def fsync(handle):
        seen.append((engine_seal.secret_path().exists(), os.fstat(handle).st_size))
        synchronise(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    engine_seal.secret()
    assert seen == [(False, 32)]


def test_a_disk_that_is_full_leaves_no_secret_and_says_so(tiny, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EdgesmithError, match="No space left"):
        engine_seal.secret()
    assert names(engine_seal.secret_path().parent) == []
    assert saved(tiny) is None


@pytest.mark.parametrize(
    "change",
    [{"version": "10.4.0"}, {"device": replace(DEVICE, driver=13000)}, {"device": replace(DEVICE, runtime=13000)}],
    ids=str,
)
def test_an_engine_of_a_newer_library_or_driver_takes_the_place_of_the_old_one(tiny, change):
    before, after = saved(tiny), saved(tiny, **change)
    assert before != after and names(tiny.path / "engines") == [after.name]


@pytest.mark.parametrize(
    "change", [{"library": "tensorrt_rtx"}, {"device": replace(DEVICE, arch="sm89")}, {"device": replace(DEVICE, multiprocessors=8)}],
    ids=str,
)  # fmt: skip
def test_engines_of_another_library_or_chip_stay(tiny, change):
    kept = {saved(tiny).name, saved(tiny, **change).name}
    assert len(kept) == 2 and set(names(tiny.path / "engines")) == kept


def test_modules_of_one_gpu_name_but_another_board_have_engines_of_their_own(tiny, monkeypatch):
    """Orin NX and AGX Orin say the same of their GPU; only the board tells them apart, and both engines stay."""
    kept = []
    for board in ("NVIDIA Jetson AGX Orin", "NVIDIA Jetson Orin NX", ""):
        monkeypatch.setattr(engine_cache, "_board", lambda board=board: board)
        kept.append((engine_cache.engine_key(tiny, "tensorrt", "10.3.0", DEVICE), saved(tiny).name))
    assert len({key.split("-")[0] for key, _ in kept}) == len({key.split("-")[1] for key, _ in kept}) == 3
    assert set(names(tiny.path / "engines")) == {name for _, name in kept}


@pytest.mark.parametrize(
    "change", [{"version": "10.3.1"}, {"device": replace(DEVICE, driver=1)}, {"device": replace(DEVICE, runtime=1)},
               {"device": replace(DEVICE, arch="sm89")}, {"device": replace(DEVICE, memory_bytes=1)}, {"library": "rtx"}],
    ids=str,
)  # fmt: skip
def test_an_engine_of_anything_else_is_not_found(tiny, change):
    same = {"library": "tensorrt", "version": "10.3.0", "device": DEVICE}
    assert engine_cache.engine_key(tiny, **same) != engine_cache.engine_key(tiny, **{**same, **change})
    less = replace(DEVICE, free_bytes=1)  # what others use at the moment makes no other engine
    assert engine_cache.engine_key(tiny, **same) == engine_cache.engine_key(tiny, **{**same, "device": less})


def test_what_an_older_build_of_ours_left_is_removed(tiny):
    folder = tiny.path / "engines"
    folder.mkdir()
    for end in ("engine", "k2j3h4g5.part", "partial"):
        (folder / f"device-{'ab' * 12}.{end}").write_bytes(b"of format 1, which no key finds any more")
    kept = saved(tiny)
    assert names(folder) == [kept.name]


def test_in_the_cache_of_the_user_bundles_of_one_name_live_beside_each_other(make_tiny, tmp_path):
    """Until one of them is gone."""
    made = []
    for version in ("v1", "v2"):
        bundle = make_tiny(files={"x.txt": version.encode()})
        (bundle.path / "engines").write_text("a file where the folder should be")
        place = tmp_path / version
        bundle.path.rename(place)
        made.append(replace(bundle, path=place))
    cache = tmp_path / "cache" / "edgesmith" / "engines"
    first, second = map(saved, made)
    assert set(names(cache)) == {first.name, second.name}
    assert saved(made[0], version="10.4.0").name in names(cache) and second.name in names(cache)
    assert first.name not in names(cache), "replaced by the newer one of the same bundle"
    (tmp_path / "v1").rename(tmp_path / "v3")  # gone from its place
    assert saved(made[1]).parent == cache and names(cache) == [second.name]


def test_what_a_killed_process_left_is_removed_by_the_next_and_that_of_a_living_one_stays(tiny, tmp_path):
    folder = tiny.path / "engines"
    folder.mkdir()
    code = f"""
import sys, time
from pathlib import Path
from edgesmith.runtime.ground.files import replacing
with replacing(Path({str(folder)!r}, "device-slot-key.engine"), to_disk=True) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""
    start = [sys.executable, "-c", code]
    killed, living = (subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2))
    try:
        for child in (killed, living):
            assert child.stdout.readline() == b"writing\n"
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert len(names(folder)) == 2
        key = engine_cache.engine_key(tiny, "tensorrt", "10.3.0", DEVICE)
        assert engine_cache.load_engine(tiny, key) is None and len(names(folder)) == 1
        kept = saved(tiny)
        assert len(names(folder)) == 2 and kept.name in names(folder), "the half of the living process is still there"
    finally:
        for child in (killed, living):
            child.stdin.close()
            child.stdout.close()
        living.wait()
    assert names(folder) == sorted([kept.name, "device-slot-key.engine"])
