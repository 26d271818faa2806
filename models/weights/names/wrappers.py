"""The state dict inside whatever a training saved around it, without a network to compare with.

    {"model": {"module.conv.weight": ...}, "optimizer": ...} -> {"conv.weight": ...}

Wrapper keys (``model``, ``state_dict``, ...) and prefixes that all names share are taken off. prefixes.py does better where
the network is known; what it finds nothing for is told in these names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ....runtime.errors import UserMistake
from ..files.stored import Stored

WRAPPERS = (
    *("state_dict", "model", "model_state_dict", "model_state", "net", "module", "weights", "shadow"),
    *("params", "network", "generator", "student", "online_model"),
)
AVERAGED = (  # first choice, as timm's: they are what a training that keeps them is judged by
    *("state_dict_ema", "model_ema", "ema", "ema_state_dict", "ema_model", "model_ema_state_dict"),
    *("ema_model_state_dict", "model_state_ema", "ema_state", "averaged_model", "params_ema", "teacher"),
    *("swa_model", "swa_state_dict"),
)
COUNTER = "n_averaged"  # of torch.optim.swa_utils, beside the tensors
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "_forward_module.")


def unwrap(content: Any, source: str, ema: bool | None = None) -> tuple[dict[str, Stored], tuple[str, ...], bool]:
    """The mapping of names to tensors inside whatever was saved around it, notes, and whether it is an average."""
    key, average = next(_averages(content), ("", {}))
    plain = _tensors(content, always=not average)
    if ema and not average:
        raise no_average(content, source)
    lacking = len(plain.keys() - average.keys())
    taken = bool(average) and (ema is True or not plain or (ema is None and not lacking))
    tensors = average if taken else plain
    if not tensors:
        raise no_tensors(content, source)
    return tensors, told_average(key, taken, lacking) if average and plain else (), taken


def told_average(key: str, taken: bool, lacking: int) -> tuple[str, ...]:
    """The note about averaged weights that stand beside plain ones, and lack some of their tensors."""
    if taken:
        return (f"took the averaged weights (EMA) under {key!r}, as timm does; --no-ema takes the plain ones",)
    without = f", without {lacking} of their tensors" if lacking else ""
    return (f"took the plain weights; the file also holds averaged ones under {key!r}{without}",)


def no_average(content: Any, source: str) -> UserMistake:
    return UserMistake(
        f"{source}: no averaged weights in this file",
        found=kind_of(content),
        expected="a state dict under " + ", ".join(AVERAGED[:4]) + " or the like",
        attempt="leave --ema out",
    )


def no_tensors(content: Any, source: str) -> UserMistake:
    return UserMistake(
        f"{source}: no named tensors in this file",
        found=kind_of(content),
        expected="a state dict, alone or under model or state_dict",
        attempt="torch.save(model.state_dict(), FILE), where this is what a training keeps beside its weights",
    )


def kind_of(content: Any) -> str:
    if isinstance(content, Stored):
        return "one tensor without a name"
    if not isinstance(content, dict):
        return type(content).__name__
    if {"state", "param_groups"} <= content.keys():
        return "the state of an optimiser: its moments, not the weights"
    return f"a dict of {', '.join(str(key)[:40] for key in list(content)[:6])}" if content else "an empty dict"


def _averages(content: Any) -> Iterator[tuple[str, dict[str, Stored]]]:
    """(key, tensors) of the averaged weights, which stand beside the plain ones or in the same wrapper."""
    levels = (content, *(content.get(key) for key in WRAPPERS)) if isinstance(content, dict) else ()
    for level in levels:
        found = {key: level.get(key) for key in AVERAGED} if isinstance(level, dict) else {}
        for key, inner in found.items():
            if isinstance(inner, dict) and (tensors := _tensors(inner)):
                yield key, tensors


def _tensors(content: Any, always: bool = True) -> dict[str, Stored]:
    """What the wrappers hold, without prefixes; tensors outside of any only where they are wanted ``always``."""
    for depth in range(3):  # a wrapper in a wrapper happens, deeper does not
        inner = _wrapper(content)
        if inner is None:
            if depth == 0 and not always:
                return {}
            break
        content = content[inner]
    if not isinstance(content, dict):
        return {}
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Stored)}
    if len(tensors) > 1:
        tensors.pop(COUNTER, None)
    for _ in range(3):
        prefix = next((p for p in PREFIXES if tensors and all(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _wrapper(content: Any) -> str | None:
    """The key under which the state dict lies; tensors and figures that stand beside it do not matter."""
    if not isinstance(content, dict):
        return None
    inner = [key for key in WRAPPERS if isinstance(content.get(key), dict)]
    with_tensors = [key for key in inner if _holds_tensors(content[key])]
    return next(iter(with_tensors or inner), None)


def _holds_tensors(content: dict[Any, Any], deeper: int = 2) -> bool:
    return any(
        isinstance(value, Stored) or (deeper and isinstance(value, dict) and _holds_tensors(value, deeper - 1))
        for value in content.values()
    )
