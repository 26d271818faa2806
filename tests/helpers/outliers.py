"""Exact outlier injection: the float32 answer does not change, int8 with one scale a tensor breaks.

Pretrained vision transformers have a few LayerNormalization channels ten to a hundred times larger than the rest; small
networks trained for a test do not.  Multiplying k channels of gamma and beta by a gain and dividing the weights that meet
them gives any network the same trouble, so that what repairs it can be tested without pretrained weights.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgesmith.calibration.balance.channels import follow


def inject(model: ir.Model, gain: float = 64.0, channels: int = 3, seed: int = 0) -> tuple[ir.Model, int]:
    """A copy of ``model`` with outliers behind every LayerNormalization that only linear layers read, and their number.

    ``channels`` of each, drawn with ``seed``, are multiplied by ``gain`` times 0.5 to 1.5.
    """
    model, rng, count = model.clone(), np.random.default_rng(seed), 0
    for node in [node for node in model.graph if node.op_type == "LayerNormalization"]:
        group = follow(model, node, set())
        if not group.free.all() or not group.edits:
            continue
        factors = np.ones(group.size)
        drawn = rng.choice(group.size, channels, replace=False)
        factors[drawn] = 1 / (gain * rng.uniform(0.5, 1.5, channels))
        group.apply(model, factors)
        count += 1
    return model, count
