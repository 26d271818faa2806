"""Arguments of timm's model that a checkpoint records -> those of our network; what it cannot have is refused by name.

Many leave the shapes as they are and change the answer (heads, windows, pooling), so that no comparison of tensors tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...runtime.errors import UserMistake

if TYPE_CHECKING:
    from ..spec import ModelSpec

# of training, of the class count and the size, which are settled elsewhere, or of how timm is called
NO_PART = re.compile(
    r".*drop.*|img_size|num_classes|pretrained.*|strict_img_size|dynamic_img_(size|pad)|weight_init|scriptable|exportable"
)


def network_arguments(told: Mapping[str, Any], spec: ModelSpec, origin: str) -> dict[str, Any]:
    """What ``config`` must say besides; UserMistake for what the network has no place for."""
    found: dict[str, Any] = {}
    for name, value in told.items():
        value = tuple(value) if isinstance(value, list) else value
        if value is None or NO_PART.fullmatch(name) or spec.config.get(name) == value:
            continue
        if name == "in_chans" and value == spec.contract.channels:
            continue
        if name not in spec.arguments or not _plain(value):
            raise UserMistake(
                f"{origin}: a network that {spec.name} is not",
                found=f"{name} = {value!r}"[:160],
                expected="arguments that it has: " + ", ".join(spec.arguments)
                if spec.arguments
                else "no arguments of its own",
                because=f"{spec.name} takes pictures of {spec.contract.channels} channels"
                if name == "in_chans"
                else "built without it, the network would answer otherwise",
                attempt="a variant that is so (edgesmith list), or edgesmith.register_model with a network of your own",
            )
        found[name] = value
    return found


def _plain(value: Any) -> bool:
    """Numbers, words, and tuples of them: nothing that names code or a file to load is passed on."""
    parts = value if isinstance(value, tuple) else (value,)
    return all(
        isinstance(part, (bool, int, float)) or (isinstance(part, str) and part.isidentifier()) for part in parts
    )
