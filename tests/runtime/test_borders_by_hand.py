"""Borders of what is accepted, each from both sides, and bytes written by hand: contracts, places of pictures, protobuf."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgesmith.runtime.bundle.onnx_scan import ExternalData, NotOnnx, scan_bytes
from edgesmith.runtime.commands.cli import _asks_for_the_workstation, _of_the_workstation
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.ground.numbers import class_logits, relative_error, smallest_cosine
from edgesmith.runtime.pictures.placement import placement
from edgesmith.runtime.pictures.preprocess import ImageContract
from edgesmith.runtime.pictures.video.capture import codec_of, count_of, fps_of
from edgesmith.runtime.session.quantiles import RunningMedian
from edgesmith.runtime.tasks.detection.boxes import overlaps
from edgesmith.runtime.tasks.detection.detection import Detections

LETTERBOX = {"fit": "letterbox", "mean": (0.5, 0.5, 0.5)}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"size": (1, 1)}, ""), ({"size": (0, 1)}, "size"), ({"size": (16384, 4096)}, ""), ({"size": (16384, 4097)}, "size"),
        ({"size": (16385, 1)}, "size"), ({"size": (True, 8)}, "size"), ({"size": (8.0, 8)}, "size"), ({"size": (8, 8, 8)}, "size"),
        ({"crop_fraction": 0.1}, ""), ({"crop_fraction": 0.0999}, "crop_fraction"), ({"crop_fraction": 1}, ""),
        ({"crop_fraction": 1.001}, "crop_fraction"), ({"crop_fraction": math.nan}, "crop_fraction"), ({"crop_fraction": True}, "crop_fraction"),
        ({"mean": (-1e9, 0, 1e9)}, ""), ({"mean": (0, 0, 1.1e9)}, "mean"), ({"mean": (0, 0)}, "mean"), ({"mean": (0, 0, "a")}, "mean"),
        ({"std": (1e-9, 1, 1e9)}, ""), ({"std": (1, 1, 0)}, "std"), ({"std": (1, -1, 1)}, "std"), ({"std": (1, 1, 1.1e9)}, "std"),
        ({"scale": 1e-9}, ""), ({"scale": 1e9}, ""), ({"scale": 0}, "scale"), ({"scale": 1.1e9}, "scale"), ({"scale": math.inf}, "scale"),
        ({"antialias": 1}, "antialias"), ({"resize": "bilinear"}, ""), ({"resize": "nearest"}, "resize"), ({"colour": "GBR"}, "colour"),
        ({"channels": 3.0}, "channels"), ({"channels": 2}, "channels"), ({"channels": 4}, "mean"), ({"fit": "pad"}, "fit"), ({"anchor": "corner"}, "anchor"),
        ({"anchor": "corner", **LETTERBOX}, ""), (LETTERBOX, ""), ({**LETTERBOX, "mean": (-0.01, 0.5, 0.5)}, "mean"),
        ({**LETTERBOX, "mean": (0, 1, 1)}, ""), ({**LETTERBOX, "mean": (0, 1, 1.01)}, "mean"), ({"mean": (-0.5, 0.5, 2)}, ""),
    ],
)  # fmt: skip
def test_the_borders_of_an_input_contract(fields, wrong):
    if not wrong:
        contract = ImageContract(**{"size": (224, 224), **fields})
        assert ImageContract.from_json(contract.to_json()) == contract
        return
    with pytest.raises(UserMistake, match=f"input contract: {wrong} is not usable"):
        ImageContract(**{"size": (224, 224), **fields})


@pytest.mark.parametrize(
    ("contract", "picture", "resized", "window", "corner"),
    [
        # the short side to 256, the centre of it; a half pixel goes to the even side
        (ImageContract((224, 224), crop_fraction=0.875), (480, 640), (256, 341), (16, 58, 240, 282), (0, 0)),
        (ImageContract((224, 224), crop_fraction=0.875), (640, 480), (341, 256), (58, 16, 282, 240), (0, 0)),
        (ImageContract((224, 224), crop_fraction=0.875), (100, 103), (256, 263), (16, 20, 240, 244), (0, 0)),
        (ImageContract((224, 224), crop_fraction=0.9), (50, 50), (248, 248), (12, 12, 236, 236), (0, 0)),
        # not square: as large as is needed to cover both
        (ImageContract((100, 200), crop_fraction=1.0), (100, 100), (200, 200), (50, 0, 150, 200), (0, 0)),
        (ImageContract((100, 200), crop_fraction=1.0), (300, 900), (100, 300), (0, 50, 100, 250), (0, 0)),
        (ImageContract((100, 200), crop_fraction=0.5, fit="stretch"), (37, 900), (200, 400), (50, 100, 150, 300), (0, 0)),
        (ImageContract((64, 64), crop_fraction=1.0, **LETTERBOX), (30, 90), (21, 64), (0, 0, 21, 64), (21, 0)),
        (ImageContract((64, 64), crop_fraction=1.0, **LETTERBOX), (90, 30), (64, 21), (0, 0, 64, 21), (0, 21)),
        (ImageContract((64, 64), crop_fraction=1.0, **LETTERBOX), (1, 1000), (1, 64), (0, 0, 1, 64), (31, 0)),
        (ImageContract((64, 64), crop_fraction=1.0, anchor="corner", **LETTERBOX), (30, 90), (21, 64), (0, 0, 21, 64), (0, 0)),
        (ImageContract((64, 48), crop_fraction=1.0, anchor="corner", **LETTERBOX), (50, 30), (64, 38), (0, 0, 64, 38), (0, 0)),
        (ImageContract((64, 48), crop_fraction=1.0, anchor="corner", **LETTERBOX), (40, 30), (64, 48), (0, 0, 64, 48), (0, 0)),
        (ImageContract((64, 48), crop_fraction=1.0, anchor="corner", **LETTERBOX), (39, 30), (62, 48), (0, 0, 62, 48), (0, 0)),
        (ImageContract((64, 64), crop_fraction=1.0, anchor="corner", **LETTERBOX), (1, 1000), (1, 64), (0, 0, 1, 64), (0, 0)),
        (ImageContract((64, 64), crop_fraction=1.0, anchor="corner", **LETTERBOX), (1000, 1), (64, 1), (0, 0, 64, 1), (0, 0)),
        (ImageContract((64, 64), crop_fraction=0.8, **LETTERBOX), (40, 40), (80, 80), (8, 8, 72, 72), (0, 0)),
    ],
)  # fmt: skip
def test_where_pictures_lie_in_the_input(contract, picture, resized, window, corner):
    found = placement(picture, contract)
    assert (found.resized, found.window, found.corner) == (resized, window, corner)
    assert found.offset == (corner[0] - window[0], corner[1] - window[1])


class Said:
    """A capture that says one number of everything it is asked."""

    def __init__(self, value: float) -> None:
        self.get = lambda _: value


def test_what_a_video_says_of_itself_is_believed_within_reason():
    for value, fps in (
        (30.0, 30.0),
        (1000.0, 1000.0),
        (0.5, 0.5),
        (1001.0, None),
        (0.0, None),
        (-1.0, None),
        (math.nan, None),
    ):
        assert fps_of(Said(value)) == fps
    for value, count in ((1.0, 1), (120.0, 120), (0.0, None), (-9.2e18, None), (1e9, None), (math.nan, None)):
        assert count_of(Said(value)) == count
    assert codec_of(Said(float(int.from_bytes(b"avc1", "little")))) == "avc1"
    assert codec_of(Said(float(int.from_bytes(b"mp\0\0", "little")))) == "mp" and codec_of(Said(0.0)) == "unknown"


def test_overlaps_by_hand():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 40], [3, 3, 3, 9]], np.float32)
    found = overlaps(boxes, boxes[:3])
    expected = [[1, 50 / 150, 0], [50 / 150, 1, 0], [0, 0, 1], [0, 0, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert overlaps(boxes[:0], boxes).shape == (0, 4) and overlaps(boxes, boxes[:0]).shape == (4, 0)


def test_detections_above_a_score():
    boxes = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = Detections(boxes, np.array([0.9, 0.5, 0.4], np.float32), np.array([1, 0, 1]), ("a", "b"), (20, 20))
    some = found.above(0.5)
    assert len(some) == 1 and some.to_json() == [
        {"label": "b", "class": 1, "score": pytest.approx(0.9), "box": [0, 1, 2, 3]}
    ]
    assert [one.label for one in found] == ["b", "a", "b"] and (
        found.preprocess_ms,
        found.infer_ms,
        found.postprocess_ms,
    ) == (0, 0, 0)
    assert (
        str(found.above(1)) == "nothing found"
        and str(some) == " 0.900  b                          0.0      1.0      2.0      3.0"
    )


def number(value: int) -> bytes:
    """A varint of protobuf."""
    some = b""
    while value > 0x7F:
        some, value = some + bytes([value & 0x7F | 0x80]), value >> 7
    return some + bytes([value])


def field(at: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return number(at << 3) + number(content)
    return number(at << 3 | 2) + number(len(content)) + content


def entry(key: str, value: str) -> bytes:
    return field(13, field(1, key.encode()) + field(2, value.encode()))


OUTSIDE = entry("location", "w.bin") + entry("offset", "4096") + entry("length", "12") + field(14, 1)
FOUND = (ExternalData("w.bin", 4096, 12),)
SPARSE = field(1, OUTSIDE)
GRAPH = field(1, field(4, b"Relu"))


@pytest.mark.parametrize(
    "place",
    [
        GRAPH + field(5, OUTSIDE), GRAPH + field(15, SPARSE), GRAPH + field(15, field(2, OUTSIDE)),
        field(1, field(5, field(5, OUTSIDE))), field(1, field(5, field(10, OUTSIDE))),
        field(1, field(5, field(6, field(5, OUTSIDE)))), field(1, field(5, field(11, field(5, OUTSIDE)))),
        field(1, field(5, field(22, SPARSE))), field(1, field(5, field(23, SPARSE))),
    ],
    ids=["weight", "sparse", "its indices", "attribute", "attributes", "branch", "branches", "sparse attribute", "sparse attributes"],
)  # fmt: skip
def test_weights_outside_are_found_wherever_a_tensor_can_stand(place):
    assert scan_bytes(field(7, place)) == FOUND
    assert scan_bytes(field(7, GRAPH) + field(25, field(7, field(5, field(5, OUTSIDE))))) == FOUND, "in a function"
    assert scan_bytes(field(7, GRAPH) + field(25, field(11, field(5, OUTSIDE)))) == FOUND, "an attribute's default"
    assert scan_bytes(field(7, GRAPH) + field(20, field(1, place))) == FOUND, "in the start of a training"
    assert scan_bytes(field(7, GRAPH) + field(20, field(2, place))) == FOUND, "in its steps"


def test_what_lies_inside_is_skipped_whatever_its_size():
    """A weight of 300 bytes, numbers of 4 and 8 bytes that stand alone, and a version of many digits."""
    weight = field(9, bytes(300)) + field(8, b"w")
    fixed = number(77 << 3 | 1) + bytes(8) + number(78 << 3 | 5) + bytes(4)
    assert scan_bytes(field(1, 2**40) + fixed + field(7, fixed + GRAPH + field(5, fixed + weight))) == ()
    assert scan_bytes(fixed + field(7, GRAPH + field(5, fixed + OUTSIDE))) == FOUND
    assert (
        scan_bytes(
            field(7, GRAPH + field(5, field(8, b"w" * 127) + OUTSIDE) + field(5, field(8, b"w" * 128) + OUTSIDE))
        )
        == FOUND * 2
    )


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (field(14, 1) + entry("location", "a"), ExternalData("a")), (entry("location", "a"), ExternalData("a", 0, None)),
        (field(14, 0), None), (field(14, 1) + field(14, 0) + entry("location", "a"), ExternalData("a")),
    ],
    ids=["no offset", "only a place", "inside", "said twice"],
)  # fmt: skip
def test_what_a_tensor_says_of_its_place(tensor, expected):
    assert scan_bytes(field(7, GRAPH + field(5, tensor))) == (() if expected is None else (expected,))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no graph"), (field(7, 3), "no graph"), (field(1, 8), "no graph"), (field(7, GRAPH)[:-1], "cut off"),
        (field(7, GRAPH) + b"\xff" * 12, "does not end"), (field(7, GRAPH) + number(5 << 3 | 3), "wire type 3"),
        (field(7, GRAPH) + number(5 << 3 | 1) + bytes(7), "cut off"), (field(7, GRAPH) + number(5 << 3 | 5) + bytes(3), "cut off"),
        (field(7, field(5, field(14, 1))), "cannot be read"), (field(7, field(5, entry("location", "a") * 2)), "twice"),
        (field(7, field(5, entry("location", "a") + entry("offset", "x"))), "cannot be read"),
        (field(7, field(5, field(13, field(1, b"\xff") + field(2, b"a")))), "no text"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_whole_model(data, why):
    with pytest.raises(NotOnnx, match=why):
        scan_bytes(data)


def call(name: bytes, domain: bytes = b"", times: int = 1) -> bytes:
    return field(1, field(4, name) + (field(7, domain) if domain else b"")) * times


def function(name: bytes, *calls: bytes, domain: bytes = b"f") -> bytes:
    return field(25, field(1, name) + field(10, domain) + b"".join(calls))


def inside(name: bytes, domain: bytes = b"", times: int = 1) -> bytes:
    """A node of a function, whose nodes are its field 7."""
    return field(7, field(4, name) + (field(7, domain) if domain else b"")) * times


@pytest.mark.parametrize(("times", "fits"), [(99, True), (101, False)])
def test_functions_are_counted_as_they_are_written_out(times, fits):
    """100 x 100 x 99 nodes are below a million, 100 x 100 x 101 are not; a name of another domain is no call."""
    model = (
        field(7, call(b"a", b"f", 100))
        + function(b"a", inside(b"b", b"f", 100))
        + function(b"b", inside(b"Relu", b"", times))
    )
    other = (
        field(7, call(b"a", b"", 100))
        + function(b"a", inside(b"b", b"f", 100))
        + function(b"b", inside(b"Relu", b"", 101))
    )
    assert scan_bytes(other) == ()
    if fits:
        assert scan_bytes(model) == ()
        return
    with pytest.raises(NotOnnx, match="multiply to more than 1,000,000"):
        scan_bytes(model)


def test_a_function_that_calls_itself_never_ends():
    with pytest.raises(NotOnnx, match="more than 100 deep"):
        scan_bytes(field(7, call(b"a", b"f")) + function(b"a", inside(b"a", b"f")))
    plain = field(7, call(b"a", b"ai.onnx")) + function(b"a", inside(b"Relu"), domain=b"")
    assert scan_bytes(plain) == (), "ai.onnx is the domain without a name"


def test_medians_and_cosines_of_extreme_numbers():
    """What is above a billion counts as a billion; float32 is widened before it is squared."""
    for values, expected in (([1.5e9] * 1002, 1e9), ([3e-7] * 1002, 1e-6), ([1.5e9] * 3, 1.5e9)):
        running = RunningMedian()
        for value in values:
            running.add(value)
        assert running.value == pytest.approx(expected, rel=0.011)
    large = np.array([[3e30, 4e30], [1.0, 0.0]], np.float32)
    assert smallest_cosine(large, large) == pytest.approx(1) and relative_error(large, large) == 0
    assert smallest_cosine(large, large[:, ::-1]) == pytest.approx(0) and relative_error(
        large, 2 * large
    ) == pytest.approx(1)
    assert relative_error(large, large + np.float32(np.inf)) == np.inf and smallest_cosine(large, large * np.nan) == -1
    lone = class_logits(np.array([[2.0], [-1.0]]))
    assert lone.tolist() == [[0, 2], [0, -1]] and class_logits(np.ones((2, 3, 2))).shape == (2, 6)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["eval", "--weights=a"], "eval --weights is an option"),
        (["run", "a.edge"], ""),
        ([], ""),
        (["export", "a"], "export is a command"),
    ],
)
def test_what_only_a_workstation_does(words, asked):
    assert _asks_for_the_workstation(words) == asked
    told = _of_the_workstation("export is a command")
    assert str(told).startswith("edgesmith export is a command of the workstation") and told.exit_code == 2
