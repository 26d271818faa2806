"""The part of a plan that quantises: form, recipe, pictures and budget, checked before the work starts.

--precision int8 --target cpu, a transformer          dynamic: no pictures needed
--precision int8 --target cpu, a convolutional net    u8: static, asymmetric, what ONNX Runtime's convolutions take
--precision int8 or fp8, every other target           qdq: static, symmetric, legal for TensorRT 10.3 to 11
--precision int4 or nvfp4                             weights only; pictures are optional and improve the rounding
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...calibration.codes.blocks import BLOCKS
from ...calibration.nouns import PRECISIONS, RULES, WEIGHT_ONLY, Recipe
from ...runtime.errors import UserMistake
from ..run.arguments import check_range, check_word
from ..tasks.task import ExportTask
from .targets import Target

if TYPE_CHECKING:
    from ...calibration.budget.hold import Calibration
    from ...models.registry import ModelSpec
    from ...runtime.pictures.preprocess import ImageContract

FORMS = {"auto": "", "static": "qdq", "dynamic": "dynamic", "u8": "u8"}  # the word of --int8-form -> Recipe.form
WIDEST = 0  # of Recipe.block: the widest that fits, found when the layers are known
AUTO_MAX_DROP = 0.5  # points that "auto" may lose when nothing else is said
CALIBRATION_IMAGES, HELD_OUT_IMAGES = 128, 1000
Data = str | os.PathLike[str] | Iterable[Any]


def plan_calibration(
    precision: str,
    target: Target,
    spec: ModelSpec,
    task: ExportTask,
    contract: ImageContract,
    labels: Sequence[str],
    data: Data | None,
    *,
    images: str | os.PathLike[str] | None = None,
    seed: int = 0,
    calib_images: int = CALIBRATION_IMAGES,
    eval_images: int = HELD_OUT_IMAGES,
    max_drop: float | None = None,
    ranges: str = "best",
    smooth: float | None = None,
    block: int | None = None,
    int8_form: str = "auto",
    calib_cache: str | os.PathLike[str] | None = None,
) -> Calibration | None:
    """The calibration of a plan, None where nothing is quantised. Raises UserMistake for the first choice that cannot work."""
    if precision not in (*PRECISIONS, "auto"):
        _only_for_quantised(precision, {"--max-drop": max_drop, "--calib-cache": calib_cache})
        return None
    from ...calibration.budget.hold import Calibration

    check_word("--ranges", ranges, RULES)
    check_word("--int8-form", int8_form, tuple(FORMS))
    if block is not None:
        check_word("--block", block, BLOCKS)
    strength = Recipe.smooth if smooth is None else smooth
    check_range("--smooth", strength, 0, 1, f"0 leaves the weights as they are, {Recipe.smooth} is the default")
    check_range(
        "--calib-images", calib_images, 1, 100_000, "128 is the default; 32 can be enough, fewer than 16 is not"
    )
    check_range("--eval-images", eval_images, 0, 1_000_000, "1000 is the default; 0 measures no accuracy")
    if precision == "auto" and max_drop is None:
        max_drop = AUTO_MAX_DROP
    if max_drop is not None:
        check_range("--max-drop", max_drop, 0, 100, "points, such as 0.5")
    cache = None if calib_cache is None else _cache_folder(Path(calib_cache))
    form = _form(precision, target, spec, int8_form)
    _needs_data(precision, form, target, data)
    recipe = Recipe(
        precision="int8" if precision == "auto" else precision,
        form=form,
        rules=ranges,
        smooth=strength,
        block=16 if precision == "nvfp4" else block or WIDEST,
        low="fp16",
    )
    found = None
    if data is not None:
        from ...calibration.pictures.images import open_data

        truths = task.judge.truths
        found = open_data(
            data, contract, labels=labels, count=calib_images, held_out=eval_images, seed=seed,
            images=images if truths else None, truths=truths,
        )  # fmt: skip
    if max_drop is not None and (found is None or found.calibration.kind == "random"):
        raise UserMistake(
            "A budget needs pictures to be measured on",
            found="--max-drop without --data" if found is None else "--max-drop with --data random",
            expected="--data with a folder of pictures; sub-folders named like the classes give the labels",
            because="the drop is what the quantised model loses on them",
            attempt="--data photos/, or leave --max-drop out",
        )
    return Calibration(recipe, found, max_drop, cache)


def for_precision(calibration: Calibration, precision: str, target: Target, spec: ModelSpec) -> Calibration:
    """The same pictures and budget for another quantised precision: what "auto" tries."""
    form = calibration.recipe.form if precision == "int8" else _form(precision, target, spec, "auto")  # as was asked
    return replace(calibration, recipe=replace(calibration.recipe, precision=precision, form=form))


def _form(precision: str, target: Target, spec: ModelSpec, asked: str) -> str:
    if precision in ("int4", "nvfp4"):
        return "nbits" if target.engine == "onnxruntime" else "weights"
    if asked != "auto" and precision in ("int8", "auto"):
        if target.engine != "onnxruntime" and FORMS[asked] != "qdq":
            raise UserMistake(
                f"Target {target.name} does not take the int8 form {asked}",
                found=f"--int8-form {asked} --target {target.name}",
                expected="--int8-form static",
                because="it needs symmetric Q/DQ with fixed scales; dynamic and u8 are forms of ONNX Runtime's CPU kernels",
                attempt="leave --int8-form out, or --target cpu",
            )
        return FORMS[asked]
    if target.engine != "onnxruntime":
        return "qdq"
    return "u8" if spec.convolutional else "dynamic"


def _needs_data(precision: str, form: str, target: Target, data: Data | None) -> None:
    if data is not None or (form in ("dynamic", *WEIGHT_ONLY) and precision != "auto"):
        return
    raise UserMistake(
        f"Precision {precision} needs pictures",
        found=f"--precision {precision} --target {target.name} without --data",
        expected="--data with some 128 pictures like those that the device will see: folder, list file or .npz",
        because="auto compares accuracies"
        if precision == "auto"
        else "the ranges of the activations are measured on them",
        attempt="--data photos/, or --data random to try the flow (the accuracy then means nothing)",
    )


def _cache_folder(path: Path) -> Path:
    """A folder that is missing is made when there is something to keep; a file in its place would lose every pass."""
    if path.exists() and not path.is_dir():
        raise UserMistake(
            f"The statistics cannot be kept in {path}",
            found="a file",
            expected="a folder, there already or not",
            attempt="--calib-cache with another name, or leave it out for your own cache folder",
        )
    return path


def _only_for_quantised(precision: str, given: dict[str, Any]) -> None:
    for flag, value in given.items():
        if value is not None:
            raise UserMistake(
                f"{flag} belongs to a quantised precision",
                found=f"{flag} {value} --precision {precision}",
                expected="--precision " + ", ".join((*PRECISIONS, "auto")),
                attempt=f"--precision int8, or leave {flag} out",
            )
