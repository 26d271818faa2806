"""The FunctionProto of every declaration: valid, complete, and its node names every attribute."""

from __future__ import annotations

import re

import onnx
import pytest

from edgesmith.exporter.plugins import OPS
from edgesmith.exporter.plugins.functions import function, node

NAMES = sorted(OPS)
# operators that no TensorRT parser has, or that need a type it refuses between layers
NOT_IN_TENSORRT = {
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "BitwiseNot",
    "Loop",
    "Scan",
    "If",
    "StringConcat",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_function_has_the_schema_of_its_declaration(name):
    op, body = OPS[name], function(OPS[name])
    assert (body.domain, body.name) == ("edgesmith", name)
    assert list(body.input) == [tensor.name for tensor in op.schema.inputs]
    assert list(body.output) == [tensor.name for tensor in op.schema.outputs]
    required = [attribute.name for attribute in op.schema.attributes if attribute.default is None]
    assert list(body.attribute) == required
    optional = {attribute.name for attribute in op.schema.attributes} - set(required)
    assert {proto.name for proto in body.attribute_proto} == optional | {"plugin_namespace", "plugin_version"}
    onnx.checker.check_function(body)


@pytest.mark.parametrize("name", NAMES)
def test_the_body_reads_every_attribute_and_uses_what_tensorrt_has(name):
    op = OPS[name]
    read = set(re.findall(r"@(\w+)", op.body))
    assert read == {attribute.name for attribute in op.schema.attributes}
    used = {entry.op_type for entry in function(op).node}
    assert not used & NOT_IN_TENSORRT
    assert all(not entry.domain for entry in function(op).node)


@pytest.mark.parametrize("name", NAMES)
def test_the_docstrings_are_there(name):
    op = OPS[name]
    assert op.summary.endswith(".") and op.equation and op.source and op.wins
    assert op.reference.__doc__


def test_a_node_names_every_attribute_and_where_its_plugin_is():
    made = node(OPS["GGeMPool"], ["x", "p"], ["y"], {"eps": 0.5})
    assert {a.name: onnx.helper.get_attribute_value(a) for a in made.attribute} == {
        "eps": 0.5, "interleaved": 0, "plugin_namespace": b"edgesmith", "plugin_version": b"1",
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in NAMES if OPS[name].body_at])
def test_a_branch_that_no_node_takes_is_left_out(name):
    (attribute, value), *_ = OPS[name].body_at
    whole, shorter = function(OPS[name]), function(OPS[name], given={attribute: value})
    assert len(shorter.node) < len(whole.node) and len(function(OPS[name], given={attribute: value + 1}).node) == len(
        whole.node
    )
    assert list(shorter.input) == list(whole.input) and list(shorter.output) == list(whole.output)
    assert list(shorter.attribute_proto) == list(whole.attribute_proto)  # a node names them all, whatever is read
    onnx.checker.check_function(shorter)
