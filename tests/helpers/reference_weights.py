"""Deterministic weights and inputs for the golden logits in tests/data/reference, from names, shapes and seeds alone.

The logits there were written by the authors' own implementations, loaded with exactly these weights, so a model of
ours that reproduces them computes the same function; no checkpoint has to be downloaded. Nothing here is trained.

    rng = Generator(PCG64(crc32(name)));  n = rng.standard_normal(shape), float64, C order

The first rule that matches (leaf = text after the last dot of the official name) gives the float32 value:

    running_var                              1 + 0.1 |n|
    running_mean                             0.05 n
    leaf starts with layer_scale or gamma    0.2 n
    gating_param                             1 + 0.5 n
    pos_embed, cls_token                     0.5 n
    name ends with pos_proj.weight           0.05 n
    a part is cpe, four dimensions           0.25 n / sqrt(fan_in)
    name ends with qkv.weight                0.5 n / sqrt(fan_in)
    two or more dimensions                   n / sqrt(fan_in), fan_in = prod(shape[1:])
    weight                                   1 + 0.05 n
    anything else                            0.05 n

Integer tensors are zero.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parents[1] / "data" / "reference"
VARIANTS = ("convit_tiny", "convit_small", "smt_tiny", "smt_small", "davit_tiny", "van_b0", "van_b1", "van_b2")


def _normal(seed: int, shape: Any) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(tuple(shape))


def reference_array(name: str, shape: Any) -> np.ndarray:
    """The float32 reference value of the floating-point tensor of this official name."""
    shape = tuple(int(d) for d in shape)
    n = _normal(zlib.crc32(name.encode()), shape)
    parts = name.split(".")
    leaf = parts[-1]
    fan_in = math.prod(shape[1:]) if len(shape) >= 2 else 1
    if leaf == "running_var":
        value = 1.0 + 0.1 * np.abs(n)
    elif leaf == "running_mean":
        value = 0.05 * n
    elif leaf.startswith(("layer_scale", "gamma")):
        value = 0.2 * n
    elif leaf == "gating_param":
        value = 1.0 + 0.5 * n
    elif leaf in ("pos_embed", "cls_token"):
        value = 0.5 * n
    elif name.endswith("pos_proj.weight"):
        value = 0.05 * n
    elif "cpe" in parts and len(shape) == 4:
        value = 0.25 * n / math.sqrt(fan_in)
    elif name.endswith("qkv.weight"):
        value = 0.5 * n / math.sqrt(fan_in)
    elif len(shape) >= 2:
        value = n / math.sqrt(fan_in)
    elif leaf == "weight":
        value = 1.0 + 0.05 * n
    else:
        value = 0.05 * n
    return np.asarray(value, dtype=np.float32)


def reference_input(seed: int = 0, shape: Any = (2, 3, 224, 224)) -> np.ndarray:
    """Float64 normals of PCG64(seed), cast to float32; used as they are, without mean and std."""
    return _normal(seed, shape).astype(np.float32)


def facts(variant: str) -> dict[str, Any]:
    """The golden file's description: source commit, tensor names and shapes, inputs and their digests."""
    return json.loads((FOLDER / f"{variant}.json").read_text())


def golden(variant: str) -> Any:
    """``logits`` and ``logits64`` (224x224), the same with ``_256x320`` and ``_250x330`` where the family allows."""
    return np.load(FOLDER / f"{variant}.npz")


def official_state(variant: str) -> dict[str, np.ndarray]:
    """The reference checkpoint of a variant with golden logits, in the authors' layout."""
    state = {}
    for name, shape, *dtype in facts(variant)["tensors"]:
        state[name] = np.zeros(shape, dtype[0]) if dtype else reference_array(name, shape)
    return state


TIMM_TO_OFFICIAL = (
    (r"^head\.norm\.", "norms."),
    (r"^head\.fc\.", "head."),
    (r"\.cpe1\.", ".cpe.0."),
    (r"\.cpe2\.", ".cpe.1."),
    (r"^stages\.(\d+)\.blocks\.", r"main_blocks.\1."),
    (r"^stages\.(\d+)\.downsample\.conv\.", r"patch_embeds.\1.proj."),
    (r"^stages\.(\d+)\.downsample\.norm\.", r"patch_embeds.\1.norm."),
    (r"^stem\.conv\.", "patch_embeds.0.proj."),
    (r"^stem\.norm\.", "patch_embeds.0.norm."),
)


def davit_official(state: dict[str, Any]) -> dict[str, Any]:
    """timm's names of a DaViT become the authors'."""
    found = {}
    for name, value in state.items():
        for pattern, replacement in TIMM_TO_OFFICIAL:
            name = re.sub(pattern, replacement, name)
        found[name] = value
    return found


def reference_state(name: str, num_classes: int | None = None) -> dict[str, Any]:
    """Reference weights for any registered model, as torch tensors under the authors' names.

    ``save_file(reference_state("davit_small"), path)`` makes a checkpoint that ``create`` loads.
    """
    import torch

    from edgesmith.models import find

    spec = find(name)
    with torch.device("meta"):
        template = spec.build(num_classes=num_classes).state_dict()
    if spec.family == "davit":
        template = davit_official(template)
    return {
        key: torch.from_numpy(reference_array(key, value.shape))
        if value.is_floating_point()
        else torch.zeros(value.shape, dtype=value.dtype)
        for key, value in template.items()
    }


def weights_digest(arrays: dict[str, np.ndarray]) -> str:
    """sha256 over the float tensors, in sorted name order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        if arrays[name].dtype.kind == "f":
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(arrays[name], dtype="<f4").tobytes())
    return digest.hexdigest()


def input_digest(array: np.ndarray) -> str:
    """sha256 of the little-endian float32 bytes."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<f4").tobytes()).hexdigest()
