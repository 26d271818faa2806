"""What a bundle is made for: the engine that will load it, what that engine can compute, and whether it is built here.

``TARGETS`` is data.  A target's ``note`` says what a reader must know before choosing it; ``Target.refuses`` says why a
precision is not on its list, or not in its chip, so that the message names the reason and not only the rule.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...runtime.errors import UserMistake
from ...runtime.ground.words import NOT_ON_HARDWARE
from ...runtime.tasks.limits import QUANTISED

FLOATS = ("fp32", "fp16", "bf16")
FIRST_CHIP = {  # compute capability that a quantised type starts with, and the chips in words
    # measured with the builder of TensorRT-RTX 1.7 for each of its chips; Xavier, Orin and Thor as NVIDIA documents them
    "int8": (72, "sm72 (Xavier)"),
    "int4": (80, "sm80 (Ampere, Orin included)"),
    "fp8": (89, "sm89 (Ada), sm110 (Thor) and sm120 (Blackwell)"),
    "nvfp4": (100, "sm110 (Thor), sm120 and sm121 (Blackwell)"),
}
LEAST_OPSET = {"int4": 21, "nvfp4": 23}  # DequantizeLinear has blocks from 21 and FLOAT4E2M1 from 23
RTX_ARCHS = {  # chips TensorRT-RTX 1.7 compiles for and one card each; the first is the default
    "sm89": "Ada, RTX 40",
    "sm75": "Turing, RTX 20",
    "sm80": "Ampere, A100",
    "sm86": "Ampere, RTX 30",
    "sm120": "Blackwell, RTX 50",
    "sm121": "Blackwell, DGX Spark",
}
JETSON_CHIPS = {"sm72": "Xavier", "sm87": "Orin", "sm110": "Thor"}
CHIPS = {**RTX_ARCHS, **JETSON_CHIPS}


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
    plugin_route: str = "inline"  # how fused ops reach the engine (plugins/routes.py)
    native_plugins: bool = False  # whether the C++ plugin can be asked for

    def refuses(self, precision: str, arch: str | None = None) -> str:
        """Why this precision cannot be had, in words; empty when it can.

        Without ``arch`` it is enough that one chip of the target has it.
        """
        if precision not in self.precisions:
            chip = self._chip_refuses(precision, arch)
            return chip or self.missing.get(
                precision, f"the precisions of {self.name} are {', '.join(self.precisions)}"
            )
        return self._chip_refuses(precision, arch)

    def _chip_refuses(self, precision: str, arch: str | None) -> str:
        able = self.archs_with(precision)
        chips = (arch,) if arch else self.archs
        if precision not in FIRST_CHIP or not chips or set(chips) & set(able):
            return ""
        names = " and ".join(f"{CHIPS.get(chip, 'the chip')} ({chip})" for chip in chips)
        units = "tensor cores" if precision in ("fp8", "nvfp4") else "kernels"
        return f"{names} {'have' if len(chips) > 1 else 'has'} no {precision} {units}: they start with {FIRST_CHIP[precision][1]}"

    def archs_with(self, precision: str) -> tuple[str, ...]:
        """The chips of this target that can compute in ``precision``."""
        first = FIRST_CHIP.get(precision, (0, ""))[0]
        return tuple(arch for arch in self.archs if int(arch.removeprefix("sm")) >= first)

    def default_arch(self, precision: str) -> str | None:
        """The chip taken when none is named: the target's first that has the precision (nvfp4 on rtx: sm120)."""
        able = self.archs_with(precision) or self.archs
        return able[0] if able else None

    def opset_limit(self, precision: str) -> int:
        """The newest opset a file of this precision may have.

        Quantised types need one operator, DequantizeLinear, of a newer opset than the parser's list names: TensorRT reads
        it since it has the type (int4 10.0, nvfp4 10.8), and the rest of the graph stays as it was.
        """
        limit = self.parser_opset or self.max_opset
        return max(limit, LEAST_OPSET.get(precision, 0)) if precision in self.precisions else limit

    def check_precision(self, precision: str, arch: str | None = None) -> str:
        """The precision itself, or UserMistake with the reason and what to try."""
        why = self.refuses(precision, arch)
        if not why:
            return precision
        asked = f"--precision {precision} --target {self.name}" + (f" --gpu-arch {arch}" if arch else "")
        offered = [name for name in self.precisions if not self.refuses(name, arch)]
        raise UserMistake(
            f"Target {self.name} has no precision {precision}" + (f" on {arch}" if arch in self.archs else ""),
            found=asked,
            expected="one of " + ", ".join(offered),
            because=why,
            attempt=self._instead(precision, offered),
        )

    def _instead(self, precision: str, offered: list[str]) -> str:
        """The nearest that works: another chip of the target, the same width, another target."""
        if precision in self.precisions and (able := self.archs_with(precision)):
            return f"--gpu-arch {' or '.join(able[:3])}"
        near = {"fp8": ("int8",), "nvfp4": ("int4", "int8"), "int4": ("int8",), "int8": ("fp16",)}.get(precision, ())
        kept = [f"--precision {word}" for word in near if word in offered][:1]
        others = [other.name for other in TARGETS.values() if precision in other.precisions and other is not self]
        if any(arch in JETSON_CHIPS for arch in self.archs):  # who has a Jetson cannot change it for a card
            others = [name for name in others if set(TARGETS[name].archs_with(precision)) & set(self.archs)]
        words = kept + ([f"--target {' or '.join(others[:2])}"] if others else [])
        return ", or ".join(words) or f"--precision {self.default_precision}"


NO_BF16_KERNELS = "ONNX Runtime has no bfloat16 kernels on the CPU, so the graph would load nowhere"
NO_FP8_KERNELS = "ONNX Runtime has no kernels on the CPU that compute with {}: the numbers would come from float32"
OLD_TYPING = "TensorRT 8 has no bfloat16 and no strongly typed networks"
OLD_QUANTISING = (
    "TensorRT 8 takes the types around Q/DQ from builder flags and not from the graph; "
    "this version of Edgesmith quantises strongly typed graphs only, which TensorRT 10 and later build"
)
TENSORRT_8 = {
    "bf16": OLD_TYPING,
    "int8": OLD_QUANTISING,
    "int4": OLD_QUANTISING,
    "fp8": OLD_QUANTISING,
    "nvfp4": OLD_QUANTISING,
}
OTHER_INT4 = "OpenVINO packs int4 weights in a format of its own, which this version of Edgesmith does not write"
ON_DEVICE = f"the engine is built on the device from the ONNX file in the bundle; {NOT_ON_HARDWARE}"

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "cpu",
            "onnxruntime",
            "cpu",
            "ONNX Runtime on any CPU. fp16 halves the file but is slow here: its CPU kernels compute in fp32 between "
            "casts, so take fp32 for speed",
            precisions=("fp32", "fp16", "int8", "int4"),
            plugin_route="function",
            missing={
                "bf16": NO_BF16_KERNELS,
                "fp8": NO_FP8_KERNELS.format("fp8"),
                "nvfp4": NO_FP8_KERNELS.format("nvfp4"),
            },
        ),
        Target(
            "openvino",
            "openvino",
            "openvino",
            "OpenVINO on x86 CPUs; bf16 runs on AMX where the CPU has it and is emulated or ignored where not",
            precisions=(*FLOATS, "int8"),
            missing={
                "int4": OTHER_INT4,
                "fp8": "OpenVINO has no fp8 kernels on the CPU",
                "nvfp4": "OpenVINO has no nvfp4 kernels on the CPU",
            },
        ),
        Target(
            "rtx",
            "tensorrt_rtx",
            "rtx",
            "TensorRT-RTX; the engine is built here, without a GPU, for the chip of --gpu-arch",
            precisions=(*FLOATS, *QUANTISED),
            default_precision="fp16",
            archs=tuple(RTX_ARCHS),
        ),
        Target(
            "tensorrt",
            "tensorrt",
            "tensorrt",
            f"TensorRT 10.9 and later, 11 included, on an x86 GPU; {ON_DEVICE}",
            precisions=(*FLOATS, *QUANTISED),
            default_precision="fp16",
            builds_here=False,
            library="10.9 or later",
            plugin_route="aot",
        ),
        Target(
            "jetpack7",
            "tensorrt",
            "tensorrt",
            f"JetPack 7.2 on Orin and Thor; {ON_DEVICE}",
            precisions=(*FLOATS, *QUANTISED),
            default_precision="fp16",
            archs=("sm87", "sm110"),
            builds_here=False,
            library="10.16, 11.4.1 from 7.2.2",
            plugin_route="aot",
        ),
        Target(
            "jetpack7.0",
            "tensorrt",
            "tensorrt",
            f"JetPack 7.0 and 7.1 on Thor; {ON_DEVICE}",
            precisions=(*FLOATS, *QUANTISED),
            default_precision="fp16",
            archs=("sm110",),
            max_opset=22,
            builds_here=False,
            library="10.13",
            plugin_route="aot",
        ),
        Target(
            "jetpack6",
            "tensorrt",
            "tensorrt",
            f"JetPack 6.1 and 6.2 on Orin; {ON_DEVICE}",
            precisions=(*FLOATS, "int8", "int4"),
            default_precision="fp16",
            archs=("sm87",),
            max_opset=20,
            builds_here=False,
            library="10.3",
            native_plugins=True,
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
            missing=TENSORRT_8,
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
            missing=TENSORRT_8,
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
