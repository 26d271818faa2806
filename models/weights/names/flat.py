"""Content of a checkpoint, dicts in dicts -> its tensors under the whole path of keys and names that leads to each.

    {"model": {"module._orig_mod.conv.weight": t}, "step": 3} -> {"model.module.conv.weight": t}

What torch.compile and FSDP put into the middle of names is taken out, wherever it stands.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from ..files.stored import Stored

WRAPPED = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.")
DEEPEST = 8  # dicts in dicts
MOST = 200_000  # entries that are looked at
LONGEST = 1000  # characters of a name


def flattened(content: Any) -> dict[str, Stored]:
    """In the order of the file; of two that would share a name the first has it, the others keep what was taken out."""
    found: dict[str, Stored] = {}
    waiting: deque[tuple[str, Any, int]] = deque([("", content, 0)])
    seen = 0
    while waiting and seen < MOST:
        path, level, depth = waiting.popleft()
        if not isinstance(level, dict):
            continue
        for key, value in level.items():
            seen += 1
            if not isinstance(key, (str, int)) or (isinstance(key, str) and len(key) > LONGEST):
                continue
            name = f"{path}{key}"
            if isinstance(value, Stored):
                plain = WRAPPED.sub("", name)
                found.setdefault(plain if plain not in found else name, value)
            elif isinstance(value, dict) and depth < DEEPEST and value is not level:
                waiting.append((f"{name}.", value, depth + 1))
    return found
