"""What was asked -> the plan of a grounding export: choices checked before torch is imported, in the words of plan/plan.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...calibration.precisions import PRECISIONS
from ...models.registry import ModelSpec, find
from ...runtime.errors import UserMistake
from ...runtime.ground.limits import BF16, FP16, FP32, INT4, INT8
from ...runtime.tasks.grounding.screens.kv_bytes import ROTATEKV, SINKS, CacheLayout
from ..plan.checks import check_elsewhere, check_out, gpu_arch_of, opset_of
from ..plan.plan import Plan
from ..plan.settings import TASK_CHOICES, Settings, settings_of
from ..plan.targets import Target, find_target
from ..run import arguments
from ..run.nouns import Shapes
from ..tasks.known import check_choices, find_export
from .few_bits.codes import BLOCKS

if TYPE_CHECKING:
    from ...calibration.budget.hold import Calibration
    from ...models.folders.folder import ModelFolder
    from ...runtime.pictures.preprocess import ImageContract

PRECISIONS_HERE = (FP32, FP16, BF16, INT8, INT4)
LARGEST_TOGETHER = 1024  # channels of a rotation, exporter/plugins/kv/hadamard.py
MOST_SCREENS = 32  # that calibrate: each has thousands of rows
COPIES = 2  # of the bundle that lie on the disk at once: the draft, and the one that is published
# settings of other exports: what stands in their place here
ELSEWHERE = {
    "image_size": "the sizes follow from --screen",
    "num_classes": "there are no classes",
    "labels": "there are no classes",
    "mean": "the vision tower was trained with CLIP's",
    "std": "the vision tower was trained with CLIP's",
    "crop": "the whole screen is seen",
    "resize": "the vision tower was trained with bicubic",
    "colour": "the vision tower was trained with RGB",
    "scale": "the vision tower was trained with pictures of 0..1",
    "channels": "the vision tower was trained with RGB",
    "layout": "it has several graphs of a form of its own",
    "input_dtype": "it has several graphs of a form of its own",
    "contract": "how screens are prepared is fixed",
    "batch": "the batch is open in every graph",
    "dynamic": "the batch is open in every graph",
    "min_shapes": "the batch is open in every graph",
    "opt_shapes": "the batch is open in every graph",
    "max_shapes": "the batch is open in every graph",
    "model_args": "its sizes are those of config.json in the folder of its weights",
    "ema": "the checkpoints have no averaged weights",
    "images": "its weights are rounded without pictures",
    "max_drop": "its weights are rounded without pictures",
    "plugins": "keys and values are packed by --kv-bits; no other fused op occurs",
    "native_plugins": "keys and values are packed by --kv-bits; no other fused op occurs",
    "skip": "its graphs are written as they are computed; only clean-up runs",
    "verify_each": "its graphs are written as they are computed; only clean-up runs",
}


def make_plan(model: str, weights: str | Any = Settings.weights, **choices: Any) -> Plan:
    """Check and complete every choice; UserMistake for the first that cannot work."""
    asked = settings_of(model, weights, choices)
    spec = find(model)
    task = find_export(spec.task)
    own = {name: getattr(asked, name) for name in TASK_CHOICES}
    check_choices(task, spec, own)
    check_elsewhere(asked, spec, ELSEWHERE)
    target = find_target(asked.target)
    precision = arguments.precision(asked.precision or _usual(target))
    arch = gpu_arch_of(target, asked.gpu_arch, precision)
    if precision not in PRECISIONS_HERE:
        raise _other_precision(spec, precision)
    target.check_precision(precision, arch)
    if asked.block is not None:
        arguments.check_word("--block", asked.block, BLOCKS)
    rule = task.plan(spec, target, own)
    if rule.kv_bits is None:
        rule = replace(rule, kv_bits=32 if precision == FP32 else 16)
    rule = replace(rule, block=asked.block)
    _check_data(asked, precision, target, spec)
    out = Path(asked.out) if asked.out else Path(f"{spec.name}.edge")
    check_out(out, asked.overwrite, None, 0)
    first = rule.buckets[0].size
    return Plan(
        spec=spec,
        weights=str(weights or spec.usual_weights),
        num_classes=0,
        target=target,
        precision=precision,
        gpu_arch=arch,
        opset=opset_of(target, asked.opset, precision),
        shapes=Shapes.fixed(1, 3, *first),
        contract=replace(spec.contract, size=first),
        out=out,
        pictures=(),
        rule=rule,
        calibration=_calibration(asked, precision, replace(spec.contract, size=first)),
        plugin_route=target.plugin_route if target.plugin_route == "function" else "inline",
        keep=asked.keep,
        check=asked.check,
        overwrite=asked.overwrite,
        seed=asked.seed,
    )


def _check_data(asked: Settings, precision: str, target: Target, spec: ModelSpec) -> None:
    """UserMistake for pictures, or what belongs to them, where nothing is made of them."""
    given = {"--data": asked.data, "--smooth": asked.smooth, "--calib-cache": asked.calib_cache}
    flag = next((name for name, value in given.items() if value is not None), None)
    if flag is None:
        return
    because = None
    if not PRECISIONS[precision].quantised:
        because = f"in {precision} nothing is rounded to 8 bits"
    elif "dynamic" not in target.engine.forms:
        because = (
            "pictures are for products of whole numbers in the vision tower, which is how ONNX Runtime is fastest; "
            "OpenVINO rounds what they multiply by itself, and TensorRT is given the weights alone"
        )
    elif asked.data is None:
        because = "it says what is made of pictures, and there are none"
    if because is not None:
        raise UserMistake(
            f"{spec.name} takes no {flag} here",
            found=f"{flag} with --precision {precision} --target {target.name}",
            expected="--data FOLDER with --precision int4 or int8 and --target cpu",
            because=because,
            attempt=f"leave {flag} out",
        )


def _calibration(asked: Settings, precision: str, contract: ImageContract) -> Calibration | None:
    """Screens to find the ranges of the vision tower with; None without pictures."""
    if asked.data is None:
        return None
    from ...calibration.budget.hold import Calibration
    from ...calibration.nouns import Recipe
    from ...calibration.pictures.images import open_data

    strength = Recipe.smooth if asked.smooth is None else asked.smooth
    arguments.check_range(
        "--smooth", strength, 0, 1, f"0 leaves the weights as they are, {Recipe.smooth} is the default"
    )
    found = open_data(asked.data, contract, count=min(asked.calib_images, MOST_SCREENS), held_out=0, seed=asked.seed)
    recipe = Recipe(precision=precision, form="dynamic", smooth=strength)
    cache = None if asked.calib_cache is None else Path(asked.calib_cache)
    return Calibration(recipe, found, None, cache)


def check_room(plan: Plan, parameters: int) -> None:
    """UserMistake where the disk cannot hold what the weights become."""
    bits = PRECISIONS[plan.precision].bits if plan.precision != INT4 else 8
    check_out(plan.out, plan.overwrite, None, COPIES * parameters * bits // 8)


def check_storage(plan: Plan, folder: ModelFolder) -> None:
    """UserMistake where keys and values of this checkpoint cannot be stored by the plan's bits and scheme."""
    from ..plugins.rotated_keys import RotatedKeys

    shape, rule = folder.shape, plan.rule
    CacheLayout(shape.layers, shape.kv_heads, shape.head_dim, shape.hidden, bits=rule.kv_bits, scheme=rule.kv_scheme)
    if rule.kv_scheme != ROTATEKV:
        return
    found = f"--kv-bits {rule.kv_bits} --kv-scheme {rule.kv_scheme}"
    heads = RotatedKeys(rule.kv_bits, shape.kv_heads, shape.head_dim).heads
    together = heads * shape.head_dim
    if together & (together - 1) or together > LARGEST_TOGETHER:
        raise UserMistake(
            "Keys of these heads cannot be rotated",
            found=f"{found}, {heads} kv heads of {shape.head_dim} channels together",
            expected=f"a power of two of channels, at most {LARGEST_TOGETHER:,}",
            because="a Walsh-Hadamard transform has no other sizes",
            attempt=f"--kv-bits {rule.kv_bits}, which stores keys a channel",
        )
    smallest = min(rule.buckets, key=lambda one: one.visual_tokens)
    tokens = len(folder.prompt.before) + smallest.visual_tokens
    if tokens < SINKS:
        raise UserMistake(
            "A screen has fewer tokens than rotated keys keep as they are",
            found=f"{found}, {smallest.screen[0]}x{smallest.screen[1]} of {tokens} tokens, the fixed text's included",
            expected=f"{SINKS} tokens or more",
            because=f"of every screen the {SINKS} tokens with the largest activations are kept in 16 bits",
            attempt=f"--kv-bits {rule.kv_bits}, which stores keys a channel, or a larger --screen",
        )


def _usual(target: Any) -> str:
    return FP16 if target.default_precision == FP16 else FP32


def _other_precision(spec: ModelSpec, precision: str) -> UserMistake:
    return UserMistake(
        f"{spec.name} has no precision {precision}",
        found=f"--precision {precision}",
        expected="one of " + ", ".join(PRECISIONS_HERE),
        because="activations of a language model have channels a thousand times larger than others; int4 and int8 keep them "
        "in floating point and round the weights: in blocks of 4 bits or channels of 8, the vision tower's in 8",
        attempt="--precision int4, or fp16",
    )
