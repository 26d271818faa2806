"""Damaged and hostile bytes: an answer or a refusal in words, never another exception, never a hang."""

import contextlib

import cv2
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from edgesmith.runtime.bundle.onnx_scan import MAX_DEPTH, NotOnnx, scan_bytes
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.file import decode_image

EDITS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6)


def model() -> bytes:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "inner", [], [], [tensor])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    return helper.make_model(helper.make_graph([node], "g", [], [])).SerializeToString()


def edited(data: bytes, edits) -> bytes:
    out = bytearray(data)
    for place, value in edits:
        out[int(place * len(out))] = value
    return bytes(out)


@settings(deadline=None, max_examples=300)
@given(EDITS, st.floats(0, 1))
@example([], 1.0)
def test_a_damaged_graph_is_scanned_or_refused_and_never_crashes(edits, keep):
    data = edited(model(), edits)[: int(keep * len(model()))]
    with contextlib.suppress(NotOnnx):
        scan_bytes(data)


@settings(deadline=None, max_examples=300)
@given(EDITS)
def test_what_the_onnx_package_finds_outside_we_find_too(edits):
    data = edited(model(), edits)
    try:
        read = ModelProto.FromString(data)
    except DecodeError:
        return  # no model for anybody
    tensors = [*read.graph.initializer]
    for node in read.graph.node:
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors, *attribute.g.initializer]
    theirs = {entry.value for t in tensors for entry in t.external_data if entry.key == "location"}
    try:
        ours = {place.location for place in scan_bytes(data)}
    except NotOnnx:
        return  # refused is safe
    assert theirs <= ours


def test_endless_nesting_is_refused():
    data = b""
    for _ in range(MAX_DEPTH + 10):  # graph(7) > node(1) > attribute(5) > graph(6) > node(1) ...
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            data = tag + _length(data) + data
    with pytest.raises(NotOnnx, match="nested"):
        scan_bytes(b"\x3a" + _length(data) + data)


def _length(data: bytes) -> bytes:
    size, out = len(data), b""
    while size > 127:
        out, size = out + bytes([size & 127 | 128]), size >> 7
    return out + bytes([size])


def test_a_second_graph_field_is_looked_through_too():
    """Protobuf merges repeated fields, so a graph may be hidden behind another one."""
    clean = helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString()
    assert [place.location for place in scan_bytes(clean + model())] == ["w.bin", "w.bin"]


def test_a_location_named_twice_is_refused():
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    tensor.external_data.add(key="location", value="../w.bin")
    data = helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()
    with pytest.raises(NotOnnx, match="twice"):
        scan_bytes(data)


@pytest.mark.parametrize("kind", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
@settings(deadline=None, max_examples=60)
@given(edits=EDITS, keep=st.floats(0, 1))
def test_a_damaged_picture_is_decoded_or_refused_and_never_crashes(kind, edits, keep):
    whole = cv2.imencode(kind, np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8))[1].tobytes()
    data = edited(whole, edits)[: int(keep * len(whole))]
    with contextlib.suppress(UserMistake):
        assert decode_image(data).dtype == np.uint8
