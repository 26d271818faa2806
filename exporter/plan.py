"""What was asked -> a plan that can work: every choice checked before torch is imported, so a mistake costs a second.

The plan is frozen; the pipeline reads it and asks nothing further. ``--dry-run`` prints it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.registry import ModelSpec, find
from ..runtime.errors import UserMistake
from . import arguments
from .artifacts import Shapes
from .pictures import Picture, pictures
from .plan_quantised import Calibration, Data, plan_calibration
from .targets import QUANTISED, Target, check_arch, find_target

if TYPE_CHECKING:
    from ..runtime.preprocess import ImageContract

OPSETS = range(16, 24)
QUANTISED_OPSET = 19  # the first whose Q/DQ take 16-bit scales
CLASSES_LIMIT = 1_000_000
DYNAMIC_BATCH = (1, 8)
LARGEST_BYTES = 2**31 - 1  # of one protobuf message, which an ONNX file is; the stages pass graphs on as one file


@dataclass(frozen=True)
class Plan:
    """One export, decided."""

    spec: ModelSpec
    weights: str
    num_classes: int
    target: Target
    precision: str
    gpu_arch: str | None
    opset: int
    shapes: Shapes
    contract: ImageContract
    out: Path
    pictures: tuple[Picture, ...]
    calibration: Calibration | None = None
    skip: tuple[str, ...] = ()
    keep: bool = False
    verify_each: bool = False
    check: bool = True
    overwrite: bool = False
    seed: int = 0

    @property
    def run_folder(self) -> Path:
        """Where the numbered artefacts go, when they are kept."""
        return self.out.with_name(self.out.name.removesuffix(".edge") + ".run")

    @property
    def rest(self) -> str:
        """What the floating-point part computes in: fp16 around quantised nodes on a GPU, fp32 on a CPU."""
        return self.target.default_precision if self.precision in (*QUANTISED, "auto") else self.precision

    @property
    def order(self) -> str:
        """Which rewrites run: a graph that will be quantised takes others than one that stays in floating point."""
        from .patterns import order_for

        return order_for(self.target.order, self.precision)

    def to_json(self) -> dict[str, Any]:
        """The plan as ``--dry-run --json`` prints it."""
        return {
            "model": self.spec.name,
            "family": self.spec.family,
            "weights": self.weights,
            "num_classes": self.num_classes,
            "target": self.target.name,
            "engine": self.target.engine,
            "precision": self.precision,
            "gpu_arch": self.gpu_arch,
            "opset": self.opset,
            "min_shape": list(self.shapes.min),
            "opt_shape": list(self.shapes.opt),
            "max_shape": list(self.shapes.max),
            "skip": list(self.skip),
            "check": self.check,
            "pictures": [picture.name for picture in self.pictures],
            "quantise": self.calibration.to_json() if self.calibration else None,
            "out": str(self.out),
        }


def make_plan(
    model: str,
    weights: str | os.PathLike[str] = "random",
    *,
    precision: str | None = None,
    target: str = "cpu",
    gpu_arch: str | None = None,
    num_classes: int | None = None,
    image_size: int | str | Iterable[int] | None = None,
    batch: int | str = 1,
    dynamic: bool = False,
    min_shapes: str | None = None,
    opt_shapes: str | None = None,
    max_shapes: str | None = None,
    opset: int | None = None,
    out: str | os.PathLike[str] | None = None,
    data: Data | None = None,
    skip: Iterable[str] = (),
    keep: bool = False,
    verify_each: bool = False,
    check: bool = True,
    overwrite: bool = False,
    seed: int = 0,
    **quantising: Any,
) -> Plan:
    """Check and complete every choice; ``quantising`` are those of ``plan_quantised.plan_calibration``.

    Raises UserMistake for the first that cannot work.
    """
    spec = find(model)
    _check_weight_bytes(spec)
    goal = find_target(target)
    kind = arguments.precision(precision or goal.default_precision)
    arch = _arch(goal, gpu_arch, kind)
    if kind != "auto":
        goal.check_precision(kind, arch)
    size = arguments.image_size(image_size) or spec.contract.size
    batches = DYNAMIC_BATCH if dynamic and str(batch) == "1" else arguments.batch(batch)
    given = [
        arguments.shape(words, flag) if words else None
        for flag, words in (("min-shapes", min_shapes), ("opt-shapes", opt_shapes), ("max-shapes", max_shapes))
    ]
    shapes = arguments.shapes(size, batches, *given)
    for side in (shapes.opt, shapes.min, shapes.max):
        _check_size(spec, (side[2], side[3]))
    _check_open_size(spec, shapes)
    if num_classes is not None and not 1 <= num_classes <= CLASSES_LIMIT:
        raise UserMistake(
            "That is not a number of classes",
            found=f"--num-classes {num_classes}",
            expected=f"1 to {CLASSES_LIMIT}",
            attempt=f"--num-classes 10, or leave it out for the model's own {spec.num_classes}",
        )
    steps = tuple(skip)
    if steps:
        from .patterns import order_for
        from .rewrite import check_skip

        check_skip(steps, order_for(goal.order, kind))
    destination = Path(out) if out else Path(f"{spec.name}.edge")
    _check_out(destination, overwrite)
    _check_weights(str(weights))
    contract = spec.contract_for((shapes.opt[2], shapes.opt[3]))
    classes = num_classes or spec.num_classes
    calibration = plan_calibration(kind, goal, spec, contract, classes, data, seed=seed, **quantising)
    return Plan(
        spec=spec,
        weights=str(weights),
        num_classes=classes,
        target=goal,
        precision=kind,
        gpu_arch=arch,
        opset=_opset(goal, opset, kind),
        shapes=shapes,
        contract=contract,
        out=destination,
        pictures=() if calibration and calibration.data else _pictures(data),
        calibration=calibration,
        skip=steps,
        keep=keep,
        verify_each=verify_each,
        check=check,
        overwrite=overwrite,
        seed=seed,
    )


def _pictures(data: Data | None) -> tuple[Picture, ...]:
    """Pictures to judge a graph in floating point by."""
    if data is None or isinstance(data, (str, os.PathLike)):
        return pictures(None if data is None else Path(data))
    raise UserMistake(
        "Pictures in memory are for quantised precisions",
        found=f"data of type {type(data).__name__}",
        expected="a folder, or nothing",
        attempt='precision="int8", or data="photos/"',
    )


def _check_weight_bytes(spec: ModelSpec) -> None:
    """What does not fit in one ONNX file would fail after minutes of tracing."""
    if (needed := 4 * spec.parameters) > LARGEST_BYTES:
        raise UserMistake(
            f"{spec.name} is too large for one ONNX file",
            found=f"{needed / 1e9:.1f} GB of float32 weights",
            expected=f"at most {LARGEST_BYTES / 1e9:.1f} GB",
            because="an ONNX file is one protobuf message, and weights beside it are not supported in this version",
            attempt="a smaller variant of the family; edgesmith list shows their parameters",
        )


def _check_size(spec: ModelSpec, size: tuple[int, int]) -> None:
    """The spec knows what it can see; the nearest size that it can is added here, in the spelling of the flag."""
    try:
        spec.check_size(size)
    except UserMistake as mistake:
        if mistake.attempt:
            raise
        step = spec.size_multiple
        height, width = (max(spec.size_min, step, round(side / step) * step) for side in size)
        raise UserMistake(
            mistake.what,
            found=mistake.found,
            expected=mistake.expected,
            because=mistake.because,
            attempt=f"--image-size {height} {width}",
        ) from None


def _check_open_size(spec: ModelSpec, shapes: Shapes) -> None:
    """Several image sizes in one graph: only where the family allows it."""
    if shapes.min[2:] != shapes.max[2:] and not spec.dynamic_size:
        sizes = ["x".join(map(str, shape[2:])) for shape in (shapes.min, shapes.max)]
        raise UserMistake(
            f"One graph of {spec.name} serves one image size",
            found=f"heights and widths from {sizes[0]} to {sizes[1]}",
            expected="the same height and width in the smallest and the largest shape",
            because="its grid of patches or windows is worked out while it is traced, for one size",
            attempt="open the batch only (--batch 1..8), or export one bundle for each size",
        )


def _check_out(out: Path, overwrite: bool) -> None:
    """Refuse before the work starts what could not be written after it."""
    parent = out.parent
    if not parent.is_dir():
        raise UserMistake(
            f"The bundle cannot be written to {out}",
            found=f"no folder {parent}" if not parent.exists() else f"{parent} is not a folder",
            expected="--out inside a folder that exists",
            attempt="--out in another folder" if parent.exists() else f"mkdir -p {parent}",
        )
    try:  # asking for the permission bits is not enough: root, full quotas and odd file systems answer wrongly
        os.rmdir(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=parent))
    except OSError as error:
        raise UserMistake(
            f"The bundle cannot be written to {out}",
            found=f"cannot make a folder in {parent}: {error.strerror}",
            expected="a folder that you may write to",
            attempt="--out with another folder",
        ) from None
    if not (out.exists() or out.is_symlink()):
        return
    if not (out / "manifest.json").is_file():
        raise UserMistake(
            f"{out} exists and is not a bundle",
            found="a file" if not out.is_dir() else "a folder without manifest.json",
            expected="a path that is free, or a bundle to replace",
            because="replacing it would delete something that Edgesmith did not write",
            attempt="--out with another name",
        )
    if not overwrite:
        raise UserMistake(
            f"{out} exists already",
            found="a bundle at that path",
            expected="a free path",
            attempt="--force to replace it, or --out with another name",
        )


def _check_weights(weights: str) -> None:
    if weights in ("random", "pretrained"):
        return
    path = Path(weights)
    problem = (
        "nothing at that path"
        if not path.exists()
        else "a folder"
        if path.is_dir()
        else "an empty file"
        if path.stat().st_size == 0
        else ""
    )
    if problem:
        beside = [name.name for name in path.parent.glob("*") if name.suffix in (".safetensors", ".pth", ".pt", ".bin")]
        hint = arguments.nearest(path.name, beside) or arguments.nearest(weights, ("random", "pretrained"))
        raise UserMistake(
            f"There is no checkpoint at {weights}",
            found=problem,
            expected="a .safetensors or .pth file, 'pretrained' or 'random'",
            attempt=hint or "--weights random, to try the flow without a checkpoint",
        )


def _arch(target: Target, arch: str | None, precision: str) -> str | None:
    """``sm_89``, ``89``, ``8.9`` -> ``sm89``; when none was asked for, the target's first that has the precision."""
    known = target.archs
    if arch is None:
        return target.default_arch(precision)
    if not known:
        raise UserMistake(
            f"Target {target.name} has no --gpu-arch",
            found=f"--gpu-arch {arch} --target {target.name}",
            expected="no --gpu-arch",
            because=target.note,
            attempt="--target rtx, which builds an engine for a named GPU, or leave --gpu-arch out",
        )
    name = "sm" + arch.lower().removeprefix("sm").lstrip("_").replace(".", "")
    if name in known:
        return name
    if target.builds_here:
        return check_arch(arch)  # raises with the list of chips
    raise UserMistake(
        f"Target {target.name} does not run on the GPU architecture {arch!r}",
        found=f"--gpu-arch {arch}",
        expected="one of " + ", ".join(known),
        attempt=arguments.nearest(name, known) or f"--gpu-arch {known[0]}",
    )


def _opset(target: Target, opset: int | None, precision: str) -> int:
    if opset is None:
        return target.opset
    least = QUANTISED_OPSET if precision in (*QUANTISED, "auto") else OPSETS[0]
    if opset not in OPSETS or not least <= opset <= target.max_opset:
        most = min(OPSETS[-1], target.max_opset)
        raise UserMistake(
            f"Opset {opset} cannot be used for target {target.name} in {precision}",
            found=f"--opset {opset}",
            expected=f"{least} to {most}",
            because="older ones have no 16-bit scales for Q/DQ" if OPSETS[0] <= opset < least else "",
            attempt=f"leave --opset out ({target.opset} for this target)",
        )
    return opset
