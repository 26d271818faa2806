"""What a checkpoint records beside its tensors, or its folder does: preprocessing, image size, classes, network arguments.

    net.pth.tar (args, pretrained_cfg, ...), args.yaml, config.json, preprocessor_config.json -> Recorded -> ModelSpec

timm's train.py saves ``args`` and writes args.yaml, its ``save_for_hf`` writes config.json, transformers both .json files.
Of two that say the same thing the first in this order counts: what stands in the file itself is nearest to the tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.pictures.contract import spread
from .arguments import network_arguments
from .class_map import class_map, counted
from .files.beside import beside
from .files.plain_words import plain_words
from .files.yacs import of_yacs
from .light_pickle import beside_tensors
from .place import weights_file
from .said import Flagged, check_units, timm_says, transformers_says

if TYPE_CHECKING:
    from ..spec import ModelSpec

INSIDE = ("args", "hyper_parameters", "pretrained_cfg", "default_cfg", "data_config", "config", "cfg", "meta")
OWN = ("mean", "std", "input_size", "img_size", "interpolation", "crop_pct", "crop_mode", "num_classes")
OF_PROCESSORS = (
    *("image_processor_type", "feature_extractor_type", "image_mean", "image_std", "do_normalize", "do_rescale"),
    *("do_resize", "do_center_crop", "do_flip_channel_order", "rescale_factor"),
)
PREPARED = frozenset(
    ("mean", "std", "resize", "crop_fraction")
)  # what flags say; the network itself is not changed by it
SHOWN = ("mean", "std", "resize", "crop_fraction", "fit", "colour")  # in a note
USUAL = (("global_pool", "avg"), ("global_pool", "token"))  # what timm's models have that nobody asked for another


@dataclass(frozen=True)
class Recorded:
    """Empty where nothing is recorded."""

    fields: Mapping[str, Any] = field(default_factory=dict)  # of ImageContract
    origins: Mapping[str, str] = field(default_factory=dict)  # field, "classes" or "labels" -> where it stands
    num_classes: int | None = None
    labels: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of timm's model
    notes: tuple[str, ...] = ()

    def applied(self, spec: ModelSpec) -> ModelSpec:
        """The variant as it is recorded; UserMistake for network arguments or units that cannot be used."""
        origin = self.origins.get("arguments", "")
        config = {**spec.config, **network_arguments(self.arguments, spec, origin), **spec.asked}
        usual = spec.contract.with_channels(config.get(spec.channels_argument, spec.contract.channels))
        per_channel = {
            name: spread(self.fields[name], usual.channels) for name in ("mean", "std") if name in self.fields
        }
        contract = replace(usual, **{**self.fields, **per_channel})
        if per_channel:
            check_units(contract, ", ".join(dict.fromkeys(self.origins.values())))
        return replace(
            spec,
            contract=contract,
            config=config,
            num_classes=self.num_classes or spec.num_classes,
            label_names=self.labels or spec.label_names,
        ).with_classes(self.num_classes)

    def told(self, spec: ModelSpec) -> tuple[str, ...]:
        """Lines for the user: what is taken from where, for a network of ``spec``, as it is published."""
        lines, usual = [], spec.contract
        if said := [name for name in SHOWN if name in self.fields]:
            values = ", ".join(f"{_word(name)} {_spelt(self.fields[name])}" for name in said)
            where = ", ".join(dict.fromkeys(self.origins[name] for name in said))
            others = [name for name in said if self.fields[name] != getattr(usual, name)]
            beside = ", ".join(f"{_word(name)} {_spelt(getattr(usual, name))}" for name in others)
            line = f"preprocessing as {where} records it: {values}"
            lines.append(line + (f" ({spec.family} usually: {beside})" if others else f", as usual for {spec.family}"))
        if "size" in self.fields and self.fields["size"] != usual.size:
            height, width = self.fields["size"]
            lines.append(f"trained at {height}x{width}, as {self.origins['size']} says")
        if self.labels:
            lines.append(f"names of {len(self.labels)} classes from {self.origins['labels']}")
        elif self.num_classes not in (None, spec.num_classes):
            lines.append(f"{self.num_classes} classes, as {self.origins['classes']} says")
        changed = network_arguments(self.arguments, spec, self.origins.get("arguments", ""))
        if changed := {name: value for name, value in changed.items() if (name, value) not in USUAL}:
            values = ", ".join(f"{name} {_spelt(value)}" for name, value in changed.items())
            lines.append(f"network as {self.origins['arguments']} says: {values}")
        return (*lines, *self.notes)


def recorded(weights: str | Path, flagged: Flagged = frozenset()) -> Recorded:
    """What is recorded at ``weights``, read without torch; ``flagged``: fields that the user says."""
    file = weights_file(Path(weights))
    return recorded_in(beside_tensors(file), file, flagged) if file.is_file() else Recorded()


def recorded_in(content: Any, file: Path, flagged: Flagged = frozenset()) -> Recorded:
    """The same of ``content``, which was read from ``file`` already."""
    fields: dict[str, Any] = {}
    origins: dict[str, str] = {}
    arguments: dict[str, Any] = {}
    classes: int | None = None
    labels: tuple[str, ...] = ()
    notes: list[str] = []
    for origin, words in (*_inside(plain_words(content), file.name), *beside(file.parent)):
        words = {**words, **of_yacs(words)}
        says = transformers_says if any(key in words for key in OF_PROCESSORS) else timm_says
        said = says(words, origin, flagged)
        for name, value in said.items():
            if name not in fields:
                fields[name], origins[name] = value, origin
            elif fields[name] != value and name in SHOWN:
                notes.append(f"{origin} says {_word(name)} {_spelt(value)}; {origins[name]} counts")
        if classes is None and (count := counted(words)):
            classes, origins["classes"] = count, origin
        if not labels and (names := class_map(words, file.parent)):
            labels, origins["labels"] = names, origin
        if not arguments and (arguments := _arguments(words)):
            origins["arguments"] = origin
    of_one_output = (classes, len(labels)) == (1, 2)  # its sign decides between two
    if labels and classes is not None and len(labels) > classes and not of_one_output:
        notes.append(
            f"{origins['labels']} names {len(labels)} classes, {origins['classes']} says {classes}: no names are taken"
        )
        labels = ()
    if labels:
        labels = (*labels, *(f"class {index}" for index in range(len(labels), classes or 0)))
        classes = 1 if of_one_output else len(labels)
    return Recorded(fields, origins, classes, labels, arguments, tuple(notes))


def _inside(content: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, words) of the file itself; ``content`` is in plain words."""
    if not isinstance(content, Mapping):
        return
    for key in INSIDE:
        words = _words(content.get(key))
        if words is not None:
            yield f"{name} ({key})", words
            inner = ((other, _words(words.get(other))) for other in INSIDE)  # Lightning's hyper_parameters hold args
            yield from ((f"{name} ({key}.{other})", found) for other, found in inner if found is not None)
    own = {key: content.get(key) for key in OWN if isinstance(content.get(key), (int, float, str, list, tuple))}
    if any(isinstance(content.get(key), Mapping) for key in ("state_dict", "model", "model_state_dict")):
        own |= {key: content[key] for key in OWN[:2] if content.get(key) is not None}  # a tensor is said to be one
    maps = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, (Mapping, list))}
    yield name, {**{key: value for key, value in maps.items() if key not in (*INSIDE, *OWN)}, **own}


def _words(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None


def _arguments(words: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of timm's model: save_for_hf's model_args; train.py's --model-kwargs, and --gp for the pooling."""
    found: dict[str, Any] = {}
    if words.get("gp"):
        found["global_pool"] = words["gp"]
    for key in ("model_kwargs", "model_args"):
        if isinstance(inner := words.get(key), Mapping):
            found |= {str(name): value for name, value in inner.items()}
    channels = words.get("in_chans") or words.get("chans")
    return found | ({"in_chans": channels} if channels else {})


def _word(name: str) -> str:
    return {"crop_fraction": "crop", "arguments": "network"}.get(name, name)


def _spelt(value: Any) -> str:
    parts = value if isinstance(value, (tuple, list)) else (value,)
    return " ".join(f"{part:.4g}" if isinstance(part, float) else str(part) for part in parts)
