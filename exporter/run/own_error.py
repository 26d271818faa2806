"""What float32 itself costs a network: PyTorch in float32 beside PyTorch in float64, on the same inputs.

Two right computations in float32 are never nearer to each other than each is to float64. Where that is more than the usual limit
(deep networks with few norms), the limit has to be this. Bicubic tables and other constants stay what they are in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from ...runtime.tasks.known import joined
from .runners import Runner, in_batches


def own_error(module: Any, float32: Runner, images: np.ndarray, batch: int, outputs: Sequence[str]) -> float:
    """Largest distance of the answers to ``images`` (N, C, H, W) float32, run ``batch`` at a time.

    0.0 where the module does not run in float64: it makes float32 tensors of its own, or calls a kernel that has no other type.
    """
    import torch

    double = deepcopy(module).double()
    worst = 0.0
    for part in in_batches(images, batch):
        try:
            with torch.inference_mode():
                wide = part.astype(np.float64) if part.dtype.kind == "f" else part  # bytes stay what they are
                answer = double(torch.from_numpy(wide))
        except RuntimeError:  # two types that do not go together
            return 0.0
        parts = answer if isinstance(answer, tuple) else (answer,)
        if any(one.dtype != torch.float64 for one in parts):  # it went back to float32 somewhere
            return 0.0
        both = (float32(part), joined(dict(zip(outputs, (one.numpy() for one in parts), strict=True))))
        worst = max(worst, float(np.abs(both[0].astype(np.float64) - both[1]).max()))
    return worst if np.isfinite(worst) else 0.0
