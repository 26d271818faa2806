"""A clock that jumps, forward or back, takes nothing from a living process, and makes no figure wrong."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from small_bundle import write_small_bundle

from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.commands.device.health import Health
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.ground import scratch
from edgesmith.runtime.ground.files import replacing
from edgesmith.runtime.ground.scratch import alone, sweep, work_folder

YEARS = 10 * 365 * 24 * 3600
JUMPS = [-YEARS, YEARS]


def jump(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    there = time.time()
    monkeypatch.setattr(time, "time", lambda: there + seconds)


def stamp(folder: Path, seconds: float) -> None:
    """All in a folder was touched then."""
    then = time.time() + seconds
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (then, then))


@pytest.mark.parametrize("seconds", JUMPS)
def test_what_a_living_process_works_in_stays(tmp_path, monkeypatch, seconds):
    with work_folder(tmp_path / "a.edge") as work, replacing(tmp_path / "a.json") as file, alone(tmp_path / "a.edge"):
        file.write(b"whole")
        stamp(tmp_path, -seconds)
        jump(monkeypatch, seconds)
        sweep(tmp_path)
        assert work.is_dir() and len(list(tmp_path.iterdir())) == 3
    assert (tmp_path / "a.json").read_bytes() == b"whole" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("seconds", JUMPS)
def test_what_a_killed_one_left_goes_however_young_or_old_it_says_it_is(tmp_path, monkeypatch, seconds):
    dead = tmp_path / ".a.edge.abcdefgh.work"
    dead.mkdir()
    (dead / "lock").touch()
    (tmp_path / "a.abcdefgh.edgesmith.part").touch()
    stamp(tmp_path, seconds)
    jump(monkeypatch, -seconds)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seconds", JUMPS)
def test_who_waits_for_a_lock_waits_as_long_as_it_is_held(tmp_path, monkeypatch, seconds):
    waits, free = threading.Event(), threading.Event()

    def hold() -> None:
        with alone(tmp_path / "a.edge"):
            held.set()
            assert waits.wait(60)
            jump(monkeypatch, seconds)
            free.wait(60)

    held, told = threading.Event(), []
    monkeypatch.setattr(scratch, "LOOK_EVERY_S", 0.001)
    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(60)

    def waiting(waited_s: float) -> None:
        told.append(waited_s)
        waits.set()
        if len(told) > 20:
            free.set()

    with alone(tmp_path / "a.edge", waiting=waiting):
        pass
    holder.join()
    assert told == sorted(told) and 0 <= told[0] and told[-1] < scratch.WAIT_S


@pytest.mark.parametrize("seconds", JUMPS)
def test_ages_and_uptime_of_a_run_do_not_jump(monkeypatch, seconds):
    health = Health("tiny", clock=iter([100.0, 101.0, 103.0]).__next__)  # of the monotonic clock
    health.answered(1.0, 1.0)
    jump(monkeypatch, seconds)
    told = health.to_json()
    assert (told["since_last_frame_s"], told["uptime_s"], told["state"]) == (2.0, 3.0, "running")


@pytest.mark.parametrize("seconds", JUMPS)
def test_a_bundle_is_the_same_at_any_time(tmp_path, monkeypatch, seconds):
    bundle = open_bundle(write_small_bundle(tmp_path / "small.edge"))
    jump(monkeypatch, seconds)
    with bundle.reading(*bundle.manifest["files"]):
        assert open_bundle(bundle.path) == bundle


def test_nobody_signs_by_a_clock_that_was_never_set(tmp_path, monkeypatch):
    """A board without a battery begins in 1970: no device would take what is signed so after anything else."""
    pytest.importorskip("cryptography")
    from edgesmith.runtime.bundle.trust.keyring import new_key, read_signer
    from edgesmith.runtime.bundle.trust.signature import sign

    new_key(tmp_path / "maker.key")
    signer, bundle = read_signer(tmp_path / "maker.key"), open_bundle(write_small_bundle(tmp_path / "small.edge"))
    monkeypatch.setattr(time, "time", lambda: 3600.0)
    with pytest.raises(UserMistake, match="1970-01-01") as error:
        sign(bundle.path, bundle.manifest, signer)
    assert "--counter" in error.value.attempt and not (bundle.path / "signature.json").exists()
    assert sign(bundle.path, bundle.manifest, signer, 7).counter == 7
