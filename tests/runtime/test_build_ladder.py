"""A build on a device: again with less, timings kept, how far it is, one builder at a time; the builder is played."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgesmith.runtime.backends import engine_build
from edgesmith.runtime.backends.gpu import ladder, timing_cache
from edgesmith.runtime.backends.gpu.cuda import Device
from edgesmith.runtime.backends.gpu.failures import BuildFailed, failure
from edgesmith.runtime.backends.gpu.memory import Memory, advice, free_for, is_short, read_memory
from edgesmith.runtime.backends.gpu.progress import Phases, Watch, spoken
from edgesmith.runtime.errors import EdgesmithError

GIB = 1 << 30
DEVICE = Device("sm87", 16, 8 * GIB, 1 * GIB, 12060, 12060, integrated=True)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGESMITH_CACHE", raising=False)


class Builder:
    """Plays engine_build.build_engine: fails as often as it is told, and notes what it was asked for."""

    def __init__(self, failures: int, of_memory: bool = True, leaves: bytes = b"") -> None:
        self.failures, self.of_memory, self.leaves, self.asked = failures, of_memory, leaves, []

    def __call__(self, bundle, library, free_bytes, *, graph, level, dla_core, timings, watch):
        before, after = timings
        self.asked.append((free_bytes, level, before.read_bytes()))
        if self.leaves:
            after.write_bytes(self.leaves + str(len(self.asked)).encode())
        if len(self.asked) <= self.failures:
            error = BuildFailed("tensorrt could not build an engine for tiny", found="out of memory", attempt="swap")
            error.of_memory = self.of_memory
            raise error
        return b"an engine"


def build(bundle, monkeypatch, builder):
    monkeypatch.setattr(ladder, "build_engine", builder)
    monkeypatch.setattr(ladder, "read_memory", lambda: Memory(available_bytes=6 * GIB))
    return ladder.build_on_device(bundle, "tensorrt", "10.3.0", DEVICE, bundle.main)


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_each_try_asks_for_less(tiny, monkeypatch, caplog, failures):
    builder = Builder(failures)
    engine, seconds = build(tiny, monkeypatch, builder)
    assert engine == b"an engine" and seconds >= 0
    asked = [(6 * GIB, None, b""), (6 * GIB, 2, b""), (3 * GIB, 2, b"")]
    assert builder.asked == asked[: failures + 1]
    assert caplog.text.count("again, with") == failures


def test_the_last_failure_says_what_was_tried(tiny, monkeypatch):
    with pytest.raises(BuildFailed, match=r"after 3 tries.*all tactics.*level 2.*half the workspace(.|\n)*swap"):
        build(tiny, monkeypatch, Builder(3))


def test_what_is_no_lack_of_memory_is_not_tried_again(tiny, monkeypatch):
    builder = Builder(1, of_memory=False)
    with pytest.raises(BuildFailed, match="out of memory"):
        build(tiny, monkeypatch, builder)
    assert len(builder.asked) == 1


def test_timings_outlive_a_failed_build_and_are_believed_of_this_account_and_version_alone(tiny, monkeypatch):
    builder = Builder(2, leaves=b"tactics ")
    build(tiny, monkeypatch, builder)
    assert [before for _, _, before in builder.asked] == [b"", b"tactics 1", b"tactics 2"]
    path = timing_cache.timing_file("tensorrt", "10.3.0", DEVICE)
    assert timing_cache.load_timings(path) == b"tactics 3" and path.stat().st_mode & 0o077 == 0
    other = timing_cache.timing_file("tensorrt", "10.4.0", DEVICE)
    assert other != path and timing_cache.load_timings(other) == b""
    other.write_bytes(path.read_bytes())
    assert timing_cache.load_timings(other) == b"", "its name is sealed too"


@pytest.mark.parametrize("damage", ["a byte", "cut", "empty", "another mark", "a link"])
def test_timings_that_are_damaged_are_measured_again(tmp_path, damage):
    path = timing_cache.timing_file("tensorrt", "10.3.0", DEVICE)
    timing_cache.save_timings(path, b"tactics" * 20)
    content = bytearray(path.read_bytes())
    if damage == "a byte":
        content[-1] ^= 1
    elif damage == "cut":
        content = content[:20]
    elif damage == "empty":
        content = bytearray()
    elif damage == "another mark":
        content[0] ^= 1
    path.unlink()
    if damage == "a link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes(content)
    assert timing_cache.load_timings(path) == b""


def test_an_account_without_a_home_builds_without_timings(tiny, monkeypatch):
    monkeypatch.setattr(timing_cache, "user_cache", lambda: raise_(RuntimeError("no home")))
    builder = Builder(0, leaves=b"tactics")
    assert build(tiny, monkeypatch, builder)[0] == b"an engine" and builder.asked[0][2] == b""


def test_a_builder_in_another_process_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "TOLD_EVERY_S", 0.0)
    place = tmp_path / "engines" / "building-slot"
    code = f"""
import sys
from pathlib import Path
from edgesmith.runtime.backends.gpu.ladder import only_builder
with only_builder(Path({str(place)!r}), "tiny") as waited:
    print(waited, flush=True)
    sys.stdin.read()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"False\n"

    def said_once(*words):
        if not other.stdin.closed:
            other.stdin.close()  # it ends, after we have said that we wait

    monkeypatch.setattr(ladder.log, "warning", said_once)
    with ladder.only_builder(place, "tiny") as waited:
        assert waited is True and other.wait() == 0
    other.stdout.close()
    with ladder.only_builder(place, "tiny") as waited:
        assert waited is False
    assert list(place.parent.iterdir()) == [], "no lock is left"


def test_a_builder_that_hangs_is_named_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "WAIT_S", 0.0)
    place = tmp_path / "building-slot"
    refused = pytest.raises(EdgesmithError, match=r"building the engine of tiny(.|\n)*lock")
    with ladder.only_builder(place, "tiny"), refused, ladder.only_builder(place, "tiny"):
        pass


def test_where_no_lock_can_be_made_the_build_goes_on(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with ladder.only_builder(tmp_path / "file" / "building-slot", "tiny") as waited:
        assert waited is False
    with ladder.only_builder(None, "tiny") as waited:
        assert waited is False


def proc(tmp_path: Path, swaps: str = "", desktop: str = "") -> Path:
    (tmp_path / "meminfo").write_text("MemTotal:  7990272 kB\nMemAvailable:    4000000 kB\nCached: 5 kB\n")
    (tmp_path / "swaps").write_text("Filename Type Size Used Priority\n" + swaps)
    for number, name in (("1", "systemd"), ("77", desktop)):
        (tmp_path / number).mkdir()
        (tmp_path / number / "comm").write_text(f"{name}\n")
    (tmp_path / "net").mkdir()
    return tmp_path


def test_memory_is_what_the_kernel_gives_back(tmp_path):
    zram = "/dev/zram0 partition 500000 0 5\n/dev/zram1 partition 500000 0 5\n"
    found = read_memory(proc(tmp_path, zram + "/swapfile file 8000000 0 -2\n", "gnome-shell"))
    assert found == Memory(4_096_000_000, 8_192_000_000, 1_024_000_000, "gnome-shell")
    assert free_for(DEVICE, found) == 4_096_000_000, "of a Jetson"
    card = Device("sm89", 128, 24 * GIB, 20 * GIB, 1, 1)
    assert free_for(card, found) == 20 * GIB, "a card has its own"
    assert free_for(DEVICE, Memory()) == 1 * GIB, "where the kernel tells nothing"
    assert read_memory(tmp_path / "nowhere") == Memory()


def test_advice_is_for_the_machine_that_it_is():
    assert "no swap" in advice(Memory()) and "desktop" not in advice(Memory())
    assert "are zram, which lies in memory itself" in advice(Memory(zram_bytes=4 << 30))
    enough = advice(Memory(swap_bytes=8 << 30, desktop="Xorg"))
    assert "stop the desktop (Xorg)" in enough and "swap" not in enough
    assert advice(Memory(), "NvMapMemAllocInternalTagged: error 12").startswith("start the device anew")


@pytest.mark.parametrize(
    ("said", "short"),
    [
        ("[virtualMemoryBuffer.cpp::resizePhysical::140] Error Code 2: OutOfMemory (Requested size was 16777216 bytes.)", True),
        ("NvMapMemAllocInternalTagged: 1075072515 error 12", True),
        ("Error Code 10: Internal Error (Could not find any implementation for node /block/MatMul.)", True),
        ("Error Code 1: Cuda Runtime (an illegal memory access was encountered)", False),
        ("Error Code 4: API Usage Error (Attribute axis of NoSuch is not valid)", False),
    ],
)  # fmt: skip
def test_a_lack_of_memory_is_known_by_its_words(said, short):
    assert is_short(said) is short
    error = failure(lambda stage: f"no {stage}", 1, {"event": "failed", "stage": "build", "errors": [said]}, [], None)
    assert isinstance(error, BuildFailed) and error.of_memory is short and error.found == said
    parsed = failure(lambda stage: f"no {stage}", 1, {"event": "failed", "stage": "parse", "errors": [said]}, [], None)
    assert isinstance(parsed, BuildFailed) and not parsed.of_memory, "a parser is not asked again with less"


def test_memory_in_pieces_is_told_apart_though_the_builder_only_says_that_it_failed():
    tail = ["NvMapMemAllocInternalTagged: 1075072515 error 12", "NvMapMemHandleAlloc: error 12"]
    error = failure(str, 1, {"stage": "build", "errors": ["the builder gave no reason"]}, tail, None)
    assert error.of_memory and "large pieces" in error.because and "start the device anew" in error.attempt


def test_a_builder_that_the_system_killed_lacked_memory_and_one_that_was_too_slow_did_not():
    assert failure(str, -9, {}, [], None).of_memory and not failure(str, -9, {}, [], 5.0).of_memory
    assert not failure(str, -11, {}, [], None).of_memory


def test_the_share_of_a_build_is_that_of_its_outermost_phase():
    phases = Phases()
    assert phases.share is None
    phases.start("Building", "", 4)
    assert phases.share == 0
    phases.start("Tactics", "Building", 2)
    phases.start("Layer", "Tactics", 2)
    phases.reached("Layer", 1)
    assert phases.share == pytest.approx(1 / 4 * 1 / 2 * 1 / 2)
    phases.reached("Tactics", 1)
    assert phases.share == pytest.approx(1 / 4 * 1 / 2)
    phases.reached("Building", 2)
    assert phases.share == 1 / 2
    phases.start("Tactics", "Building", 2)  # anew within the third step
    phases.reached("Tactics", 2)
    assert phases.share == 3 / 4
    phases.reached("Building", 1)
    assert phases.share == 3 / 4, "never back"
    phases.reached("nobody's", 1)
    phases.start("empty", None, 0)
    phases.start("itself", "itself", 3)
    phases.reached("itself", 1)
    phases.reached("Building", 9)
    assert phases.share == 1 and phases.steps("Tactics") == 2 and phases.steps("nobody's") == 0


def test_what_is_known_of_a_build_is_said():
    heard = []
    watch = Watch(last_s=310.0, tell=heard.append)
    assert str(watch) == "0 s; last time it took 5 min 10 s"
    watch.heard(0.42)
    assert str(watch) == "42% after 0 s; last time it took 5 min 10 s" and heard == [0.42]
    assert str(Watch()) == "0 s" and spoken(59.6) == "1 min 0 s" and spoken(3.2) == "3 s"
    Watch(tell=lambda share: raise_(BrokenPipeError())).heard(0.1)


def test_the_child_says_how_far_it_is_and_that_reaches_the_log(tiny, monkeypatch, tmp_path):
    """It tells of a quarter, then waits until the log has said so."""
    told, said = tmp_path / "told", []
    events = '{"event": "progress", "phase": "a", "step": 1, "steps": 4, "share": 0.25}'
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(told)!r}).exists(): time.sleep(0.01)"
    monkeypatch.setattr(engine_build, "STILL_EVERY_S", 0.05)
    monkeypatch.setattr(engine_build, "COMMAND", [sys.executable, "-c", f"print({events!r}, flush=True)\n{wait}"])

    def warned(text, watch):
        said.append(text % watch)
        if "25% after" in said[-1]:
            told.touch()

    monkeypatch.setattr(engine_build.log, "warning", warned)
    heard = []
    with pytest.raises(EdgesmithError, match="no reason"):
        engine_build.build_engine(tiny, "tensorrt", watch=Watch(tell=heard.append))
    assert heard == [0.25] and said[-1].startswith("still building the engine, 25% after")


def raise_(error: BaseException) -> None:
    raise error
