"""Which quantised keys survive the key bias of Qwen2.5: every scheme through the references of our ops, on SYNTHETIC keys.

    python benchmarks/kv_schemes.py        CPU, about two minutes; writes benchmarks/kv_schemes.{json,md}

Keys and queries are drawn, not taken from a model: D = 128, 2 kv heads with 8 query heads each (Qwen2.5-VL-3B), 2688
tokens (a full-HD screen), low-rank content and noise, a scale for each channel with 4 outlier channels, and a bias of norm
0, 100 or 600 on 8 channels; public reports give |b| up to 921 for Qwen2.5-7B. Queries stand 20 tokens behind the keys.
Every figure is the mean over 3 draws. "slow" puts the bias on channels that RoPE turns by less than 1 radian within a key
group of 64 tokens, "fast" on the others, "any" on any; where real biases stand decides between these columns.

    equal     share of query rows whose largest probability is at the same token as with exact keys
    error     |output - exact output| / |exact output|, attention over exact values unless the row says otherwise
    bits      stored bits a value of the keys, scales and minima included
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.exporter.plugins.kv import dequantise as dequantize_kv
from edgesmith.exporter.plugins.kv import quantise as quantize_kv
from edgesmith.exporter.plugins.kv import rotate as rotate_kv
from edgesmith.exporter.plugins.kv.packing import BITS, bytes_per_token
from edgesmith.exporter.plugins.kv.packing import TOKENS as TOKENS_OF_GROUP
from edgesmith.runtime.tasks.grounding.screens.kv_bytes import SINKS

HERE = Path(__file__).parent
HEADS, GROUP, SIZE, TOKENS, QUERIES, DRAWS = 2, 8, 128, 2688, 16, 3
BIASES = ((0, "any"), (100, "any"), (600, "any"), (600, "slow"), (600, "fast"))  # norm, where
RANK, OUTLIERS, BIASED = 24, 4, 8  # directions of the content; channels 6 times as large; channels with a bias
BASE = 1e6  # of RoPE in Qwen2.5
F32, LIKE = np.float32, np.zeros(1, np.float32)


@dataclass(frozen=True)
class Case:
    """One draw; keys before RoPE and without their bias."""

    keys: np.ndarray  # (Hk, N, D) float32
    calibration: np.ndarray  # (Hk, N, D) other tokens of the same layer
    bias: np.ndarray  # (Hk, D)
    queries: np.ndarray  # (Hk, R, D) after RoPE
    values: np.ndarray  # (Hk, N, D)
    cos: np.ndarray  # (N, D / 2)
    sin: np.ndarray

    def after_rope(self, keys: np.ndarray) -> np.ndarray:
        return rotate_kv.rope(keys, self.cos, self.sin)

    @property
    def exact(self) -> np.ndarray:
        """(Hk, N, D) float64 after RoPE, with the bias."""
        return self.after_rope(self.keys + self.bias[:, None].astype(np.float64))


def draw(norm: float, where: str, seed: int) -> Case:
    rng = np.random.default_rng(seed)  # the same content for every bias
    fast = TOKENS_OF_GROUP * BASE ** (-np.arange(0, SIZE, 2) / SIZE) >= 1  # (D / 2,) radians a group
    channels = {"any": np.arange(SIZE)} | {
        name: np.flatnonzero(np.tile(turns, 2)) for name, turns in (("fast", fast), ("slow", ~fast))
    }
    turn = np.arange(TOKENS + 21)[:, None] * BASE ** (-np.arange(0, SIZE, 2) / SIZE)
    cos, sin = np.cos(turn).astype(F32), np.sin(turn).astype(F32)
    parts = []
    for _ in range(HEADS):
        directions = rng.standard_normal((RANK, SIZE)) / RANK**0.5 * 1.5
        scale = np.exp(0.5 * rng.standard_normal(SIZE))
        scale[rng.permutation(SIZE)[:OUTLIERS]] *= 6
        content = [
            rng.standard_normal((count, RANK)) @ directions + 0.7 * rng.standard_normal((count, SIZE))
            for count in (TOKENS, TOKENS, QUERIES * GROUP)
        ]
        bias = np.zeros(SIZE)
        bias[rng.permutation(channels[where])[:BIASED]] = rng.standard_normal(BIASED)
        values = rng.standard_normal((TOKENS, SIZE)) * np.exp(0.3 * rng.standard_normal(SIZE))
        queries = rotate_kv.rope(content[2] / scale * 0.6, cos[-1], sin[-1])
        parts.append((content[0] * scale, content[1] * scale, bias / np.linalg.norm(bias) * norm, queries, values))
    keys, calibration, bias, queries, values = (np.stack(part).astype(F32) for part in zip(*parts, strict=True))
    return Case(keys, calibration, bias, queries, values, cos[:TOKENS], sin[:TOKENS])


def attend(queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Hk, R, D), (Hk, N, D) twice -> probabilities (Hk, R, N), output (Hk, R, D)."""
    scores = queries @ keys.astype(F32).swapaxes(1, 2) / F32(SIZE**0.5)  # float32: it is the keys that are judged
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights, weights @ values


Keys = tuple[np.ndarray, float]  # (Hk, N, D) as they are read, stored bits a value


def as_half(case: Case) -> Keys:
    return case.exact.astype(np.float16).astype(np.float64), 16.0


def per_channel(case: Case, bits: int) -> Keys:
    """Ours: QuantizeK after RoPE."""
    codes, meta = quantize_kv.reference_k(case.exact[None].astype(np.float16), bits=bits)
    return dequantize_kv.reference_k(codes, meta, LIKE, bits=bits)[0], key_bits(bits)


def per_channel_without_bias(case: Case, bits: int) -> Keys:
    """Ours on keys without their bias, which is turned by RoPE by itself and added when they are read: exact."""
    bias = np.broadcast_to(case.bias[:, None], case.keys.shape)
    codes, meta = quantize_kv.reference_k(case.after_rope(case.keys)[None].astype(np.float16), bits=bits)
    read = dequantize_kv.reference_k(codes, meta, LIKE, bits=bits)[0]
    return read + case.after_rope(bias), key_bits(bits)


def per_token(case: Case, bits: int, rotate: int) -> Keys:
    """QuantizeV on keys after RoPE: a scale a token and plane; rotated, as QuaRot does it."""
    codes, meta = quantize_kv.reference_v(case.exact[None].astype(np.float16), bits=bits, rotate=rotate)
    return dequantize_kv.reference_v(codes, meta, LIKE, bits=bits, rotate=rotate)[0], value_bits(bits)


def rotated(case: Case, bits: int, *, remove_bias: bool, sort: bool, sinks: bool) -> Keys:
    """RotateKV: both heads rotated together before RoPE; the parts of the scheme one by one."""
    kept = np.zeros_like(case.bias) if remove_bias else case.bias  # what is stored with the keys
    stored, seen = (
        rotate_kv.rotate((keys + kept[:, None]).swapaxes(0, 1), HEADS) for keys in (case.keys, case.calibration)
    )
    order = rotate_kv.channel_order(seen) if sort else np.arange(HEADS * SIZE, dtype=np.int32)
    packed = stored.reshape(TOKENS, -1)[:, order].reshape(TOKENS, HEADS, SIZE).swapaxes(0, 1)
    codes, meta = quantize_kv.reference_v(packed[None].astype(np.float16), bits=bits)
    hidden = case.keys.swapaxes(0, 1).reshape(TOKENS, -1)  # no hidden states here: the largest keys stand for them
    slot = rotate_kv.sink_tokens(hidden, SINKS if sinks else 0)
    raw = case.exact[:, slot >= 0] if sinks else np.zeros((HEADS, 1, SIZE))
    keys = rotate_kv.reference(
        codes, meta, rotate_kv.places(order), case.bias - kept, case.cos, case.sin, slot[None],
        raw[None].astype(np.float16).astype(F32), bits=bits, heads=HEADS,
    )  # fmt: skip
    return keys[0], value_bits(bits) + (16 * SINKS / TOKENS if sinks else 0)


def int8_static(case: Case) -> Keys:
    """Symmetric, one scale a channel for all tokens, from the calibration tokens."""
    seen = case.after_rope(case.calibration + case.bias[:, None])
    scale = np.abs(seen).max(axis=1, keepdims=True) / 127
    return np.clip(np.round(case.exact / scale), -127, 127) * scale, 8.0


def fp8_tensor(case: Case) -> Keys:
    """e4m3, one scale for the tensor, from the calibration tokens."""
    import torch

    scale = np.abs(case.after_rope(case.calibration + case.bias[:, None])).max() / 448
    scaled = torch.from_numpy(np.clip(case.exact / scale, -448, 448)).to(torch.float8_e4m3fn)
    return scaled.double().numpy() * scale, 8.0


def key_bits(bits: int) -> float:
    return bytes_per_token(bits, SIZE)[0] * 8 / SIZE


def value_bits(bits: int) -> float:
    return bytes_per_token(bits, SIZE)[1] * 8 / SIZE


def quantised_values(case: Case, bits: int, rotate: int) -> np.ndarray:
    codes, meta = quantize_kv.reference_v(case.values[None].astype(np.float16), bits=bits, rotate=rotate)
    return dequantize_kv.reference_v(codes, meta, LIKE, bits=bits, rotate=rotate)[0]


Scheme = Callable[[Case], Keys]
OURS = "per channel, 64 tokens, after RoPE (KIVI): QuantizeK"
OURS_FREE = f"{OURS}, bias removed"
BOTH = "QuantizeK, bias removed, and QuantizeV"
FULL_ROTATE = "RotateKV, bias removed, order, sinks"


def schemes() -> dict[str, Scheme]:
    """{row: how the keys are stored}; the number in front is the width of a code."""
    rows: dict[str, Scheme] = {
        "float16": as_half,
        "int8 static, per channel": int8_static,
        "fp8, per tensor": fp8_tensor,
    }
    for bits in BITS:
        parts = {
            "RotateKV, nothing more": (False, False, False),
            "RotateKV, order": (False, True, False),
            "RotateKV, order, sinks": (False, True, True),
            "RotateKV, bias removed": (True, False, False),
            "RotateKV, bias removed, order": (True, True, False),
            FULL_ROTATE: (True, True, True),
        }
        rows[f"{bits}b {OURS}"] = partial(per_channel, bits=bits)
        rows[f"{bits}b {OURS_FREE}"] = partial(per_channel_without_bias, bits=bits)
        rows[f"{bits}b per token and plane, after RoPE"] = partial(per_token, bits=bits, rotate=0)
        rows[f"{bits}b per token and plane, FWHT (QuaRot)"] = partial(per_token, bits=bits, rotate=1)
        for name, (remove_bias, sort, sinks) in parts.items():
            rows[f"{bits}b {name}"] = partial(rotated, bits=bits, remove_bias=remove_bias, sort=sort, sinks=sinks)
    return rows


def measure() -> list[dict[str, Any]]:
    """One row a scheme and bias; of ours, also with values quantised to as many bits."""
    found: dict[tuple[str, int, str], dict[str, Any]] = {}
    for norm, where in BIASES:
        for seed in range(DRAWS):
            for name, result in judged(draw(norm, where, seed)).items():
                key = {"scheme": name, "bias": norm, "where": where}
                row = found.setdefault((name, norm, where), {**key, **dict.fromkeys(result, 0.0)})
                for figure, value in result.items():
                    row[figure] += value / DRAWS
        print(f"bias {norm}, {where}", flush=True)
    return list(found.values())


def judged(case: Case) -> dict[str, dict[str, float]]:
    """Every scheme on one draw."""
    weights, wanted = attend(case.queries, case.exact, case.values)
    best = weights.argmax(axis=-1)

    def figures(keys: np.ndarray, values: np.ndarray, bits: float) -> dict[str, float]:
        got, output = attend(case.queries, keys, values)
        error = float(np.linalg.norm(output - wanted) / np.linalg.norm(wanted))
        return {"bits": bits, "equal": float((got.argmax(axis=-1) == best).mean()), "error": error}

    found = {}
    for name, scheme in schemes().items():
        keys, bits = scheme(case)
        found[name] = figures(keys, case.values, bits)
    for width in BITS:
        keys, _ = per_channel_without_bias(case, width)
        for rotate in (0, 1):
            name = f"{width}b {BOTH}{', rotated' if rotate else ''}"
            stored = (key_bits(width) + value_bits(width)) / 2
            found[name] = figures(keys, quantised_values(case, width, rotate), stored)
    return found


def table(found: list[dict[str, Any]]) -> list[str]:
    heads = [f"{norm} {where}" if norm else "none" for norm, where in BIASES]
    lines = [
        "| keys | bits | " + " | ".join(f"bias {head}: equal, error" for head in heads) + " |",
        "|---" * (2 + len(BIASES)) + "|",
    ]
    for name in dict.fromkeys(row["scheme"] for row in found):
        rows = [row for row in found if row["scheme"] == name]
        cells = [f"{row['equal']:.2f}, {row['error']:.3f}" for row in rows]
        lines.append(f"| {name} | {rows[0]['bits']:.2f} | {' | '.join(cells)} |")
    return lines


def reading(found: list[dict[str, Any]]) -> list[str]:
    """What the table says, with the table's own figures."""
    at = {(row["scheme"], row["bias"], row["where"]): row["equal"] for row in found}
    worst = max(norm for norm, _ in BIASES)

    def equal(name: str, where: str = "any") -> str:
        return f"{at[name, worst, where]:.2f}"

    def every(name: str) -> str:
        return ", ".join(f"{at[name, norm, where]:.2f}" for norm, where in BIASES)

    quarot, plain, ordered = (
        f"4b {name}" for name in ("per token and plane, FWHT (QuaRot)", "RotateKV, nothing more", "RotateKV, order")
    )
    return [
        "Shares of equal tokens at 4 bits, unless another width is named:",
        "",
        (
            f"- A scale a token does not survive the bias ({worst}, any channel): QuaRot {equal(quarot)}, RotateKV without "
            f"its order {equal(plain)} and with it {equal(ordered)}."
        ),
        (
            f"- A scale a channel after RoPE survives it where RoPE turns slowly, {equal(f'4b {OURS}', 'slow')}, and not "
            f"where the bias goes round within a group, {equal(f'4b {OURS}', 'fast')}: there it is the range, no offset."
        ),
        (
            "- Leaving the bias out of what is stored is exact (RoPE is linear: K = R(k') + R(b)) and repairs both, in the "
            f"order of the columns: QuantizeK {every(f'4b {OURS_FREE}')}; RotateKV {every(f'4b {FULL_ROTATE}')}."
        ),
        (
            f"- The same with 8 bits: QuantizeK {every(f'8b {OURS_FREE}')}; with 2 bits: {every(f'2b {OURS_FREE}')}, too "
            f"little to point at one token. fp8 with one scale for the tensor: {every('fp8, per tensor')}."
        ),
        (
            "- These keys have no tokens of extraordinary size, so the sinks show only what keeping "
            f"{SINKS} of {TOKENS} tokens gives; and their channels have no mean of their own, so an order has something to "
            "sort only where the bias is stored. To be repeated with keys of a real model before deciding on either."
        ),
    ]


def main() -> None:
    found = measure()
    (HERE / "kv_schemes.json").write_text(json.dumps(found, indent=1) + "\n")
    assert __doc__
    first, _, rest = __doc__.strip().partition("\n\n")
    lines = [
        "# Quantised keys and the key bias",
        "",
        first,
        f"Measured on {date.today().isoformat()}.",
        "",
        rest,
        "",
        *reading(found),
        "",
        *table(found),
    ]
    (HERE / "kv_schemes.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
