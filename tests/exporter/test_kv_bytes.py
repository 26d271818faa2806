"""``edgesmith kv-bytes``: the figures of the layout, and what the ops themselves write for a cache of that size."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import edgesmith

from edgesmith.exporter.plugins import OPS
from edgesmith.exporter.plugins.kv.weight import kv_bytes, table
from edgesmith.runtime.errors import UserMistake


def test_a_head_of_128_channels():
    caches = kv_bytes(head_dim=128)["caches"]
    assert {name: row["bytes"] for name, row in caches.items()} == {
        "fp16": 512, "K8V8": 268, "K4V4": 144, "K4V2": 120, "K2V2": 88,
    }  # fmt: skip


@pytest.mark.parametrize(("scheme", "bits"), [("K8V8", 8), ("K4V4", 4), ("K2V2", 2)])
@pytest.mark.parametrize("tokens", [64, 150])
def test_a_cache_weighs_what_the_ops_write(scheme, bits, tokens):
    row = kv_bytes(head_dim=32, kv_heads=2, layers=1, tokens=tokens)["caches"][scheme]
    x = np.random.default_rng(0).standard_normal((1, 2, tokens, 32)).astype(np.float16)
    key = OPS["QuantizeK"].reference(x, bits=bits)
    value = OPS["QuantizeV"].reference(x, bits=bits)
    assert sum(array.nbytes for array in (*key, *value)) == row["cache_bytes"]


def test_the_table_names_the_share_of_fp16():
    head, first, *_, last = table(kv_bytes())
    assert head[0] == "cache" and first[-1] == "1" and last[0] == "K2V2" and last[-1] == "1/5.8"


@pytest.mark.parametrize("sizes", [{"head_dim": 100}, {"head_dim": 0}, {"tokens": -1}])
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
