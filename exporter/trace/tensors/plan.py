"""What was asked -> the plan of an export of tensors by name, in the words of plan/plan.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....models.registry import ModelSpec, find
from ....runtime.errors import UserMistake
from ....runtime.ground.limits import BF16, FP16, FP32
from ...plan.checks import check_elsewhere, check_out, check_weight_bytes, gpu_arch_of, skipped
from ...plan.of_file import check_asked, check_file, file_opset
from ...plan.plan import GRAPHS_AT_ONCE, Plan
from ...plan.settings import TASK_CHOICES, Settings, settings_of
from ...plan.targets import find_target
from ...run import arguments
from ...run.nouns import Shapes
from ...tasks.known import check_choices, find_export
from .sizes import InputSizes, input_sizes

PRECISIONS_HERE = (FP32, FP16, BF16)
NOT_PICTURES = "its inputs are arrays, and nobody said that they are pictures"
FLOATS_ONLY = "only fp32, fp16 and bf16 are made of such a file"
ELSEWHERE = {  # settings of other exports: why they have no meaning here
    "labels": "there are no classes",
    "mean": NOT_PICTURES,
    "std": NOT_PICTURES,
    "crop": NOT_PICTURES,
    "resize": NOT_PICTURES,
    "colour": NOT_PICTURES,
    "scale": NOT_PICTURES,
    "channels": NOT_PICTURES,
    "layout": NOT_PICTURES,
    "input_dtype": NOT_PICTURES,
    "contract": NOT_PICTURES,
    "images": NOT_PICTURES,
    "image_size": f"{NOT_PICTURES}; --opt-shapes says sizes",
    "max_drop": FLOATS_ONLY,
    "smooth": FLOATS_ONLY,
    "block": FLOATS_ONLY,
    "calib_cache": FLOATS_ONLY,
    "verify_each": "a pass that changes the numbers is found and left out without it",
    "plugins": "fused ops are for the families that they were written for",
    "native_plugins": "fused ops are for the families that they were written for",
}


@dataclass(frozen=True)
class TensorRule:
    """What the plan decided: the sizes of each input, and arrays of the user's own to judge by."""

    inputs: tuple[InputSizes, ...]
    given: tuple[tuple[str, np.ndarray], ...] = ()


def make_plan(model: str, weights: str | Any | None = Settings.weights, **choices: Any) -> Plan:
    """Check and complete every choice; UserMistake for the first that cannot work."""
    asked = settings_of(model, weights, choices)
    spec = find(model)
    file = spec.file
    if file is None:
        raise UserMistake(
            f"{spec.name} is no ONNX file", expected="a file that ends in .onnx", attempt="edgesmith list"
        )
    check_weight_bytes(spec)
    task = find_export(spec.task)
    check_choices(task, spec, {name: getattr(asked, name) for name in TASK_CHOICES})
    check_elsewhere(asked, spec, ELSEWHERE)
    check_asked(spec, asked)
    target = find_target(asked.target)
    precision = arguments.precision(asked.precision or target.default_precision)
    if precision not in PRECISIONS_HERE:
        raise _other_precision(spec, precision)
    arch = gpu_arch_of(target, asked.gpu_arch, precision)
    target.check_precision(precision, arch)
    check_file(file, target, precision)
    given = _given(asked, spec)
    inputs, notes = input_sizes(file, asked, given)
    steps = skipped(asked, target, precision)
    out = Path(asked.out) if asked.out else Path(f"{spec.file_name}.edge")
    check_out(out, asked.overwrite, None, GRAPHS_AT_ONCE * 4 * spec.parameters)
    first = inputs[0]
    return Plan(
        spec=spec,
        weights=file.path,
        num_classes=0,
        target=target,
        precision=precision,
        gpu_arch=arch,
        opset=file_opset(file, target, precision, asked.opset),
        shapes=Shapes(first.min, first.opt, first.max),
        contract=spec.contract,
        out=out,
        pictures=(),
        notes=tuple(notes),
        rule=TensorRule(inputs, tuple((given or {}).items())),
        plugin_route=target.plugin_route,
        skip=steps,
        keep=asked.keep,
        check=asked.check,
        overwrite=asked.overwrite,
    )


def _other_precision(spec: ModelSpec, precision: str) -> UserMistake:
    return UserMistake(
        f"{spec.name} has no precision {precision}",
        found=f"--precision {precision}, {spec.file.words() if spec.file else ''}",
        expected="one of " + ", ".join(PRECISIONS_HERE),
        because="ranges are measured on pictures, and what quantisation costs is judged by classes: this file has neither",
        attempt=f"--precision {FP16}; a file with one input (N, 3, H, W) and one output (N, C) is quantised",
    )


def _given(asked: Settings, spec: ModelSpec) -> dict[str, np.ndarray] | None:
    """The arrays of --data by name."""
    if asked.data is None:
        return None
    assert spec.file is not None
    names = {one.name: one for one in spec.file.inputs}
    wanted = f"an .npz with {', '.join(names)}"
    try:
        with np.load(str(asked.data), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except Exception as error:  # noqa: BLE001 a damaged zip or header is any exception of its parser
        raise UserMistake(
            f"--data {asked.data} holds no arrays",
            found=(str(error).splitlines() or [type(error).__name__])[0][:200],
            expected=wanted,
            attempt="numpy.savez writes such a file",
        ) from None
    wrong = [name for name in (*arrays, *names) if (name in arrays) != (name in names)]
    wrong += [name for name, one in names.items() if name in arrays and str(arrays[name].dtype) != one.dtype]
    if wrong:
        raise UserMistake(
            f"The arrays of --data {asked.data} are not those of the file",
            found=", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items())[:200],
            expected=", ".join(map(str, names.values())),
            attempt=f"look at {wrong[0]}",
        )
    return arrays
