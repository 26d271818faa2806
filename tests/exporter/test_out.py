"""Where an export writes: what cannot be written after the work is refused before it, and what is finished is not lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import edgesmith
from small_bundle import write_small_bundle

from edgesmith.exporter.pipeline import export
from edgesmith.exporter.plan import checks
from edgesmith.exporter.plan.plan import make_plan
from edgesmith.exporter.run.stages import Silent, not_lost, run_beside
from edgesmith.runtime.bundle import publish
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import UserMistake


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a bundle ``good.edge`` in it."""
    monkeypatch.chdir(tmp_path)
    return write_small_bundle(tmp_path / "good.edge")


def refusal(out: str, **choices: object) -> str:
    """What a plan says of a place: without and with ``--force`` the same, and nothing is left behind."""
    before = sorted(Path().rglob("*"))
    said = []
    for overwrite in (False, True):
        with pytest.raises(UserMistake) as caught:
            make_plan("van_b0", num_classes=2, out=out, overwrite=overwrite, **choices)
        assert caught.value.attempt
        said.append(str(caught.value))
    assert said[0] == said[1] and sorted(Path().rglob("*")) == before
    return said[0]


def test_what_could_not_be_replaced_at_the_end_is_refused_at_the_start(bundle, monkeypatch):
    Path("latest.edge").symlink_to("good.edge")
    assert "a link" in refusal("latest.edge") and str(bundle) in refusal("latest.edge/")
    assert "inside the bundle" in refusal("good.edge/new.edge")
    assert "inside the bundle" in refusal("latest.edge/new.edge")
    (bundle / "notes.txt").write_text("mine")
    assert "notes.txt" in refusal("good.edge")
    (bundle / "notes.txt").unlink()
    assert "too long" in refusal("x" * 251 + ".edge")
    ismount = os.path.ismount
    monkeypatch.setattr(publish.os.path, "ismount", lambda path: Path(path) == bundle or ismount(path))
    assert "a mount point" in refusal("good.edge")


def test_a_place_among_the_pictures_is_refused(bundle):
    (Path("photos") / "cats").mkdir(parents=True)
    Path("pictures").symlink_to("photos")
    assert "inside --data" in refusal("photos/van.edge", data="photos")
    assert "inside --data" in refusal("photos/cats/van.edge", data="pictures")
    said = refusal("pictures/../photos/van.edge", data="photos")
    assert "inside --data" in said and str(Path.cwd() / "van.edge") in said


def test_statistics_are_not_kept_in_a_bundle(bundle):
    for place in ("good.edge", "good.edge/cache"):
        said = refusal("van.edge", precision="int8", target="rtx", data="random", calib_cache=place)
        assert "--calib-cache" in said and f"inside the bundle {bundle}" in said


def test_a_disk_without_room_is_refused_where_it_must_fail(bundle, monkeypatch):
    """van_b0 with 1000 classes has 4.11 M parameters, 16 MB: two graphs of that lie on the disk at the same time."""
    free = [0]
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=free[0]))
    for megabytes, enough in ((0, False), (30, False), (36, True)):
        free[0] = megabytes * 1_000_000
        if enough:
            make_plan("van_b0", out="van.edge")
        else:
            with pytest.raises(UserMistake, match=rf"{megabytes} MB free"):
                make_plan("van_b0", out="van.edge")


def test_a_path_is_planned_as_the_system_reads_it(bundle, tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    Path("link").symlink_to("far/away")
    for out, folder in (("link/../van.edge/", "far"), ("./link/van.edge", "far/away"), ("van.edge/", ".")):
        with run_beside(make_plan("van_b0", out=out).out, None) as run:
            assert run.folder.parent == (tmp_path / folder).resolve()


def test_what_a_killed_writer_took_away_is_back_before_the_place_is_looked_at(bundle):
    dead = Path(".good.edge.abcdefgh.work")
    dead.mkdir()
    (dead / "lock").touch()
    bundle.rename(dead / "old")
    with pytest.raises(UserMistake, match="exists already"):
        make_plan("van_b0", out="good.edge")
    assert open_bundle(bundle).name == "small" and not dead.exists()


class Taking(Silent):
    """Takes the place of the bundle when the last check has run, as another program may."""

    def end(self, stage):
        if stage.name == "verify":
            Path("van.edge").mkdir()
            Path("van.edge/mine.txt").write_text("mine")


@pytest.mark.slow
def test_a_finished_bundle_whose_place_was_taken_meanwhile_is_kept_beside_it(bundle):
    with pytest.raises(UserMistake) as caught:
        export("van_b0", num_classes=2, image_size=32, out="van.edge", progress=Taking())
    kept = Path("van-2.edge").resolve()
    assert str(kept) in str(caught.value) and "taken" in caught.value.what and "edgesmith test" in caught.value.attempt
    assert open_bundle(kept).manifest["model"] == "van_b0" and edgesmith("test", str(kept)).code == 0
    assert os.listdir("van.edge") == ["mine.txt"] and sorted(os.listdir()) == ["good.edge", "van-2.edge", "van.edge"]


def test_where_nothing_can_be_put_beside_it_it_goes_to_the_temporary_files(bundle, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    draft = shutil.copytree(bundle, tmp_path / "draft.edge")

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(UserMistake) as caught, not_lost(Path(draft), Path("gone/van.edge")):
        raise UserMistake("cannot write the bundle van.edge", found="No space left on device")
    (kept,) = (tmp_path / "tmp").glob("*/van.edge")
    assert str(kept) in str(caught.value) and open_bundle(kept).name == "small"
    monkeypatch.setattr(shutil, "copytree", refused)
    with pytest.raises(UserMistake, match="No space left") as caught, not_lost(Path(draft), Path("van.edge")):
        raise UserMistake("cannot write the bundle van.edge", found="No space left on device")
    assert "kept" not in str(caught.value)
