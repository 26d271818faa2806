"""Rows of tables, modes of files, letters on pictures and addresses, each with the value that it must have."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgesmith.runtime.backends import engine_cache
from edgesmith.runtime.backends.gpu.cuda import Device
from edgesmith.runtime.bundle.bundle import Bundle
from edgesmith.runtime.bundle.engines import ENGINES
from edgesmith.runtime.errors import EdgesmithError, UserMistake, one_line
from edgesmith.runtime.errors.addresses import shown, shown_in
from edgesmith.runtime.ground.limits import COSINE, DEVICE_ERROR, FP32_MAX_ABS, least_cosine
from edgesmith.runtime.ground.members import read_members
from edgesmith.runtime.ground.places import bundle_around, check_outside, is_bundle, real_place
from edgesmith.runtime.ground.regular import check_regular, read_regular
from edgesmith.runtime.pictures.file import check_image, decode_image, read_image
from edgesmith.runtime.tasks.detection.detection import DetectionRule, keep
from edgesmith.runtime.tasks.detection.draw import Pen, draw_text
from edgesmith.runtime.tasks.detection.task import _check_labels
from edgesmith.runtime.tasks.selftest import verdict as of_numbers


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
    image = np.zeros((1000, 1000, 3), np.uint8)  # a margin of 3 pixels
    found = draw_text(image, "HHH", (200, 0, 0))
    assert not image.any(), "a copy is drawn on"
    pen = Pen.of(1000, 1000)
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


def test_the_limit_itself_holds():
    """What is exactly at the limit is within it, on every precision."""
    bound = FP32_MAX_ABS * 7.0
    assert of_numbers("fp32", bound, 7.0, -1.0)[1] and not of_numbers("fp32", np.nextafter(bound, 9), 7.0, 1.0)[1]
    assert of_numbers("fp32", FP32_MAX_ABS, 0.5, 1.0)[1] and not of_numbers("fp32", FP32_MAX_ABS * 1.01, 0.5, 1.0)[1]
    for precision, least in COSINE.items():
        assert of_numbers(precision, 9.0, 1.0, least)[1] and not of_numbers(precision, 0.0, 1.0, least - 1e-9)[1]
    least = least_cosine("int8")
    assert of_numbers("int8", 9.0, 1.0, least)[1] and not of_numbers("int8", 0.0, 1.0, least - 1e-9)[1]
    stricter = 1 - DEVICE_ERROR * (1 - 0.99999)
    assert (
        of_numbers("int8", 0.0, 1.0, stricter, 0.99999)[1]
        and not of_numbers("int8", 0.0, 1.0, stricter - 1e-7, 0.99999)[1]
    )


def test_cells_of_equal_scores_stay_in_their_order():
    """Suppression keeps the first of equals, so their order must not depend on a sort that mixes them."""
    answer = np.tile(np.array([[0, 0, 1, 1, 0.5]], np.float32), (40, 1))
    answer[:, :4] += np.arange(40)[:, None] * 10
    found = keep(answer, DetectionRule("none", 0.3, 0.6, 100))
    assert found.boxes[:, 0].tolist() == [index * 10 for index in range(40)]
    near = answer.copy()
    near[:, :4] = np.array([0, 0, 10, 10]) + np.arange(40)[:, None] * 0.01
    assert keep(near, DetectionRule("runtime", 0.3, 0.6, 100)).boxes.tolist() == [[0, 0, 10, 10]]
    better = np.array([[0, 0, 10, 10, 0.5], [1, 0, 11, 10, 0.9], [30, 0, 40, 10, 0.4]], np.float32)
    assert keep(better, DetectionRule("runtime", 0.3, 0.6, 100)).boxes[:, 0].tolist() == [1, 30], "the better one stays"


def test_a_file_of_the_largest_size_and_one_byte_more(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"x" * 10)
    assert read_regular(tmp_path / "a", 10) == b"x" * 10
    with pytest.raises(UserMistake, match="10 bytes(.|\n)*at most 9"):
        read_regular(tmp_path / "a", 9)
    with pytest.raises(UserMistake, match="a folder"):
        read_regular(tmp_path, 9)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserMistake, match="a pipe"):
        check_regular(tmp_path / "pipe")


def packed(*members: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(buffer, "w", how) as archive:
            for name, content in members:
                archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (packed(("a.b", b"1"), ("c", b"22")), ""), (packed(("a", b"1" * 50)), ""), (packed(("a", b"1" * 51)), "51 bytes unpacked, at most 50"),
        (packed(("a", b"1"), ("A", b"2")), "twice"), (packed(("../a", b"1")), "no plain file name"), (packed((".a", b"1")), "no plain file name"),
        (packed(("a", b"1"), how=zipfile.ZIP_BZIP2), "packed in a way"), (packed(("a", b"1"))[:-5], "no whole zip"), (b"", "no whole zip"),
        (packed(*((f"m{index}", b"") for index in range(1000))), ""), (packed(*((f"m{index}", b"") for index in range(1001))), "1,001 members"),
        (packed(("a" * 200, b"1")), ""), (packed(("a" * 201, b"1")), "no plain file name"),
    ],
    ids=lambda one: one if isinstance(one, str) else "zip",  # its bytes hold the time
)  # fmt: skip
def test_members_of_a_zip(tmp_path: Path, data, said):
    (tmp_path / "a.zip").write_bytes(data)
    if not said:
        found = read_members(tmp_path / "a.zip", 50)
        assert found and all(name.isascii() for name in found)
        return
    with pytest.raises(ValueError, match=said):
        read_members(tmp_path / "a.zip", 50)


def test_a_bundle_of_which_nothing_was_hashed(tiny):
    alike = Bundle(tiny.path, tiny.manifest)
    assert alike == tiny and alike.seen == {} and "seen" not in repr(alike)
