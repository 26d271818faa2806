"""The judge's own answer must be numbers: where it is not, who made it is told, and no graph is blamed.

module, images, answer -> nothing, or UserMistake with the first parameter, buffer or layer that is not finite
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...runtime.errors import UserMistake


def check_finite(module: Any, images: np.ndarray, answers: np.ndarray, kind: str, who: str = "PyTorch") -> None:
    """``answers`` (N, ...) are those of ``module`` to ``images``; UserMistake where one is NaN or infinite.

    Without a module, which a file has not, nothing more is known of who made them than ``who``.
    """
    if np.isfinite(answers).all():
        return
    per_answer = answers.reshape(len(answers), -1)
    broken = int((~np.isfinite(per_answer)).any(axis=1).sum())
    raise UserMistake(
        "PyTorch itself does not answer with numbers" if module is not None else f"Of {who} the answers are no numbers",
        found=f"NaN or infinity in {broken} of {len(answers)} answers to the {kind} inputs",
        expected="finite outputs of the network in float32",
        because=(_first_cause(module, images) or "no layer of it repeats that alone") if module is not None else "",
        attempt="another checkpoint of the same training; the graph was not looked at",
    )


def _first_cause(module: Any, images: np.ndarray) -> str:
    """The first parameter or buffer that is not finite, else the first layer that makes such numbers of finite ones."""
    import torch

    if not np.isfinite(images).all():
        return "the inputs themselves hold NaN or infinity"
    for kind, tensors in (("parameter", module.named_parameters()), ("buffer", module.named_buffers())):
        for name, value in tensors:
            if value.is_floating_point() and not value.isfinite().all():
                return f"the {kind} {name} holds NaN or infinity"
    found: list[str] = []

    def finite(values: Any) -> bool:
        parts = values if isinstance(values, (tuple, list)) else (values,)
        tensors = (part for part in parts if isinstance(part, torch.Tensor) and part.is_floating_point())
        return all(bool(part.isfinite().all()) for part in tensors)

    def watch(name: str) -> Any:
        def hook(layer: Any, given: Any, made: Any) -> None:
            if not found and finite(given) and not finite(made):  # inner layers end before those around them
                found.append(
                    f"the layer {name or 'itself'} ({type(layer).__name__}) makes them of finite numbers{_odd(layer)}"
                )

        return hook

    hooks = [layer.register_forward_hook(watch(name)) for name, layer in module.named_modules()]
    try:
        with torch.inference_mode():
            for image in images:
                if not found:
                    module(torch.from_numpy(np.ascontiguousarray(image[None])))
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else ""


def _odd(layer: Any) -> str:
    """What may be wrong with a layer's own tensors, in words: a variance below 0, else how large they are."""
    variance = getattr(layer, "running_var", None)
    if variance is not None and float(variance.min()) < 0:
        return f"; its buffer running_var holds {float(variance.min()):.3g}, and no variance is negative"
    own = {name: float(value.abs().max()) for name, value in layer.named_parameters(recurse=False) if value.numel()}
    largest = max(own, key=lambda name: own[name], default="")
    return f"; its parameter {largest} reaches {own[largest]:.3g}" if largest else ""
