"""Re-parameterisation: the two branches of every RepConv become one convolution, on the tensors alone.

    rbr_dense.{conv,bn}, rbr_1x1.{conv,bn}  ->  rbr_reparam.{weight,bias}          (RepVGG, Ding et al., arXiv:2101.03697)

A BatchNorm that follows a convolution W is a scale g = gamma / sqrt(var + eps) and a shift, so W becomes g W and the bias
beta - g mean; a 1x1 kernel is a 3x3 kernel that is zero but in the middle; and what is linear may be added up.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from .layers import BATCH_NORM_EPS

BRANCHES = ("rbr_dense", "rbr_1x1")
FOLDED = "rbr_reparam"


def fold_batch_norm(state: Mapping[str, Tensor], branch: str) -> tuple[Tensor, Tensor]:
    """The kernel (C', C, k, k) and bias (C',) that ``branch``'s conv and bn are together, in float64."""
    kernel, gamma, beta, mean, variance = (
        state[f"{branch}.{name}"].double()
        for name in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    )
    gain = gamma / (variance + BATCH_NORM_EPS).sqrt()  # (C',)
    return kernel * gain[:, None, None, None], beta - gain * mean


def is_training_form(state: Mapping[str, Tensor]) -> bool:
    """True where a RepConv still has its branches; the nano models have none and are the same in both forms."""
    return any(f".{BRANCHES[0]}." in name for name in state)


def is_deploy_form(state: Mapping[str, Tensor]) -> bool:
    """True where a RepConv is one convolution already."""
    return any(f".{FOLDED}." in name for name in state)


def to_deploy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Training form -> deploy form; folded in float64, then stored in the kernel's own type. Idempotent."""
    deployed: dict[str, Tensor] = {}
    for name, value in state.items():
        block, found, tensor = name.partition(f".{BRANCHES[0]}.")
        if found and tensor == "conv.weight":
            dense, one = (fold_batch_norm(state, f"{block}.{branch}") for branch in BRANCHES)
            deployed[f"{block}.{FOLDED}.weight"] = (dense[0] + F.pad(one[0], (1, 1, 1, 1))).to(value.dtype)
            deployed[f"{block}.{FOLDED}.bias"] = (dense[1] + one[1]).to(value.dtype)
        elif not any(f".{branch}." in name for branch in BRANCHES):
            deployed[name] = value
    return deployed
