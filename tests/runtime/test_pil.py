"""Pictures of PIL: the same pixels as from the file that PIL would write, in every mode; what has no colours is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.file import decode_image
from edgesmith.runtime.pictures.preprocess import pixels

RGB = np.random.default_rng(1).integers(0, 256, (12, 20, 3), np.uint8)
GREY = RGB[..., 0]
DEEP = np.random.default_rng(2).integers(0, 65536, (12, 20), np.uint16)


def _palette() -> Image.Image:
    picture = Image.fromarray(RGB).quantize(16)
    picture.info["transparency"] = bytes([0, 128, *[255] * 14])
    return picture


PICTURES = {
    "1": Image.fromarray(GREY).convert("1"),
    "L": Image.fromarray(GREY),
    "LA": Image.fromarray(np.dstack([GREY, RGB[..., 1]])),
    "P": _palette(),
    "RGB": Image.fromarray(RGB),
    "RGBA": Image.fromarray(np.dstack([RGB, GREY])),
    "I;16": Image.fromarray(DEEP),
}


@pytest.mark.parametrize("mode", PICTURES)
def test_a_picture_of_pil_is_what_its_png_file_is(mode):
    picture = PICTURES[mode]
    assert picture.mode == mode
    data = io.BytesIO()
    picture.save(data, "PNG")
    expected = decode_image(data.getvalue())
    assert np.array_equal(pixels(picture), expected)
    assert np.array_equal(pixels(Image.open(data)), expected), "opened and not read yet"


def test_sixteen_bits_keep_their_high_byte_in_either_order_and_as_32_bits():
    high = np.repeat((DEEP >> 8).astype(np.uint8)[..., None], 3, axis=2)
    big_endian = Image.frombytes("I;16B", (20, 12), DEEP.astype(">u2").tobytes())
    for picture in (PICTURES["I;16"], big_endian, Image.fromarray(DEEP.astype(np.int32))):
        assert np.array_equal(pixels(picture), high), picture.mode


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_it_is_to_a_file(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    # a JPEG of flat blocks: decoders differ in rounding, orientations by far more
    Image.fromarray(np.kron(np.arange(0, 240, 40, np.uint8).reshape(2, 3), np.ones((8, 8), np.uint8))).save(
        data, "JPEG", exif=exif
    )
    expected, found = decode_image(data.getvalue()), pixels(Image.open(data))
    assert found.shape == expected.shape == ((16, 24, 3) if orientation < 5 else (24, 16, 3))
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_colours_multiplied_by_alpha_are_divided_again():
    opaque = Image.fromarray(np.dstack([RGB, np.full_like(GREY, 255)])).convert("RGBa")
    assert np.array_equal(pixels(opaque), RGB)


@pytest.mark.parametrize(
    "picture",
    [Image.fromarray(GREY.astype(np.float32)), Image.fromarray(DEEP.astype(np.int32) * 3)],
    ids=["F", "I beyond 16 bits"],
)
def test_a_mode_without_colours_is_refused(picture):
    with pytest.raises(UserMistake, match=f"mode {picture.mode} has no colours") as caught:
        pixels(picture)
    assert 'image.convert("RGB")' in str(caught.value)


def test_a_file_that_is_cut_off_or_closed_is_told(tmp_path: Path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    cut = Image.open(io.BytesIO((tmp_path / "a.png").read_bytes()[:3000]))
    closed = Image.open(tmp_path / "a.png")
    closed.close()
    for picture in (cut, closed):
        with pytest.raises(UserMistake, match="cannot read the PIL picture"):
            pixels(picture)
