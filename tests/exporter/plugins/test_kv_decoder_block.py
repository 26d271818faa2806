"""A decoder layer with a packed cache: in torch, exported with open axes in ONNX Runtime, and built for TensorRT-RTX."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from kv_decoder_block import TOKENS, CachePrefix, DecoderLayer, DecodeStep, ReadPacked, ReadUnpacked
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins.kv.packing import dequantize_k, dequantize_v
from edgesmith.exporter.plugins.torch_ops import carry_functions
from edgesmith.exporter.trace.fused_nodes import translations

WIDTHS = ((8, 8), (4, 4), (4, 2), (2, 2))
# one export takes seconds, so only one width is exported every time
EXPORTED = [(4, 2), *(pytest.param(widths, marks=pytest.mark.slow) for widths in WIDTHS if widths != (4, 2))]
BATCH, PREFIX, NEW = 2, 150, 5
CACHE = {0: "B", 2: "N"}
AXES = {
    "x": {0: "B", 1: "M"},
    "k_codes": CACHE,
    "k_meta": {0: "B", 2: "Groups"},
    "v_codes": CACHE,
    "v_meta": CACHE,
    "length": {0: "B"},
}
# ranges of the open axes when an engine is built
RANGES = {"B": (1, 2, 4), "N": (65, 150, 256), "M": (1, 5, 16), "Groups": (2, 3, 4)}
FUSED = {
    CachePrefix: ["QuantizeK", "QuantizeV"],
    ReadUnpacked: ["DequantizeK", "DequantizeV"],
    ReadPacked: ["PrefixAttention"],
    DecodeStep: ["KVAttentionCombine", "KVAttentionPartial"],
}


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@cache
def layer() -> DecoderLayer:
    return DecoderLayer().eval()


def hidden(seed: int, batch: int = BATCH, tokens: int = PREFIX + NEW) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, tokens, layer().sizes.hidden, generator=generator)


def cached(part, widths, x: torch.Tensor, prefix: int) -> tuple[torch.Tensor, ...]:
    """The inputs of a part after a prefix of x was cached."""
    packed = CachePrefix(layer(), *widths)(x[:, :prefix])[1:]
    if part is CachePrefix:
        return (x[:, :prefix],)
    if part is DecodeStep:
        return x[:, prefix : prefix + 1], *packed, torch.full((len(x),), prefix, dtype=torch.int32)
    return x[:, prefix:], *packed


@cache
def exported(part, widths) -> onnx.ModelProto:
    module, example = part(layer(), *widths), cached(part, widths, hidden(1), PREFIX)
    named = {name: tensor for name, tensor in zip(AXES, example, strict=False)}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        program = torch.onnx.export(
            module.eval(), example, dynamo=True, opset_version=20, input_names=list(named), verbose=False,
            dynamic_shapes=tuple(
                {axis: torch.export.Dim.DYNAMIC for axis in AXES[name] if tensor.shape[axis] > 1}
                for name, tensor in named.items()
            ),
            custom_translation_table=translations(),
        )  # fmt: skip
    assert program is not None
    program.model.ir_version = 10
    assert carry_functions(program.model) == FUSED[part]
    for value in program.model.graph.inputs:
        value.shape = ir.Shape([
            AXES[value.name][axis] if isinstance(size, ir.SymbolicDim) else size for axis, size in enumerate(value.shape)
        ])  # fmt: skip
    proto = ir.to_proto(program.model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def on_onnxruntime(proto: onnx.ModelProto, inputs: tuple[torch.Tensor, ...]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {entry.name: tensor.numpy() for entry, tensor in zip(session.get_inputs(), inputs, strict=True)}
    return list(session.run(None, feeds))


def relative(got, wanted) -> float:
    """Largest difference over the largest wanted magnitude."""
    got, wanted = (np.asarray(x, np.float64) for x in (got, wanted))
    assert got.shape == wanted.shape
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("widths", WIDTHS)
def test_every_way_of_reading_the_cache_gives_the_same(widths):
    x = hidden(2)
    unpacked, packed = (part(layer(), *widths)(*cached(part, widths, x, PREFIX)) for part in (ReadUnpacked, ReadPacked))
    step = DecodeStep(layer(), *widths)(*cached(DecodeStep, widths, x, PREFIX))
    assert relative(packed, unpacked) <= 1e-5
    assert relative(step, packed[:, :1]) <= 1e-5


def share_of_error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """Root mean square of the difference over that of what is wanted."""
    return float((got - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())


def with_noise_of_the_steps(x: torch.Tensor, packed: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The layer with keys and values of the prefix moved at random by up to half a step of their codes."""
    _, k_meta, _, v_meta = (tensor.double() for tensor in packed)
    q, k, v = layer().project(x, torch.arange(x.shape[1])[None])
    generator = torch.Generator().manual_seed(0)
    k_steps = k_meta[:, :, torch.arange(PREFIX) // TOKENS, 0]
    v_steps = v_meta[..., 0].repeat_interleave(layer().sizes.dim // v_meta.shape[3], dim=3)
    for tensor, steps in ((k, k_steps), (v, v_steps)):
        tensor[:, :, :PREFIX] += (torch.rand(steps.shape, generator=generator) - 0.5) * steps
    return layer().finish(x[:, PREFIX:], layer().attend(q[:, :, PREFIX:], k, v))


def test_the_distance_to_the_layer_itself_is_what_the_bits_allow():
    """Codes are off by up to half a step, like noise of that size; fewer bits have larger steps.

    Compared is what the layer adds to its input, with bounds a factor of two wide: noise is not rounding, and there is
    one draw of it.
    """
    errors = {}
    for widths in WIDTHS:
        x = hidden(2, batch=4)
        new = x[:, PREFIX:]
        _, *packed = inputs = cached(ReadPacked, widths, x, PREFIX)
        wanted = layer()(x)[:, PREFIX:] - new
        errors[widths] = share_of_error(ReadPacked(layer(), *widths)(*inputs) - new, wanted)
        expected = share_of_error(with_noise_of_the_steps(x, tuple(packed)) - new, wanted)
        assert expected / 2 <= errors[widths] <= expected * 2, widths
    assert errors[8, 8] < errors[4, 4] < errors[4, 2] < errors[2, 2]


@pytest.mark.parametrize("widths", EXPORTED)
def test_the_exported_prefix_is_the_module(widths):
    proto = exported(CachePrefix, widths)
    assert [node.op_type for node in proto.graph.node if node.domain == "edgesmith"] == FUSED[CachePrefix]
    for batch, tokens in ((BATCH, PREFIX), (1, 70), (3, 1)):
        x = hidden(3, batch, tokens)
        y, *packed = CachePrefix(layer(), *widths)(x)
        got_y, *got = on_onnxruntime(proto, (x,))
        assert relative(got_y, y) <= 1e-5
        # keys differ in their last digits between the two, so a code that stood between two values may be the other one
        for unpack, bits, side in ((dequantize_k, widths[0], slice(0, 2)), (dequantize_v, widths[1], slice(2, 4))):
            ours, theirs = (unpack(*map(np.asarray, tensors[side]), bits) for tensors in (got, packed))
            step = float(packed[side][1].max())
            assert np.abs(ours - theirs).max() <= 1.01 * step
            assert (np.abs(ours - theirs) > step / 4).mean() <= 1e-3


@pytest.mark.parametrize("widths", EXPORTED)
@pytest.mark.parametrize("part", [ReadUnpacked, ReadPacked, DecodeStep])
def test_the_exported_readers_are_the_modules(part, widths):
    proto = exported(part, widths)
    assert sorted(node.op_type for node in proto.graph.node if node.domain == "edgesmith") == FUSED[part]
    for batch, prefix, new in ((BATCH, PREFIX, NEW), (1, 64, 1), (3, 65, 9)):
        inputs = cached(part, widths, hidden(4, batch, prefix + new), prefix)
        (got,) = on_onnxruntime(proto, inputs)
        assert relative(got, part(layer(), *widths)(*inputs)) <= 1e-5


def test_a_step_over_a_cache_that_is_not_full():
    """One sequence ends earlier: what lies behind it in the cache makes no difference."""
    widths, x = (4, 2), hidden(5)
    token, *packed, _ = cached(DecodeStep, widths, x, PREFIX)
    length = torch.tensor([PREFIX, 64], dtype=torch.int32)
    step = DecodeStep(layer(), *widths)(token, *packed, length)
    short = cached(DecodeStep, widths, torch.cat([x[1:, :64], token[1:]], 1), 64)
    assert relative(step[1:], DecodeStep(layer(), *widths)(*short)) <= 1e-5
    (got,) = on_onnxruntime(exported(DecodeStep, widths), (token, *packed, length))
    assert relative(got, step) <= 1e-5


@pytest.mark.parametrize("part", FUSED, ids=lambda part: part.__name__)
def test_the_layer_builds_on_rtx_with_open_axes(part):
    assert builds_on_rtx(exported(part, (4, 2)), sizes=RANGES) > 1
