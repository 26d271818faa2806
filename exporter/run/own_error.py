"""What float32 itself costs a network: PyTorch in float32 beside PyTorch in float64, on the same inputs.

Two right computations in float32 are never nearer to each other than each is to float64. Where that is more than the usual limit
(deep networks with few norms), the limit has to be this. Bicubic tables and other constants stay what they are in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np

from ...runtime.tasks.known import joined
from .runners import Runner, in_batches

COPIED_BYTES = 1_500_000_000  # of weights; a copy of more, at twice the width, may find no room


@contextmanager
def _in_float64(module: Any) -> Iterator[Any]:
    """The module in float64: a copy, or itself with each layer of it in float64 while that layer runs.

    What a layer holds comes back bit for bit: float32 -> float64 -> float32 loses nothing.
    """
    import torch

    if sum(one.nbytes for one in (*module.parameters(), *module.buffers())) <= COPIED_BYTES:
        yield deepcopy(module).double()
        return

    def turned(tensors: Sequence[Any], kind: torch.dtype) -> Any:
        def turn(*_: Any) -> None:
            for one in tensors:
                one.data = one.data.to(kind)

        return turn

    hooks = []
    for part in module.modules():
        own = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
        if own := [one for one in own if one.dtype == torch.float32]:
            hooks.append(part.register_forward_pre_hook(turned(own, torch.float64)))
            hooks.append(part.register_forward_hook(turned(own, torch.float32), always_call=True))
    try:
        yield module
    finally:
        for hook in hooks:
            hook.remove()


def own_error(module: Any, float32: Runner, images: np.ndarray, batch: int, outputs: Sequence[str]) -> float:
    """Largest distance of the answers to ``images`` (N, C, H, W) float32, run ``batch`` at a time.

    0.0 where the module does not run in float64: it makes float32 tensors of its own, or calls a kernel that has no other type.
    """
    import torch

    batches = list(in_batches(images, batch))
    single = [float32(part) for part in batches]  # before: it may be the same module
    worst = 0.0
    with torch.no_grad(), _in_float64(module) as double:
        for part, found in zip(batches, single, strict=True):
            wide = part.astype(np.float64) if part.dtype.kind == "f" else part  # bytes stay what they are
            try:
                answer = double(torch.from_numpy(wide))
            except RuntimeError:  # two types that do not go together
                return 0.0
            parts = answer if isinstance(answer, tuple) else (answer,)
            if any(one.dtype != torch.float64 for one in parts):  # it went back to float32 somewhere
                return 0.0
            exact = joined(dict(zip(outputs, (one.numpy() for one in parts), strict=True)))
            worst = max(worst, float(np.abs(found.astype(np.float64) - exact).max()))
    return worst if np.isfinite(worst) else 0.0
