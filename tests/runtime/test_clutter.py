"""What file managers leave in a bundle is passed over and told once; everything else that is not listed is refused as before."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle
from edgesmith.runtime.errors import BundleRefused, UserMistake
from edgesmith.runtime.ground.regular import is_clutter
from edgesmith.runtime.pictures.save import saver
from edgesmith.runtime.pictures.video import Source, pictures

LEFT = [
    ".DS_Store", "._model.onnx", "engines/._x.engine", "Thumbs.db", "thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini",
    ".directory", "__MACOSX/._manifest.json", "@eaDir/model.onnx/thumb.jpg", ".nfs000000000123abcd",
]  # fmt: skip


def put(bundle, name: str):
    path = bundle.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"left")
    return path


@pytest.mark.parametrize("name", LEFT)
def test_a_bundle_with_it_is_used_and_it_is_told_once(tiny, name, caplog):
    put(tiny, name)
    with caplog.at_level(logging.WARNING, "edgesmith"), load(tiny.path) as session:
        assert session(np.full((8, 8, 3), (255, 0, 0), np.uint8)).best.label == "red"
        open_bundle(tiny.path)
    (told,) = (record.getMessage() for record in caplog.records)
    assert repr(name) in told and "passed over" in told


@pytest.mark.parametrize(
    "name", ["notes.txt", "DS_Store", "model.onnx.bak", "x._y", ".hidden", "thumbs.db.exe", "engines/x.engine"]
)
def test_other_files_are_refused_as_before(tiny, name):
    assert not is_clutter(name)
    put(tiny, name)
    with pytest.raises(BundleRefused, match="not part of the bundle") as error:
        open_bundle(tiny.path)
    assert name in error.value.found


def test_a_link_of_that_name_is_still_a_link(tiny):
    (tiny.path / ".DS_Store").symlink_to("/etc/passwd")
    with pytest.raises(BundleRefused, match="no plain file"):
        open_bundle(tiny.path)


def test_a_file_of_that_name_that_the_bundle_lists_is_checked(tiny):
    bundle = update_bundle(tiny, {"Thumbs.db": b"ours"})
    put(bundle, "Thumbs.db")
    with pytest.raises(BundleRefused, match="damaged"):
        open_bundle(bundle.path)


def test_an_update_and_an_overwrite_do_not_trip_over_it(make_tiny):
    bundle = make_tiny()
    put(bundle, ".DS_Store")
    bundle = update_bundle(bundle, {"labels.json": b'["a", "b", "c", "d"]'})
    put(bundle, "._labels.json")
    assert make_tiny().labels[0] == "red"


def test_a_folder_with_nothing_else_is_a_free_place(make_tiny, tmp_path):
    place = tmp_path / "tiny.edge"
    place.mkdir()
    (place / ".DS_Store").write_bytes(b"left")
    assert make_tiny().path == place
    assert not (place / ".DS_Store").exists()


def test_folders_and_patterns_of_pictures_pass_over_what_file_managers_left(tmp_path):
    names = ["a.png", "sub/b.png", "._a.png", "__MACOSX/c.png", "sub/@eaDir/d.png", "sub/._b.png", "__MACOSX/._e.png"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a picture, not read yet")
    assert pictures([str(tmp_path)]).paths == [str(tmp_path / "a.png")]
    found = [str(tmp_path / name) for name in names[:2]]
    assert pictures([f"{tmp_path}/**/*.png"]).paths == found
    asked = tmp_path / "__MACOSX"
    assert pictures([str(asked)]).paths == [str(asked / "c.png")], "named, so meant"
    assert pictures([f"{asked}/*.png"]).paths == [str(asked / "c.png")]


def test_a_folder_that_was_only_looked_at_is_empty_for_save(tmp_path):
    (tmp_path / ".DS_Store").write_bytes(b"left")
    saver(f"{tmp_path}/", Source("clip.mp4"), force=False)
    (tmp_path / "note.txt").write_text("somebody's")
    with pytest.raises(UserMistake, match="not empty"):
        saver(f"{tmp_path}/", Source("clip.mp4"), force=False)
