"""What a plan must hold before work starts: each check raises UserMistake with what was found and what to try."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from ...calibration.precisions import AUTO, QDQ_OPSET, quantised_names
from ...models.registry import ModelSpec
from ...models.weights.place import NAMED, weights_file
from ...runtime.bundle.publish import check_place, pick_up
from ...runtime.errors import UserMistake
from ...runtime.ground.places import MANIFEST, check_outside, real_place
from ...runtime.ground.scratch import work_folder
from ..run import arguments
from ..run.nouns import Shapes
from .engines import OPSETS
from .settings import SETTINGS, Data, Settings
from .targets import Target, check_arch

LARGEST_BYTES = 2**31 - 1  # of one protobuf message, which a file is simplified as


def check_elsewhere(asked: Settings, spec: ModelSpec, elsewhere: Mapping[str, str]) -> None:
    """UserMistake for a setting of other exports that somebody chose; ``elsewhere`` says why each has no meaning here."""
    for name, why in elsewhere.items():
        value = getattr(asked, name)
        given = list(value) if isinstance(value, (list, tuple)) else value
        if given not in (SETTINGS[name].default, None, []) and not (name == "batch" and str(value) == "1"):
            flag = "--" + name.replace("_", "-")
            raise UserMistake(
                f"{spec.name} takes no {flag}",
                found=f"{flag} {value if isinstance(value, (str, int, float)) else ''}".strip()[:80],
                expected="an export without it",
                because=why,
                attempt=f"leave {flag} out",
            )


def skipped(asked: Settings, target: Target, precision: str, ops: Collection[str] = ()) -> tuple[str, ...]:
    """The passes of --skip; UserMistake for a name that is no pass of the target."""
    steps = (asked.skip,) if isinstance(asked.skip, str) else tuple(asked.skip)
    if steps:
        from ..patterns import order_for
        from ..patterns.rewrite import check_skip

        check_skip(steps, order_for(target.order, precision), ops)
    return steps


def check_weight_bytes(spec: ModelSpec) -> None:
    """A file is converted and simplified as one message, which holds so much; networks of torch have no such limit."""
    if spec.file and (needed := 4 * spec.parameters) > LARGEST_BYTES:
        raise UserMistake(
            f"{spec.name} is too large to be simplified",
            found=f"{needed / 1e9:.1f} GB of float32 weights",
            expected=f"at most {LARGEST_BYTES / 1e9:.1f} GB in an ONNX file",
            because="it is converted and simplified as one protobuf message",
            attempt="export the network from PyTorch (--model path/file.py:function), where weights may be larger",
        )


def check_size(spec: ModelSpec, size: tuple[int, int]) -> None:
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


def check_open_size(spec: ModelSpec, shapes: Shapes) -> None:
    """Several image sizes in one graph: only where the family allows it."""
    if shapes.open_sides and not spec.dynamic_size:
        sizes = ["{}x{}".format(*shapes.sides(shape)) for shape in (shapes.min, shapes.max)]
        raise UserMistake(
            f"One graph of {spec.name} serves one image size",
            found=f"heights and widths from {sizes[0]} to {sizes[1]}",
            expected="the same height and width in the smallest and the largest shape",
            because="its grid of patches or windows is worked out while it is traced, for one size",
            attempt="open the batch only (--batch 1..8), or export one bundle for each size",
        )


def check_out(out: Path, overwrite: bool, data: Data | None, needed_bytes: int) -> None:
    """Refuse before the work starts what could not be written after it; what killed exports left beside ``out`` is removed."""
    parent, place = out.parent, real_place(out)
    if not parent.is_dir():
        raise UserMistake(
            f"The bundle cannot be written to {out}",
            found=f"no folder {parent}" if not parent.exists() else f"{parent} is not a folder",
            expected="--out inside a folder that exists",
            attempt="--out in another folder" if parent.exists() else f"mkdir -p {parent}",
        )
    check_outside(place, "--out")
    _outside_data(out, place, data)
    try:  # asking for the permission bits is not enough: root, full quotas and odd file systems answer wrongly
        with suppress(FileNotFoundError):
            os.lstat(place)  # a name that is too long is told now: scratch names are shorter
        with work_folder(place):
            free_bytes = shutil.disk_usage(place.parent).free
    except OSError as error:
        raise UserMistake(
            f"The bundle cannot be written to {out}",
            found=f"cannot make a folder in {parent}: {error.strerror}",
            expected="a folder that you may write to",
            attempt="--out with another folder",
        ) from None
    if free_bytes < needed_bytes:
        raise UserMistake(
            f"The bundle cannot be written to {out}",
            found=f"{free_bytes / 1e6:,.0f} MB free in {parent}",
            expected=f"at least {needed_bytes / 1e6:,.0f} MB",
            because="the graph is kept there before and after the rewrites while the export runs",
            attempt="free some space, or --out on another disk",
        )
    pick_up(place)
    if not os.path.lexists(place):
        return
    if not (out / MANIFEST).is_file():
        raise UserMistake(
            f"{out} exists and is not a bundle",
            found="a file" if not out.is_dir() else "a folder without manifest.json",
            expected="a path that is free, or a bundle to replace",
            because="replacing it would delete something that Edgesmith did not write",
            attempt="--out with another name",
        )
    check_place(place, overwrite=True)  # whether it could be replaced at all
    if not overwrite:
        raise UserMistake(
            f"{out} exists already",
            found="a bundle at that path",
            expected="a free path",
            attempt="--force to replace it, or --out with another name",
        )


def _outside_data(out: Path, place: Path, data: Data | None) -> None:
    """A bundle may hold pictures of its own, and a folder of pictures is searched with all its folders."""
    if not isinstance(data, (str, os.PathLike)) or not os.path.isdir(data):
        return
    around = Path(os.path.realpath(data))
    if around in (place, *place.parents):
        raise UserMistake(
            f"The bundle cannot be written to {out}",
            found=f"a place inside --data {os.fspath(data)}",
            expected="--out outside of the pictures",
            because="the next run would take the bundle for a class, or its pictures for yours",
            attempt=f"--out {around.parent / place.name}",
        )


def check_weights(weights: str) -> None:
    if weights in NAMED:
        return
    path = weights_file(Path(weights))
    problem = "nothing at that path" if not path.exists() else "an empty file" if path.stat().st_size == 0 else ""
    if problem:
        beside = [name.name for name in path.parent.glob("*") if name.suffix in (".safetensors", ".pth", ".pt", ".bin")]
        hint = arguments.nearest(path.name, beside) or arguments.nearest(weights, NAMED)
        raise UserMistake(
            f"There is no checkpoint at {weights}",
            found=problem,
            expected="a .safetensors or .pth file or a folder with one, 'pretrained' or 'random'",
            attempt=hint or "--weights random, to try the flow without a checkpoint",
        )


def gpu_arch_of(target: Target, arch: str | None, precision: str) -> str | None:
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


def opset_of(target: Target, opset: int | None, precision: str) -> int:
    if opset is None:
        return target.opset
    least = QDQ_OPSET if precision in (*quantised_names(), AUTO) else OPSETS[0]
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
