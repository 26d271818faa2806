"""engine -> facts: which kernels a TensorRT-RTX engine launches, read from the file without a GPU.

An engine of TensorRT-RTX carries its program as text: regions (memory), tensors (shape, type, region) and one line a step
with the ONNX layers fused into it.  ``read_engine`` counts the steps that work on the GPU, by kind and operand type, and
says which attention blocks became one fused kernel.  Shape arithmetic on the host and stream synchronisation, which only
dynamic engines have, are counted apart.

The format is undocumented (read in engines of TensorRT-RTX 1.7): what is not recognised is counted and said, and no input
raises.  The counts agree with the layer list that the builder writes to its verbose log; a test holds that.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GPU_STEPS = {
    "function": "kgen",  # generated code; on the right the word of the builder's own layer list
    "fully_connected": "gemm",
    "corrltn": "correlation",
    "maxpool": "maxpool",
    "runtime_fusion": "runtime_fusion",
    "runtime_function": "runtime_function",
}
PRODUCTS = {"fully_connected", "corrltn"}  # library kernels: their inputs are x, weight and then the small ones
SYNC_STEPS = {"signal", "wait"}
HOST_STEPS = {"assert", "shape_call"}  # others are known as host work by the memory that they write
TYPES = {
    "half": "fp16", "float": "fp32", "bfloat": "bf16", "bfloat16": "bf16", "fp8_e4m3": "fp8", "fp4e2m1": "fp4",
    "fp4_e2m1": "fp4",
}  # fmt: skip
BITS = {"int4": 4, "fp4": 4, "int8": 8, "uint8": 8, "bool": 8, "fp8": 8, "fp16": 16, "bf16": 16, "int64": 64}  # else 32
QUANTISED = {"int8", "int4", "fp8", "fp4"}
MAGIC = {b"vtrt": "TensorRT-RTX", b"ftrt": "TensorRT", b"ptrt": "TensorRT"}


@dataclass(frozen=True)
class Kernel:
    """One step on the GPU: ``kind`` in the builder's words, operand types without scalars, ONNX layers inside."""

    kind: str
    name: str
    role: str  # "attention", "gemm", "convolution" or "other"
    operands: tuple[str, ...]
    layers: tuple[str, ...]
    moved_bytes: int = 0  # read and written, weights included, each tensor once

    @property
    def quantised(self) -> bool:
        """A product whose two operands are both codes: integer (or fp8, fp4) tensor cores do the work."""
        return self.role in ("gemm", "convolution") and bool(self.operands) and set(self.operands) <= QUANTISED


@dataclass(frozen=True)
class XRay:
    """What one engine launches and holds; sizes in bytes, ``recognised`` is the share of its steps that we can read."""

    engine_bytes: int
    kernel_list: tuple[Kernel, ...] = ()
    host_steps: int = 0
    sync_steps: int = 0
    device_memory_bytes: int = 0
    constant_bytes: int = 0
    archs: tuple[str, ...] = ()
    recognised: float = 0.0
    unknown: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def kernels(self) -> int:
        """Kernel launches for one inference."""
        return len(self.kernel_list)

    @property
    def moved_bytes(self) -> int:
        """What all kernels read and write: at batch 1 a small network waits for memory, not for arithmetic."""
        return sum(kernel.moved_bytes for kernel in self.kernel_list)

    @property
    def attention(self) -> tuple[Kernel, ...]:
        return tuple(kernel for kernel in self.kernel_list if kernel.role == "attention")

    @property
    def fused_attention(self) -> int:
        """Attention blocks that run as one kernel, scores never leaving the chip."""
        return len(self.attention)

    def fused_in(self, layer: str) -> bool:
        """Whether the ONNX layer of this name runs inside a fused attention kernel."""
        return any(layer in kernel.layers for kernel in self.attention)

    def counts(self) -> dict[str, int]:
        """Kernels by role and operand types, such as ``gemm fp16 x fp16``."""
        words = (
            f"{k.role} {' x '.join(dict.fromkeys(k.operands))}".strip() for k in self.kernel_list if k.role != "other"
        )
        return {**dict(sorted(Counter(words).items())), "other": sum(k.role == "other" for k in self.kernel_list)}

    def summary(self) -> str:
        """One line for a terminal."""
        if not self.recognised:
            return f"{self.engine_bytes / 1e6:.1f} MB, not readable: {'; '.join(self.notes)}"
        parts = [
            f"{self.kernels} kernels",
            f"{self.fused_attention} fused attention",
            f"{self.device_memory_bytes / 1e6:.1f} MB activations",
            f"{self.constant_bytes / 1e6:.1f} MB constants",
            f"engine {self.engine_bytes / 1e6:.1f} MB",
            f"{self.recognised:.0%} recognised",
        ]
        return ", ".join(parts + list(self.notes))

    def to_json(self, kernels: bool = False) -> dict[str, Any]:
        """Plain data for the manifest; ``kernels=True`` adds the list itself."""
        data: dict[str, Any] = {
            "kernels": self.kernels,
            "fused_attention": self.fused_attention,
            "attention": [{"kernel": kernel.name, "layers": list(kernel.layers)} for kernel in self.attention],
            "counts": self.counts(),
            "kinds": dict(Counter(kernel.kind for kernel in self.kernel_list)),
            "host_steps": self.host_steps,
            "sync_steps": self.sync_steps,
            "device_memory_bytes": self.device_memory_bytes,
            "constant_bytes": self.constant_bytes,
            "moved_bytes": self.moved_bytes,
            "engine_bytes": self.engine_bytes,
            "archs": list(self.archs),
            "recognised": round(self.recognised, 4),
            "unknown": dict(self.unknown),
            "notes": list(self.notes),
        }
        if kernels:
            data["kernel_list"] = [
                {"kind": k.kind, "name": k.name, "role": k.role, "operands": list(k.operands), "layers": list(k.layers),
                 "moved_bytes": k.moved_bytes}
                for k in self.kernel_list
            ]  # fmt: skip
        return data


def read_engine(engine: bytes | str | Path) -> XRay:
    """X-ray of an engine given as bytes or as a path; never raises on the content, only when a path cannot be read."""
    raw = bytes(engine) if isinstance(engine, (bytes, bytearray, memoryview)) else Path(engine).read_bytes()
    builder = MAGIC.get(raw[:4], "")
    try:
        programs = [_Program(text) for text in _main_programs(raw)]
        found = _merge(programs, len(raw))
    except Exception as error:  # noqa: BLE001  an undocumented format may change in unforeseen ways; an export survives
        return XRay(len(raw), notes=(f"the program inside could not be read ({type(error).__name__}: {error})",))
    if builder == "TensorRT":
        notes = ("a TensorRT engine, not TensorRT-RTX: kernels outside its compiled regions are not counted",)
        return XRay(**{**vars(found), "notes": notes + found.notes})
    if not programs:
        what = "no kernel program inside" if builder else "this is not a TensorRT-RTX engine"
        return XRay(len(raw), notes=(what,))
    return found


class _Program:
    """The text of one program: header (regions), descriptors (tensors), main (steps)."""

    def __init__(self, text: str) -> None:
        header, _, rest = text.partition("\ndescriptors {")
        descriptors, _, rest = rest.partition("\nmain {")
        main = rest.partition("\n}")[0]
        archs = re.search(r"accelerators=\{([^}]*)\}", header)
        self.archs = tuple(archs[1].split()) if archs else ()
        regions = re.findall(r"region = \{ name=(\S+) size=(\d+)[^}]*place=(\w+)", header)
        self.device_memory_bytes = sum(int(size) for name, size, _ in regions if name.startswith("devmem"))
        self.host_regions = {name for name, _, place in regions if place == "host"}
        self.types: dict[str, tuple[str, int]] = {}  # tensor -> type, rank-independent size class (1 = scalar)
        self.bytes: dict[str, int] = {}
        self.region: dict[str, str] = {}
        payloads: dict[tuple[str, str], int] = {}
        for _, body in _items(descriptors):
            name, base = _field(body, "name"), _field(body, "base")
            self.region[name] = _field(body, "region") or self.region.get(base, "")
            dims = _field(body, "dims").split()
            self.types[name] = (TYPES.get(kind := _field(body, "type"), kind), 1 if set(dims) <= {"1"} else 2)
            count = math.prod(int(size) for size in dims if size.isdigit())
            self.bytes[name] = (count * BITS.get(self.types[name][0], 32) + 7) // 8
            place = (self.region[name], _field(body, "offset"))  # tensors that share a payload share its offset
            if self.region[name] not in self.host_regions:
                payloads[place] = max(payloads.get(place, 0), int(_field(body, "const_payload_size") or 0))
        self.constant_bytes = sum(payloads.values())
        self.steps = _items(main)

    def on_host(self, kind: str, body: str) -> bool:
        outputs = _names(body, "output", "output_args")
        return kind in HOST_STEPS or bool(
            outputs and {self.region.get(name, "") for name in outputs} <= self.host_regions
        )

    def kernel(self, kind: str, body: str) -> Kernel:
        name = _field(body, "name")
        inputs, outputs = _names(body, "input_args", "input"), _names(body, "output_args", "output")
        read = inputs[:2] if kind in PRODUCTS else inputs  # behind x and weight: factors, bias, residual
        types = [self.types.get(tensor, ("?", 2)) for tensor in read]
        operands = tuple(sorted(type_ for type_, size in types if size > 1))
        layers = tuple(re.findall(r"\[ONNX Layer: ([^\]]*)\]", body))
        moved = sum(self.bytes.get(tensor, 0) for tensor in {*inputs, *outputs})
        role = _role(kind, name, _field(body, "backbone"))
        return Kernel(GPU_STEPS.get(kind, kind), name, role, operands, layers, moved)


def _role(kind: str, name: str, backbone: str) -> str:
    if "mha" in name:
        return "attention"
    if kind == "corrltn" or backbone.startswith("conv"):
        return "convolution"
    return "gemm" if kind == "fully_connected" or backbone == "gemm" else "other"


def _merge(programs: Iterable[_Program], engine_bytes: int) -> XRay:
    """One X-ray of all programs for the first chip; an engine for several chips may repeat them."""
    chosen = [program for program in programs]
    archs = chosen[0].archs if chosen else ()
    others = sorted({arch for program in chosen for arch in program.archs} - set(archs))
    chosen = [program for program in chosen if program.archs == archs]
    kernels: list[Kernel] = []
    host = sync = 0
    unknown: Counter[str] = Counter()
    for program in chosen:
        for kind, body in program.steps:
            if kind in SYNC_STEPS:
                sync += 1
            elif program.on_host(kind, body):
                host += 1
            else:
                kernels.append(program.kernel(kind, body))
                unknown.update([kind] if kind not in GPU_STEPS else [])
    total = len(kernels) + host + sync
    return XRay(
        engine_bytes,
        tuple(kernels),
        host,
        sync,
        sum(program.device_memory_bytes for program in chosen),
        sum(program.constant_bytes for program in chosen),
        archs,
        1 - sum(unknown.values()) / total if total else 0.0,
        dict(unknown),
        (f"also holds programs for {', '.join(others)}, not counted",) if others else (),
    )


def _main_programs(raw: bytes) -> list[str]:
    """The programs of the engine itself; the short ones after it are the insides of its fused kernels."""
    texts = []
    for start in (match.start() for match in re.finditer(rb"header \{\n", raw)):
        length = int.from_bytes(raw[start - 8 : start], "little") if raw[start - 16 : start - 12] == b"NLYM" else 0
        end = start + length if 0 < length <= len(raw) - start else raw.find(b"\0", start)
        texts.append(raw[start : end if end > 0 else None].decode("latin1"))
    programs = [text for text in texts if "\nmain {" in text]
    return [text for text in programs if "\nshape_main {" in text] or programs[
        :1
    ]  # one layer alone has no shape program


def _items(block: str) -> list[tuple[str, str]]:
    """``kind={ body }``, one or more lines each."""
    heads = list(re.finditer(r"^\s*([a-z_]\w*)=\{", block, re.MULTILINE))
    ends = [head.start() for head in heads[1:]] + [len(block)]
    return [(head[1], block[head.end() : end]) for head, end in zip(heads, ends, strict=True)]


def _field(body: str, key: str) -> str:
    match = re.search(rf'(?<![\w]){key}=(?:"([^"]*)"|\{{([^}}]*)\}}|([^\s{{}}"]+))', body)
    return next((group.strip() for group in match.groups() if group is not None), "") if match else ""


def _names(body: str, *keys: str) -> list[str]:
    """Tensors in the first of the fields ``keys`` that is there; names may hold braces, never quotes."""
    for key in keys:
        match = re.search(rf'(?<![\w]){key}=\{{((?:\s*"[^"]*")*)', body)
        if match:
            return re.findall(r'"([^"]*)"', match[1])
    return []
