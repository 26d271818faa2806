"""``edgesmith kv-bytes``: the figures of the layout, and what the ops themselves write for a cache of that size."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import edgesmith
from small_bundle import write_small_bundle

from edgesmith.exporter.grounding.parts.sizes import TextSizes
from edgesmith.exporter.grounding.parts.stored import Storage
from edgesmith.exporter.plugins import OPS
from edgesmith.exporter.plugins.kv.weight import bundle_table, kv_bytes, of_bundle, table
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.grounding.screens.kv_bytes import KIVI, SCHEMES, CacheLayout


def test_a_head_of_128_channels():
    caches = kv_bytes(head_dim=128)["caches"]
    assert {name: row["bytes"] for name, row in caches.items()} == {
        "fp16": 512, "K8V8": 268, "K4V4": 144, "K4V2": 120, "K2V2": 88,
    }  # fmt: skip


@pytest.mark.parametrize(("width", "bits"), [("K8V8", 8), ("K4V4", 4), ("K2V2", 2)])
@pytest.mark.parametrize("tokens", [64, 150])
def test_a_cache_weighs_what_the_ops_write(width, bits, tokens):
    row = kv_bytes(head_dim=32, kv_heads=2, layers=1, tokens=tokens, hidden=48)["caches"][width]
    x = np.random.default_rng(0).standard_normal((1, 2, tokens, 32)).astype(np.float16)
    key = OPS["QuantizeK"].reference(x, bits=bits)
    value = OPS["QuantizeV"].reference(x, bits=bits)
    assert sum(array.nbytes for array in (*key, *value)) == row["cache_bytes"] == row["screen_bytes"] - 48 * 4
    layout = CacheLayout(1, 2, 32, bits=bits)
    told = {**layout.keys(tokens), **layout.values(tokens)}
    wrote = dict(zip(("key_codes", "key_meta", "value_codes", "value_meta"), (*key, *value), strict=True))
    assert told == {name: ((1, *array.shape), str(array.dtype)) for name, array in wrote.items()}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bits", [32, 16, 8, 4, 2])
def test_a_screen_holds_what_the_graphs_store(bits, scheme):
    text = TextSizes(
        hidden=128, mlp=96, heads=4, kv_heads=2, layers=3, words=100, eps=1e-6, theta=1e6, sections=(4, 6, 6)
    )
    stored = Storage(bits, scheme=scheme if bits < 16 else KIVI).specs(text, 2, 70)
    found = {name: (shape, str(kind).removeprefix("torch.")) for name, (shape, kind) in stored.items()}
    layout = CacheLayout(text.layers, text.kv_heads, text.head_dim, bits=bits, scheme=scheme)
    assert layout.tensors(70, screens=2) == found


def test_rotated_keys_weigh_what_the_op_reads():
    tokens, bits = 150, 4
    row = kv_bytes(head_dim=64, kv_heads=2, layers=1, tokens=tokens, hidden=48, scheme="rotatekv")["caches"]["K4V4"]
    x = np.random.default_rng(0).standard_normal((1, 2, tokens, 64)).astype(np.float16)
    packed = OPS["QuantizeV"].reference(x, bits=bits)
    slot, sinks = np.empty((1, tokens), np.int32), np.empty((1, 2, 20, 64), np.float16)
    assert 2 * sum(array.nbytes for array in packed) + slot.nbytes + sinks.nbytes == row["cache_bytes"]
    assert row["key_bytes"] == row["value_bytes"] == 32 + 8


def test_the_table_names_the_share_of_fp16_and_the_screens_of_a_gigabyte():
    head, first, *_, last = table(kv_bytes())
    assert head[0] == "cache" and first[-1] == "1" and last[0] == "K2V2" and last[-1] == "1/5.8"
    assert first[-3:-1] == ("103.1", "9") and last[-3:-1] == ("18.0", "55")


GROUNDING = {
    "template": {"before": list(range(99))},
    "buckets": [{"screen": [1280, 800], "grid": [29, 46]}, {"screen": [1920, 1080], "grid": [39, 69]}],
    "kv": {"bits": 4, "scheme": "kivi"},
    "layers": 36,
    "kv_heads": 2,
    "head_dim": 128,
    "hidden": 2048,
}


def test_a_bundle_tells_the_bytes_of_each_of_its_screens():
    data = of_bundle(GROUNDING)
    small, full = data["screens"]
    assert (small["tokens"], full["tokens"]) == (99 + 29 * 46, 2790)
    assert full["screen_bytes"] == full["widths"]["K4V4"]["screen_bytes"] == 29_236_608
    assert full["widths"]["fp16"]["screens_per_gb"] == 9
    head, _, last = bundle_table(data)
    assert head[:3] == ("screen", "tokens", "as it is stored")
    assert last[:3] == ("1920x1080", "2,790", "29.2 MB, 34 a GB")


@pytest.mark.parametrize("sizes", [{"head_dim": 100}, {"head_dim": 0}, {"tokens": -1}, {"scheme": "none"}])
def test_sizes_that_cannot_be_are_refused(sizes):
    with pytest.raises(UserMistake) as error:
        kv_bytes(**sizes)
    assert error.value.found


def test_the_command_prints_the_table_and_json():
    shown = edgesmith("kv-bytes", "--head-dim", "128")
    assert shown.code == 0 and all(figure in shown.out for figure in ("268", "144", "88", "512"))
    told = edgesmith("kv-bytes", "--json")
    assert json.loads(told.out)["caches"]["K4V4"]["bytes"] == 144
    refused = edgesmith("kv-bytes", "--head-dim", "100")
    assert refused.code == 2 and "--head-dim 96" in refused.err


def test_a_bundle_of_another_task_keeps_no_keys(tmp_path):
    bundle = write_small_bundle(tmp_path / "digits.edge")
    refused = edgesmith("kv-bytes", str(bundle))
    assert refused.code == 2 and "a bundle for classification" in refused.err
