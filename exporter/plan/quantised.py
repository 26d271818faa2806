"""The part of a plan that quantises: form, recipe, pictures and budget, checked before the work starts.

--precision int8 --target cpu, a transformer          dynamic: no pictures needed
                              several pictures a time  qdq where there are pictures: dynamic ranges of each row are slower
--precision int8 --target cpu, a convolutional net    u8: static, asymmetric, what ONNX Runtime's convolutions take;
                                                      target openvino has it where it is asked for
--precision int8 or fp8, every other target           qdq: static, symmetric, legal for TensorRT 10.3 to 11
--precision int4 or nvfp4                             weights only; pictures are optional and improve the rounding
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...calibration.codes.blocks import BLOCKS
from ...calibration.nouns import RULES, WEIGHT_ONLY, Recipe
from ...calibration.precisions import AUTO, PRECISIONS, Codes, Precision, quantised_names
from ...runtime.errors import UserMistake
from ...runtime.ground.limits import FP16, INT8
from ...runtime.ground.places import check_outside
from ..run.arguments import check_range, check_word
from ..tasks.task import ExportTask
from .settings import Data, Settings
from .targets import Target

if TYPE_CHECKING:
    from ...calibration.budget.hold import Calibration
    from ...models.registry import ModelSpec
    from ...runtime.pictures.preprocess import ImageContract

FORMS = {"auto": "", "static": "qdq", "dynamic": "dynamic", "u8": "u8"}  # the word of --int8-form -> Recipe.form
WIDEST = 0  # of Recipe.block: the widest that fits, found when the layers are known
AUTO_MAX_DROP = 0.5  # points that "auto" may lose when nothing else is said


def plan_calibration(
    asked: Settings,
    precision: str,
    target: Target,
    spec: ModelSpec,
    task: ExportTask,
    contract: ImageContract,
    labels: Sequence[str],
    batch: int = 1,
) -> Calibration | None:
    """The calibration of a plan, None where nothing is quantised; ``batch``: the most pictures at a time.

    Raises UserMistake for the first choice that cannot work.
    """
    max_drop = asked.max_drop
    if precision not in (*quantised_names(), AUTO):
        _only_for_quantised(precision, {"--max-drop": max_drop, "--calib-cache": asked.calib_cache})
        return None
    from ...calibration.budget.hold import Calibration

    check_word("--ranges", asked.ranges, RULES)
    check_word("--int8-form", asked.int8_form, tuple(FORMS))
    if asked.block is not None:
        check_word("--block", asked.block, BLOCKS)
    strength = Recipe.smooth if asked.smooth is None else asked.smooth
    check_range("--smooth", strength, 0, 1, f"0 leaves the weights as they are, {Recipe.smooth} is the default")
    check_range(
        "--calib-images", asked.calib_images, 1, 100_000, "128 is the default; 32 can be enough, fewer than 16 is not"
    )
    check_range("--eval-images", asked.eval_images, 0, 1_000_000, "1000 is the default; 0 measures no accuracy")
    if precision == AUTO and max_drop is None:
        max_drop = AUTO_MAX_DROP
    if max_drop is not None:
        check_range("--max-drop", max_drop, 0, 100, "points, such as 0.5")
    cache = None if asked.calib_cache is None else _cache_folder(Path(asked.calib_cache))
    row = PRECISIONS[INT8 if precision == AUTO else precision]
    form = form_of(row, target, spec, asked.int8_form, fixed_ranges=batch > 1 and asked.data is not None)
    _needs_data(precision, form, target, asked.data)
    recipe = Recipe(
        precision=row.name,
        form=form,
        rules=asked.ranges,
        smooth=strength,
        block=row.block or asked.block or WIDEST,
        low=FP16,
    )
    found = None
    if max_drop is not None and asked.eval_images == 0:
        raise _unmeasured(
            "--max-drop with --eval-images 0", "leave --eval-images out, which takes up to 1000 of the pictures"
        )
    if asked.data is not None:
        from ...calibration.pictures.images import open_data

        truths = task.judge.truths
        found = open_data(
            asked.data, contract, labels=labels, count=asked.calib_images, held_out=asked.eval_images, seed=asked.seed,
            images=asked.images if truths else None, truths=truths,
            keep_back=None if max_drop is None else asked.eval_images,
        )  # fmt: skip
    if max_drop is not None and (found is None or found.calibration.kind == "random"):
        raise UserMistake(
            "A budget needs pictures to be measured on",
            found="--max-drop without --data" if found is None else "--max-drop with --data random",
            expected="--data with a folder of pictures; sub-folders named like the classes give the labels",
            because="the drop is what the quantised model loses on them",
            attempt="--data photos/, or leave --max-drop out",
        )
    if max_drop is not None and found is not None and not len(found.held_out):
        raise _unmeasured("\n".join(found.notes[:3]), "more pictures, all different; half of a small set judges")
    return Calibration(recipe, found, max_drop, cache)


def for_precision(calibration: Calibration, precision: str, target: Target, spec: ModelSpec) -> Calibration:
    """The same pictures and budget for another quantised precision: what "auto" tries."""
    form = (
        calibration.recipe.form if precision == INT8 else form_of(PRECISIONS[precision], target, spec)
    )  # as was asked
    return replace(calibration, recipe=replace(calibration.recipe, precision=precision, form=form))


def form_of(row: Precision, target: Target, spec: ModelSpec, asked: str = "auto", *, fixed_ranges: bool = False) -> str:
    """How the codes are written into the graph: the precision's one form, what was asked, or what the kernels take.

    ``fixed_ranges``: rather static than dynamic, whose range is that of all pictures of a batch unless each row has its own.
    """
    engine = target.engine
    if row.weights_only:
        return row.form or engine.form_of_weights
    form = row.form or (FORMS[asked] if row.codes is Codes.INT8 else "")
    if form and form not in engine.forms:
        word = next((word for word, known in FORMS.items() if known == form), form)
        raise UserMistake(
            f"Target {target.name} does not take the int8 form {word}",
            found=f"--int8-form {word} --target {target.name}",
            expected="--int8-form " + " or ".join(word for word, known in FORMS.items() if known in engine.forms),
            because=engine.no_other_form,
            attempt="leave --int8-form out, or --target cpu",
        )
    usual = (
        engine.forms[0]
        if not engine.integer_kernels
        else "u8"
        if spec.convolutional
        else "qdq"
        if fixed_ranges
        else "dynamic"
    )
    return form or usual


def _unmeasured(found: str, attempt: str) -> UserMistake:
    """A budget that nothing would measure never holds."""
    return UserMistake(
        "The accuracy budget cannot be measured",
        found=found,
        expected="pictures that calibrate, and at least one other to judge by",
        because="a picture that set the ranges cannot tell what they cost on others",
        attempt=f"{attempt}; or leave --max-drop out",
    )


def _needs_data(precision: str, form: str, target: Target, data: Data | None) -> None:
    if data is not None or (form in ("dynamic", *WEIGHT_ONLY) and precision != AUTO):
        return
    raise UserMistake(
        f"Precision {precision} needs pictures",
        found=f"--precision {precision} --target {target.name} without --data",
        expected="--data with some 128 pictures like those that the device will see: folder, list file or .npz",
        because="auto compares accuracies"
        if precision == AUTO
        else "the ranges of the activations are measured on them",
        attempt="--data photos/, or --data random to try the flow (the accuracy then means nothing)",
    )


def _cache_folder(path: Path) -> Path:
    """A folder that is missing is made when there is something to keep; a file in its place would lose every pass."""
    check_outside(path / "statistics", "--calib-cache")
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
                expected="--precision " + ", ".join((*quantised_names(), AUTO)),
                attempt=f"--precision int8, or leave {flag} out",
            )
