"""Samples of 10, 12, 14 and 16 bits, floats and other integers: the right bytes where white is known, else words."""

import io
import json
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from edgesmith.calibration.pictures.images import open_data
from edgesmith.runtime.coco.annotations import read_coco
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.file import check_image, decode_image, read_image
from edgesmith.runtime.pictures.preprocess import ImageContract, pixels

# what the picture shows: a slope of all bytes, 16 x 24 (grey) and three of them (colours)
GREY = (np.arange(16 * 24) * 255 // (16 * 24 - 1)).astype(np.uint8).reshape(16, 24)
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)
AS_IT_IS = ImageContract(size=(16, 24), crop_fraction=1.0, mean=(0, 0, 0), std=(1, 1, 1), scale=1.0)


def deep(picture: np.ndarray, bits: int) -> np.ndarray:
    """The same picture as a camera of so many bits gives it: uint16, white at 2 ** bits - 1."""
    rest = np.random.RandomState(0).randint(0, 1 << (bits - 8), picture.shape) if bits > 8 else 0
    return ((picture.astype(np.uint32) << (bits - 8)) + rest).astype(np.uint16)


def shown(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 3 else np.stack([picture] * 3, axis=2)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(samples: np.ndarray, significant: int = 0) -> bytes:
    """16 bits; with ``significant`` the chunk sBIT, one number a channel."""
    channels = {2: None, 3: [2, 1, 0], 4: [2, 1, 0, 3]}[samples.shape[2] if samples.ndim == 3 else 2]
    data = cv2.imencode(".png", samples if channels is None else samples[..., channels])[1].tobytes()
    bits = [significant, 16] if channels is None else [significant] * 3 + [16]  # that of alpha at the end
    said = chunk(b"sBIT", bytes(bits[: samples.shape[2] if samples.ndim == 3 else 1])) if significant else b""
    return data[:33] + said + data[33:]


def tiff(
    samples: np.ndarray,
    bits: int = 0,
    photometric: int = 1,
    form: int = 1,
    more=(),
    packed: bytes = b"",
    big: bool = False,
) -> bytes:
    """An uncompressed TIFF (big: BigTIFF) of one strip, its tags written out as TIFF 6.0 has them."""
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    data = packed or samples.tobytes()
    bits = bits or samples.dtype.itemsize * 8
    tags = [(256, "H", [width]), (257, "H", [height]), (258, "H", [bits] * channels), (259, "H", [1]), (262, "H", [photometric]),
            (277, "H", [channels]), (278, "H", [height]), (279, "I", [len(data)]), (284, "H", [1]),
            (339, "H", [form] * channels), *more]  # fmt: skip
    room, offset = (8, "Q") if big else (4, "I")
    start = 16 if big else 8
    count = len(tags) + 1
    end = start + (8 + 20 * count + 8 if big else 2 + 12 * count + 4)
    written, tail = [], b""
    for tag, kind, values in tags:
        value = struct.pack(f"<{len(values)}{kind}", *values)
        if len(value) > room:
            tail, value = tail + value, struct.pack("<" + offset, end + len(tail))
        number = {"H": 3, "I": 4}[kind]
        written.append((tag, struct.pack("<HH" + offset, tag, number, len(values)) + value.ljust(room, b"\0")))
    strip = struct.pack("<HH" + offset, 273, 4, 1) + struct.pack("<I", end + len(tail)).ljust(room, b"\0")
    body = b"".join(entry for _, entry in sorted([*written, (273, strip)]))
    head = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, count) if big else b"II*\0" + struct.pack("<IH", 8, count)
    return head + body + bytes(8 if big else 4) + tail + data


def packed(samples: np.ndarray, bits: int) -> bytes:
    """Rows of samples without a gap between them, each row filled up to a byte."""
    rows = ["".join(f"{int(value):0{bits}b}" for value in row.ravel()) for row in samples]
    rows = [row + "0" * (-len(row) % 8) for row in rows]
    return b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)


def white(value: int) -> list:
    return [(281, "H", [value])]


KNOWN = {  # a file whose white is known -> the bytes it shows
    "16 bits.png": (png(deep(RGB, 16)), RGB),
    "16 bits grey.png": (png(deep(GREY, 16)), GREY),
    "16 bits.tif": (tiff(deep(RGB, 16), photometric=2), RGB),
    "16 bits grey.tif": (tiff(deep(GREY, 16)), GREY),
    "16 bits, 0 is white.tif": (tiff(65535 - deep(GREY, 16), photometric=0), GREY),
    "8 bits, 0 is white.tif": (tiff(255 - GREY, photometric=0), GREY),
    "8 bits times 257, dark.png": (png((GREY // 8).astype(np.uint16) * 257), GREY // 8),
    "8 bits shifted, dark.png": (png((GREY // 8).astype(np.uint16) << 8), GREY // 8),
    "a black picture.png": (png(np.zeros((16, 24), np.uint16)), np.zeros_like(GREY)),
    **{f"{bits} bits, sBIT.png": (png(deep(RGB, bits), bits), RGB) for bits in (8, 10, 12, 14)},
    "12 bits, sBIT, dark.png": (png(deep(GREY // 8, 12), 12), GREY // 8),
    # PNG (third edition), 13.12: samples are scaled to the whole depth, the upper bits repeated below
    "12 bits stretched, sBIT.png": (png((deep(GREY, 12) << 4) | (deep(GREY, 12) >> 8), 12), GREY),
    "12 bits stretched, sBIT, dark.png": (png(deep(GREY // 16, 12) << 4, 12), GREY // 16),
    "12 bits and alpha, sBIT.png": (png(np.dstack([deep(RGB, 12), np.full_like(GREY, 65535, np.uint16)]), 12), RGB),
    "12 bits and alpha, MaxSampleValue.tif": (
        tiff(np.dstack([deep(RGB, 12), np.full_like(GREY, 65535, np.uint16)]), photometric=2,
             more=[(281, "H", [4095] * 4), (338, "H", [2])]), RGB,
    ),
    "16 bits, sBIT, dark.png": (png(deep(GREY // 8, 16), 16), GREY // 8),
    **{f"{bits} bits, MaxSampleValue.tif": (tiff(deep(RGB, bits), photometric=2, more=white(2**bits - 1)), RGB) for bits in (8, 10, 12, 14)},
    "12 bits, SMaxSampleValue.tif": (tiff(deep(RGB, 12), photometric=2, more=[(341, "H", [4095] * 3)]), RGB),
    "12 bits, MaxSampleValue, dark.tif": (tiff(deep(GREY // 8, 12), more=white(4095)), GREY // 8),
    "12 bits, MaxSampleValue, 0 is white.tif": (tiff(4095 - deep(GREY, 12), photometric=0, more=white(4095)), GREY),
    "16 bits, MaxSampleValue, dark.tif": (tiff(deep(GREY // 8, 16), more=white(65535)), GREY // 8),
    "12 bits, MaxSampleValue, BigTIFF.tif": (tiff(deep(GREY, 12), more=white(4095), big=True), GREY),
    **{f"{bits} bits packed.tif": (tiff(deep(GREY, bits), bits, packed=packed(deep(GREY, bits), bits)), GREY) for bits in (10, 12, 14)},
    "12 bits packed, dark.tif": (tiff(deep(GREY // 8, 12), 12, packed=packed(deep(GREY // 8, 12), 12)), GREY // 8),
    "12 bits packed colours.tif": (tiff(deep(RGB, 12), 12, 2, packed=packed(deep(RGB, 12), 12)), RGB),
}  # fmt: skip
UNKNOWN = {  # a file that nobody can tell -> the words
    **{f"{bits} bits.png": (png(deep(RGB, bits)), f"may be of {bits} or of 16 bits") for bits in (8, 10, 12, 14)},
    **{f"{bits} bits grey.tif": (tiff(deep(GREY, bits)), f"may be of {bits} or of 16 bits") for bits in (8, 10, 12, 14)},
    "12 bits and alpha.png": (png(np.dstack([deep(RGB, 12), np.full_like(GREY, 255).astype(np.uint16) * 257])), "may be of 12"),
    "12 bits, MaxSampleValue of what is there.tif": (tiff(deep(GREY, 12), more=white(3999)), "may be of 12 or of 16 bits"),
    "12 bits, MaxSampleValue of a part.tif": (tiff(deep(GREY, 12), more=white(255)), "may be of 12 or of 16 bits"),
    "a dark picture of 16 bits.png": (png(deep(GREY // 8, 16)), "may be of 14 or of 16 bits"),
    "floats in 0..1.tif": (tiff(RGB.astype(np.float32) / 255, photometric=2, form=3), "values from 0 to 1"),
    "signed 16 bits.tif": (tiff(deep(GREY, 15).astype(np.int16), form=2), "int16"),
    "signed 8 bits.tif": (tiff((GREY // 2).astype(np.int8), form=2), "int8"),
    "12 bits in two channels.tif": (tiff(np.dstack([deep(GREY, 12)] * 2)), "16 bits that OpenCV reduces to 8"),
    "radiance.hdr": (cv2.imencode(".hdr", RGB.astype(np.float32) / 255)[1].tobytes(), "float32"),
    "floats.pfm": (b"Pf\n24 16\n-1.0\n" + (GREY / 255).astype("<f4").tobytes(), "float32"),
    "10 bits.pgm": (b"P5 24 16 65535\n" + deep(GREY, 10).astype(">u2").tobytes(), "may be of 10 or of 16 bits"),
    "32 bits.tif": (tiff(deep(GREY, 16).astype(np.uint32)), "cannot"),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_a_file_whose_white_is_known_shows_what_it_holds(tmp_path, name):
    data, expected = KNOWN[name]
    (tmp_path / name).write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / name), shown(expected))
    found = open_data(tmp_path, AS_IT_IS, held_out=0)
    np.testing.assert_array_equal(next(found.calibration.batches(1))[0].transpose(1, 2, 0), shown(expected))


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_file_that_nobody_can_tell_is_refused_in_words(tmp_path, name):
    data, words = UNKNOWN[name]
    for read in (decode_image, check_image):
        with pytest.raises(UserMistake, match=words) as caught:
            read(data, "a.picture")
        assert len(str(caught.value).splitlines()) < 9
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UserMistake, match="no picture of .* can be used"):
        open_data(tmp_path, AS_IT_IS, held_out=0)


def test_a_set_of_an_unknown_depth_is_refused_before_it_is_evaluated(tmp_path):
    (tmp_path / "a.png").write_bytes(png(deep(RGB, 12)))
    found = {"images": [{"id": 1, "file_name": "a.png", "width": 24, "height": 16}], "categories": [{"id": 1, "name": "x"}],
             "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}]}  # fmt: skip
    (tmp_path / "coco.json").write_text(json.dumps(found))
    with pytest.raises(UserMistake, match="a.png: uint16, values from 0 to 4.*: 12 bits, or 16 and dark"):
        read_coco(tmp_path / "coco.json", None, ("x",))


def test_the_words_say_the_range_and_what_to_do():
    with pytest.raises(UserMistake) as caught:
        decode_image(png(deep(GREY, 10)), "dark.png")
    lines = str(caught.value)
    assert lines.startswith("the picture dark.png may be of 10 or of 16 bits\n  found     uint16, values from ")
    assert "(image >> 2).astype(np.uint8) if white is 1023" in lines and "sBIT of a PNG" in lines
    assert "a dark picture of 16 bits" in lines


ARRAYS = {
    **{f"{bits} bits": (deep(RGB, bits), f"may be of {bits} or of 16 bits") for bits in (8, 10, 12, 14)},
    "12 bits and alpha": (np.dstack([deep(RGB, 12), np.full_like(GREY, 65535, np.uint16)]), "may be of 12"),
    "int64": (RGB.astype(np.int64), r"int64 .* values from 0 to 255\n(.*\n)*  try       image.astype\(np.uint8\)$"),
    "uint32": (deep(RGB, 16).astype(np.uint32), r"uint32 .*\n(.*\n)*  try       image.astype\(np.uint16\)"),
    "int16, negative": (deep(RGB, 12).astype(np.int16) - 9, "int16 .* bring the values to 0..255|int16 .*\n(.*\n)*.*bring the values"),
    "bool": (RGB > 99, r"bool .*\n(.*\n)*  try       image.astype\(np.uint8\) \* 255"),
    "floats in 0..1": ((RGB / 255).astype(np.float32), r"values from 0 to 1\n(.*\n)*.*\(image \* 255\).round\(\).astype\(np.uint8\)"),
    "float16 in 0..255": (RGB.astype(np.float16), r"values from 0 to 255\n(.*\n)*.*image.round\(\).astype\(np.uint8\)"),
    "float64 in 0..65535": (deep(RGB, 16).astype(np.float64), r"image / highest \* 255"),
    "floats below 0": (((RGB - 127.5) / 60).astype(np.float32), "goes to session.run, not here"),
    "floats with NaN": (np.where(RGB == 9, np.nan, RGB).astype(np.float32), "NaN"),
    "nothing but NaN": (np.full((4, 4, 3), np.nan), "NaN or infinity only"),
    "complex numbers": (RGB.astype(np.complex64), "complex64"),
    "objects": (RGB.astype(object), "object"),
}  # fmt: skip


@pytest.mark.parametrize("what", ARRAYS)
def test_an_array_whose_white_is_a_guess_is_refused_in_words(what):
    array, words = ARRAYS[what]
    with pytest.raises(UserMistake, match=words):
        pixels(array)


def test_arrays_of_16_bits_keep_their_high_byte_however_dark_their_alpha_is():
    np.testing.assert_array_equal(pixels(deep(RGB, 16)), RGB)
    np.testing.assert_array_equal(pixels(deep(GREY, 16)), shown(GREY))
    np.testing.assert_array_equal(pixels(np.dstack([deep(RGB, 16), np.zeros_like(GREY, np.uint16)])), RGB)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("given", ["array", "list", "file"])
def test_a_calibration_set_of_a_cameras_bits_is_refused_before_the_work(tmp_path, bits, given):
    many = np.stack([deep(np.roll(RGB, n, axis=0), bits) for n in range(20)])
    np.savez(tmp_path / "a.npz", images=many)
    data = {"array": many, "list": list(many), "file": tmp_path / "a.npz"}[given]
    with pytest.raises(UserMistake, match=f"{bits} bits, or 16 and dark") as caught:
        open_data(data, AS_IT_IS, held_out=0)
    assert "astype(np.uint8) if white is" in str(caught.value)


def test_a_dark_picture_in_a_set_of_16_bits_is_left_out_and_named(tmp_path):
    """Its neighbours say that the set has 16 bits; at run time it comes alone, and is refused there too."""
    many = np.stack([deep(np.roll(RGB, n, axis=0), 16) for n in range(20)])
    many[7] = deep(RGB // 16, 16)
    data = open_data(many, AS_IT_IS, count=20, held_out=0)
    assert [one.name for one in data.skipped] == ["picture 7"] and len(data.calibration) == 19


LIKE_TIMM = ImageContract(size=(16, 24))  # floats from -2.1 to 2.6
HALVES = ImageContract(size=(16, 24), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))  # from -1 to 1
SHARES = ImageContract(size=(16, 24), mean=(0, 0, 0), std=(1, 1, 1))  # from 0 to 1
PLANES = np.stack([np.roll(RGB, n, axis=0).transpose(2, 0, 1) for n in range(20)]).astype(np.float32)
FLOATS = {
    "0..1, mean and std left out": (PLANES / 255, LIKE_TIMM, False),
    "dark, 0..0.5": (PLANES / 510, LIKE_TIMM, False),
    "0..1 where -1..1 is due": (PLANES / 255, HALVES, False),
    "0..1 where 0..255 is due": (PLANES / 255, AS_IT_IS, False),
    "-1..1 where mean and std are due": (PLANES / 127.5 - 1, LIKE_TIMM, False),
    "-1..1 where 0..1 is due": (PLANES / 127.5 - 1, SHARES, False),
    "mean and std where 0..255 is due": ((PLANES / 255 - 0.45) / 0.225, AS_IT_IS, False),
    "0..255": (PLANES, LIKE_TIMM, False),
    "0..255 where 0..1 is due": (PLANES, SHARES, False),
    "as due, mean and std": ((PLANES / 255 - 0.45) / 0.225, LIKE_TIMM, True),
    "as due, -1..1": (PLANES / 127.5 - 1, HALVES, True),
    "as due, 0..1": (PLANES / 255, SHARES, True),
    "as due, 0..255": (PLANES, AS_IT_IS, True),
}


@pytest.mark.parametrize("what", FLOATS)
@pytest.mark.parametrize(
    "given", [np.asarray, list, lambda many: [many[:10], many[10:]]], ids=["array", "pictures", "batches"]
)
def test_floats_that_were_prepared_another_way_do_not_calibrate(what, given):
    many, contract, due = FLOATS[what]
    if due:
        data = open_data(given(many.astype(np.float32)), contract, count=20, held_out=0)
        assert data.notes == () and len(data.calibration) == 20
        return
    with pytest.raises(UserMistake, match="are not preprocessed") as caught:
        open_data(given(many.astype(np.float32)), contract, count=20, held_out=0)
    assert "values from" in caught.value.found and "give them as uint8" in str(caught.value)


PIL_KNOWN = {
    "I;16 of 16 bits": (Image.fromarray(deep(GREY, 16)), GREY),
    "I of 16 bits": (Image.fromarray(deep(GREY, 16).astype(np.int32)), GREY),
    **{name: (Image.open(io.BytesIO(KNOWN[name][0])), KNOWN[name][1]) for name in KNOWN if "grey.tif" in name or (
        ".tif" in name and ("dark" in name or "is white" in name or name == "12 bits packed.tif"))},
    "16 bits.png": (Image.open(io.BytesIO(KNOWN["16 bits.png"][0])), RGB),
}  # fmt: skip
PIL_UNKNOWN = {
    "I;16": (Image.fromarray(deep(GREY, 12)), "may be of 12 or of 16 bits"),
    "I": (Image.fromarray(deep(GREY, 10).astype(np.int32)), "may be of 10 or of 16 bits"),
    "I, negative": (Image.fromarray(GREY.astype(np.int32) - 9), "has no colours"),
    "F": (Image.fromarray(GREY.astype(np.float32) / 255), "has no colours"),
    "12 bits.png": (Image.open(io.BytesIO(UNKNOWN["12 bits.png"][0])), "nearly black"),
    "12 bits grey.tif": (Image.open(io.BytesIO(UNKNOWN["12 bits grey.tif"][0])), "may be of 12 or of 16 bits"),
}


@pytest.mark.parametrize("what", PIL_KNOWN)
def test_a_picture_of_pillow_is_judged_as_its_file_is(what):
    picture, expected = PIL_KNOWN[what]
    np.testing.assert_array_equal(pixels(picture), shown(expected))


@pytest.mark.parametrize("what", PIL_UNKNOWN)
def test_a_picture_of_pillow_that_nobody_can_tell_is_refused(what):
    picture, words = PIL_UNKNOWN[what]
    with pytest.raises(UserMistake, match=words):
        pixels(picture)


def test_sixteen_bits_in_planes_are_refused():
    """OpenCV takes the planes of 16 bits for pixels: every colour would be another one, without a word."""
    together = tiff(deep(RGB, 16), photometric=2)
    one, two = (struct.pack("<HHIH", 284, 3, 1, planes) for planes in (1, 2))
    assert together.count(one) == 1
    for read in (decode_image, check_image):
        read(together, "a.tif")
        with pytest.raises(UserMistake, match="one behind the other"):
            read(together.replace(one, two), "a.tif")
