"""Re-parameterisation on the graph is the one on the state dict: the same weights, and no branch of a block is left.

The training form is traced and rewritten; ``to_deploy`` does the same on the tensors, in float64. Both begin with the float32
tensors of a checkpoint, but torch's exporter has folded the BatchNorms before our pass sees them, and it rounds.
"""

from __future__ import annotations

import damo_yolo_reference as reference
import numpy as np
import pytest
import torch

from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.models import create
from edgesmith.models.families.damo_yolo.backbone import Stage
from edgesmith.models.families.damo_yolo.deploy import to_deploy
from edgesmith.models.families.damo_yolo.network import DamoYolo, Layout, deployed

ROUNDING = (
    8 * 2.0**-24
)  # of the largest weight of a layer: in two branches var + eps, root, quotient, product; then the sum
ROWS = ((16, 2, 8), (16, 2, 8), (24, 1, 8), (24, 2, 8), (32, 2, 8))
SMALL = Layout(
    "res", 8, tuple(Stage(*row, stride=2 - (i == 3)) for i, row in enumerate(ROWS)), "relu", (16, 16, 24), 0.34
)


def small() -> DamoYolo:
    """Five RepConvs of the backbone, five of the neck; everything BatchNorm knows is somewhere else than at its start."""
    torch.manual_seed(3)
    module = DamoYolo(SMALL, num_classes=3).eval()
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if ".bn" in name and tensor.is_floating_point():
            tensor.data.uniform_(0.5, 1.5)
    return module


def rewritten(module: torch.nn.Module):
    """The graph of a detector after the passes for a CPU, but for the one that cuts convolutions in two."""
    exported = trace(module, Shapes.fixed(1, 3, 64, 64), outputs=("boxes", "scores"))
    return rewrite(exported, "cpu", skip=["UpsampleLate"])


def distances(graph, expected: dict[str, torch.Tensor]) -> list[float]:
    """Per re-parameterised block, the largest difference of weight and bias, as a share of the layer's largest weight."""
    found = []
    for node in graph.model.graph:
        name = node.inputs[1].name if node.op_type == "Conv" else ""
        block, is_block, _ = name.partition(".rbr_dense.")
        if is_block:
            weight, bias = (expected[f"{block}.rbr_reparam.{kind}"].double().numpy() for kind in ("weight", "bias"))
            got = [node.inputs[place].const_value.numpy().astype(np.float64) for place in (1, 2)]
            assert got[0].shape == weight.shape
            gap = max(np.abs(got[0] - weight).max(), np.abs(got[1] - bias).max())
            found.append(float(gap / max(np.abs(weight).max(), np.abs(bias).max())))
    return found


def check(branches, module: DamoYolo) -> float:
    """The largest distance of the weights of ``branches``, the training form rewritten, from those of the state dict."""
    expected = to_deploy(module.state_dict())
    found = distances(branches, expected)
    assert len(found) == sum(name.endswith(".rbr_reparam.weight") for name in expected) > 0
    layers = sum(isinstance(part, torch.nn.Conv2d) for part in deployed(module).modules())
    assert branches.nodes_after["Conv"] == layers, "a branch of a block is left"
    assert "BatchNormalization" not in branches.nodes_after
    assert max(found) < ROUNDING
    return max(found)


def test_a_small_network_folds_to_its_deploy_form():
    module = small()
    check(rewritten(module), module)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["tiny", "small", "medium"])
def test_whole_networks_fold_to_their_deploy_form(variant):
    """Node for node: tiny with its reference weights, the others with random ones."""
    module = reference.model(variant) if variant == "tiny" else create(f"damo_yolo_{variant}", weights="random")
    branches = rewritten(module)
    print(f"{variant}: {check(branches, module):.2g} of the largest weight of a layer")
    assert branches.nodes_after == rewritten(deployed(module)).nodes_after
