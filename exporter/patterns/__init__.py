"""One pattern a file; ORDER, the one list, says which run for which target and in what order (order.py holds to it)."""

from __future__ import annotations

from ...calibration.precisions import quantised_names, weights_only
from ...runtime.bundle.engines import OPENVINO, TENSORRT
from .attention.bias_beside import BiasBesideScores
from .attention.channel_attention import PackedChannels, SeparateChannels
from .attention.einsum_product import EinsumProduct
from .attention.gpsa_gate import GateBesideAttention, GateInAttention
from .attention.heads_apart import PackedHeads, SeparateHeads
from .attention.ort_attention import OrtAttention
from .attention.pictures_first import PicturesFirst
from .attention.project_channels import ProjectChannels
from .attention.shared_keys import RepeatKeys, SplitQueries
from .attention.unread_tokens import DropUnreadTokens
from .attention.wide_values import WidenKeys
from .attention.window_partition import MergeWindows
from .base import Pattern
from .boxes.box_distances import DistancesByReduction, DistancesOnMaps
from .boxes.merge_levels import MergeLevels
from .cleanup.broadcasts import DropExpands
from .cleanup.casts import DropCasts
from .cleanup.fold_constants import FoldConstants
from .cleanup.fold_shapes import FoldShapes
from .cleanup.lists_apart import ListsApart
from .cleanup.mask_guard import DropEmptyMask
from .cleanup.no_ops import DropNoOps
from .cleanup.static_padding import DropZeroPads
from .cleanup.tidy import CleanUp
from .convolutions.chain_pools import ChainPools
from .convolutions.depthwise_shortcut import FoldDepthwiseShortcut
from .convolutions.focus_convolution import FocusConvolution
from .convolutions.fold_batchnorm import FoldBatchNorm
from .convolutions.grouped_convolution import WidenGroups
from .convolutions.large_kernel_attention import FoldNormalisedShortcut
from .convolutions.layer_scale import FoldLayerScale
from .convolutions.rep_convolution import FoldRepConvolution
from .convolutions.rescale_trunk import RescaleTrunk
from .convolutions.scale_aware_modulation import MergeScaleHeads
from .convolutions.twin_convolutions import MergeTwinConvolutions
from .convolutions.upsample_late import UpsampleLate
from .fourier.transforms_as_products import TransformsAsProducts
from .fuse.channel_attention import FuseChannelAttention
from .fuse.gated_positional_attention import FuseGatedPositionalAttention
from .fuse.ggem_pool import FuseGGeMPool
from .fuse.window_attention import FuseWindowAttention
from .tokens.branches_on_maps import BranchesOnMaps
from .tokens.flatten_late import FlattenLate
from .tokens.folds_as_convolutions import FoldsAsConvolutions
from .tokens.ggem_pool import GGeMPowers
from .tokens.linears_on_maps import LinearsOnBlockedMaps, LinearsOnMaps
from .tokens.mean_before_linear import MeanBeforeLinear
from .tokens.mean_of_maps import PoolMaps
from .tokens.norm_of_linear import FoldLinearNorm
from .tokens.tokens_as_maps import TokensAsMaps

CPU = frozenset({"cpu", "cpu-quantised"})
CPUS = CPU | {OPENVINO}
GPUS_FLOAT = frozenset({"rtx", TENSORRT})
GPUS = GPUS_FLOAT | {"rtx-quantised", "tensorrt-quantised"}
ALL = CPUS | GPUS

# (pass, orders it runs in): an order is left out where the rewrite was measured to lose (benchmarks/rewrites).
# "tensorrt" has what won on "rtx", whose builder runs without a GPU (docs/hardware.md).
# "-quantised" is for graphs that get Q/DQ afterwards: other passes win there (benchmarks/int8_kernels).
ORDER: tuple[tuple[type[Pattern], frozenset[str]], ...] = (
    (CleanUp, ALL),
    (DropCasts, ALL),  # the two before what they hide
    (ListsApart, ALL),
    (FoldConstants, ALL),
    (FoldShapes, ALL),
    (DropZeroPads, ALL),
    (DropNoOps, ALL),
    (DropExpands, ALL),
    (TransformsAsProducts, ALL),  # TensorRT has no DFT, OpenVINO takes another axis
    (FoldsAsConvolutions, GPUS),  # TensorRT has no Col2Im; the others compute it as it is
    (EinsumProduct, ALL),
    (DropEmptyMask, ALL),
    (PicturesFirst, ALL),
    (CleanUp, ALL),
    (FuseGatedPositionalAttention, ALL),  # the four run when asked, before those that take the same places apart
    (FuseWindowAttention, ALL),
    (FuseChannelAttention, ALL),
    (FuseGGeMPool, ALL),
    (FoldLinearNorm, ALL),  # before those that look for linear layers
    (GateBesideAttention, GPUS),
    (GateInAttention, CPUS),
    (DropUnreadTokens, CPUS),  # on a GPU one kernel more for ConViT-tiny
    (GGeMPowers, CPU),
    (CleanUp, ALL),
    (
        OrtAttention,
        frozenset({"cpu"}),
    ),  # before SeparateHeads, which takes what it leaves; packs weights away from Q/DQ
    (SeparateHeads, CPU),
    (WidenKeys, GPUS_FLOAT),  # the four make attention that TensorRT-RTX fuses; int8 not measured
    (SplitQueries, GPUS_FLOAT),
    (RepeatKeys, GPUS_FLOAT),
    (BiasBesideScores, GPUS_FLOAT),
    (PackedHeads, ALL - CPU),
    (FoldLayerScale, ALL),  # VAN's four win together: without RescaleTrunk, TensorRT-RTX launches more than before
    (FoldNormalisedShortcut, ALL),
    (FoldBatchNorm, ALL),
    (FoldRepConvolution, ALL),
    (FocusConvolution, CPUS),  # TensorRT-RTX pads 3 channels to 8 for it: as many kernels, more bytes and products
    (ChainPools, ALL),
    (UpsampleLate, CPUS - {"cpu-quantised"}),  # GPU: 9 kernels more of DAMO-YOLO T; int8: not measured
    (RescaleTrunk, GPUS),  # 11 kernels of VAN; on a CPU lost in the noise (0.96 to 0.99 with and without)
    (MergeScaleHeads, ALL),
    (TokensAsMaps, ALL),
    (FlattenLate, GPUS),
    (PackedChannels, GPUS_FLOAT),  # int8: DaViT 192 kernels with both, 187 without
    (FlattenLate, GPUS),  # past what PackedChannels wrote
    (ProjectChannels, GPUS),
    (MergeWindows, GPUS),
    (BranchesOnMaps, GPUS_FLOAT),  # the same, and its layers stay products
    (SeparateChannels, CPU),
    (FoldDepthwiseShortcut, ALL),
    (LinearsOnMaps, GPUS),
    (
        LinearsOnBlockedMaps,
        frozenset({"cpu"}),
    ),  # not quantised: SMT's products have integer kernels in ONNX Runtime, 1x1 convolutions none
    (WidenGroups, CPUS),
    (MeanBeforeLinear, CPUS),  # TensorRT: not measured; FlattenLate leaves it nothing to match
    (
        PoolMaps,
        frozenset({"cpu"}),
    ),  # ONNX Runtime's blocked layout; the other engines know both forms, int8 not measured
    (MergeLevels, GPUS),
    (MergeTwinConvolutions, GPUS_FLOAT),  # on CPUs lost in the noise; int8: the two heads get precisions of their own
    (DistancesByReduction, GPUS),  # both measured by benchmarks/detector_rewrites.py
    (DistancesOnMaps, CPUS),
    (CleanUp, ALL),
)


def order_for(order: str, precision: str) -> str:
    """The order of a target ("cpu", ...) for a graph that will be quantised to ``precision``, or stays as it is.

    int4 and nvfp4 on a GPU keep the order of fp16: their products read fp16 activations, and fuse as fp16 ones do.
    """
    as_floats = weights_only(precision) and order in GPUS
    quantised = f"{order}-quantised"
    return quantised if precision in quantised_names() and quantised in ALL and not as_floats else order
