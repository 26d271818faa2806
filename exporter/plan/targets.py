"""What a bundle is made for: the engine that will load it, what that engine can compute, and whether it is built here.

``TARGETS`` is data, and others may add to it (``edgesmith.register_target``).  A target's ``note`` says what a reader must know before choosing it; ``Target.refuses`` says why a
precision is not on its list, or not in its chip, so that the message names the reason and not only the rule.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...calibration.precisions import PRECISIONS
from ...runtime.errors import UserMistake
from ...runtime.ground.limits import BF16, FP8, FP16, FP32, INT4, INT8, NVFP4, QUANTISED
from ...runtime.ground.registry import Registry, named
from ...runtime.ground.words import NOT_ON_HARDWARE
from .engines import ENGINES, ONNXRUNTIME, OPENVINO, OPSETS, TENSORRT, TENSORRT_RTX, USUAL_OPSET, Engine

FLOATS = (FP32, FP16, BF16)
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
    """One kind of device; ``opset`` is what the exporter writes by default."""

    name: str
    engine: Engine
    note: str
    precisions: tuple[str, ...] = FLOATS
    default_precision: str = FP32
    archs: tuple[str, ...] = ()
    opset: int = USUAL_OPSET
    max_opset: int = OPSETS[-1]
    parser_opset: int | None = None  # what the device's parser reads, when that is less: the file is lowered to it
    max_ir: int = 10
    builds_here: bool = True
    library: str = ""  # TensorRT version on the device
    missing: Mapping[str, str] = field(default_factory=dict)  # precision -> why the engine cannot compute it
    tries: tuple[str, ...] = (FP16, FP8, INT8)  # precisions that "auto" tries, in order
    tries_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # the same on a named chip
    plugin_route: str = "inline"  # how fused ops reach the engine (plugins/routes.py)
    native_plugins: bool = False  # whether the C++ plugin can be asked for

    @property
    def order(self) -> str:
        """Which rewrites run."""
        return self.engine.order

    @property
    def offered(self) -> tuple[str, ...]:
        """Its precisions, and those that were added and that its engine takes for one of them."""
        added = (
            name for name, row in PRECISIONS.items() if row.like in self.precisions and name not in self.precisions
        )
        return (*self.precisions, *added)

    def preferred(self, arch: str | None, able: Sequence[str]) -> tuple[str, ...]:
        """The precisions that "auto" tries, in order; ``able`` is what can be had."""
        return tuple(name for name in self.tries_on.get(arch or "", self.tries) if name in able)

    def refuses(self, precision: str, arch: str | None = None) -> str:
        """Why this precision cannot be had, in words; empty when it can.

        Without ``arch`` it is enough that one chip of the target has it.
        """
        if precision not in self.offered:
            chip = self._chip_refuses(precision, arch)
            return chip or self.missing.get(
                precision, f"the precisions of {self.name} are {', '.join(self.precisions)}"
            )
        return self._chip_refuses(precision, arch)

    def _chip_refuses(self, precision: str, arch: str | None) -> str:
        able = self.archs_with(precision)
        chips = (arch,) if arch else self.archs
        row = PRECISIONS.get(precision)
        if row is None or not row.first_chip or not chips or set(chips) & set(able):
            return ""
        names = " and ".join(f"{CHIPS.get(chip, 'the chip')} ({chip})" for chip in chips)
        have = "have" if len(chips) > 1 else "has"
        return f"{names} {have} no {row.engine_name} {row.units}: they start with {row.chips}"

    def archs_with(self, precision: str) -> tuple[str, ...]:
        """The chips of this target that can compute in ``precision``."""
        row = PRECISIONS.get(precision)
        first = row.first_chip if row else 0
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
        return max(limit, PRECISIONS[precision].least_opset) if precision in self.offered else limit

    def check_precision(self, precision: str, arch: str | None = None) -> str:
        """The precision itself, or UserMistake with the reason and what to try."""
        why = self.refuses(precision, arch)
        if not why:
            return precision
        asked = f"--precision {precision} --target {self.name}" + (f" --gpu-arch {arch}" if arch else "")
        offered = [name for name in self.offered if not self.refuses(name, arch)]
        raise UserMistake(
            f"Target {self.name} has no precision {precision}" + (f" on {arch}" if arch in self.archs else ""),
            found=asked,
            expected="one of " + ", ".join(offered),
            because=why,
            attempt=self._instead(precision, offered),
        )

    def _instead(self, precision: str, offered: list[str]) -> str:
        """The nearest that works: another chip of the target, the same width, another target."""
        if precision in self.offered and (able := self.archs_with(precision)):
            return f"--gpu-arch {' or '.join(able[:3])}"
        near = PRECISIONS[precision].near if precision in PRECISIONS else ()
        kept = [f"--precision {word}" for word in near if word in offered][:1]
        others = [other.name for other in TARGETS.values() if precision in other.offered and other is not self]
        if any(arch in JETSON_CHIPS for arch in self.archs):  # who has a Jetson cannot change it for a card
            others = [name for name in others if set(TARGETS[name].archs_with(precision)) & set(self.archs)]
        words = kept + ([f"--target {' or '.join(others[:2])}"] if others else [])
        return ", or ".join(words) or f"--precision {self.default_precision}"


NO_BF16_KERNELS = (
    "ONNX Runtime has no bfloat16 kernels for Conv and MatMul on the CPU, only LayerNormalization and operators that move data "
    "take it, so the graph would not load"
)
NO_FP8_KERNELS = "ONNX Runtime has no kernels on the CPU that compute with fp8: the numbers would come from float32"
OLD_TYPING = "TensorRT 8 has no bfloat16 and no strongly typed networks"
OLD_QUANTISING = (
    "TensorRT 8 takes the types around Q/DQ from builder flags and not from the graph; "
    "this version of Edgesmith quantises strongly typed graphs only, which TensorRT 10 and later build"
)
TENSORRT_8 = {
    BF16: OLD_TYPING,
    INT8: OLD_QUANTISING,
    INT4: OLD_QUANTISING,
    FP8: OLD_QUANTISING,
    NVFP4: OLD_QUANTISING,
}
# what "auto" tries first on a device that cannot be timed here (docs/quantisation.md). int8 has more kernels than fp16 on
# every model tried, so it is not preferred on a GPU unless a clock says so; fp8 is Thor's own eight bits. See docs/hardware.md.
ON_THOR = {"sm110": (FP8, FP16, INT8)}
ON_DEVICE = f"the engine is built on the device from the ONNX file in the bundle; {NOT_ON_HARDWARE}"

OURS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "cpu",
            ENGINES[ONNXRUNTIME],
            "ONNX Runtime on any CPU. fp16 halves the file but is slow here: its CPU kernels compute in fp32 between "
            "casts, so take fp32 for speed",
            precisions=(FP32, FP16, INT8, INT4),
            tries=(INT8, FP32),
            plugin_route="function",
            missing={
                BF16: NO_BF16_KERNELS,
                FP8: NO_FP8_KERNELS,
                NVFP4: "ONNX Runtime does not load codes of FLOAT4E2M1: it has no DequantizeLinear for them",
            },
        ),
        Target(
            "openvino",
            ENGINES[OPENVINO],
            "OpenVINO on x86 CPUs; bf16 runs where the CPU has units for it (AMX, avx512_bf16) and is emulated or ignored "
            "where not; beside int4 weights OpenVINO rounds activations to 8 bits",
            precisions=(*FLOATS, INT8, INT4, NVFP4),
            tries=(INT8, BF16, FP32),
            missing={FP8: "OpenVINO computes fp8 products in float32 on the CPU: no faster, and less exact"},
        ),
        Target(
            "rtx",
            ENGINES[TENSORRT_RTX],
            "TensorRT-RTX; the engine is built here, without a GPU, for the chip of --gpu-arch",
            precisions=(*FLOATS, *QUANTISED),
            default_precision=FP16,
            archs=tuple(RTX_ARCHS),
        ),
        Target(
            "tensorrt",
            ENGINES[TENSORRT],
            f"TensorRT 10.9 and later, 11 included, on an x86 GPU; {ON_DEVICE}",
            precisions=(*FLOATS, *QUANTISED),
            default_precision=FP16,
            builds_here=False,
            library="10.9 or later",
            plugin_route="aot",
        ),
        Target(
            "jetpack7",
            ENGINES[TENSORRT],
            f"JetPack 7.2 on Orin and Thor; {ON_DEVICE}",
            precisions=(*FLOATS, *QUANTISED),
            default_precision=FP16,
            archs=("sm87", "sm110"),
            tries_on=ON_THOR,
            builds_here=False,
            library="10.16, 11.4.1 from 7.2.2",
            plugin_route="aot",
        ),
        Target(
            "jetpack7.0",
            ENGINES[TENSORRT],
            f"JetPack 7.0 and 7.1 on Thor; {ON_DEVICE}",
            precisions=(*FLOATS, *QUANTISED),
            default_precision=FP16,
            archs=("sm110",),
            tries_on=ON_THOR,
            max_opset=22,
            builds_here=False,
            library="10.13",
            plugin_route="aot",
        ),
        Target(
            "jetpack6",
            ENGINES[TENSORRT],
            f"JetPack 6.1 and 6.2 on Orin; {ON_DEVICE}",
            precisions=(*FLOATS, INT8, INT4),
            default_precision=FP16,
            archs=("sm87",),
            max_opset=20,
            builds_here=False,
            library="10.3",
            native_plugins=True,
        ),
        Target(
            "jetpack6.0",
            ENGINES[TENSORRT],
            f"JetPack 6.0 on Orin, best effort: its parser reads opset 17, so the file is lowered; {ON_DEVICE}",
            precisions=(FP32, FP16),
            default_precision=FP16,
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
            ENGINES[TENSORRT],
            f"JetPack 5.1 on Xavier and Orin, best effort: its parser reads opset 17 and has no LayerNormalization, so the "
            f"file is lowered; {ON_DEVICE}",
            precisions=(FP32, FP16),
            default_precision=FP16,
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
TARGETS: Registry[Target] = Registry("target", OURS)
ALIASES = {
    "onnx": "cpu",
    ONNXRUNTIME: "cpu",
    "ort": "cpu",
    "trt": TENSORRT,
    TENSORRT_RTX: "rtx",
    "tensorrt-rtx": "rtx",
    "jetpack5.1": "jetpack5",
    "jetpack6.1": "jetpack6",
    "jetpack6.2": "jetpack6",
    "jetpack7.1": "jetpack7.0",
    "jetpack7.2": "jetpack7",
}
JETSONS = {"sm72": "jetpack5", "sm87": "jetpack6 or jetpack7", "sm101": "jetpack7", "sm110": "jetpack7"}


def register_target(target: Target) -> Target:
    """Add a target of one's own, on one of the engines; UserMistake when its name is taken or it contradicts itself."""
    name = named(target, Target, "register_target")
    if wrong := _contradiction(target):
        raise UserMistake(
            f"The target {name} cannot be exported for",
            found=wrong[0],
            expected=wrong[1],
            attempt='replace(TARGETS["cpu"], name=..., note=...) and what differs',
        )
    return TARGETS.add(name, target)


def _contradiction(target: Target) -> tuple[str, str] | None:
    """What is wrong with a target and what would be right, in words."""
    names = [*PRECISIONS]
    told = (*target.precisions, *target.tries, *(word for words in target.tries_on.values() for word in words))
    strange = [word for word in (*told, target.default_precision) if word not in names]
    chips = [chip for chip in target.archs if not re.fullmatch(r"sm\d+", str(chip))]
    if target.name in ALIASES:
        return f"{target.name}, which means {ALIASES[target.name]}", "a name that nobody has taken"
    if not isinstance(target.engine, Engine):
        return f"engine = {target.engine!r}", "an engine of edgesmith.exporter.plan.engines.ENGINES"
    if strange:
        return f"the precision {strange[0]!r}", "precisions of " + ", ".join(names)
    if target.default_precision not in target.precisions:
        return f"default_precision = {target.default_precision!r}", "one of " + ", ".join(target.precisions)
    if target.opset not in OPSETS or target.max_opset not in OPSETS or target.opset > target.max_opset:
        limits = f"opset <= max_opset, both from {OPSETS[0]} to {OPSETS[-1]}"
        return f"opset = {target.opset}, max_opset = {target.max_opset}", limits
    return (f"archs = {chips[0]!r}", "chips such as sm87") if chips else None


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
