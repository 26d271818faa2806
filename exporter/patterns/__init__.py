"""One rewrite a file; ORDER, the one list, says which run for which target and in what order."""

from __future__ import annotations

from .attention import PackedHeads, SeparateHeads
from .base import Surgery
from .branches_on_maps import BranchesOnMaps
from .channel_attention import PackedChannels, SeparateChannels
from .cleanup import CleanUp
from .depthwise_shortcut import FoldDepthwiseShortcut
from .flatten_late import FlattenLate
from .fold_batchnorm import FoldBatchNorm
from .fold_constants import FoldConstants
from .fold_shapes import FoldShapes
from .ggem_pool import GGeMPowers
from .gpsa_gate import GateBesideAttention, GateInAttention
from .grouped_convolution import WidenGroups
from .large_kernel_attention import FoldNormalisedShortcut
from .layer_scale import FoldLayerScale
from .linears_on_maps import LinearsOnMaps
from .mean_before_linear import MeanBeforeLinear
from .no_ops import DropNoOps
from .ort_attention import OrtAttention
from .project_channels import ProjectChannels
from .rescale_trunk import RescaleTrunk
from .scale_aware_modulation import MergeScaleHeads
from .static_padding import DropZeroPads
from .tokens_as_maps import TokensAsMaps
from .unread_tokens import DropUnreadTokens
from .window_partition import MergeWindows

ALL = frozenset({"cpu", "openvino", "rtx", "tensorrt"})
CPUS = frozenset({"cpu", "openvino"})
GPUS = ALL - CPUS

# (pass, targets it runs for): a target is left out where the rewrite was measured to lose (benchmarks/rewrites).
# "tensorrt" has what won on "rtx", whose builder runs without a GPU: not yet run on hardware.
ORDER: tuple[tuple[type[Surgery], frozenset[str]], ...] = (
    (CleanUp, ALL),
    (FoldConstants, ALL),
    (FoldShapes, ALL),
    (DropZeroPads, ALL),
    (DropNoOps, ALL),
    (CleanUp, ALL),
    (GateBesideAttention, GPUS),
    (GateInAttention, CPUS),
    (DropUnreadTokens, CPUS),  # on a GPU one kernel more for ConViT-tiny
    (GGeMPowers, frozenset({"cpu"})),
    (CleanUp, ALL),
    (OrtAttention, frozenset({"cpu"})),  # before SeparateHeads, which takes what it leaves
    (SeparateHeads, frozenset({"cpu"})),
    (PackedHeads, ALL - {"cpu"}),
    (FoldLayerScale, ALL),  # VAN's four win together: without RescaleTrunk, TensorRT-RTX launches more than before
    (FoldNormalisedShortcut, ALL),
    (FoldBatchNorm, ALL),
    (RescaleTrunk, GPUS),  # 11 kernels of VAN; on a CPU lost in the noise (0.96 to 0.99 with and without)
    (MergeScaleHeads, ALL),
    (TokensAsMaps, ALL),
    (FlattenLate, GPUS),
    (PackedChannels, GPUS),
    (FlattenLate, GPUS),  # past what PackedChannels wrote
    (ProjectChannels, GPUS),
    (MergeWindows, GPUS),
    (BranchesOnMaps, GPUS),
    (SeparateChannels, frozenset({"cpu"})),
    (FoldDepthwiseShortcut, ALL),
    (LinearsOnMaps, ALL - {"openvino"}),
    (WidenGroups, CPUS),
    (MeanBeforeLinear, CPUS),  # TensorRT: not measured; FlattenLate leaves it nothing to match
    (CleanUp, ALL),
)


def passes_for(target: str) -> list[type[Surgery]]:
    """The passes of one target ("cpu", "openvino", "rtx", "tensorrt"), in order."""
    return [step for step, targets in ORDER if target in targets]
