"""What TensorRT-RTX makes of each family: kernels launched and attention blocks fused, fp16, sm89, batch 1, 224 x 224.

The engines are built without a GPU through the stages of an export: trace, rewrite, type, build, X-ray. A rewrite that
stops matching, or a version of the builder that fuses less, shows here. Counts do not depend on the weights.
"""

from __future__ import annotations

import pytest

from edgesmith.exporter.engine.rtx import build_rtx_engine, installed
from edgesmith.exporter.engine.xray import XRay, read_engine
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.models import create

pytestmark = pytest.mark.skipif(not installed(), reason="TensorRT-RTX is not installed: pip install 'edgesmith[rtx]'")


def xray_of(name: str) -> XRay:
    """The X-ray of the default export of a model for RTX."""
    exported = trace(create(name, weights="random"), Shapes.fixed(1, 3, 224, 224), name=name)
    typed = to_precision(rewrite(exported, "rtx").model, "fp16").model
    xray = read_engine(build_rtx_engine(typed, "sm89"))
    assert xray.recognised == 1.0, f"steps the X-ray does not know: {xray.unknown}"
    return xray


@pytest.mark.parametrize(
    ("name", "fused_attention", "most_kernels"),
    [
        ("convit_tiny", 12, 120),  # plain export: 2 and 218
        ("smt_tiny", 5, 182),  # plain: 5 and 231, the authors' code 299
        ("davit_tiny", 10, 154),  # plain: 10 and 177; two channel attentions are too long to fuse
        ("van_b0", 0, 117),  # plain: 122; folding without RescaleTrunk: 128
        ("vit_ggem_tiny_patch16", 12, 110),  # 12 and 100 for timm's ViT, and the pooling in float32
    ],
)
def test_a_family_keeps_its_fused_attention_and_number_of_kernels(name, fused_attention, most_kernels):
    xray = xray_of(name)
    assert xray.fused_attention == fused_attention
    assert xray.kernels <= most_kernels
