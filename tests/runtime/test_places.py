"""What can be refused is refused before the work: one question for every file that a command is asked to write."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.ground.places import bundle_around, check_output


def refusal(path: Path) -> str:
    with pytest.raises(UserMistake) as caught:
        check_output(path, "--save")
    assert caught.value.attempt and str(path) in caught.value.what
    return str(caught.value)


def test_a_file_that_can_be_made_or_replaced_leaves_no_trace(tmp_path):
    (tmp_path / "old.json").write_text("old")
    for name in ("new.json", "old.json", "ein Bild.png", "x" * 255):
        check_output(tmp_path / name, "--save")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"] and (tmp_path / "old.json").read_text() == "old"


def test_what_is_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    assert "a folder" in refusal(tmp_path)
    assert "no plain file" in refusal(tmp_path / "pipe") and "no plain file" in refusal(Path("/dev/null"))
    assert "mkdir -p" in refusal(tmp_path / "no" / "such" / "out.json")
    assert "Not a directory" in refusal(tmp_path / "file" / "out.json")
    assert "too long" in refusal(tmp_path / ("x" * 256))


@pytest.mark.skipif(not os.path.ismount("/proc"), reason="a folder in which not even root can write")
def test_a_folder_that_takes_no_files_is_refused_for_root_too():
    assert "no file can be made in /proc" in refusal(Path("/proc/out.json"))


def test_nothing_is_written_into_a_bundle(tiny, tmp_path, monkeypatch):
    (tmp_path / "latest").symlink_to(tiny.path)
    (tmp_path / "below").symlink_to(tiny.path / "engines")
    (tiny.path / "engines").mkdir()
    monkeypatch.chdir(tiny.path / "engines")
    for place in (
        tiny.path / "out.png",
        tiny.path / "no" / "such" / "out.png",
        tiny.path / "engines" / "out.png",
        tmp_path / "latest" / "out.png",
        tmp_path / "below" / ".." / "out.png",
        Path("out.png"),
        Path("../out.png"),
        tmp_path / "tiny.edge/../tiny.edge/out.png",
    ):
        assert "inside the bundle" in refusal(place)
    check_output(Path("../../out.png"), "--save")
    check_output(tmp_path / "tiny.edge" / ".." / "out.png", "--save")
    shutil.rmtree(tiny.path / "engines")
    assert open_bundle(tiny.path) == tiny


def test_a_bundle_is_known_by_its_manifest_and_not_by_the_name_of_a_file(tiny, tmp_path):
    page = tmp_path / "page"
    page.mkdir()
    (page / "manifest.json").write_text('{"name": "a web page", "icons": []}')
    check_output(page / "out.png", "--save")
    assert bundle_around(page / "out.png") is None and bundle_around(tiny.path) is None
    os.rename(tiny.path, tmp_path / "renamed")
    assert bundle_around(tmp_path / "renamed" / "out.png") == tmp_path / "renamed"
    damaged = tmp_path / "damaged.edge"
    damaged.mkdir()
    (damaged / "manifest.json").write_text('{"schema": 1, "fil')
    assert "inside the bundle" in refusal(damaged / "out.png")
