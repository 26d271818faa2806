"""How the plan of a TensorRT model is built: on the machine of the server, with the server's TensorRT, for its GPU."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ...bundle.bundle import Bundle
from ...bundle.manifest import TensorSpec
from ...errors import one_line


def how_to_build(model: str, bundle: Bundle, plan: str, most: int) -> str:
    """The command, as lines of text; shapes of open inputs as the bundle was made for, at most ``most`` in a batch."""
    words = ["trtexec", f"--onnx={model}/1/{bundle.graph.name}", f"--saveEngine={model}/1/{plan}", "--stronglyTyped"]
    opened = [spec for spec in bundle.inputs if any(isinstance(size, str) for size in spec.shape)]
    if opened:
        for flag, shapes in zip(
            ("min", "opt", "max"), zip(*(_profile(one, most) for one in opened), strict=True), strict=True
        ):
            told = (f"{one.name}:{'x'.join(map(str, shape))}" for one, shape in zip(opened, shapes, strict=True))
            words.append(f"--{flag}Shapes={','.join(told)}")
    command = one_line(" ".join(map(shlex.quote, words)))
    return (
        f"{plan} is not here: a plan holds for one GPU and one version of TensorRT. Build it on the machine of the server,\n"
        f"in the folder of the repository, with the TensorRT of the server's container:\n{command}"
    )


def _profile(spec: TensorSpec, most: int) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Smallest, usual and largest shape; a size that nothing bounds is 1, or ``most`` where it is the batch."""
    least, largest = [], []
    for axis in range(len(spec.shape)):
        low, high = spec.limits(axis)
        high = max(low, most) if high is None and axis == 0 else (high or low)
        least.append(low)
        largest.append(min(high, most) if axis == 0 and most else high)
    usual = [min(max(size, low), high) for size, low, high in zip(spec.opt or least, least, largest, strict=True)]
    return least, usual, largest
