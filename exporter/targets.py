"""What a bundle is made for: the engine that will load it, what that engine can compute, and whether it is built here.

``TARGETS`` is data.  A target's ``note`` says what a reader must know before choosing it; ``Target.refuses`` says why a
precision is not on its list, so that the message names the reason and not only the rule.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..runtime.errors import UserMistake

FLOATS = ("fp32", "fp16", "bf16")
QUANTISED = ("int8", "fp8", "int4", "nvfp4")
RTX_ARCHS = {  # chips TensorRT-RTX 1.7 compiles for and one card each; the first is the default
    "sm89": "Ada, RTX 40",
    "sm75": "Turing, RTX 20",
    "sm80": "Ampere, A100",
    "sm86": "Ampere, RTX 30",
    "sm120": "Blackwell, RTX 50",
    "sm121": "Blackwell, DGX Spark",
}


@dataclass(frozen=True)
class Target:
    """One kind of device. ``order`` picks the rewrite passes, ``opset`` is what the exporter writes by default."""

    name: str
    engine: str  # "onnxruntime", "openvino", "tensorrt_rtx" or "tensorrt"
    order: str  # "cpu", "openvino", "rtx" or "tensorrt"
    note: str
    precisions: tuple[str, ...] = FLOATS
    default_precision: str = "fp32"
    archs: tuple[str, ...] = ()
    opset: int = 20
    max_opset: int = 23
    parser_opset: int | None = None  # what the device's parser reads, when that is less: the file is lowered to it
    max_ir: int = 10
    builds_here: bool = True
    library: str = ""  # TensorRT version on the device
    missing: Mapping[str, str] = field(default_factory=dict)  # precision -> why the engine cannot compute it

    def refuses(self, precision: str) -> str:
        """Why this precision cannot be had, in words; empty when it can."""
        if precision in self.precisions:
            return ""
        if precision in QUANTISED:
            return "quantised precisions are not in this version of Edgesmith: they need calibration images"
        return self.missing.get(precision, f"the precisions of {self.name} are {', '.join(self.precisions)}")

    def check_precision(self, precision: str) -> str:
        """The precision itself, or UserMistake with the reason and what to try."""
        why = self.refuses(precision)
        if not why:
            return precision
        if precision in QUANTISED:
            attempt = f"--precision {'fp16' if self.default_precision == 'fp16' else self.default_precision}"
        else:
            able = [other.name for other in TARGETS.values() if precision in other.precisions]
            attempt = f"--target {' or '.join(able[:2])}" if able else f"--precision {self.default_precision}"
        raise UserMistake(
            f"Target {self.name} has no precision {precision}",
            found=f"--precision {precision} --target {self.name}",
            expected="one of " + ", ".join(self.precisions),
            because=why,
            attempt=attempt,
        )


NO_BF16_KERNELS = "ONNX Runtime has no bfloat16 kernels on the CPU, so the graph would load nowhere"
OLD_TYPING = "TensorRT 8 has no bfloat16 and no strongly typed networks"
ON_DEVICE = "the engine is built on the device from the ONNX file in the bundle; not yet run on hardware"

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "cpu",
            "onnxruntime",
            "cpu",
            "ONNX Runtime on any CPU. fp16 halves the file but is slow here: its CPU kernels compute in fp32 between "
            "casts, so take fp32 for speed",
            precisions=("fp32", "fp16"),
            missing={"bf16": NO_BF16_KERNELS},
        ),
        Target(
            "openvino",
            "openvino",
            "openvino",
            "OpenVINO on x86 CPUs; bf16 runs on AMX where the CPU has it and is emulated or ignored where not",
        ),
        Target(
            "rtx",
            "tensorrt_rtx",
            "rtx",
            "TensorRT-RTX; the engine is built here, without a GPU, for the chip of --gpu-arch",
            default_precision="fp16",
            archs=tuple(RTX_ARCHS),
        ),
        Target(
            "tensorrt",
            "tensorrt",
            "tensorrt",
            f"TensorRT 10.9 and later, 11 included, on an x86 GPU; {ON_DEVICE}",
            default_precision="fp16",
            builds_here=False,
            library="10.9 or later",
        ),
        Target(
            "jetpack7",
            "tensorrt",
            "tensorrt",
            f"JetPack 7.2 on Orin and Thor; {ON_DEVICE}",
            default_precision="fp16",
            archs=("sm87", "sm110"),
            builds_here=False,
            library="10.16, 11.4.1 from 7.2.2",
        ),
        Target(
            "jetpack7.0",
            "tensorrt",
            "tensorrt",
            f"JetPack 7.0 and 7.1 on Thor; {ON_DEVICE}",
            default_precision="fp16",
            archs=("sm110",),
            max_opset=22,
            builds_here=False,
            library="10.13",
        ),
        Target(
            "jetpack6",
            "tensorrt",
            "tensorrt",
            f"JetPack 6.1 and 6.2 on Orin; {ON_DEVICE}",
            default_precision="fp16",
            archs=("sm87",),
            max_opset=20,
            builds_here=False,
            library="10.3",
        ),
        Target(
            "jetpack6.0",
            "tensorrt",
            "tensorrt",
            f"JetPack 6.0 on Orin, best effort: its parser reads opset 17, so the file is lowered; {ON_DEVICE}",
            precisions=("fp32", "fp16"),
            default_precision="fp16",
            archs=("sm87",),
            max_opset=20,
            parser_opset=17,
            max_ir=8,
            builds_here=False,
            library="8.6",
            missing={"bf16": OLD_TYPING},
        ),
        Target(
            "jetpack5",
            "tensorrt",
            "tensorrt",
            f"JetPack 5.1 on Xavier and Orin, best effort: its parser reads opset 17 and has no LayerNormalization, so the "
            f"file is lowered; {ON_DEVICE}",
            precisions=("fp32", "fp16"),
            default_precision="fp16",
            archs=("sm87", "sm72"),
            max_opset=20,
            parser_opset=16,
            max_ir=8,
            builds_here=False,
            library="8.5",
            missing={"bf16": OLD_TYPING},
        ),
    )
}
ALIASES = {
    "onnx": "cpu",
    "onnxruntime": "cpu",
    "ort": "cpu",
    "trt": "tensorrt",
    "tensorrt_rtx": "rtx",
    "tensorrt-rtx": "rtx",
    "jetpack5.1": "jetpack5",
    "jetpack6.1": "jetpack6",
    "jetpack6.2": "jetpack6",
    "jetpack7.1": "jetpack7.0",
    "jetpack7.2": "jetpack7",
}
JETSONS = {"sm72": "jetpack5", "sm87": "jetpack6 or jetpack7", "sm101": "jetpack7", "sm110": "jetpack7"}


def find_target(name: str) -> Target:
    """The target of that name or alias; UserMistake with the nearest names."""
    word = str(name).strip().lower()
    word = ALIASES.get(word, word)
    if word in TARGETS:
        return TARGETS[word]
    near = difflib.get_close_matches(word, [*TARGETS, *ALIASES], n=2, cutoff=0.5)
    raise UserMistake(
        f"Unknown target {name!r}",
        found=f"--target {name}",
        expected="\n".join(f"{target.name:<11}{target.note.split(';')[0]}" for target in TARGETS.values()),
        attempt=f"--target {' or '.join(near)}" if near else "--target cpu, which runs everywhere",
    )


def check_arch(arch: str) -> str:
    """``sm89``, ``SM_89``, ``8.9`` or ``89`` -> ``sm89``; UserMistake with the list when RTX has no such chip."""
    name = "sm" + str(arch).lower().removeprefix("sm").lstrip("_").replace(".", "")
    if name in RTX_ARCHS:
        return name
    raise UserMistake(
        f"GPU architecture {arch!r} is not one TensorRT-RTX builds for",
        found=f"--gpu-arch {arch}",
        expected="\n".join(f"{key:<6} {card}" for key, card in RTX_ARCHS.items()),
        attempt=f"--target {JETSONS[name]}: that chip is a Jetson" if name in JETSONS else "--gpu-arch sm89",
    )
