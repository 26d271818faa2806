"""Rows of tables, modes of files, letters on pictures and addresses, each with the value that it must have."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgesmith.runtime.addresses import shown, shown_in
from edgesmith.runtime.backends import engine_cache
from edgesmith.runtime.backends.cuda import Device
from edgesmith.runtime.bundle.engines import ENGINES
from edgesmith.runtime.errors import EdgesmithError, UserMistake, one_line
from edgesmith.runtime.ground.places import bundle_around, check_outside, is_bundle, real_place
from edgesmith.runtime.pictures.file import check_image, decode_image, read_image
from edgesmith.runtime.tasks.detection.draw import Pen, draw_text
from edgesmith.runtime.tasks.detection.task import _check_labels


def test_the_engines_that_there_are():
    rows = {
        name: (row.module, row.targets, row.on_cpu, row.nms, row.bodies, row.plugins) for name, row in ENGINES.items()
    }
    assert rows == {
        "onnxruntime": ("onnxruntime", ("cpu",), True, "NonMaxSuppression", True, False),
        "openvino": ("openvino", ("openvino",), True, "NonMaxSuppression", False, False),
        "tensorrt": ("tensorrt", ("tensorrt",), False, "EfficientNMS_TRT", True, True),
        "tensorrt_rtx": ("tensorrt", ("rtx",), False, "", True, False),
    }


@pytest.mark.parametrize(
    ("address", "as_shown"),
    [("me%40home.mp4", "me%40home.mp4"), ("rtsp://a%40b@camera/x", "rtsp://camera/x"), ("rtsp://me%3Ase%40camera/x%40y", "rtsp://camera/x%40y"),
     ("http://camera/a@b/c.jpg", "http://camera/a@b/c.jpg"), ("me@camera/x", "me@camera/x"),
     ("http://camera/x?fps=5;codec=h264", "http://camera/x?fps=5;codec=h264"), ("http://camera/x?fps=5;key=h", "http://camera/x?fps=5;key=***"),
     ("http://camera/x?stream=a.sdp", "http://camera/x?stream=a.sdp"), ("http://camera/x?stream=a.b", "http://camera/x?stream=***"), ("rtsp://", "rtsp://")],
)  # fmt: skip
def test_more_addresses(address, as_shown):
    assert shown(address) == as_shown


def test_addresses_inside_of_texts():
    text = "no rtsp://me:pw@cam/a and http://me:pw@cam/b, or 3:4@ nor a/b"
    assert (
        shown_in(text) == "no rtsp://cam/a and http://cam/b, or 3:4@ nor a/b"
        and shown_in("plain: text") == "plain: text"
    )
    assert one_line("a\nb\tc\x1b") == "a\\nb\\tc\\u001b"
    error = EdgesmithError("what", found="a\nb", because="why", attempt="rtsp://me:pw@cam/x")
    assert (
        str(error) == "what\n  found     a\n            b\n  because   why\n  try       rtsp://cam/x"
        and error.exit_code == 1
    )


def test_an_engine_is_for_its_owners_eyes(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    device = Device("sm87", 16, 64 << 30, 32 << 30, 12060, 12060)
    kept = engine_cache.save_engine(tiny, engine_cache.engine_key(tiny, "tensorrt", "10.3.0", device), b"engine")
    assert kept.stat().st_mode & 0o777 == 0o600


def encoded(suffix: str, image: np.ndarray) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def test_a_check_decodes_a_jpeg_at_an_eighth_and_others_whole(monkeypatch):
    image, asked = np.random.default_rng(0).integers(0, 256, (64, 80, 3)).astype(np.uint8), []
    real = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: asked.append(flags) or real(data, flags))
    check_image(encoded(".jpg", image))
    assert asked == [cv2.IMREAD_REDUCED_COLOR_8]
    check_image(encoded(".png", image))
    assert len(asked) == 2 and asked[1] != cv2.IMREAD_REDUCED_COLOR_8
    np.testing.assert_array_equal(decode_image(encoded(".png", image)), image[:, :, ::-1])
    for data in (encoded(".jpg", image)[:-2], encoded(".png", image)[:-8], b"", b"nothing"):
        with pytest.raises(UserMistake):
            check_image(data)


def test_letters_stand_inside_their_field():
    """White letters on a field of one colour: nothing of them left of the margin or beyond the field."""
    image = np.zeros((200, 300, 3), np.uint8)
    found = draw_text(image, "HHH", (200, 0, 0))
    assert not image.any(), "a copy is drawn on"
    pen = Pen.of(200, 300)
    height, width = pen.field_px, pen.width_px("HHH") + 2 * pen.margin_px
    assert not found[height:].any() and not found[:, width:].any() and (found[:height, :width, 0] >= 190).all()
    letters = np.flatnonzero(found[:height, :width, 1].any(axis=0))
    assert letters.min() >= pen.margin_px - 1 and letters.max() < width, "the margin is free"
    lines = np.flatnonzero(found[:height, :width, 1].any(axis=1))
    assert 0 < lines.min() and lines.max() < height - 1
    assert not draw_text(np.zeros((8, 300, 3), np.uint8), "H", (200, 0, 0)).any(), "lower than a field"


def test_bundles_around_a_place(tmp_path: Path, monkeypatch):
    bundle = tmp_path / "a.edge"
    (bundle / "deep").mkdir(parents=True)
    assert not is_bundle(bundle) and bundle_around(bundle / "deep" / "x") is None
    (bundle / "manifest.json").write_text(
        '{"schema": 1, "name": "n", "task": "t", "target": "cpu", "precision": "fp32", "files": {}}'
    )
    assert is_bundle(bundle) and bundle_around(bundle / "deep" / "x") == bundle and bundle_around(bundle) is None
    check_outside(tmp_path / "x", "the report")
    with pytest.raises(UserMistake, match="the report .* lies inside the bundle"):
        check_outside(bundle / "deep" / "x", "the report")
    (bundle / "manifest.json").write_text("{")
    assert is_bundle(bundle), "damaged, and called as one"
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.json").write_text("{")
    assert not is_bundle(other)
    (other / "manifest.json").write_text('{"name": 1}')
    assert not is_bundle(other)
    link = tmp_path / "link"
    link.symlink_to(bundle / "deep", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    assert (
        real_place("link/new") == bundle / "deep" / "new"
        and real_place("link/..") == bundle
        and real_place("b/../c") == tmp_path / "c"
    )


def test_scores_and_labels_that_do_not_fit():
    _check_labels(3, ("a", "b", "c"), True)
    with pytest.raises(UserMistake, match=r"found     3 classes(.|\n)*expected  2 labels"):
        _check_labels(3, ("a", "b"), False)


def test_a_picture_of_a_file_is_rgb(tmp_path: Path):
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, :, 0] = 200
    for suffix in (".png", ".bmp", ".tif"):
        (tmp_path / f"a{suffix}").write_bytes(encoded(suffix, image[:, :, ::-1]))
        np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), image)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "b")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    with pytest.raises(UserMistake, match="cannot read the picture"):
        read_image(tmp_path / "a.jpg")
