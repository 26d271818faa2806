"""CMYK, 16-bit, alpha, palette, grey and EXIF-rotated pictures reach the network with the pixel values they should have."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from edgesmith.calibration.pictures.images import open_data
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.file import check_image, decode_image
from edgesmith.runtime.pictures.preprocess import ImageContract

SIZE = 16
# nothing is resized, scaled or shifted: the tensor holds the pixel values
AS_IT_IS = ImageContract(size=(SIZE, SIZE), crop_fraction=1.0, mean=(0, 0, 0), std=(1, 1, 1), scale=1.0)
RGB = np.random.RandomState(1).randint(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
DEEP = np.random.RandomState(2).randint(0, 65536, (SIZE, SIZE, 3)).astype(np.uint16)
ALPHA = np.random.RandomState(3).randint(0, 256, (SIZE, SIZE)).astype(np.uint8)
# one colour in each quarter: JPEG at its best keeps flat areas within two steps
FLAT = np.repeat(np.repeat(np.array([[[255, 0, 0], [10, 200, 30]], [[40, 60, 250], [128, 128, 128]]]), 8, 0), 8, 1)


def pil(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(orientation: int) -> np.ndarray:
    """FLAT as it is stored when a camera writes this EXIF orientation: showing it turns it back (EXIF 2.3, tag 274)."""
    shown = FLAT.astype(np.uint8)
    return {
        2: shown[:, ::-1],
        3: np.rot90(shown, 2),
        4: shown[::-1],
        5: shown.transpose(1, 0, 2),
        6: np.rot90(shown, 1),
        7: np.rot90(shown, 2).transpose(1, 0, 2),
        8: np.rot90(shown, -1),
    }[orientation]


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def cmyk() -> Image.Image:
    """FLAT in inks: black as far as possible, then C = 1 - R / (1 - K)."""
    rgb = FLAT / 255
    black = 1 - rgb.max(axis=2, keepdims=True)
    inks = 1 - rgb / np.maximum(1 - black, 1e-9)
    return Image.fromarray(np.round(np.concatenate([inks, black], 2) * 255).astype(np.uint8), "CMYK")


def grey(plane: np.ndarray) -> np.ndarray:
    return np.stack([plane] * 3, axis=2)


PALETTE = Image.fromarray(RGB).quantize(16)
SPECIAL = {
    "rgba.png": (pil(Image.fromarray(np.dstack([RGB, ALPHA])), "PNG"), RGB, 0),
    "rgba.webp": (pil(Image.fromarray(np.dstack([RGB, ALPHA])), "WEBP", lossless=True, exact=True), RGB, 0),
    "grey and alpha.png": (pil(Image.fromarray(np.dstack([RGB[:, :, 0], ALPHA]), "LA"), "PNG"), grey(RGB[:, :, 0]), 0),
    "grey.png": (pil(Image.fromarray(ALPHA), "PNG"), grey(ALPHA), 0),
    "grey.jpg": (pil(Image.fromarray(FLAT[:, :, 0].astype(np.uint8)), "JPEG", quality=100), grey(FLAT[:, :, 0]), 2),
    "1 bit.png": (pil(Image.fromarray(ALPHA > 127), "PNG"), grey((ALPHA > 127) * 255), 0),
    "palette.png": (pil(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB")), 0),
    "palette and alpha.png": (pil(PALETTE, "PNG", transparency=3), np.asarray(PALETTE.convert("RGB")), 0),
    "palette.bmp": (pil(PALETTE, "BMP"), np.asarray(PALETTE.convert("RGB")), 0),
    "16-bit.png": (cv2.imencode(".png", DEEP[:, :, ::-1])[1].tobytes(), DEEP >> 8, 0),
    "16-bit grey.png": (cv2.imencode(".png", DEEP[:, :, 0])[1].tobytes(), grey(DEEP[:, :, 0] >> 8), 0),
    "16-bit rgba.png": (cv2.imencode(".png", np.dstack([DEEP[:, :, ::-1], DEEP[:, :, 0]]))[1].tobytes(), DEEP >> 8, 0),
    # libtiff divides by 257 and rounds where a PNG keeps its high byte: one step at most
    "16-bit.tif": (cv2.imencode(".tiff", DEEP[:, :, ::-1])[1].tobytes(), DEEP >> 8, 1),
    "cmyk.jpg": (pil(cmyk(), "JPEG", quality=100), FLAT, 3),  # two steps of JPEG and one of rounding K away
    "cmyk.tif": (pil(cmyk(), "TIFF"), FLAT, 2),
    "rotated cmyk.jpg": (pil(cmyk().rotate(90), "JPEG", quality=100, exif=exif(6)), FLAT, 3),
    "big-endian exif.jpg": (
        pil(
            Image.fromarray(turned(8)),
            "JPEG",
            quality=100,
            subsampling=0,
            exif=b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 8, 0, 0),
        ),
        FLAT,
        2,
    ),
    **{
        f"exif {turn}.jpg": (
            pil(Image.fromarray(turned(turn)), "JPEG", quality=100, subsampling=0, exif=exif(turn)),
            FLAT,
            2,
        )
        for turn in range(2, 9)
    },
    **{f"exif {turn}.png": (pil(Image.fromarray(turned(turn)), "PNG", exif=exif(turn)), FLAT, 0) for turn in (3, 5, 6)},
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_pictures_reach_the_network_as_they_look(name, tmp_path):
    data, expected, steps = SPECIAL[name]
    (tmp_path / name).write_bytes(data)
    found = open_data(tmp_path, AS_IT_IS, held_out=0)
    assert found.skipped == () and found.calibration.names == (name,)
    got = next(found.calibration.batches(1))[0].transpose(1, 2, 0)
    assert np.abs(got - expected).max() <= steps


def test_a_16_bit_array_keeps_its_high_byte():
    data = open_data([DEEP, DEEP[:, :, 0]], AS_IT_IS, held_out=0)
    got = {batch.tobytes() for batch in data.calibration.batches(1)}
    for expected in (DEEP >> 8, grey(DEEP[:, :, 0] >> 8)):
        assert expected.transpose(2, 0, 1).astype(np.float32).tobytes() in got


@pytest.mark.parametrize("name", SPECIAL)
def test_the_quick_check_judges_as_the_decoder_does(name):
    data = SPECIAL[name][0]
    check_image(data)
    for keep in (0.0, 0.1, 0.5, 0.9):
        cut = data[: int(len(data) * keep)]
        for judge in (check_image, decode_image):
            try:
                judge(cut)
                said = None
            except UserMistake as mistake:
                said = str(mistake)
            if judge is check_image:
                first = said
        assert first == said
        # a bitmap or TIFF may be whole without its last bytes; JPEG, PNG and WebP never are
        assert said is not None or name.endswith((".bmp", ".tif"))
