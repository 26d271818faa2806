"""A golden input as Triton's warm-up: the model is ready when it has answered it once.

Models in Triton's python backend have none: our runtime warms itself up (served.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...bundle.bundle import Bundle
from ...bundle.manifest import TensorSpec
from ...errors import BundleRefused
from .config import TYPES, Word

FOLDER = "warmup"  # where Triton looks for the files


def sample(bundle: Bundle, batched: bool) -> tuple[dict[str, Any], dict[str, bytes]]:
    """``model_warmup`` of the config and its files, by their names in the model's folder; nothing where no golden input fits."""
    try:
        golden = bundle.golden.inputs
    except BundleRefused:  # a bundle may be without; one that is damaged has been refused when it was opened
        return {}, {}
    rows, files = [], {}
    for number, spec in enumerate(bundle.inputs):
        case = _case(golden[spec.name], spec) if spec.name in golden else None
        if case is None or str(case.dtype) != spec.dtype:
            return {}, {}
        array = case[0] if batched else case
        files[f"{FOLDER}/golden_{number}"] = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        dims = list(array.shape) or [1]
        value = {"data_type": Word(TYPES[spec.dtype]), "dims": dims, "input_data_file": f"golden_{number}"}
        rows.append({"key": spec.name, "value": value})
    return {"model_warmup": [{"name": "golden", "batch_size": 1, "inputs": rows}]}, files


def _case(array: np.ndarray, spec: TensorSpec) -> np.ndarray | None:
    """What one run of the graph takes of the golden cases: one of whole runs, or as many rows as the smallest batch has."""
    if array.ndim == len(spec.shape) + 1:
        return np.asarray(array[0])
    least, _ = spec.limits(0)
    return array[:least] if array.ndim == len(spec.shape) and len(array) >= least else None
