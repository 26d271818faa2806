"""The schema of a fused op: symbols bound from shapes, wrong nodes refused with what was found."""

from __future__ import annotations

import struct

import pytest
from gpu.shapes import output_shapes

from edgesmith.runtime.plugins.schema import Attribute, Launch, OpSchema, Tensor, chosen, float_bits

SCHEMA = OpSchema(
    "Packed",
    inputs=(Tensor("codes", "int32", ("B", "N", "D*bits//32")), Tensor("like", "T", ("B", "D"))),
    outputs=(Tensor("y", "T", ("B", "cdiv(N, 64)", "2", "D")),),
    attributes=(Attribute("bits", "int"), Attribute("scale", "float", 0.5)),
)


def test_binds_symbols_attributes_and_defaults():
    names = SCHEMA.bind([(2, 70, 16), (2, 128)], {"bits": 4})
    assert names == {"B": 2, "N": 70, "D": 128, "bits": 4, "scale": float_bits(0.5)}
    assert output_shapes(SCHEMA, names) == [(2, 2, 2, 128)]


def test_a_float_stands_for_the_bits_of_its_float32():
    assert struct.unpack("<f", struct.pack("<i", float_bits(-0.1)))[0] == pytest.approx(-0.1, rel=1e-7)
    assert float_bits(-0.1) < 0  # as int32, the only integer a kernel takes


@pytest.mark.parametrize(
    ("shapes", "attributes", "words"),
    [
        ([(2, 70, 16)], {"bits": 4}, "takes 2 inputs, found 1"),
        ([(2, 70), (2, 128)], {"bits": 4}, "Packed.codes is"),
        ([(2, 70, 16), (3, 128)], {"bits": 4}, r"Packed.like is .* found \(3, 128\)"),
        ([(2, 70, 16), (2, 128)], {"bits": 8}, r"= \(2, 70, 32\), found \(2, 70, 16\)"),
        ([(2, 70, 16), (2, 128)], {}, "needs the attribute bits"),
        ([(2, 70, 16), (2, 128)], {"bits": 4, "side": 1}, "no attribute side"),
    ],
)
def test_wrong_nodes_are_refused(shapes, attributes, words):
    with pytest.raises(ValueError, match=words):
        SCHEMA.bind(shapes, attributes)


def test_a_schema_travels_as_json():
    assert OpSchema.from_json(SCHEMA.to_json()) == SCHEMA


def test_launches_are_chosen_by_type_and_sizes_in_their_order():
    def launch(entry: str, type_: str, when: str) -> Launch:
        return Launch(entry, type_, when, ("1", "1", "1"), (), 128, 0)

    launches = [launch("a", "float16", "D == 64"), launch("b", "float16", "1"), launch("c", "float32", "1")]
    assert [found.entry for found in chosen(launches, "float16", {"D": 64})] == ["a", "b"]
    assert [found.entry for found in chosen(launches, "float16", {"D": 48})] == ["b"]
    assert chosen(launches, "bfloat16", {"D": 64}) == []
