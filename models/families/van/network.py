"""VAN: Visual Attention Network (Guo et al., 2022, arXiv:2202.09741).

Written from the architecture's description; the parameter names are those of the authors' checkpoints, so that these
load as they are.

    image (B, 3, H, W) > 4 stages at 1/4, 1/8, 1/16, 1/32, maps (B, C, H, W) > mean over positions > logits (B, classes)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import init_weights


class PatchEmbed(nn.Module):
    """Overlapping patches: a strided convolution, then BatchNorm."""

    def __init__(self, channels: int, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))


class LargeKernelAttention(nn.Module):
    """u * conv1x1(dw7x7 dilated 3(dw5x5(u))): a 21x21 receptive field, no activation in between."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.conv_spatial = nn.Conv2d(dim, dim, 7, padding=9, dilation=3, groups=dim)
        self.conv1 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv1(self.conv_spatial(self.conv0(x)))


class Attention(nn.Module):
    """The shortcut starts here, at the normalised input, not at the block's input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(dim, dim, 1)
        self.spatial_gating_unit = LargeKernelAttention(dim)
        self.proj_2 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.proj_2(self.spatial_gating_unit(F.gelu(self.proj_1(x))))


class DepthwiseConv(nn.Module):
    """3x3, without a shortcut."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.dwconv(x)


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.dwconv = DepthwiseConv(hidden)
        self.fc2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.dwconv(self.fc1(x))))


class Block(nn.Module):
    """Two residual branches, each scaled per channel."""

    def __init__(self, dim: int, mlp_ratio: float, layer_scale: float = 1e-2) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(dim)
        self.attn = Attention(dim)
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.layer_scale_1 = nn.Parameter(torch.full((dim,), layer_scale))
        self.layer_scale_2 = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.layer_scale_1[:, None, None] * self.attn(self.norm1(x))
        return x + self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x))


class VAN(nn.Module):
    def __init__(
        self,
        dims: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (3, 3, 5, 2),
        mlp_ratios: Sequence[float] = (8, 8, 4, 4),
        num_classes: int = 1000,
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        for s in range(4):
            embed = PatchEmbed(in_chans, dims[0], 7, 4) if s == 0 else PatchEmbed(dims[s - 1], dims[s], 3, 2)
            setattr(self, f"patch_embed{s + 1}", embed)
            setattr(self, f"block{s + 1}", nn.Sequential(*(Block(dims[s], mlp_ratios[s]) for _ in range(depths[s]))))
            setattr(self, f"norm{s + 1}", nn.LayerNorm(dims[s], eps=1e-6))
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(init_weights)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H/32, W/32, C), channels last."""
        for stage in "1234":
            embed, blocks, norm = (getattr(self, part + stage) for part in ("patch_embed", "block", "norm"))
            x = x if stage == "1" else x.permute(0, 3, 1, 2)  # (B, C, H, W)
            x = norm(blocks(embed(x)).permute(0, 2, 3, 1))  # (B, H, W, C)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x).mean(dim=(1, 2)))


_TRANSFORMERS_BLOCK = {
    "pre_normomalization.": "norm1.",  # the library's spelling
    "attention.pre_projection.conv.": "attn.proj_1.",
    "attention.attention_layer.attention.depth_wise.": "attn.spatial_gating_unit.conv0.",
    "attention.attention_layer.attention.depth_wise_dilated.": "attn.spatial_gating_unit.conv_spatial.",
    "attention.attention_layer.attention.point_wise.": "attn.spatial_gating_unit.conv1.",
    "attention.post_projection.": "attn.proj_2.",
    "attention_scaling.weight": "layer_scale_1",
    "post_normalization.": "norm2.",
    "mlp.in_dense.": "mlp.fc1.",
    "mlp.depth_wise.": "mlp.dwconv.dwconv.",
    "mlp.out_dense.": "mlp.fc2.",
    "mlp_scaling.weight": "layer_scale_2",
}
_TRANSFORMERS_STAGE = {
    "embeddings.convolution.": "patch_embed{}.proj.",
    "embeddings.normalization.": "patch_embed{}.norm.",
    "normalization.": "norm{}.",
}


def _from_transformers(name: str) -> str:
    name = name.removeprefix("van.").replace("classifier.", "head.")
    found = re.match(r"encoder\.stages\.(\d+)\.(?:layers\.(\d+)\.)?(.*)", name)
    if not found:
        return name
    stage, block, rest = int(found[1]) + 1, found[2], found[3]
    for theirs, ours in (_TRANSFORMERS_STAGE if block is None else _TRANSFORMERS_BLOCK).items():
        if rest.startswith(theirs):
            prefix = ours.format(stage) if block is None else f"block{stage}.{block}.{ours}"
            return prefix + rest.removeprefix(theirs)
    return name


_OPENMMLAB = (  # of a name, from its beginning or in it
    (r"^blocks(\d)\.", r"block\1."),
    (r"^(patch_embed\d)\.projection\.", r"\1.proj."),
    (r"\.DW_conv\.", ".conv0."),
    (r"\.DW_D_conv\.", ".conv_spatial."),
    (r"\.mlp\.dwconv\.(weight|bias)$", r".mlp.dwconv.dwconv.\1"),
)


def _from_openmmlab(name: str) -> str:
    for theirs, ours in _OPENMMLAB:
        name = re.sub(theirs, ours, name)
    return name


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of transformers and of OpenMMLab become the authors', which are ours.

    transformers' last LayerNorm is dropped, as its forward skips it.
    """
    if "blocks1.0.norm1.weight" in state:
        return {_from_openmmlab(name): value for name, value in state.items()}
    if not any("encoder.stages." in name for name in state):
        return state
    renamed = {_from_transformers(name): value for name, value in state.items()}
    return {name: value for name, value in renamed.items() if not name.startswith("layernorm.")}


def build(num_classes: int, image_size: tuple[int, int], **config: Any) -> nn.Module:
    """One model serves every image size."""
    return VAN(num_classes=num_classes, **config)
