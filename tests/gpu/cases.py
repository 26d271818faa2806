"""What every fused op is run on: ``CASES[op]`` is a list of inputs and attributes with a label.

Inputs that are T in the schema are float32 here and rounded to the type of the run; packed keys and values are made by the
references of the ops that pack them. ``real`` marks sizes of real models, which only a GPU is asked for.
"""

from __future__ import annotations

from .case import Case
from .kv_cases import KV_CASES
from .vision_cases import VISION_CASES

CASES: dict[str, list[Case]] = {**VISION_CASES, **KV_CASES}
