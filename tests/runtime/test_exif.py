"""EXIF is read in one place: size, decoded picture and picture of PIL agree, in every format and with every OpenCV."""

import io
import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from coco_patches import write_patches
from detection_bundle import write_detection_bundle
from PIL import Image

from edgesmith.calibration.pictures.coco import open_coco
from edgesmith.calibration.pictures.images import open_data
from edgesmith.runtime.coco.annotations import read_coco
from edgesmith.runtime.commands.evaluation.evaluate import evaluate
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.file import decode_image, read_image
from edgesmith.runtime.pictures.preprocess import ImageContract, pixels
from edgesmith.runtime.pictures.size import picture_size

# a colour for each quarter, 16 rows of 24: every way to turn it is another picture
STORED = np.zeros((16, 24, 3), np.uint8)
STORED[:8, :12], STORED[:8, 12:], STORED[8:, :12] = (200, 30, 30), (30, 200, 30), (30, 30, 200)
SEEN = {  # EXIF 2.3, tag 274: where row 0 and column 0 of what is stored are seen
    1: STORED,  # top, left
    2: STORED[:, ::-1],  # top, right
    3: STORED[::-1, ::-1],  # bottom, right
    4: STORED[::-1],  # bottom, left
    5: STORED.transpose(1, 0, 2),  # left, top
    6: STORED.transpose(1, 0, 2)[:, ::-1],  # right, top
    7: STORED.transpose(1, 0, 2)[::-1, ::-1],  # right, bottom
    8: STORED.transpose(1, 0, 2)[::-1],  # left, bottom
}
TYPES = {"BYTE": (1, "B3x"), "SHORT": (3, "H2x"), "LONG": (4, "I"), "SSHORT": (8, "h2x"), "SLONG": (9, "i")}
NO_TAG = b"II*\0" + struct.pack("<IHI", 8, 0, 0)


def exif(value: int, kind: str = "SHORT", order: str = "<", times: int = 1) -> bytes:
    """A TIFF with one directory that holds the orientation; ``times`` 2: followed by another one that says upright."""
    number, form = TYPES[kind]
    entries = [struct.pack(f"{order}HHI{form}", 274, number, 1, one) for one in (value, 1)[:times]]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, times)
    return head + b"".join(entries) + bytes(4)


def saved(kind: str, **options) -> bytes:
    data = io.BytesIO()
    Image.fromarray(STORED).save(data, kind, **options)
    return data.getvalue()


def app1(content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments: bytes, at: int | bytes = 2) -> bytes:
    data = saved("JPEG", quality=95, subsampling=0)
    at = data.index(at) if isinstance(at, bytes) else at
    return data[:at] + b"".join(app1(b"Exif\0\0" + one) for one in segments) + data[at:]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(*chunks: bytes, late: bool = False, noise: int = 0) -> bytes:
    data = saved("PNG")
    padding = chunk(b"teSt", bytes(noise)) if noise else b""
    at = len(data) - 12 if late else 33
    return data[:at] + padding + b"".join(chunks) + data[at:]


def raw_profile(tiff: bytes) -> bytes:
    text = b"\nexif\n%8d\n" % (len(tiff) + 6) + (b"Exif\0\0" + tiff).hex().encode() + b"\n"
    return chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))


XMP = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
FILES = {
    **{f"orientation {n}.jpg": (jpeg(exif(n)), n) for n in SEEN},
    **{f"orientation {n}.png": (png(chunk(b"eXIf", exif(n))), n) for n in SEEN},
    **{f"orientation {n}.webp": (saved("WEBP", lossless=True, exif=b"Exif\0\0" + exif(n)), n) for n in SEEN},
    **{f"orientation {n}.tif": (saved("TIFF", tiffinfo={274: n}), n) for n in SEEN},
    **{f"{kind} little-endian.jpg": (jpeg(exif(6, kind)), 6) for kind in TYPES},
    **{f"{kind} big-endian.jpg": (jpeg(exif(8, kind, ">")), 8) for kind in TYPES},
    "LONG.png": (png(chunk(b"eXIf", exif(6, "LONG"))), 6),
    "LONG.webp": (saved("WEBP", lossless=True, exif=b"Exif\0\0" + exif(6, "LONG", ">")), 6),
    "two segments, the first says it.jpg": (jpeg(exif(6), exif(1)), 6),
    "two segments, both say it.jpg": (jpeg(exif(3), exif(8)), 3),
    "two segments, the second says it.jpg": (jpeg(NO_TAG, exif(6)), 6),
    "two tags in one directory.jpg": (jpeg(exif(6, times=2)), 6),
    "behind all other segments.jpg": (jpeg(exif(6), at=b"\xff\xda"), 6),
    "behind the pixels.png": (png(chunk(b"eXIf", exif(6)), late=True), 6),
    "behind 300 kB.png": (png(chunk(b"eXIf", exif(6)), late=True, noise=300_000), 6),
    "behind 300 kB.jpg": (
        jpeg(exif(6))[:2] + app1(bytes(65000)) * 5 + jpeg(exif(6))[2:], 6,
    ),
    "behind fill bytes.jpg": (jpeg(exif(6))[:2] + b"\xff" * 9 + jpeg(exif(6))[2:], 6),
    "behind stray bytes.jpg": (jpeg()[:20] + b"\0\0\xff\0" + jpeg(exif(6))[2:38] + jpeg()[20:], 6),
    "with the marker of a JPEG.png": (png(chunk(b"eXIf", b"Exif\0\0" + exif(6))), 6),
    "without the marker of a JPEG.webp": (saved("WEBP", lossless=True, exif=exif(6)), 6),
    "the letters eXIf in a text.png": (png(chunk(b"tEXt", b"Comment\0eXIf" + exif(6))), 1),
    "orientation 0.jpg": (jpeg(exif(0)), 1),
    "orientation 9.jpg": (jpeg(exif(9)), 1),
    "only in XMP.jpg": (jpeg()[:2] + app1(XMP) + jpeg()[2:], 1),
    "only in a raw profile.png": (png(raw_profile(exif(6))), 1),
    "cut off in the directory.jpg": (jpeg(exif(6)[:14]), 1),
    "a directory outside of the file.jpg": (jpeg(b"II*\0" + struct.pack("<I", 2**31) + bytes(20)), 1),
}  # fmt: skip
ONLY_PILLOW = (
    "both say it",
    "second says it",
    "two tags",
    "BYTE",
    "cut off",
    "outside",
)  # reads these otherwise, or not at all


@pytest.mark.parametrize("name", FILES)
def test_size_and_decoder_agree_and_are_right(tmp_path, name):
    data, orientation = FILES[name]
    (tmp_path / name).write_bytes(data)
    expected = SEEN[orientation]
    assert picture_size(tmp_path / name) == expected.shape[:2]
    found = read_image(tmp_path / name)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (
        40 if name.endswith(".jpg") else 0
    )  # edges of a JPEG's blocks


@pytest.mark.parametrize("name", [name for name in FILES if not any(words in name for words in ONLY_PILLOW)])
def test_a_picture_of_pillow_is_turned_as_its_file_is(name):
    expected, found = decode_image(FILES[name][0]), pixels(Image.open(io.BytesIO(FILES[name][0])))
    assert found.shape == expected.shape and np.abs(found.astype(int) - expected).max() <= 2  # two JPEG decoders


@pytest.mark.parametrize("orientation", SEEN)
def test_a_tiff_of_16_bits_is_turned_once(tmp_path, orientation):
    """OpenCV turns a TIFF whatever it is told."""
    grey = (np.arange(60, dtype=np.uint16).reshape(6, 10) * 1000)[:, :, None]
    turns = {1: grey, 2: grey[:, ::-1], 3: grey[::-1, ::-1], 4: grey[::-1]}
    turns |= {5 + n: turns[one].transpose(1, 0, 2) for n, one in enumerate((1, 4, 3, 2))}
    Image.fromarray(grey[:, :, 0]).save(tmp_path / "a.tif", tiffinfo={274: orientation})
    expected = np.repeat(turns[orientation] >> 8, 3, axis=2)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected)
    assert picture_size(tmp_path / "a.tif") == expected.shape[:2]
    with open(tmp_path / "a.tif", "rb") as file:
        np.testing.assert_array_equal(pixels(Image.open(file)), expected)
    try:  # Pillow 13 maps such a file from its path with the wrong sides
        found = pixels(Image.open(tmp_path / "a.tif"))
    except UserMistake as mistake:
        assert "out of order" in str(mistake) and orientation > 4
    else:
        np.testing.assert_array_equal(found, expected)


def turn_patches(folder: Path) -> Path:
    """The set of ``write_patches`` with its pictures stored on their side, as a phone does, in four odd ways."""
    file = write_patches(folder)
    found = json.loads(file.read_text())
    for number, one in enumerate(found["images"]):
        seen = read_image(folder / "images" / one["file_name"])
        stored = Image.fromarray(np.ascontiguousarray(seen.transpose(1, 0, 2)[::-1]))  # shown again by orientation 6
        data = io.BytesIO()
        name = f"{number}.{'webp' if number % 2 else 'png'}"
        options = {"exif": b"Exif\0\0" + exif(6, "LONG")} if number % 2 else {}
        stored.save(data, "WEBP" if number % 2 else "PNG", lossless=True, **options)
        whole = data.getvalue()
        if not number % 2:
            whole = whole[:-12] + chunk(b"teSt", bytes(300_000)) + chunk(b"eXIf", exif(6)) + whole[-12:]
        (folder / "images" / one["file_name"]).unlink()
        (folder / "images" / name).write_bytes(whole)
        one["file_name"] = name
    file.write_text(json.dumps(found))
    return file


def test_an_annotated_set_of_turned_pictures_is_judged_in_their_upright_pixels(tmp_path):
    bundle = write_detection_bundle(tmp_path / "colours.edge", batch="batch")
    result = evaluate([bundle], turn_patches(tmp_path))
    assert result["rows"][0]["map"] == pytest.approx(100), "as of the upright pictures"
    assert "12 pictures are turned by EXIF: boxes are those of the turned picture" in result["notes"]


def test_a_picture_that_is_decoded_at_another_size_than_its_header_says_ends_it(tmp_path, monkeypatch):
    bundle, file = write_detection_bundle(tmp_path / "colours.edge", batch="batch"), write_patches(tmp_path)
    labels = tuple(one["name"].lower() for one in json.loads(file.read_text())["categories"])
    data = open_data(file, ImageContract((16, 16)), labels=labels, count=12, truths=open_coco)
    sizes = [truth.image_size for truth in read_coco(file, None, labels).truths]
    height, width = sizes[0]
    monkeypatch.setattr(
        "edgesmith.runtime.coco.files.read_image", lambda path: np.zeros((height, width + 1, 3), np.uint8)
    )
    with pytest.raises(UserMistake, match=f"another size.*\n  found     {width + 1} x {height} pixels"):
        evaluate([bundle], file)
    monkeypatch.setattr(
        "edgesmith.calibration.pictures.items.decode_image",
        lambda data, name, alpha: np.zeros((height, width + 1, 3), np.uint8),
    )
    with pytest.raises(UserMistake, match="decoded at another size"):
        next(data.calibration.batches(1))


def test_an_avif_that_must_be_turned_is_refused():
    """OpenCV 5 decodes AVIF and leaves its rotation away."""
    data = io.BytesIO()
    Image.fromarray(STORED).save(data, "AVIF", exif=b"Exif\0\0" + exif(6))
    with pytest.raises(UserMistake, match="AVIF with a rotation"):
        decode_image(data.getvalue())


def test_the_shape_of_a_frame_does_not_depend_on_opencvs_own_reading(monkeypatch):
    """OpenCV 4.8 leaves EXIF of a WebP away, 5.0 does not: it is asked to leave it away always."""
    flags = []
    plain = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flag: (flags.append(flag), plain(data, flag))[1])
    decode_image(FILES["orientation 6.webp"][0])
    assert all(flag & cv2.IMREAD_IGNORE_ORIENTATION for flag in flags)
