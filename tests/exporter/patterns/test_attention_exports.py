"""The attention rewrites on real exports: fixed and open batch, other heads and sizes, every target, against eager."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from graph_asserts import op_types

from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.run.runners import graph_runner
from edgesmith.exporter.trace.trace import trace

LIMIT = 2e-5  # float32 on a CPU; the reference README measures 3e-6 for a plain export


def narrow_convit() -> torch.nn.Module:
    """timm's, never run, 25 patches, 2 heads, three gated blocks and one plain; gates apart from each other."""
    from timm.models.convit import ConVit

    torch.manual_seed(0)
    module = ConVit(img_size=80, patch_size=16, num_classes=7, embed_dim=24, depth=4, num_heads=2, local_up_to_layer=3)
    for index, block in enumerate(module.blocks[:3]):
        block.attn.gating_param.data = torch.tensor([0.5 * index, -1.0])
    return module.eval()


def narrow_vit() -> torch.nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(1)
    return VisionTransformer(
        img_size=64,
        patch_size=16,
        num_classes=7,
        embed_dim=48,
        depth=3,
        num_heads=4,
        qkv_bias=True,
    ).eval()


def narrow_ggem() -> torch.nn.Module:
    from edgesmith.models.families.vit_ggem.network import ViTGGeM

    torch.manual_seed(2)
    module = ViTGGeM(num_heads=3, img_size=64, patch_size=16, num_classes=7, embed_dim=48, depth=2).eval()
    module.ggem.p.data = torch.tensor([[2.0], [3.5], [4.25]])
    return module


MODELS = {
    "convit": (narrow_convit, 80),
    "vit": (narrow_vit, 64),
    "ggem": (narrow_ggem, 64),
}
FORM = {"cpu": "com.microsoft.", "openvino": "Softmax", "rtx": "Softmax", "tensorrt": "Softmax"}


@pytest.mark.parametrize("open_batch", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("name", MODELS)
def test_every_target_agrees_with_eager(name: str, open_batch: bool):
    make, size = MODELS[name]
    module = make()
    low, high = (1, 3, size, size), ((4 if open_batch else 1), 3, size, size)
    exported = trace(module, Shapes(low, low, high))
    for target, form in FORM.items():
        rewritten = rewrite(exported, target)
        runner = graph_runner(rewritten.model)
        for batch in (1, 3) if open_batch else (1,):
            images = np.random.default_rng(batch).standard_normal((batch, 3, size, size)).astype(np.float32)
            with torch.no_grad():
                expected = module(torch.from_numpy(images)).numpy()
            np.testing.assert_allclose(runner(images), expected, atol=LIMIT)
        assert any(op.startswith(form) for op in rewritten.nodes_after)
        left = set(op_types(rewritten.model)) & {"ScatterElements", "ReduceSum", "Gather", "Range", "Pad"}
        assert left <= {"Gather"}, f"{target}: {left}"


@pytest.mark.parametrize(("name", "blocks"), [("convit", 4), ("vit", 3), ("ggem", 2)])
def test_every_attention_block_is_in_normal_form(name: str, blocks: int):
    make, size = MODELS[name]
    rewritten = rewrite(trace(make(), Shapes.fixed(1, 3, size, size)), "rtx")
    assert {record.name: record.count for record in rewritten.passes}["PackedHeads"] == blocks
    assert rewritten.nodes_after["Softmax"] == blocks


@pytest.mark.parametrize("name", ["convit", "vit"])
def test_an_open_batch_leaves_at_most_the_class_token_to_run_time(name: str):
    make, size = MODELS[name]
    exported = trace(make(), Shapes((1, 3, size, size), (1, 3, size, size), (4, 3, size, size)))
    counts = rewrite(exported, "cpu").nodes_after
    assert (counts.get("Shape", 0), counts.get("Expand", 0)) == (1, 1)
