"""What can be asked of an export, said once: a field of ``Settings`` each, with its flag, default and help.

The command line (commands/options.py), ``edgesmith.export``, the plan and the table in docs/export.md all read it.
"""

# ruff: noqa: RUF009  the fields of a table are made by a function
from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from ...runtime.errors import UserMistake
from ...runtime.ground.words import NOT_ON_HARDWARE
from ..run.arguments import nearest
from .kinds import check_kinds

Place = str | os.PathLike[str]
Data = Place | Iterable[Any]
Text = str | None  # the kinds of words at the command line
Number = int | None
Real = float | None
Words = list[str] | None
Choice = bool | None  # of a flag with a --no form
Three = str | float | Iterable[float] | None  # numbers, one a channel
QUANTISING, DETECTORS, PREPARING = "How to quantise", "Detectors", "How pictures are prepared"
GROUNDING = "Grounding"
RECORDED = "as the checkpoint records it, else the family's"
PLUGINS = (
    "Fused ops to put in: none, all, or names with commas between. Default none: an op pays only where the plain graph "
    "was measured to lose, and no GPU has measured anything yet."
)


@dataclass(frozen=True)
class Setting:
    """One choice as the command line and the page have it."""

    help: str
    flags: tuple[str, ...] = ()  # none: the name with dashes
    kind: Any = Text  # of the word on the command line; a call takes what the field of Settings says
    default: Any = None
    group: str = ""  # of the page
    page: str = ""  # what the page says, where it has room for more than the help
    usual: str = ""  # the default in words
    metavar: str | None = None
    of_task: bool = False  # which tasks have it is said by them (exporter/tasks)

    def names(self, name: str) -> tuple[str, ...]:
        """Its flags as they are typed, ``--no-check`` too."""
        flags = self.flags or ("--" + name.replace("_", "-"),)
        return tuple(part for flag in flags for part in flag.split("/"))


def ask(default: Any, help: str, *flags: str, **more: Any) -> Any:
    """A field of Settings; ``...`` in place of a default: it must be given."""
    told = {"setting": Setting(help, flags, default=default, **more)}
    return field(metadata=told) if default is ... else field(default=default, metadata=told)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every choice of one export as it was asked for; nothing is checked yet. In the order in which help lists them."""

    model: str = ask(
        ...,
        "Family or variant (edgesmith list), timm:NAME, torchvision:NAME, hf:FOLDER, file.py:function, net.onnx.",
        "--model",
        "-m",
        kind=str,
        page="family (`smt`: its default variant) or variant (`smt_base`), `edgesmith list`; or "
        "[a model of your own](own_model.md): `timm:NAME`, `torchvision:NAME`, `hf:FOLDER`, `path/file.py:function`, "
        "`path/net.onnx`",
    )
    model_args: Any = ask(
        (),
        "An argument of the network's builder, as depths=1,1,3,1; may be repeated.",
        "--model-arg",
        kind=Words,
        metavar="NAME=VALUE",
        usual="the model's",
        page="an argument of the network's builder: `depths=1,1,3,1`; may be repeated (in Python `model_args={...}`)",
    )
    task: str | None = ask(
        None,
        "What the answers mean: features, segmentation; for a function of yours or an ONNX file.",
        usual="what the model or its answers say",
        page="what the answers mean, where a function of yours or an ONNX file does not say: `features`, `segmentation`; of a "
        "network of timm `features` leaves its classifier out",
    )
    weights: Place | None = ask(
        None,
        "File, 'pretrained', 'random' or 'own' (those of a folder or function of yours).",
        "--weights",
        "-w",
        usual="`random`; of a folder or a function of yours its own",
        page="a `.safetensors` or `.pth` file in the authors' or in timm's layout, a folder of timm's `save_for_hf`, "
        "`pretrained`, `random`, or `own`",
    )
    ema: bool | None = ask(
        None,
        "Averaged weights (EMA), or the plain ones (default: averaged where the file has them).",
        "--ema/--no-ema",
        kind=Choice,
        usual="averaged where the file has them",
        page="averaged weights (`state_dict_ema`, `model_ema` and the like), or the plain ones",
    )
    target: str = ask(
        "cpu",
        "cpu, openvino, rtx, tensorrt, jetpack6, ...",
        "--target",
        "-t",
        kind=str,
        page="`cpu`, `openvino`, `rtx`, `tensorrt`, `jetpack7`, `jetpack7.0`, `jetpack6`, `jetpack6.0`, `jetpack5`",
    )
    precision: str | None = ask(
        None,
        "fp32, fp16, bf16, int8, fp8, int4, nvfp4, auto.",
        "--precision",
        "-p",
        usual="the target's",
        page="`fp32`, `fp16` (`half`), `bf16`, `int8`, `fp8`, `int4`, `nvfp4`, `auto`",
    )
    gpu_arch: str | None = ask(
        None,
        "GPU to build the engine for: sm89, 8.9, ... (target rtx).",
        usual="the target's first that has the precision",
    )
    num_classes: int | None = ask(
        None, "Classes of your own checkpoint; 0: no classifier, features.", kind=Number, usual="the model's"
    )
    labels: Place | None = ask(
        None, "Names of your own classes: a file, one a line, or JSON, YAML, CSV.", usual="the model's"
    )
    image_size: int | str | Iterable[int] | None = ask(
        None,
        "224, or 256 320: height, width.",
        "--image-size",
        "--imgsz",
        usual="the model's",
        page="one number, or height and width: `224`, `256 320`, `256x320`",
    )
    mean: Three = ask(
        None,
        "Mean of each channel, as 0.5,0.5,0.5, in the colour order of the network.",
        group=PREPARING,
        usual=RECORDED,
        page="mean of each channel in the colour order of the network: `0.5,0.5,0.5`, or one number for all; of pictures as the scale "
        "leaves them, 0..1 (detectors: 0..255)",
    )
    std: Three = ask(
        None,
        "Standard deviation of each channel, as 0.5,0.5,0.5.",
        group=PREPARING,
        usual=RECORDED,
        page="standard deviation of each channel, in the same units",
    )
    crop: float | None = ask(
        None,
        "Share of a side that the centre crop keeps: 0.875, ...; 1 for all of it.",
        kind=Real,
        group=PREPARING,
        usual=RECORDED,
        page="share of a side that the centre crop keeps (timm: `crop_pct`); `1` for all of it",
    )
    resize: str | None = ask(
        None,
        "bicubic or bilinear.",
        group=PREPARING,
        usual=RECORDED,
        page="`bicubic` or `bilinear` (timm: `interpolation`)",
    )
    colour: str | None = ask(
        None,
        "Order of the channels that the network was trained with: rgb or bgr.",
        "--colour",
        "--color",
        group=PREPARING,
        usual="the family's",
        page="order of the channels that the network was trained with: `rgb` or `bgr`",
    )
    scale: str | float | None = ask(
        None,
        "What pixels of 0..255 are divided by: 255 or 1/255 for 0..1, 1 for none.",
        group=PREPARING,
        usual=RECORDED,
        page="what pixels of 0..255 are divided by before mean and std: `255` or `1/255` for 0..1, `127.5` for 0..2, `1` for "
        "pixels as they are",
    )
    channels: int | None = ask(
        None,
        "1 for grey pictures, 3, or 4 with alpha.",
        kind=Number,
        group=PREPARING,
        usual="the model's",
        page="`1` for grey pictures, `3`, or `4` with alpha; our families and networks of timm are built for it (`in_chans`)",
    )
    layout: str | None = ask(
        None,
        "Axes of the input: nchw or nhwc.",
        group=PREPARING,
        usual="the model's",
        page="axes of the input: `nchw`, or `nhwc` with the channels last",
    )
    input_dtype: str | None = ask(
        None,
        "What the network takes: float32, or uint8 where it prepares pixels itself.",
        group=PREPARING,
        usual="the model's",
        page="what the network takes: `float32`, or `uint8` where scale, mean and std are computed by the network itself",
    )
    contract: Place | None = ask(
        None,
        "TOML file that says the same things: mean = [0.5, 0.5, 0.5].",
        group=PREPARING,
        usual="none",
        page="a TOML file that says the same things (`mean = [0.5, 0.5, 0.5]`); a flag counts before it "
        "([own_model.md](own_model.md#how-pictures-are-prepared))",
    )
    fit: str | None = ask(
        None,
        "Detectors: stretch or letterbox the picture (default: as trained).",
        group=DETECTORS,
        usual="as trained",
        of_task=True,
        page="`stretch` or `letterbox` the picture",
    )
    batch: int | str | None = ask(
        None,
        "A number, or 1..8 for any batch between.",
        "--batch",
        "-b",
        kind=Text,
        page="a number, or `1..8` for a graph that takes any batch between",
        usual="`1`; of an ONNX file its own, `1..8` where it is open",
    )
    dynamic: bool = ask(False, "Same as --batch 1..8.", "--dynamic", kind=bool)
    min_shapes: str | None = ask(
        None,
        "Smallest input, as images:1x3x224x224.",
        page="smallest input, as trtexec spells it: `images:1x3x224x224`",
    )
    opt_shapes: str | None = ask(None, "Usual input.")
    max_shapes: str | None = ask(None, "Largest input.")
    opset: int | None = ask(None, "ONNX opset (default: the target's).", kind=Number, usual="the target's",
                            page="ONNX opset of the exported graph")  # fmt: skip
    out: Place | None = ask(None, "Bundle to write (default NAME.edge).", "--out", "-o", usual="`NAME.edge`",
                           page="the bundle to write")  # fmt: skip
    nms: str | None = ask(
        None,
        "Detectors: suppression by the runtime (default), in the graph, or none.",
        group=DETECTORS,
        page="suppression by the `runtime`, in the `graph`, or `none`",
        usual="`runtime`",
        of_task=True,
    )
    score: float | None = ask(
        None,
        "Detectors: lowest score that is kept.",
        kind=Real,
        group=DETECTORS,
        page="lowest score that is kept",
        usual="the authors'",
        of_task=True,
    )
    iou: float | None = ask(
        None,
        "Detectors: overlap above which the weaker box goes.",
        kind=Real,
        group=DETECTORS,
        page="overlap above which the weaker box goes",
        usual="the authors'",
        of_task=True,
    )
    max_detections: int | None = ask(
        None,
        "Detectors: most boxes a picture.",
        kind=Number,
        group=DETECTORS,
        page="most boxes a picture",
        usual="`500`",
        of_task=True,
    )
    agnostic_nms: bool | None = ask(
        None,
        "Detectors: a better box drops what overlaps it whatever the classes.",
        "--agnostic-nms/--no-agnostic-nms",
        kind=Choice,
        group=DETECTORS,
        page="a better box drops what overlaps it whatever the classes; only where the runtime suppresses",
        usual="class by class",
        of_task=True,
    )
    screen: str | Iterable[Any] | None = ask(
        None,
        "Grounding: screens to see, width x height, as 1280x800,1920x1080.",
        group=GROUNDING,
        page="sizes of the screens that it will see, width x height with commas between: a vision tower and a prefix are written "
        "for each, and the nearest is taken on the device",
        usual="`1280x800,1920x1080`",
        of_task=True,
    )
    kv_bits: int | None = ask(
        None,
        "Grounding: bits of a stored key or value: 16, 8, 4 or 2.",
        kind=Number,
        group=GROUNDING,
        page="bits of a stored key or value of a screen: `16`, `8`, `4` or `2`",
        usual="float32 in `fp32`, else `16`",
        of_task=True,
    )
    kv_scheme: str | None = ask(
        None,
        "Grounding: how keys and values of 8 bits and less are stored: kivi or rotatekv.",
        group=GROUNDING,
        page="how keys and values of 8 bits and less are stored: `kivi`, keys a channel and values a token, or `rotatekv`",
        usual="`kivi`",
        of_task=True,
    )
    data: Data | None = ask(
        None,
        "Pictures to calibrate with and judge by: folder, list, .npz, COCO .json, or random.",
        page="pictures for the parity check; for `int8` and lower also to calibrate and to measure the accuracy: folder, "
        "list file, `.npz`, COCO `.json`, or `random`",
        usual="photographs of installed packages",
    )
    images: Place | None = ask(None, "Folder of the pictures that a COCO .json names.", group=DETECTORS)
    calib_images: int = ask(
        128,
        "How many of them calibrate; drawn evenly over the classes.",
        kind=int,
        group=QUANTISING,
        page="how many of the pictures calibrate; drawn evenly over the classes",
    )
    eval_images: int = ask(1000, "How many of the others measure the accuracy; 0 for none.", kind=int, group=QUANTISING)
    max_drop: float | None = ask(
        None,
        "Accuracy budget in points; exit 1 when it is missed.",
        kind=Real,
        group=QUANTISING,
        usual="none; `0.5` for `auto`",
    )
    ranges: str = ask("best", "best, minmax, mse, percentile or entropy.", kind=str, group=QUANTISING)
    smooth: float | None = ask(
        None,
        "Strength of moving outliers into the weights; 0 is off, 0.75 the default.",
        kind=Real,
        group=QUANTISING,
        page="strength of moving outliers into the weights; `0` is off",
        usual="`0.75`",
    )
    block: int | None = ask(
        None,
        "int4: weights that share a scale; 32, 64, 128 (default: the widest that fits).",
        kind=Number,
        group=QUANTISING,
        page="`int4`: weights that share a scale; `32`, `64`, `128`",
        usual="the widest that fits",
    )
    int8_form: str = ask("auto", "auto, static, dynamic (cpu) or u8 (cpu, openvino).", kind=str, group=QUANTISING)
    calib_cache: Place | None = ask(
        None,
        "Folder of the statistics (default: your cache folder).",
        group=QUANTISING,
        page="folder of the statistics",
        usual="your cache folder",
    )
    plugins: str | Iterable[str] | None = ask(
        "none",
        PLUGINS,
        kind=str,
        page="fused ops to put in: `none`, `all` (those that occur in the model), or names with commas between; "
        "[below](#fused-ops)",
    )
    native_plugins: bool = ask(
        False,
        f"Jetpack6: fused ops by the C++ plugin; {NOT_ON_HARDWARE}.",
        "--native-plugins",
        kind=bool,
        page="target `jetpack6`: the fused ops are computed by the C++ plugin ([hardware](hardware.md))",
    )
    skip: Iterable[str] = ask(
        (),
        "Leave a rewrite out; may be repeated.",
        "--skip",
        kind=Words,
        metavar="PASS",
        page="leave a rewrite out, and those that cannot do without it (the notes name them); may be repeated",
    )
    keep: bool = ask(
        False,
        "Keep the numbered graphs in NAME.run.",
        "--keep",
        kind=bool,
        page="keep the numbered graphs in `NAME.run`",
    )
    verify_each: bool = ask(
        False,
        "Check the numbers after every rewrite.",
        "--verify-each",
        kind=bool,
        page="check the numbers after every rewrite, and name the one that moves them",
    )
    check: bool = ask(
        True,
        "Fail when parity does not hold.",
        "--check/--no-check",
        kind=bool,
        page="fail when parity does not hold; with `--no-check` the bundle is written and says so",
        usual="`--check`",
    )
    overwrite: bool = ask(
        False,
        "Replace a bundle that exists.",
        "--force",
        "--overwrite",
        kind=bool,
        page="replace a bundle that exists; anything else is never replaced",
    )
    seed: int = ask(0, "Seed of random weights.", kind=int)  # fmt: skip


SETTINGS: dict[str, Setting] = {each.name: each.metadata["setting"] for each in fields(Settings)}
TASK_CHOICES = tuple(name for name, one in SETTINGS.items() if one.of_task)


def check_names(given: Iterable[str], also: Iterable[str] = ("dry_run", "progress")) -> None:
    """UserMistake for the first name that is none of the settings (nor of ``also``), with the nearest that is."""
    known = [*SETTINGS, *also]
    for name in given:
        if name not in known:
            raise UserMistake(
                f"edgesmith.export has no option {name!r}",
                found=f"{name}=...",
                expected="one of " + ", ".join(known),
                attempt=nearest(name, known) or "edgesmith export --help says what each does",
            )


def settings_of(model: str, weights: Place | None, choices: dict[str, Any]) -> Settings:
    """The settings of a call; UserMistake for a choice that there is not, and for a value of another kind."""
    check_names(choices)
    check_kinds(fields(Settings), {"model": model, "weights": weights, **choices})
    return Settings(model=model, weights=weights, **choices)
