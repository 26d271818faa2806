"""hf:FOLDER -> ModelSpec: a folder of transformers on this disk, config.json, preprocessor_config.json and the weights.

Nothing of a folder is run: networks are those that transformers brings, and weights are safetensors or read as weights only.
A folder that timm's ``save_for_hf`` wrote is one of timm's networks with its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.errors import UserMistake
from ...runtime.pictures.contract import ImageContract, spread
from ..labels import numbers
from ..spec import ModelSpec
from ..weights.class_map import class_map
from ..weights.files.beside import beside
from ..weights.place import sha256_of, weights_file
from ..weights.said import size_px, transformers_says
from . import timm_model
from .building import OneTensor, built, check_size, first_line, on_meta, sized
from .kinds import CLASSES, FEATURES, MAPS, Kind

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build", "check_size", "load", "spec"]

KINDS: dict[str, Kind] = {  # by the end of the architecture's name
    "ForImageClassification": CLASSES,
    "ForSemanticSegmentation": MAPS,
    "Backbone": FEATURES,
    "Model": FEATURES,
}
DONE = {
    *("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_flip_channel_order"),
    *("do_reduce_labels", "do_sample_frames"),
}  # what a processor may do: we do it too, or it does not concern the picture
MARK, CHANNELS_ARGUMENT = "config.json", "num_channels"


def spec(place: str, model_args: Mapping[str, Any]) -> ModelSpec:
    """What the files of the folder say; the network is built once without memory.

    Raises:
        UserMistake: no such folder, a file is missing or cannot be used, or its architecture is of another task.
    """
    folder = Path(place.strip()).expanduser()  # no shell does it behind a colon
    words, processor = _words(folder)
    if "architecture" in words and "architectures" not in words:
        inner = words.get("model_args")
        told = {**(inner if isinstance(inner, Mapping) else {}), **model_args}
        found = timm_model.spec(str(words["architecture"]), {str(k): v for k, v in told.items() if k != "num_classes"})
        return replace(found, name=f"hf:{place.strip()}", usual_weights=str(folder))
    architecture, kind = _architecture(folder, words)
    classes = 0 if kind is FEATURES else _classes(words)
    known = ModelSpec(
        name=f"hf:{place.strip()}",
        family=str(words.get("model_type", "transformers")),
        paper=f"transformers, {architecture}",
        licence_code="Apache-2.0 (transformers)",
        licence_weights="as the folder's README states it",
        parameters=0,
        contract=_contract(folder, words, processor, model_args.get(CHANNELS_ARGUMENT)),
        config={"folder": str(folder.absolute()), "architecture": architecture, **model_args},
        **{name: value for name, value in kind.items() if name != "may_classify"},
        num_classes=classes,
        size_min=1,
        label_names=class_map(words, folder) or tuple(numbers(classes)),
        module=__name__,
        usual_weights="own",
        asked=dict(model_args),
        channels_argument=CHANNELS_ARGUMENT if CHANNELS_ARGUMENT in words else "",
        sizes_by_trying=True,
    )
    network = built(
        known.name, lambda: on_meta(known, known.contract.size), model_args, lambda: _config(folder).to_dict()
    )
    return sized(known, network)


def build(
    num_classes: int, image_size: tuple[int, int], *, folder: str, architecture: str, **model_args: Any
) -> nn.Module:
    """The network without weights; ``model_args`` are fields of config.json."""
    config = _config(Path(folder), num_classes, model_args)
    network: nn.Module = _class(architecture)(config)
    network.register_forward_hook(OneTensor(architecture))
    return network


def load(spec: ModelSpec, num_classes: int, image_size: tuple[int, int]) -> tuple[nn.Module, str, str, tuple[str, ...]]:
    """The same with the folder's weights, read by transformers, which renames those of older releases.

    Raises:
        UserMistake: weights are missing, left over or of another shape: something would answer at random.
    """
    folder = Path(spec.config["folder"])
    if num_classes != spec.num_classes:
        raise UserMistake(
            f"{folder.name}: the head of this folder has another number of classes",
            found=f"{spec.num_classes} classes, --num-classes {num_classes}",
            expected=f"{spec.num_classes}",
            attempt="leave --num-classes out, or --weights random",
        )
    file = weights_file(folder)
    told = {key: spec.config[key] for key in spec.asked}
    from transformers.utils import logging

    logging.disable_progress_bar()  # of a load that takes a second
    try:
        network, info = _class(spec.config["architecture"]).from_pretrained(
            str(folder), config=_config(folder, None, told), local_files_only=True, trust_remote_code=False,
            output_loading_info=True, ignore_mismatched_sizes=True, weights_only=True,
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001  three libraries, each with its own kinds
        raise UserMistake(
            f"{folder.name}: the weights cannot be read",
            found=first_line(error),
            expected="model.safetensors or pytorch_model.bin as save_pretrained writes it",
            attempt="copy the folder again",
        ) from None
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys")
    wrong = {kind: sorted(map(str, info.get(kind, ()))) for kind in kinds if info.get(kind)}
    if wrong:
        listed = "\n".join(
            f"{len(names)} {kind.split('_')[0]}: {', '.join(names[:3])}"[:200] for kind, names in wrong.items()
        )
        raise UserMistake(
            f"{folder.name}: the weights are not those of config.json",
            found=listed,
            expected=f"the tensors of {spec.config['architecture']}",
            because="what is missing would answer at random",
            attempt="the folder as save_pretrained wrote it",
        )
    network.register_forward_hook(OneTensor(spec.config["architecture"]))
    return network.float(), folder.name, sha256_of([file]), ()


def _words(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json and what says how pictures are prepared, empty where nothing does."""
    if not (folder / MARK).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{MARK}")) if folder.is_dir() else []
        raise UserMistake(
            f"There is no folder of transformers at {folder}",
            found=f"no {MARK} in it" if folder.is_dir() else "a file" if folder.exists() else "nothing at that path",
            expected=f"a folder with {MARK}, preprocessor_config.json and model.safetensors, as save_pretrained writes it",
            because="it is not downloaded: the folder is one on this disk" if not folder.exists() else "",
            attempt=f"--model hf:{folder / inside[0]}"
            if inside
            else "hf download NAME --local-dir FOLDER, then --model hf:FOLDER",
        )
    found = {name: dict(words) for name, words in beside(folder)}
    processor = found.get("preprocessor_config.json", {})
    return found.get(MARK, {}), processor


def _architecture(folder: Path, words: Mapping[str, Any]) -> tuple[str, Kind]:
    """The name of the class and its task; UserMistake for one that we do not export, or that brings code of its own."""
    named = words.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    kind = next((kind for end, kind in KINDS.items() if architecture.endswith(end)), None)
    expected = "a network of transformers whose name ends in " + ", ".join(KINDS)
    if words.get("auto_map"):
        raise UserMistake(
            f"{folder.name}: the network is code in the folder",
            found=f"auto_map in {MARK}",
            expected=expected,
            because="code of a folder is not run",
            attempt="a function of yours that builds it: --model path/file.py:function",
        )
    if kind is None or _class(architecture) is None:
        raise UserMistake(
            f"{folder.name}: a network that is not exported",
            found=f"architectures {architecture or 'that it does not name'}, model_type {words.get('model_type')}",
            expected=expected,
            because="" if kind is None else "the transformers that is installed does not know it",
            attempt="a function of yours that returns it with one input and one output: --model path/file.py:function",
        )
    return architecture, kind


def _class(architecture: str) -> Any:
    """The class of transformers; None where it has none of this name."""
    import transformers

    return getattr(transformers, architecture, None)


def _config(folder: Path, num_classes: int | None = None, model_args: Mapping[str, Any] | None = None) -> Any:
    """config.json as transformers reads it."""
    import transformers

    labels = {} if num_classes is None else {"num_labels": num_classes}
    config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    unknown = [name for name in model_args or {} if not hasattr(config, name)]
    if unknown:
        raise TypeError(f"got an unexpected keyword argument '{unknown[0]}'")
    for name, value in {**labels, **(model_args or {})}.items():
        if not (name == "num_labels" and config.num_labels == value):
            setattr(config, name, list(value) if isinstance(value, tuple) else value)
    return config


def _classes(words: Mapping[str, Any]) -> int:
    """As transformers counts them: two where nothing says how many."""
    labels = words.get("id2label")
    return int(words.get("num_labels") or (len(labels) if isinstance(labels, Mapping) and labels else 2))


def _contract(
    folder: Path, words: Mapping[str, Any], processor: Mapping[str, Any], channels: int | None = None
) -> ImageContract:
    """How pictures are prepared, for a network of other ``channels`` than config.json says; UserMistake for a step that is not done here."""
    origin = f"{folder.name}/preprocessor_config.json"
    if not processor:
        raise UserMistake(
            f"{folder.name} does not say how pictures are prepared",
            found="no preprocessor_config.json",
            expected="the file that image_processor.save_pretrained writes",
            because="pictures prepared in another way than in the training are answered wrongly",
            attempt="copy preprocessor_config.json beside config.json",
        )
    steps = [name for name, value in processor.items() if name.startswith("do_") and value is True and name not in DONE]
    if steps:
        raise UserMistake(
            f"{origin}: a step of the preprocessing that is not done here",
            found=", ".join(steps),
            expected="of " + ", ".join(sorted(DONE)),
            because="pictures prepared in another way than in the training are answered wrongly",
            attempt=f"{steps[0]}: false, where the network does as well without it",
        )
    fields = transformers_says(processor, origin)
    told = words.get(CHANNELS_ARGUMENT, 3) if channels is None else channels
    for name in ("mean", "std"):
        if name in fields:
            fields[name] = spread(fields[name], told)
    if "size" not in fields:
        size = size_px(words.get("image_size"))
        fields |= {"size": size or (224, 224), "fit": "stretch", "crop_fraction": 1.0}
    usual = ImageContract(fields["size"]).with_channels(told)
    return replace(usual, **{"resize": "bilinear", **fields})
