"""RotateKV in a torch module: what prefill writes is what reading gives, in torch and exported."""

from __future__ import annotations

import warnings

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from edgesmith.exporter.plugins.kv.rotate import channel_order, rope, rotate, sink_tokens
from edgesmith.exporter.plugins.rotated_keys import NAMES, RotatedKeys
from edgesmith.exporter.plugins.torch_ops import carry_functions
from edgesmith.exporter.trace.fused_nodes import translations
from edgesmith.runtime.tasks.grounding.screens.kv_bytes import SINKS, CacheLayout

BATCH, KV_HEADS, DIM, TOKENS = 2, 2, 32, 70
NORM = 600.0  # of a key bias, as reported for Qwen2.5


class Written(torch.nn.Module):
    def __init__(self, scheme: RotatedKeys) -> None:
        super().__init__()
        self.scheme = scheme

    def forward(self, plain, read, hidden):
        return self.scheme.write(plain, read, hidden)


class Read(Written):
    def forward(self, codes, meta, slot, sinks, bias, cos, sin):
        return self.scheme.read((codes, meta, slot, sinks), bias, cos, sin, cos[0, :1])


def keys(tokens=TOKENS, seed=0):
    """plain, read (with the bias, after RoPE) and hidden as tensors; bias, cos and sin as arrays."""
    rng = np.random.default_rng(seed)
    plain = rng.standard_normal((BATCH, KV_HEADS, tokens, DIM)).astype(np.float32)
    hidden = rng.standard_normal((BATCH, tokens, 48)).astype(np.float32)
    bias = np.zeros((KV_HEADS, DIM), np.float32)
    bias[:, 5:9] = NORM / 2
    angle = rng.uniform(-3, 3, (tokens, DIM // 2))
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    read = rope(plain + bias[:, None].astype(np.float64), cos, sin).astype(np.float32)
    return tuple(map(torch.from_numpy, (plain, read, hidden))), (bias, cos, sin)


def schemes():
    rng = np.random.default_rng(9)
    order = channel_order(rotate(rng.standard_normal((40, KV_HEADS, DIM)), 2))
    return [RotatedKeys(8, KV_HEADS, DIM), RotatedKeys(8, KV_HEADS, DIM, tuple(order.tolist()))]


@pytest.mark.parametrize("scheme", schemes(), ids=["as they are", "sorted"])
def test_what_prefill_writes_is_what_attention_reads(scheme):
    given, (bias, cos, sin) = keys()
    stored = scheme.write(*given)
    back = Read(scheme)(*stored, *map(torch.from_numpy, (bias, cos, sin))).numpy()
    exact = given[1].numpy()
    slot = stored[2].numpy()
    assert [np.array_equal(row, sink_tokens(hidden)) for row, hidden in zip(slot, given[2].numpy(), strict=True)] == [
        True
    ] * 2
    for b in range(BATCH):
        kept = slot[b] >= 0
        assert kept.sum() == SINKS
        assert np.array_equal(back[b][:, kept], exact[b][:, kept].astype(np.float16).astype(np.float32))
        # a rotation and RoPE keep the length of an error, and a code is off by half a step at most
        error = np.sqrt(((back[b] - exact[b])[:, ~kept] ** 2).mean(axis=(0, 2)))
        assert error.max() <= 0.5 * float(stored[1][..., 0].max()) + 1e-3
    assert not torch.equal(stored[0], torch.zeros_like(stored[0]))


def test_codes_are_those_of_rotated_sorted_keys():
    scheme = schemes()[1]
    given, _ = keys()
    order = np.array(scheme.order)
    turned = rotate(given[0].numpy().swapaxes(1, 2).astype(np.float64), 2).reshape(BATCH, TOKENS, -1)[..., order]
    wanted = turned.reshape(BATCH, TOKENS, KV_HEADS, DIM).swapaxes(1, 2)
    _, meta, *_ = scheme.write(*given)
    scale, minimum = (
        meta[..., 0].numpy().astype(np.float64),
        meta[..., 1].numpy().astype(np.float64),
    )  # one plane at 8 bits
    assert np.allclose(minimum[..., 0], wanted.min(-1), atol=2e-3)  # float16 of values up to 4
    assert np.allclose(scale[..., 0], (wanted.max(-1) - wanted.min(-1)) / 255, rtol=2e-3)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_the_tensors_are_those_the_device_counts(bits):
    scheme = RotatedKeys(bits, KV_HEADS, DIM)
    stored = dict(zip(NAMES, scheme.write(*keys()[0]), strict=True))
    told = CacheLayout(1, KV_HEADS, DIM, bits=bits, scheme="rotatekv").keys(TOKENS, screens=BATCH)
    found = {name: (tuple(x.shape), str(x.dtype).removeprefix("torch.")) for name, x in stored.items()}
    assert {name: (shape[:1] + shape[2:], kind) for name, (shape, kind) in told.items()} == found


@pytest.mark.parametrize(("kv_heads", "together"), [(1, 1), (2, 2), (3, 1), (4, 4), (6, 2), (8, 4)])
def test_heads_are_rotated_together_in_powers_of_two(kv_heads, together):
    assert RotatedKeys(4, kv_heads, 64).heads == together


def exported(module, example, axes):
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        program = torch.onnx.export(module.eval(), example, dynamo=True, opset_version=20, dynamic_shapes=axes, verbose=False,
                                    custom_translation_table=translations())  # fmt: skip
    assert program is not None
    program.model.ir_version = 10
    carry_functions(program.model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    proto = ir.to_proto(program.model).SerializeToString()
    session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda *feeds: session.run(None, dict(zip(names, map(np.asarray, feeds), strict=True)))


def test_exported_prefill_and_reading_are_the_modules():
    scheme = RotatedKeys(4, KV_HEADS, DIM)
    given, tables = keys()
    stored = scheme.write(*given)
    write = exported(Written(scheme), given, None)
    for got, wanted in zip(write(*given), stored, strict=True):
        assert got.dtype == wanted.numpy().dtype
        assert (got != wanted.numpy()).mean() <= 1e-2  # a code between two values may be the other one
    open_tokens = torch.export.Dim.DYNAMIC
    axes = [{2: open_tokens}, {2: open_tokens}, {1: open_tokens}, None, None, {0: open_tokens}, {0: open_tokens}]
    read = exported(Read(scheme), (*stored, *map(torch.from_numpy, tables)), tuple(axes))
    for tokens in (TOKENS, 45):
        given, tables = keys(tokens, seed=1)
        stored = scheme.write(*given)
        (got,) = read(*stored, *tables)
        wanted = Read(scheme)(*stored, *map(torch.from_numpy, tables)).numpy()
        assert np.abs(got - wanted).max() <= 1e-5 * NORM
