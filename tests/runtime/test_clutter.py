"""What file managers leave in a bundle is passed over and told once; everything else that is not listed is refused as before."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle
from edgesmith.runtime.errors import BundleRefused
from edgesmith.runtime.ground.regular import is_clutter

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
