"""What a build on a device asks of TensorRT 8.5 to 11 beyond a plain one: level, timings of kernels, an accelerator.

Names that not all of these versions have are looked for; tests/data/tensorrt_names.json has those of the real libraries.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import BackendUnavailable, UserMistake


def typed_network(trt: Any, request: dict[str, Any]) -> tuple[int, bool]:
    """(flags of the network, whether it is strongly typed).

    Types are decided in our graph. An accelerator takes typed networks from TensorRT 11 on; before, only a builder that may choose
    fp16 puts anything on it.
    """
    kinds = trt.NetworkDefinitionCreationFlag
    strongly, batched = getattr(kinds, "STRONGLY_TYPED", None), getattr(kinds, "EXPLICIT_BATCH", None)
    chooses = request.get("dla_core") is not None and hasattr(trt.BuilderFlag, "FP16")
    if strongly is not None and not chooses:
        return 1 << int(strongly), True
    return 1 << int(batched) if batched is not None else 0, False


def set_up(trt: Any, builder: Any, config: Any, request: dict[str, Any]) -> Iterator[str]:
    """Set what is asked for; what could not be, in words.

    Raises:
        BackendUnavailable: an accelerator is asked for that is not here.
        UserMistake: it takes no network of this precision.
    """
    level = request.get("level")
    if level is not None:
        if hasattr(config, "builder_optimization_level"):  # from 8.6 on
            config.builder_optimization_level = level
        else:
            yield "this library has no optimisation levels: the whole of the tactics is tried again"
    if request.get("dla_core") is not None:
        _onto_dla(trt, builder, config, request)
    if request.get("timings") is not None:
        before = Path(request["timings"][0]).read_bytes()
        if not config.set_timing_cache(config.create_timing_cache(before), False):
            config.set_timing_cache(config.create_timing_cache(b""), False)
            yield "timings of kernels that were kept are of another device or version, and are measured again"


def _onto_dla(trt: Any, builder: Any, config: Any, request: dict[str, Any]) -> None:
    core, cores = request["dla_core"], getattr(builder, "num_DLA_cores", 0)
    if core >= cores:
        raise BackendUnavailable(
            f"there is no accelerator (DLA) number {core} here",
            found=f"{cores} of them, as this library counts",
            expected="AGX Orin, Orin NX or Xavier with TensorRT 8.5 to 10.7, or AGX Orin with 11.4",
            attempt="leave the accelerator out: the GPU runs all of it",
        )
    if hasattr(trt.BuilderFlag, "FP16") and not request["half"]:
        raise UserMistake(
            "the accelerator takes no network of this precision",
            found=f"TensorRT {trt.__version__}, and a bundle in another precision than fp16",
            expected="a bundle in fp16",
            because="before TensorRT 11 it ignores the Q and DQ of a graph, and computes nothing in fp32",
            attempt="edgesmith export --precision fp16",
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def keep_timings(config: Any, request: dict[str, Any]) -> None:
    """Leave the timings of this build, whole or failed, for the next."""
    if request.get("timings") is not None and (cache := config.get_timing_cache()) is not None:
        Path(request["timings"][1]).write_bytes(bytes(cache.serialize()))
