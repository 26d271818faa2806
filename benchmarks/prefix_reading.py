"""Reading a cached screen on the CPU: unpacked in front of a plain attention, or by the fused op's body; one decoder layer.

    python benchmarks/prefix_reading.py [--rounds 15]      CPU, one minute; writes benchmarks/prefix_reading.{json,md}

One layer of Qwen2.5-VL-3B (16 query heads over 2 kv heads of 128 channels), an instruction of 32 tokens behind a prefix of
1,000 and of 2,700, keys stored without their bias, float32 on ONNX Runtime, one thread. Every way computes the same attention:

    floats            keys and values stored in float16, the rotated bias added, plain attention: the yardstick
    unpack, attend    DequantizeK and DequantizeV, the rotated bias added, plain attention
    fused body        PrefixAttentionBiased, whose body ONNX Runtime runs
    RotateKV          DequantizeRotatedK and DequantizeV, plain attention

    floats, no bias   the yardstick without the bias: what adding it back costs

Ways take turns, one run of each a round; medians of the CPU time of the one thread, and the median of the ratios to the
yardstick within a round. "off by" is the largest difference to the float64 reference over the largest value.
CPU time leaves out what others take, not that they share the caches: the load of the machine stands in the head.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime

from edgesmith.exporter.plugins import OPS
from edgesmith.exporter.plugins.functions import OPSET, function, node
from edgesmith.exporter.plugins.kv import prefix_attention
from edgesmith.exporter.plugins.kv import quantise as quantize_kv
from edgesmith.exporter.plugins.kv import rotate as rotate_kv
from edgesmith.exporter.plugins.kv.key_bias import biased_text
from edgesmith.runtime.plugins.schema import DOMAIN
from edgesmith.runtime.session.benchmark import machine
from edgesmith.runtime.tasks.grounding.screens.kv_bytes import SINKS

HERE = Path(__file__).parent
HEADS, KV_HEADS, DIM, NEW = 16, 2, 128, 32
PREFIXES = (1000, 2700)
WIDTHS = (8, 4, 2)
BIAS = 600.0  # norm of a key bias, as reported for Qwen2.5
SCALE = DIM**-0.5
WAYS = ("unpack, attend", "fused body", "RotateKV")
FLOATS = "floats"
BIAS_ALONE = "floats, no bias"
KINDS = {"float32": "float", "float16": "float16", "int32": "int32"}  # as ONNX's text spells them
# keys and values float32 (1, Hk, P, D) -> y; new tokens see the prefix and each other causally
ATTEND = f"""
  k_all = Concat <axis = 2> (keys, k_new)
  v_all = Concat <axis = 2> (values, v_new)
  by_kv_head = Constant <value_ints = [1, {KV_HEADS}, {HEADS // KV_HEADS * NEW}, {DIM}]> ()
  rows = Reshape (q, by_kv_head)
  k_t = Transpose <perm = [0, 1, 3, 2]> (k_all)
  products = MatMul (rows, k_t)
  factor = Constant <value_float = {SCALE}> ()
  scaled = Mul (products, factor)
  masked = Add (scaled, mask)
  p = Softmax <axis = -1> (masked)
  out = MatMul (p, v_all)
  shape = Constant <value_ints = [1, {HEADS}, {NEW}, {DIM}]> ()
  y = Reshape (out, shape)
"""
AS_FLOATS = """
  {keys} = Cast <to = 1> (k16)
  values = Cast <to = 1> (v16)
"""
Way = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Layer:
    """What a layer cached and what comes new; keys without their bias, before and after RoPE."""

    plain: np.ndarray  # (1, Hk, P, D) before RoPE
    turned: np.ndarray
    values: np.ndarray
    bias: np.ndarray  # (Hk, D)
    cos: np.ndarray  # (P, D / 2)
    sin: np.ndarray
    new: dict[str, np.ndarray]  # q, k_new, v_new

    @property
    def tables(self) -> dict[str, np.ndarray]:
        return {"key_bias": self.bias, "cos": self.cos, "sin": self.sin}

    @property
    def mask(self) -> dict[str, np.ndarray]:
        """Added to scores (rows, P + M): the rows of a kv head are its query heads, one after the other."""
        later = np.triu(np.full((NEW, NEW), -30000, np.float32), 1)
        whole = np.concatenate([np.zeros((NEW, self.cos.shape[0]), np.float32), later], axis=1)
        return {"mask": np.tile(whole, (HEADS // KV_HEADS, 1))}


def draw(prefix: int) -> Layer:
    rng = np.random.default_rng(0)

    def normal(heads: int, tokens: int) -> np.ndarray:
        return rng.standard_normal((1, heads, tokens, DIM)).astype(np.float32)

    angle = np.arange(prefix)[:, None] * 1e6 ** (-np.arange(DIM // 2) / (DIM // 2))
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    bias = np.zeros((KV_HEADS, DIM), np.float32)
    bias[:, -12:] = rng.standard_normal((KV_HEADS, 12))  # channels that hardly turn
    bias *= BIAS / np.linalg.norm(bias, axis=1, keepdims=True)
    plain = normal(KV_HEADS, prefix)
    new = {"q": normal(HEADS, NEW) / 8, "k_new": normal(KV_HEADS, NEW), "v_new": normal(KV_HEADS, NEW)}
    turned = rotate_kv.rope(plain, cos, sin).astype(np.float32)
    return Layer(plain, turned, normal(KV_HEADS, prefix), bias, cos, sin, new)


def fused(name: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return node(OPS[name], inputs, [output], attributes)


def session_of(feeds: Mapping[str, np.ndarray], nodes: Sequence[onnx.NodeProto], text: str) -> Way:
    """A graph of fused nodes and then ``text``, on one thread; the inputs are ``feeds``."""
    told = ", ".join(f"{KINDS[str(a.dtype)]}[{', '.join(map(str, a.shape))}] {name}"
                     for name, a in feeds.items())  # fmt: skip
    graph = onnx.parser.parse_graph(f"g ({told}) => (float[1, {HEADS}, {NEW}, {DIM}] y) {{{text}}}")
    for made in reversed(nodes):
        graph.node.insert(0, made)
    functions = [function(OPS[made.op_type], given={"rotate": 0}) for made in nodes]
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(DOMAIN, 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=functions)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: np.asarray(session.run(None, dict(feeds))[0])


def floats(layer: Layer, *, biased: bool) -> Way:
    stored = {"k16": layer.turned.astype(np.float16), "v16": layer.values.astype(np.float16)}
    feeds = {**layer.new, **stored, **layer.mask, **(layer.tables if biased else {})}
    text = AS_FLOATS.format(keys="stored" if biased else "keys")
    return session_of(feeds, [], text + (biased_text("stored", "keys") if biased else "") + ATTEND)


def packed(layer: Layer, bits: int) -> dict[str, np.ndarray]:
    keys = quantize_kv.reference_k(layer.turned, bits=bits)
    values = quantize_kv.reference_v(layer.values, bits=bits)
    return dict(zip(("k_codes", "k_meta", "v_codes", "v_meta"), (*keys, *values), strict=True))


def unpacked_first(layer: Layer, bits: int) -> Way:
    like = {"like": np.zeros(1, np.float32)}
    nodes = [fused("DequantizeK", ("k_codes", "k_meta", "like"), "stored", bits=bits),
             fused("DequantizeV", ("v_codes", "v_meta", "like"), "values", bits=bits)]  # fmt: skip
    feeds = {**layer.new, **packed(layer, bits), **like, **layer.tables, **layer.mask}
    return session_of(feeds, nodes, biased_text("stored", "keys") + ATTEND)


def fused_body(layer: Layer, bits: int) -> Way:
    cache = packed(layer, bits)
    inputs = ["q", *cache, "k_new", "v_new", *layer.tables]
    made = fused("PrefixAttentionBiased", inputs, "y", bits_k=bits, bits_v=bits, scale=SCALE)
    return session_of({**layer.new, **cache, **layer.tables}, [made], "")


def rotated(layer: Layer, bits: int) -> Way:
    turned = rotate_kv.rotate(layer.plain.swapaxes(1, 2), KV_HEADS).swapaxes(1, 2)
    codes, meta = quantize_kv.reference_v(np.ascontiguousarray(turned), bits=bits)
    cache = packed(layer, bits)
    prefix = layer.cos.shape[0]
    keys = {
        "codes": codes, "meta": meta, "place": np.arange(KV_HEADS * DIM, dtype=np.int32), **layer.tables,
        "slot": np.full((1, prefix), -1, np.int32), "sinks": np.zeros((1, KV_HEADS, SINKS, DIM), np.float32),
    }  # fmt: skip
    values = {"v_codes": cache["v_codes"], "v_meta": cache["v_meta"], "like": np.zeros(1, np.float32)}
    nodes = [fused("DequantizeRotatedK", list(keys), "keys", bits=bits, heads=KV_HEADS),
             fused("DequantizeV", list(values), "values", bits=bits)]  # fmt: skip
    return session_of({**layer.new, **keys, **values, **layer.mask}, nodes, ATTEND)


def ways(layer: Layer, bits: int) -> dict[str, Way]:
    made = dict(zip(WAYS, (unpacked_first(layer, bits), fused_body(layer, bits), rotated(layer, bits)), strict=True))
    return {FLOATS: floats(layer, biased=True), BIAS_ALONE: floats(layer, biased=False), **made}


def error(layer: Layer, bits: int, y: np.ndarray) -> float:
    """Of a way that reads the codes of QuantizeK and QuantizeV."""
    cache = packed(layer, bits)
    wanted = prefix_attention.reference(
        layer.new["q"].astype(np.float64), *cache.values(), layer.new["k_new"], layer.new["v_new"], *layer.tables.values(),
        scale=SCALE, bits_k=bits, bits_v=bits,
    )  # fmt: skip
    return float(np.abs(y - wanted).max() / np.abs(wanted).max())


def measure(prefix: int, bits: int, rounds: int) -> list[dict[str, Any]]:
    layer = draw(prefix)
    made = ways(layer, bits)
    first = {name: way() for name, way in made.items()}  # warm, too
    times = {name: np.empty(rounds) for name in made}
    for number in range(rounds):
        for name, way in made.items():
            begun = time.thread_time()
            way()
            times[name][number] = 1e3 * (time.thread_time() - begun)
    rows = []
    for name, found in times.items():
        ratios = found / times[FLOATS]
        low, ratio, high = map(float, np.percentile(ratios, [25, 50, 75]))
        told = {"prefix": prefix, "bits": bits, "way": name, "ms": float(np.median(found)), "ratio": ratio,
                "ratio_low": low, "ratio_high": high}  # fmt: skip
        rows.append(told | ({"off_by": error(layer, bits, first[name])} if name in WAYS[:2] else {}))
    return rows


def write(rows: list[dict[str, Any]], rounds: int) -> None:
    facts = {**machine(), "onnxruntime": onnxruntime.__version__, "date": str(date.today()), "rounds": rounds}
    (HERE / "prefix_reading.json").write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")
    versions = f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}, onnxruntime {facts['onnxruntime']}"
    lines = [
        "# Reading a cached screen",
        "",
        "How to read it: the head of [prefix_reading.py](prefix_reading.py).",
        "",
        f"`python benchmarks/prefix_reading.py --rounds {rounds}`, {facts['date']}, {versions}",
        "",
        *reading(rows),
        "",
        "| prefix | bits | way | ms | to floats (quartiles) | off by |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        off = f"{row['off_by']:.0e}" if "off_by" in row else ""
        lines.append(f"| {row['prefix']:,} | {row['bits']} | {row['way']} | {row['ms']:.1f} | {spread} | {off} |")
    (HERE / "prefix_reading.md").write_text("\n".join(lines) + "\n")


def reading(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the table says, with its own figures."""
    at = {(row["prefix"], row["bits"], row["way"]): row for row in rows}
    longest = max(row["prefix"] for row in rows)

    def every(way: str) -> str:
        return ", ".join(f"{at[longest, bits, way]['ratio']:.2f} at {bits} bits" for bits in WIDTHS)

    return [
        f"Over {longest:,} tokens, times of float16 keys and values with the bias added back:",
        "",
        *(f"- {way}: {every(way)}." for way in WAYS),
        f"- Adding the bias back is {1 - at[longest, 4, BIAS_ALONE]['ratio']:.0%} of a layer's attention over floats.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    rows = []
    for prefix in PREFIXES:
        for bits in WIDTHS:
            rows += measure(prefix, bits, rounds)
            print({row["way"]: round(row["ms"], 1) for row in rows[-len(WAYS) - 2 :]}, flush=True)
    write(rows, rounds)


if __name__ == "__main__":
    main()
