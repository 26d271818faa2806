"""A bundle is replaced in one step: two writers, a reader meanwhile, kills at every step, links, and what is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgesmith.runtime.bundle import bundle as bundles
from edgesmith.runtime.bundle import publish
from edgesmith.runtime.bundle.bundle import Bundle, open_bundle, update_bundle, write_bundle
from edgesmith.runtime.errors import BundleRefused, UserMistake
from edgesmith.runtime.ground import scratch


def contents(bundle: Bundle) -> dict[str, bytes | Path]:
    return {name: (bundle.path / name).read_bytes() for name in bundle.manifest["files"]}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# A child of this program dies before step N of replacing, counting every call that changes a name. "two": as where names
# cannot be exchanged. One line a step: step, how the child ended, what the next reader found, what lay there after the next run.
DYING = """
import json, os, sys
from pathlib import Path
from edgesmith.runtime.bundle import publish
from edgesmith.runtime.bundle.bundle import open_bundle, write_bundle
from edgesmith.runtime.ground import scratch

place, ways = Path(sys.argv[1]), sys.argv[2]
if ways == "two":
    publish.exchange = lambda *_: False
manifest = open_bundle(place).manifest
files = {name: (place / name).read_bytes() for name in manifest["files"]}

def write(place, name):
    write_bundle(place, files, {**manifest, "name": name}, overwrite=True)

def die_before(last):
    step = [0]
    def counted(function):
        def dying(*words, **more):
            step[0] += 1
            if step[0] == last:
                os.kill(os.getpid(), 9)
            return function(*words, **more)
        return dying
    for name in ("replace", "rename", "unlink", "rmdir", "mkdir", "link"):
        setattr(os, name, counted(getattr(os, name)))
    publish.exchange, scratch._is_at = counted(publish.exchange), counted(scratch._is_at)
    write(place, "new")
    os._exit(0)

for last in range(1, 1000):
    child = os.fork() or die_before(last)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = open_bundle(place).name
    write(place.with_name("other.edge") if last % 2 else place, "old")
    print(json.dumps([last, ended, found, sorted(os.listdir(place.parent))]))
    write(place, "old")
    if ended == 0:
        break
"""


@pytest.mark.parametrize("ways", ["one", "two"])
def test_killed_before_any_step_the_old_or_the_new_one_is_there_and_nothing_else_after_the_next_run(tiny, ways):
    update_bundle(tiny, {}, {"name": "old"})
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(tiny.path), ways], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) > 10 and [ended for _, ended, *_ in rows] == [-9] * (len(rows) - 1) + [0]
    found = [name for _, _, name, _ in rows]
    assert found == sorted(found, reverse=True) and set(found) == {"old", "new"}
    assert [left for *_, left in rows if left != ["other.edge", "tiny.edge"]] == []


def test_the_only_copy_is_given_back_to_a_reader_and_never_swept(tiny, tmp_path):
    dead = tmp_path / ".tiny.edge.abcdefgh.work"
    dead.mkdir()
    (dead / "lock").touch()
    tiny.path.rename(dead / "old")
    scratch.sweep(tmp_path)
    with pytest.raises(BundleRefused, match="nothing at that path"):
        open_bundle(tmp_path / "tin.edge")
    assert open_bundle(tiny.path).name == "tiny" and names(tmp_path) == ["tiny.edge"]


def test_a_reader_waits_for_who_is_replacing_it_just_now(tiny, monkeypatch):
    """Without an exchange the place is empty between two renames; the writer is held there until a reader has looked."""
    between, seen, replace = threading.Event(), [], os.replace

    def slow(source, place):
        replace(source, place)
        if Path(place).name == scratch.OLD:
            between.set()
            assert looked.wait(60)

    looked = threading.Event()
    real_alone = publish.alone
    monkeypatch.setattr(publish, "exchange", lambda *_: False)
    monkeypatch.setattr(publish.os, "replace", slow)
    writer = threading.Thread(target=lambda: update_bundle(tiny, {"x.txt": b"x"}))
    writer.start()
    assert between.wait(60)

    def reading(place):
        looked.set()
        return real_alone(place)

    monkeypatch.setattr(publish, "alone", reading)
    seen.append(open_bundle(tiny.path))
    writer.join()
    assert "x.txt" in seen[0].manifest["files"]


@pytest.mark.parametrize("check", [True, False])
def test_a_reader_whose_bundle_is_replaced_half_way_reads_the_new_one(tiny, monkeypatch, check):
    """The manifest of the old one with the files of the new one: a false refusal, or a mixture that is opened."""
    labels = (tiny.path / "labels.json").read_bytes()
    turned = labels.replace(b'"red"', b'"RED"')  # as long as before
    once, read = [1], bundles.read_manifest

    def overtaken(folder):
        manifest = read(folder)
        if once and folder == tiny.path:
            once.pop()
            update_bundle(tiny, {"labels.json": turned})
        return manifest

    monkeypatch.setattr(bundles, "read_manifest", overtaken)
    found = open_bundle(tiny.path, check=check)
    assert found.labels[0] == "RED" and found == open_bundle(tiny.path)


def test_a_damaged_bundle_is_refused_as_before(tiny):
    (tiny.path / "labels.json").write_bytes(b"[]")
    with pytest.raises(BundleRefused, match=r"labels\.json has 2 bytes"):
        open_bundle(tiny.path)


WRITER = """
import sys
from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle, write_bundle
from edgesmith.runtime.errors import UserMistake
place, pairs, force = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "force"
from pathlib import Path
source = open_bundle(sys.argv[4])
files = {name: source.path / name for name in source.manifest["files"]}
for number in range(pairs):
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        write_bundle(f"{place}{number}.edge", files, {**source.manifest, "name": sys.argv[5]}, overwrite=force)
        print("done", flush=True)
    except UserMistake as error:
        print(error.what, "/", error.found, flush=True)
"""


def pairs_of_writers(source: Path, folder: Path, pairs: int, force: bool) -> list[tuple[str, str]]:
    """What two processes say that write one bundle at the same time, ``pairs`` times over."""
    words = [sys.executable, "-c", WRITER, str(folder / "b"), str(pairs), "force" if force else "", str(source)]
    both = [
        subprocess.Popen([*words, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    said = []
    for _ in range(pairs):
        for one in both:
            assert one.stdout and one.stdout.readline() == "ready\n"
        for one in both:
            assert one.stdin
            one.stdin.write("go\n")
            one.stdin.flush()
        said.append(tuple(one.stdout.readline().strip() for one in both if one.stdout))
    for one in both:
        one.communicate()
        assert one.returncode == 0
    return said


@pytest.mark.parametrize("pairs", [6, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("force", [True, False])
def test_two_writers_with_force_both_succeed_and_without_it_the_loser_is_told_the_truth(tiny, tmp_path, pairs, force):
    folder = tmp_path / "both"
    folder.mkdir()
    for number, said in enumerate(pairs_of_writers(tiny.path, folder, pairs, force)):
        lost = [words for words in said if words != "done"]
        assert len(lost) == (0 if force else 1), said
        assert lost in ([], [f"cannot write the bundle b{number}.edge: that place is taken / a bundle"])
        assert open_bundle(folder / f"b{number}.edge").name in "ab"
    assert names(folder) == sorted(f"b{number}.edge" for number in range(pairs))


def test_two_updates_of_one_bundle_are_both_kept(tiny):
    """Each reads what there is and writes it with its own file: one after another, nothing is lost."""
    code = """
import sys
from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle
bundle = open_bundle(sys.argv[1])
for number in range(10):
    update_bundle(bundle, {f"{sys.argv[2]}{number}.txt": b"x"})
"""
    both = [subprocess.Popen([sys.executable, "-c", code, str(tiny.path), name]) for name in "ab"]
    assert [one.wait() for one in both] == [0, 0]
    kept = {name for name in open_bundle(tiny.path).manifest["files"] if name.endswith(".txt")}
    assert kept == {f"{name}{number}.txt" for name in "ab" for number in range(10)}


def test_an_update_through_a_link_leaves_the_link_and_replaces_what_it_leads_to(tiny, tmp_path, monkeypatch):
    latest = tmp_path / "latest.edge"
    latest.symlink_to("tiny.edge")
    update_bundle(open_bundle(latest), {"x.txt": b"x"})
    assert latest.is_symlink() and (tiny.path / "x.txt").read_bytes() == b"x"
    assert open_bundle(latest).manifest == open_bundle(tiny.path).manifest
    monkeypatch.chdir(tiny.path)
    assert (update_bundle(open_bundle("."), {"y.txt": b"y"}).path / "y.txt").exists() and (tiny.path / "y.txt").exists()
    assert names(tmp_path) == ["latest.edge", "tiny.edge"]


def test_a_path_is_the_one_that_the_system_means(tiny, tmp_path, monkeypatch):
    """``link/..`` is the folder around what the link leads to; dropping the two names is another folder."""
    far = tmp_path / "far"
    (far / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(far / "away")
    files = contents(tiny)
    write_bundle(tmp_path / "link" / ".." / "one.edge", files, tiny.manifest)
    assert names(far) == ["away", "one.edge"] and "one.edge" not in names(tmp_path)
    monkeypatch.chdir(far)
    write_bundle("away/two.edge/", files, tiny.manifest)
    write_bundle("./away/../three.edge", files, tiny.manifest)
    assert names(far / "away") == ["two.edge"] and names(far) == ["away", "one.edge", "three.edge"]
    with pytest.raises(UserMistake, match="a link") as caught:
        write_bundle(tmp_path / "link", files, tiny.manifest, overwrite=True)
    assert str(far / "away") in caught.value.attempt


def test_a_replaced_bundle_keeps_who_may_read_it(tiny):
    tiny.path.chmod(0o700)
    update_bundle(tiny, {"x.txt": b"x"})
    assert tiny.path.stat().st_mode & 0o777 == 0o700


def test_a_file_that_is_given_away_is_moved_and_one_of_another_bundle_keeps_its_record(tmp_path, monkeypatch, tiny):
    given = tmp_path / "given"
    given.write_bytes(b"weights")
    first = write_bundle(tmp_path / "a.edge", {**contents(tiny), "w.data": publish.Moved(given)}, tiny.manifest)
    assert not given.exists() and (first.path / "w.data").read_bytes() == b"weights"
    assert first.manifest["files"]["w.data"]["bytes"] == 7
    hashed: list[Path] = []
    real = publish.sha256
    monkeypatch.setattr(publish, "sha256", lambda path: hashed.append(path) or real(path))
    same = {name: publish.Same(first.path / name, record) for name, record in first.manifest["files"].items()}
    second = write_bundle(tmp_path / "b.edge", same, tiny.manifest)
    assert [path.name for path in hashed] == ["manifest.json"] and second.manifest["files"] == first.manifest["files"]
    open_bundle(second.path)  # every hash is asked
    assert contents(first) == contents(second)
