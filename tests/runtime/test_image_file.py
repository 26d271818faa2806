"""Picture files of all kinds decode to RGB; files that are none are refused in words, never half decoded."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures import file as image_file
from edgesmith.runtime.pictures.file import decode_image, read_image


@pytest.fixture
def rgb() -> np.ndarray:
    rng = np.random.default_rng(3)
    return cv2.resize(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8), (90, 60))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_png_is_exact_and_in_rgb_order(rgb, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(rgb), "PNG"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), rgb)


def test_exif_orientation_is_applied(rgb):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to show
    data = encoded(Image.fromarray(rgb), "JPEG", quality=95, exif=exif)
    assert decode_image(data).shape == (90, 60, 3)
    np.testing.assert_allclose(decode_image(data).astype(int), np.rot90(rgb, -1).astype(int), atol=40)


def test_grey_alpha_palette_and_16_bit(rgb):
    grey = rgb[:, :, 0]
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(grey), "PNG")), np.stack([grey] * 3, -1))
    rgba = Image.fromarray(np.dstack([rgb, grey]))
    np.testing.assert_array_equal(decode_image(encoded(rgba, "PNG")), rgb)
    palette = Image.fromarray(rgb).quantize(16)
    np.testing.assert_array_equal(decode_image(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))
    deep = cv2.imencode(".png", grey.astype(np.uint16) * 257)[1].tobytes()
    np.testing.assert_array_equal(decode_image(deep), np.stack([grey] * 3, -1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_file_that_is_cut_off_is_refused(rgb, kind, keep):
    data = encoded(Image.fromarray(rgb), kind)
    with pytest.raises(UserMistake, match="cut off"):
        decode_image(data[: int(len(data) * keep)])


def test_a_cut_jpeg_with_a_whole_thumbnail_in_its_header_is_refused(rgb):
    whole = encoded(Image.fromarray(rgb), "JPEG")
    thumbnail = b"Exif\x00\x00" + encoded(Image.fromarray(rgb[:8, :8]), "JPEG")
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    data = whole[:2] + segment + whole[2:]
    assert decode_image(data).shape == rgb.shape
    with pytest.raises(UserMistake, match="cut off"):
        decode_image(data[:-40])


def test_missing_empty_folder_and_text(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "notes.jpg").write_text("no picture at all")
    for name, said in (
        ("gone.jpg", "no such file"),
        ("empty.jpg", "empty"),
        ("notes.jpg", "cannot decode"),
        (".", "a folder"),
    ):
        with pytest.raises(UserMistake, match=said) as caught:
            read_image(tmp_path / name)
        assert caught.value.exit_code == 2 and len(str(caught.value).splitlines()) < 8


def test_a_header_that_claims_too_many_pixels_is_refused_before_decoding(rgb):
    data = bytearray(encoded(Image.fromarray(rgb), "PNG"))
    data[16:24] = (60000).to_bytes(4, "big") * 2
    with pytest.raises(UserMistake, match="60000 x 60000"):
        decode_image(bytes(data))
    jpeg = bytearray(encoded(Image.fromarray(rgb), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = (65000).to_bytes(2, "big") * 2
    with pytest.raises(UserMistake, match="65000 x 65000"):
        decode_image(bytes(jpeg))


def test_a_file_that_is_too_large_is_refused_before_reading(rgb, tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "MAX_FILE_BYTES", 100)
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(rgb), "PNG"))
    with pytest.raises(UserMistake, match="too large"):
        read_image(tmp_path / "a.png")
