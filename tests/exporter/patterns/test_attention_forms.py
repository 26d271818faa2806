"""Attention as people write it, and what only looks like it: after all passes the numbers are torch's, at any batch.

tests/helpers/attention_forms.py has the modules. What is fused says so here by name; all others stay, and are right.
"""

from __future__ import annotations

import attention_forms
import numpy as np
import pytest
import torch
from attention_forms import IMAGE, NEAR, RIGHT, SIZES
from graph_asserts import op_types

from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.exporter.run.runners import graph_runner
from edgesmith.exporter.trace.trace import trace

LIMIT = 2e-5  # of the largest number, in float32
BATCHES = {"one": (1, 1), "three": (3, 3), "open": (1, 4)}
ORDERS = ("cpu", "openvino", "rtx")
FUSED = {  # by ONNX Runtime's own node, at every batch
    "mha_first", "mha_first_weights", "mha_second", "mha_second_weights", "encoder_layer", "pack_qkv_heads",
    "pack_heads_qkv", "pack_heads_chunks", "pack_width_qkv_heads", "einsum", "einsum_heads_third", "bmm", "seq_first_bmm",
    "sdpa", "sdpa_layers_apart", "scale_on_q", "scale_on_both", "one_head", "qk_layer_norm_before_heads", "relative_bias",
    "relative_bias_table", "zero_bias",
}  # fmt: skip
QUICK = [  # of each kind that was wrong or did not load one, and of each that is looked for on purpose
    ("mha_first", "one"), ("mha_first", "open"), ("mha_first_weights", "three"), ("axial_rows_of_a_map", "three"),
    ("latent_queries_of_one", "three"), ("keys_of_a_map", "open"), ("sliced_keys_from_the_front", "one"),
    ("pack_heads_qkv", "open"), ("einsum", "three"), ("bmm", "open"), ("relative_bias", "open"), ("scale_of_zero", "one"),
]  # fmt: skip


def check(name: str, batch: str, sizes: str = "usual") -> None:
    """Trace the form, run each order on it, compare with torch, and run the order once more."""
    module = attention_forms.module(name, sizes)
    low, high = BATCHES[batch]
    shapes = Shapes((low, *IMAGE), (low, *IMAGE), (high, *IMAGE))
    exported = trace(module, shapes)
    for order in ORDERS:
        done = rewrite(exported, order)
        runner = graph_runner(done.model)
        for size in {low, high, (low + high) // 2}:
            images = np.random.default_rng(size).standard_normal((size, *IMAGE)).astype(np.float32)
            with torch.no_grad():
                wanted = module(torch.from_numpy(images)).numpy()
            np.testing.assert_allclose(
                runner(images), wanted, rtol=0, atol=LIMIT * max(1.0, float(np.abs(wanted).max()))
            )
        if order == "cpu" and name in FUSED and sizes == "usual":
            assert any(op in ("Attention", "MultiHeadAttention") for op in op_types(done.model))
        again = rewrite(ExportedGraph(done.model, name, shapes), order)
        assert {record.name: record.count for record in again.passes if record.count} == {}


@pytest.mark.parametrize(("name", "batch"), QUICK)
def test_the_numbers_stay(name: str, batch: str):
    check(name, batch)


@pytest.mark.slow
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", [*RIGHT, *NEAR])
def test_the_numbers_of_every_form_stay(name: str, batch: str):
    check(name, batch)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [sizes for sizes in SIZES if sizes != "usual"])
@pytest.mark.parametrize(
    "name", [*NEAR, "bmm", "axial_rows", "windows_late", "latent_queries_of_one", "pack_heads_qkv"]
)
def test_sizes_that_coincide_mislead_nobody(name: str, sizes: str):
    check(name, "three", sizes)
