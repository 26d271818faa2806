"""What a config says is there, is there: versions, the files that backends load, warm-up data, bundles."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from ....bundle.engines import ENGINES
from ..models import BUNDLE
from ..warm import FOLDER
from .bundles import Keys, check_bundle
from .parse import ENSEMBLE, PYTHON, Folder

VERSION = re.compile("[1-9][0-9]*")  # other folders are passed over by the server
LOADED = {PYTHON: "model.py"} | {one.triton: one.triton_file for one in ENGINES.values() if one.triton}
BYTES = {  # of an element, by the types of ModelConfig
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8, "FP16": 2,
    "FP32": 4, "FP64": 8, "BF16": 2,
}  # fmt: skip


def check_files(folder: Folder, keys: Keys | None = None) -> None:
    """Note what is missing or does not fit, of a model whose config was read."""
    config = folder.config
    backend = config.backend or config.platform
    if not backend:
        folder.fault("names no backend and no platform")
    versions = versions_of(folder)
    if not versions:
        folder.fault("has no folder of a version, such as 1", file="")
    loaded = config.default_model_filename or LOADED.get(backend, "")
    for version in versions:
        file = f"{version}/{loaded}"
        if loaded and backend != ENSEMBLE and not (folder.path / file).is_file():
            head = [line for line in folder.text.splitlines() if line.startswith("# trtexec")]
            folder.fault(
                "is not there" + (f"; build it: {head[0][2:]}" if head else f"; the backend {backend} loads it"),
                file=file,
            )
        if (folder.path / str(version) / BUNDLE).exists():
            check_bundle(folder, f"{version}/{BUNDLE}", keys)
    _check_warmup(folder)
    _check_choices(folder)


def versions_of(folder: Folder) -> list[int]:
    """Those that the server would load; noted where it is told to load one that is not there."""
    found = sorted(int(one.name) for one in folder.path.iterdir() if one.is_dir() and VERSION.fullmatch(one.name))
    policy = folder.config.version_policy
    which = policy.WhichOneof("policy_choice")
    if which == "specific":
        for missing in sorted(set(policy.specific.versions) - set(found)):
            folder.fault(f"asks for version {missing}, which has no folder")
        return [version for version in found if version in policy.specific.versions]
    if which == "all":
        return found
    return found[-max(1, policy.latest.num_versions if which else 1) :]


def _check_warmup(folder: Folder) -> None:
    from tritonclient.grpc.model_config_pb2 import DataType

    inputs = {one.name: one for one in folder.config.input}
    for sample in folder.config.model_warmup:
        for name, value in sample.inputs.items():
            kind = DataType.Name(value.data_type).removeprefix("TYPE_")
            if name not in inputs:
                folder.fault(f"warms up an input {name} that the model does not have", sample.name, name)
            elif inputs[name].data_type != value.data_type:
                wanted = DataType.Name(inputs[name].data_type)
                folder.fault(f"warms up {name} with TYPE_{kind}, and it is {wanted}", sample.name, name)
            if not value.input_data_file:
                continue
            file = f"{FOLDER}/{value.input_data_file}"
            path, wanted_bytes = folder.path / file, math.prod(value.dims) * BYTES.get(kind, 0)
            if not path.is_file():
                folder.fault("is not there, and the warm-up reads it", file=file)
            elif path.stat().st_size < wanted_bytes:
                folder.fault(f"has {path.stat().st_size:,} bytes, and its dims say {wanted_bytes:,}", file=file)


def _check_choices(folder: Folder) -> None:
    row: Any = folder.config.parameters
    if folder.config.backend == PYTHON and "choices" in row and (folder.path / "1" / BUNDLE).exists():
        try:
            fine = isinstance(json.loads(row["choices"].string_value or "{}"), dict)
        except ValueError:
            fine = False
        if not fine:
            folder.fault("choices are no JSON object of options of edgesmith run", "choices")
