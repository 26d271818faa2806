"""What a cached screen holds: names, shapes, types, and the bytes that a pool counts with."""

from __future__ import annotations

import numpy as np
import pytest

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.grounding.screens.kv_bytes import GB, KIVI, ROTATEKV, CacheLayout, bytes_of

QWEN = CacheLayout(layers=36, kv_heads=2, head_dim=128, hidden=2048)
FULL_HD = 99 + 39 * 69  # the text before the picture, 28 x 28 pixels a token
SUMS = 36 * 2048 * 4


def test_a_full_hd_screen_in_four_bits_tensor_by_tensor():
    assert QWEN.tensors(FULL_HD) == {
        "key_codes": ((1, 36, 2, 2790, 16), "int32"),
        "key_meta": ((1, 36, 2, 44, 2, 128), "float16"),
        "value_codes": ((1, 36, 2, 2790, 16), "int32"),
        "value_meta": ((1, 36, 2, 2790, 2, 2), "float16"),
        "visual_sums": ((1, 36, 2048), "float32"),
    }
    assert QWEN.screen_bytes(FULL_HD) == 29_236_608
    assert QWEN.screens_in(GB, FULL_HD) == 34


@pytest.mark.parametrize(
    ("bits", "scheme", "wanted"),
    [
        (32, KIVI, 72 * 2790 * 128 * 4 * 2),
        (16, KIVI, 72 * 2790 * 128 * 2 * 2),
        (16, ROTATEKV, 72 * 2790 * 128 * 2 * 2),  # nothing is quantised, so nothing is rotated
        (8, KIVI, 72 * (2790 * 128 * 2 + 44 * 2 * 128 * 2 + 2790 * 1 * 2 * 2)),
        (2, KIVI, 72 * (2790 * 32 * 2 + 44 * 2 * 128 * 2 + 2790 * 4 * 2 * 2)),
        (2, ROTATEKV, 72 * (2790 * 32 * 2 + 2790 * 4 * 2 * 2 * 2 + 20 * 128 * 2) + 36 * 2790 * 4),
    ],
)
def test_bytes_by_width_and_scheme(bits, scheme, wanted):
    layout = CacheLayout(36, 2, 128, 2048, bits=bits, scheme=scheme)
    assert layout.screen_bytes(2790) == wanted + SUMS


def test_the_bytes_are_those_of_arrays_of_these_shapes():
    for scheme in (KIVI, ROTATEKV):
        tensors = CacheLayout(2, 2, 32, 48, bits=4, scheme=scheme).tensors(70, screens=3)
        assert sum(np.empty(shape, kind).nbytes for shape, kind in tensors.values()) == bytes_of(tensors)


def test_several_screens_weigh_that_many_times_one():
    assert bytes_of(QWEN.tensors(2790, screens=5)) == 5 * QWEN.screen_bytes(2790)


def test_keys_may_be_wider_than_values():
    mixed = QWEN.with_bits(4, 2)
    assert mixed.keys(64) == QWEN.keys(64)
    assert mixed.values(64) == QWEN.with_bits(2).values(64)


def test_a_manifest_says_all_that_is_needed():
    told = {"layers": 36, "kv_heads": 2, "head_dim": 128, "hidden": 2048, "kv": {"bits": 4, "scheme": KIVI}}
    assert CacheLayout.of_bundle(told) == QWEN
    del told["hidden"]
    with pytest.raises(KeyError):
        CacheLayout.of_bundle(told)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"layers": 0}, "0 layers"),
        ({"bits": 3}, "3 bits"),
        ({"value_bits": 5}, "5 bits"),
        ({"head_dim": 24, "bits": 2}, "24 channels of 2 bits"),
        ({"scheme": "quarot"}, "quarot"),
    ],
)
def test_caches_that_cannot_be_are_refused(wrong, found):
    sizes = {"layers": 36, "kv_heads": 2, "head_dim": 128, "hidden": 2048} | wrong
    with pytest.raises(UserMistake) as error:
        CacheLayout(**sizes)
    assert error.value.found == found
