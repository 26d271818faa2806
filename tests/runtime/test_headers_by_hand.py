"""Headers of pictures written byte by byte, places of labels, and where a bundle may be written."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from edgesmith.runtime.bundle.kept import weights_of
from edgesmith.runtime.bundle.publish import check_place
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.formats.headers import Header, exif_orientation, header, tags, turned
from edgesmith.runtime.tasks.detection.detection import DetectionRule
from edgesmith.runtime.tasks.detection.draw import Pen, label_places
from edgesmith.runtime.tasks.detection.verdict import compare, row


def directory(order: str, *entries: tuple[int, int, int, bytes], big: bool = False) -> bytes:
    """A TIFF of one directory: (tag, type, how many values, the values or where they are)."""
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, 16)
        body = b"".join(
            struct.pack(order + "HHQ", tag, kind, count) + value.ljust(8, b"\0") for tag, kind, count, value in entries
        )
        return head + struct.pack(order + "Q", len(entries)) + body
    head = mark + struct.pack(order + "HI", 42, 8)
    body = b"".join(
        struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0") for tag, kind, count, value in entries
    )
    return head + struct.pack(order + "H", len(entries)) + body


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_whole_numbers_of_a_tiff(order, big):
    short = struct.pack(order + "H", 6)
    found = tags(
        directory(
            order, (274, 3, 1, short), (258, 3, 2, struct.pack(order + "HH", 8, 16)), (274, 3, 1, short * 2), big=big
        ),
        (274, 258, 262),
    )
    assert found == {274: (6,), 258: (8, 16)}, (
        "of a tag twice the first; what is not asked for and not there is left out"
    )
    values = struct.pack(order + "HHHHH", 1, 2, 3, 4, 5)
    room = 8 if big else 4
    outside = directory(order, (258, 3, 5, struct.pack(order + ("Q" if big else "I"), 0)), big=big)
    at = len(outside)
    outside = directory(order, (258, 3, 5, struct.pack(order + ("Q" if big else "I"), at)), big=big) + values
    assert tags(outside, (258,)) == {258: (1, 2, 3, 4, 5)} and len(values) > room
    assert tags(outside[:-1], (258,)) == {}, "values that stand outside of the file"
    assert tags(directory(order, (258, 5, 1, b"")), (258,)) == tags(directory(order, (258, 3, 0, b"")), (258,)) == {}
    assert tags(b"XX" + outside[2:], (258,)) == tags(b"", (258,)) == {}, "neither Intel's order nor Motorola's"
    for kind, form in ((1, "B"), (3, "H"), (4, "I"), (6, "b"), (8, "h"), (9, "i")):
        assert tags(directory(order, (262, kind, 1, struct.pack(order + form, 7)), big=big), (262,)) == {262: (7,)}


def test_how_a_picture_is_turned():
    image = np.arange(6).reshape(2, 3)
    views = {
        1: [[0, 1, 2], [3, 4, 5]], 2: [[2, 1, 0], [5, 4, 3]], 3: [[5, 4, 3], [2, 1, 0]], 4: [[3, 4, 5], [0, 1, 2]],
        5: [[0, 3], [1, 4], [2, 5]], 6: [[3, 0], [4, 1], [5, 2]], 7: [[5, 2], [4, 1], [3, 0]], 8: [[2, 5], [1, 4], [0, 3]],
    }  # fmt: skip
    for orientation, expected in views.items():
        assert turned(image, orientation).tolist() == expected, orientation
        assert (
            exif_orientation(b"Exif\0\0" + directory("<", (274, 3, 1, struct.pack("<H", orientation)))) == orientation
        )
        assert Header("JPEG", (2, 3), orientation).upright == ((3, 2) if orientation > 4 else (2, 3))
    assert exif_orientation(directory("<", (274, 3, 1, b"\x09\0"))) == exif_orientation(b"") == 0


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + b"crc!"


def png(*chunks: bytes, bits: int = 8, colour: int = 2) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 30, 20, bits, colour, 0, 0, 0)) + b"".join(chunks)
    )


TURNED = directory(">", (274, 3, 1, struct.pack(">H", 6)))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(chunk(b"IEND", b"")), ((20, 30), 1, 0, 8, True)), (png(chunk(b"IDAT", b"x" * 9)), ((20, 30), 1, 0, 8, False)),
        (png(chunk(b"eXIf", TURNED), chunk(b"IEND", b"")), ((20, 30), 6, 0, 8, True)),
        (png(chunk(b"sBIT", b"\x0a\x0c\x0b\x10"), chunk(b"IEND", b""), bits=16, colour=6), ((20, 30), 1, 12, 16, True)),
        (png(chunk(b"sBIT", b"\x0a\x10"), chunk(b"IEND", b""), bits=16, colour=4), ((20, 30), 1, 10, 16, True)),
        (png(chunk(b"sBIT", b"\x05"), chunk(b"IEND", b""), bits=16, colour=0), ((20, 30), 1, 0, 16, True)),
        (png(chunk(b"sBIT", b"\x08\x08\x08"), chunk(b"IEND", b"")), ((20, 30), 1, 0, 8, True)),
        (png()[:25], (None, 1, 0, 8, False)),
    ],
    ids=["plain", "goes on", "turned", "12 of 16 bits", "10 without alpha", "too few bits", "8 bits", "cut off"],
)  # fmt: skip
def test_the_head_of_a_png(data, expected):
    found = header(data)
    assert (
        found.kind == "PNG"
        and (found.size, found.orientation, found.bits, found.sample_bits, found.complete) == expected
    )


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def test_the_head_of_a_jpeg():
    size = segment(0xC2, struct.pack(">BHHB", 8, 20, 30, 3))
    scan = segment(0xDA, b"\0" * 6)
    exif = segment(0xE1, b"Exif\0\0" + TURNED)
    whole = b"\xff\xd8\xff" + (segment(0xE0, b"JFIF") + exif + segment(0xE1, b"http://other") + size + scan)[1:]
    found = header(whole + b"coded\xff\xd9")
    assert (found.kind, found.size, found.orientation, found.complete, found.pixels_at) == (
        "JPEG",
        (20, 30),
        6,
        True,
        len(whole),
    )
    early = header(b"\xff\xd8" + segment(0xC4, b"\0" * 9) + size)
    assert (early.size, early.orientation, early.complete) == ((20, 30), 1, False)
    assert header(b"\xff\xd8" + segment(0xC4, struct.pack(">BHHB", 8, 20, 30, 3)) + scan).size is None, (
        "tables are no size"
    )
    assert header(b"\xff\xd8" + b"\xff\xff" + size + scan).size == (20, 30), "fill bytes"
    assert header(b"\xff\xd8\xff\xd9" + size).size is None


def test_the_heads_of_other_kinds():
    def riff(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    odd = TURNED + b"!"
    web = b"RIFF\0\0\0\0WEBP" + riff(b"VP8 ", b"x" * 7) + riff(b"EXIF", odd)
    assert (header(web).kind, header(web).orientation) == ("WebP", 6)
    assert header(b"RIFF\0\0\0\0WAVE").kind == header(b"").kind == header(b"nothing").kind == ""
    told = {}
    for name, entries in {
        "plain": [(258, 3, 1, b"\x08\0")], "of 12": [(258, 3, 1, b"\x0c\0")], "white is 1023": [(258, 3, 1, b"\x10\0"), (281, 3, 1, b"\xff\x03")],
        "inverted": [(258, 3, 1, b"\x08\0"), (262, 3, 1, b"\0\0")], "planes": [(258, 3, 2, b"\x08\0\x08\0"), (284, 3, 1, b"\x02\0")],
        "one plane": [(258, 3, 1, b"\x08\0"), (284, 3, 1, b"\x02\0")], "without a word": [],
    }.items():  # fmt: skip
        found = header(directory("<", *entries))
        told[name] = (found.kind, found.bits, found.inverted, found.sample_bits, found.planes)
    assert told == {
        "plain": ("TIFF", 0, False, 8, False), "of 12": ("TIFF", 16, False, 12, False), "white is 1023": ("TIFF", 10, False, 16, False),
        "inverted": ("TIFF", 0, True, 8, False), "planes": ("TIFF", 0, False, 8, True), "one plane": ("TIFF", 0, False, 8, False),
        "without a word": ("TIFF", 0, False, 1, False),
    }  # fmt: skip


PEN = Pen(1, 0.5, 1, 2, 10, 3)  # a field is 10 + 3 + 2 = 15 high


def test_where_labels_stand(monkeypatch):
    """Ten pixels a letter, two on either side: over the box, else in it, else under it; and not over another label."""
    monkeypatch.setattr(Pen, "width_px", lambda self, text: 10 * len(text))

    def placed(*boxes: list[float], text: str = "ab", height: int = 100, width: int = 100) -> list[list[int]]:
        return label_places(np.array(boxes, float), [text] * len(boxes), PEN, height, width).tolist()

    assert placed([20, 40, 60, 80]) == [[20, 25, 44, 40]], "over it"
    assert placed([20, 10, 60, 80]) == [[20, 10, 44, 25]], "no room over it: inside"
    assert placed([90, 40, 98, 80]) == [[76, 25, 100, 40]], "not out of the picture"
    assert placed([-5, 95, 60, 200]) == [[0, 80, 24, 95]]
    assert placed([20, 40, 60, 80], [20, 40, 60, 80]) == [[20, 25, 44, 40], [20, 40, 44, 55]], "the second one inside"
    assert placed([20, 40, 60, 80], text="a" * 20) == [[20 - 20, 25, 204, 40]], "wider than the picture: from its edge"
    assert placed([20, 4, 60, 8], height=12) == [[20, 0, 44, 15]], "a picture lower than a label"


def test_a_full_list_ends_at_its_lowest_score_and_the_worst_box_is_told():
    """Two of the judge's three fit: what it would have listed third is not missed on the other side."""
    few = DetectionRule("runtime", 0.3, 0.6, 2)
    cells = [[0, 0, 10, 10, 0.9], [50, 0, 60, 10, 0.8], [80, 0, 90, 10, 0.7]]
    judge = np.array([cells], np.float32)
    other = np.array([[cells[0], [50, 0, 63, 10, 0.75], [80, 0, 90, 10, 0.79]]], np.float32)
    found = compare(judge[:, ::-1], other[:, ::-1], few, False)
    assert (found["detections"], found["missing"], found["extra"]) == (2, 0, 0)
    more = DetectionRule("runtime", 0.3, 0.6, 9)
    moved = np.array([[[0, 0, 10, 10, 0.9], [50, 0, 60, 13, 0.75], [80, 0, 91, 10, 0.7]]], np.float32)
    found = compare(judge, moved, more, False)
    assert found["box_px"] == 3 and found["score_abs"] == pytest.approx(0.05, abs=1e-6)
    told = row(judge, moved, more, "fp32")
    assert (told.output, told.cases, told.passed, told.top1) == (
        "detections",
        1,
        False,
        1.0,
    ) and told.max_abs == pytest.approx(0.05, abs=1e-6)
    nothing = row(judge * 0, judge * 0, more, "fp32")
    assert not nothing.passed and nothing.told.startswith("not judged") and nothing.limit == "a detection to compare"
    broken = row(judge, judge * np.nan, more, "fp32")
    assert not broken.passed and broken.max_abs == float("inf") and broken.cosine == -1.0


def test_where_a_bundle_may_be_written(tmp_path: Path):
    check_place(tmp_path / "free", False)
    empty = tmp_path / "empty"
    empty.mkdir()
    check_place(empty, False)
    for name in ("", "a", "b"):
        place = tmp_path / f"taken{name}"
        place.mkdir()
        (place / "x").write_text("")
        with pytest.raises(UserMistake, match="that place is taken"):
            check_place(place, False)
    link = tmp_path / "link"
    link.symlink_to(empty, target_is_directory=True)
    with pytest.raises(UserMistake, match="a link"):
        check_place(link, True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserMistake, match="is taken"):
        check_place(tmp_path / "file", True)


def test_weights_beside_a_graph(tmp_path: Path):
    import onnx
    from onnx import TensorProto, helper

    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [helper.make_tensor_value_info("x", 1, [2])],
                              [helper.make_tensor_value_info("y", 1, [2])], [tensor])  # fmt: skip
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert (
        weights_of(path, ["model.onnx", "w.bin"]) == ["w.bin"] and weights_of(path, ["model.onnx", "labels.json"]) == []
    )
    assert onnx.load(path, load_external_data=False).graph.name == "g"
