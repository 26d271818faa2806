"""The torch op of a declaration: same numbers as the reference, shapes under tracing, one node with its body after export."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from edgesmith.exporter.plugins import OPS
from edgesmith.exporter.plugins.torch_ops import carry_functions, signature, torch_op
from edgesmith.exporter.plugins.vision.ggem_pool import OP
from edgesmith.exporter.trace.fused_nodes import translations


class Pooled(torch.nn.Module):
    def forward(self, x, p):
        return torch_op(OP)(x * 2, p, eps=1e-5) + 1


def test_the_signature_has_inputs_then_attributes_with_defaults():
    assert signature(OP.schema) == "(Tensor x, Tensor p, float eps=1e-06, int interleaved=0) -> Tensor"


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_is_registered_with_a_translation(name):
    torch_op(OPS[name])
    assert getattr(torch.ops.edgesmith, name).default in translations()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_computes_the_reference_in_its_own_type(dtype):
    x, p = torch.rand(2, 5, 6).to(dtype), torch.tensor([[2.0], [3.0]])
    got = torch_op(OP)(x, p)
    assert got.dtype == dtype and got.shape == (2, 6)
    wanted = OP.reference(x.float().numpy(), p.numpy())
    assert np.abs(got.float().numpy() - wanted).max() <= {torch.bfloat16: 8e-3}.get(dtype, 1e-3)


def test_a_wrong_shape_is_refused_with_the_schema():
    with pytest.raises(ValueError, match=r"GGeMPool.p is \('G', '1'\)"):
        torch_op(OP)(torch.rand(2, 5, 6), torch.ones(2, 3))


class Stored(torch.nn.Module):
    def __init__(self, *rotations):
        super().__init__()
        self.rotations = rotations

    def forward(self, v):
        return [torch_op(OPS["QuantizeV"])(v, rotate=rotate) for rotate in self.rotations]


@pytest.mark.parametrize(("rotations", "rotated"), [((0,), False), ((0, 0), False), ((0, 1), True), ((1,), True)])
def test_a_body_has_the_branches_that_its_nodes_take(rotations, rotated):
    program = torch.onnx.export(
        Stored(*rotations).eval(), (torch.rand(1, 1, 3, 32),), dynamo=True, opset_version=20,
        custom_translation_table=translations(), verbose=False,
    )  # fmt: skip
    assert program is not None
    assert carry_functions(program.model) == ["QuantizeV"]
    (body,) = (function for function in program.model.functions.values() if function.domain == "edgesmith")
    assert ("Where" in {node.op_type for node in body}) == rotated


def test_exports_to_one_node_with_its_body_and_open_axes():
    x, p = torch.rand(2, 9, 6), torch.tensor([[2.0], [3.0]])
    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        Pooled().eval(), (x, p), dynamo=True, opset_version=20, dynamic_shapes=(axes, None),
        custom_translation_table=translations(), verbose=False,
    )  # fmt: skip
    assert program is not None
    model = program.model
    model.ir_version = 10
    assert carry_functions(model) == ["GGeMPool"]
    assert [node.op_type for node in model.graph if node.domain == "edgesmith"] == ["GGeMPool"]
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    other = torch.rand(3, 4, 6)
    names = [entry.name for entry in session.get_inputs()]
    (got,) = session.run(None, dict(zip(names, (other.numpy(), p.numpy()), strict=True)))
    assert np.abs(got - Pooled()(other, p).numpy()).max() <= 1e-5
