"""What is known of one model variant, and how it is built.

    ModelSpec -> build(num_classes, image_size) -> nn.Module

Reading a spec imports neither torch nor timm; only what needs the family's module does. Such a module is one of ours,
families/FAMILY/network.py, or the one that ``module`` names. It must have ``build(num_classes, image_size, **config)``; where
its checkpoints need it also ``rename(state)``, ``changes_for(state, config)``, ``at_size(state, config, image_size,
trained_size)`` and ``FILLED``; where random weights need it ``settle(module, spec, seed)``. A door (doors/), whose module serves
many networks, has hooks that are given the spec: ``rename_for(state, spec)``, ``resized_for(state, spec, image_size)``,
``check_size(spec, image_size)``, ``check_input(spec, contract)`` and ``load(spec, num_classes, image_size)``. The methods
below say what each is for.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..runtime.errors import UserMistake
from ..runtime.pictures.contract import ImageContract
from .graph_file import GraphFile

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class ModelSpec:
    """One variant. ``parameters`` is the exact count with ``num_classes`` outputs at ``contract.size``.

    A network that tells no classes apart has ``num_classes`` 0 and no labels.
    """

    name: str
    family: str
    paper: str
    licence_code: str
    licence_weights: str
    parameters: int
    contract: ImageContract
    config: Mapping[str, Any] = field(default_factory=dict, hash=False)  # the family's constructor arguments
    pretrained: str | None = None  # "timm:NAME.TAG" or a URL; None where nobody publishes weights
    older_weights: str | None = None  # a URL that is tried where the first one does not answer
    task: str = "classification"
    num_classes: int = 1000
    folder: bool = False  # its checkpoints are folders: config.json says the sizes, tokenizer.json the words (folders/)
    fixed_size: bool = False  # the network exists for one image size only
    dynamic_size: bool = False  # one exported graph may serve several image sizes
    size_multiple: int = 1  # both sides must be divisible by this
    size_min: int = 32  # the smallest side the last stage can still see
    convolutional: bool = False  # convolutions only: decides which int8 form is fast on a CPU
    arguments: tuple[str, ...] = ()  # of ``build``, as timm calls them, that a checkpoint's config.json may set
    fused_ops: tuple[str, ...] = ()  # our fused ops that have places in this network (exporter/plugins)
    label_names: tuple[str, ...] = ()  # where they are not ImageNet's
    score: float = 0.0  # detection: candidates above this score ...
    iou: float = 0.0  # ... suppress others of their class by this overlap; both as the authors evaluate
    fixture: bool = False  # trained by us, for tests and benchmarks
    module: str | None = None  # the import name of the family's module; None for our own families
    file: GraphFile | None = None  # an ONNX file: it is read, where others are built and traced
    usual_weights: str = "random"  # where --weights says nothing; "own": those that come with the network
    classifier: tuple[str, ...] = ()  # layers whose rows are the classes, where they are not called head or head.fc
    asked: Mapping[str, Any] = field(default_factory=dict, hash=False)  # of ``config``, what the user said: --model-arg
    assumed: tuple[str, ...] = ()  # what nothing says and was taken for granted, for the notes of a plan
    may_classify: bool = False  # it has no classifier, and its builder makes one where it is given a number of classes
    channels_argument: str = ""  # of ``build``: how many channels a picture has, where that can be chosen
    first_layers: tuple[
        str, ...
    ] = ()  # that see the picture: their weights of three channels are adapted to other numbers
    contract_assumed: str = ""  # who says nothing of how pictures are prepared: "a module"; "": the source says it
    may_go_without: bool = False  # its builder leaves the classifier out where it is given 0 classes
    sizes_by_trying: bool = False  # no rule says which image sizes it can see: ``check_size`` of its module tries one

    def build(
        self, num_classes: int | None = None, image_size: tuple[int, int] | None = None, **changes: Any
    ) -> nn.Module:
        """The network in training mode with fresh random weights; ``changes`` override ``config``."""
        config = {**self.config, **changes}
        return self._family().build(
            num_classes=num_classes or self.num_classes, image_size=image_size or self.contract.size, **config
        )

    def rename(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensor names of any layout the family is published in -> the names of ``build``'s module."""
        if rename_for := getattr(self._family(), "rename_for", None):
            renamed: dict[str, Tensor] = rename_for(state, self)
            return renamed
        rename = getattr(self._family(), "rename", None)  # a family published under our names only has none
        return rename(state) if rename else state

    def changes_for(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What ``config`` must say instead for this checkpoint (in our names), and notes about it."""
        told = getattr(self._family(), "changes_for", None)  # a family whose checkpoints come in one shape has none
        return told(state, self.config) if told else ({}, ())

    def at_size(
        self, state: dict[str, Tensor], image_size: tuple[int, int]
    ) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """The checkpoint's tensors (in our names) for another image size, where some depend on it, and notes about it."""
        if resized_for := getattr(self._family(), "resized_for", None):
            resized: tuple[dict[str, Tensor], tuple[str, ...]] = resized_for(state, self, image_size)
            return resized
        resize = getattr(self._family(), "at_size", None)
        return resize(state, self.config, image_size, self.contract.size) if resize else (state, ())

    def filled(self) -> Mapping[str, str]:
        """Tensors that a checkpoint may lack, and what to say when they keep their first value."""
        return getattr(self._family(), "FILLED", {})

    def settle(self, module: nn.Module, seed: int) -> None:
        """Give random weights the statistics of pictures, where the family cannot do without them."""
        settle = getattr(self._family(), "settle", None)
        if settle:
            settle(module, self, seed)

    def load(self, num_classes: int, image_size: tuple[int, int]) -> tuple[nn.Module, str, str | None, tuple[str, ...]]:
        """The network with the weights that it comes with, what they are called, their hash and notes: ``usual_weights`` "own"."""
        loaded: tuple[nn.Module, str, str | None, tuple[str, ...]] = self._family().load(self, num_classes, image_size)
        return loaded

    @property
    def file_name(self) -> str:
        """What a file of this model is called: the name without what no file should have in its name."""
        last = re.split(r"[:/]", re.sub(r"\.(py:\w+|onnx)$", "", self.name))[-1]
        return re.sub(r"[^A-Za-z0-9_.+-]+", "_", last).strip("._") or "model"

    @property
    def recorded_name(self) -> str:
        """The name in a manifest, which tells nobody where on a disk a file or folder lay."""
        prefix, colon, place = self.name.rpartition(":") if re.match(r"\w+:", self.name) else ("", "", self.name)
        return f"{prefix}{colon}{re.split(r'[/]', place.rstrip('/'))[-1]}"

    def with_classes(self, num_classes: int | None) -> ModelSpec:
        """A network without a classifier gets one where it gets classes, and with one loses it where it gets none.

        UserMistake for one that cannot be without.
        """
        if num_classes:
            if not self.may_classify:
                return self
            return replace(self, task=ModelSpec.task, num_classes=num_classes, may_classify=False)
        if num_classes is None or not self.num_classes:
            return self
        if not self.may_go_without:
            raise UserMistake(
                f"{self.name} has no form without its classes",
                found="--num-classes 0",
                expected="a network of timm, whose builder leaves the classifier out: what it gives then are features",
                attempt="--model timm:NAME --num-classes 0, or a function of yours that returns the layers before the classifier",
            )
        return replace(self, task="features", num_classes=0, label_names=(), may_classify=True)

    def _family(self) -> ModuleType:
        """The module of the family; its import brings torch."""
        if self.module is None:
            return importlib.import_module(f".families.{self.family}.network", __package__)
        try:
            module = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{self.module}.".startswith(f"{error.name}."):
                raise  # it is there, and what it imports is not
            raise self._no_module(f"no Python module {error.name}", "install what brings it, or PYTHONPATH") from None
        if not callable(getattr(module, "build", None)):
            raise self._no_module(
                "no function build in it", f"def build(num_classes, image_size, ...) in {self.module}"
            )
        return module

    def _no_module(self, found: str, attempt: str) -> UserMistake:
        return UserMistake(
            f"The network of {self.name} cannot be built",
            found=f"module {self.module}: {found}",
            expected="an importable module with build(num_classes, image_size, **config)",
            attempt=attempt,
        )

    def labels(self, num_classes: int | None = None) -> list[str]:
        """One name a class; numbers where the checkpoint is not of the classes that the variant is published with."""
        from .labels import imagenet_or_numbers, numbers

        count = num_classes or self.num_classes
        if len(self.label_names) == count or (count, len(self.label_names)) == (
            1,
            2,
        ):  # two are told by one output's sign
            return list(self.label_names)
        return numbers(count) if self.label_names else imagenet_or_numbers(count)

    def check_size(self, image_size: int | tuple[int, int] | None) -> tuple[int, int]:
        """(height, width) to build for; raises UserMistake where the architecture does not allow the size."""
        if image_size is None:
            return self.contract.size
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        found = f"{height}x{width}"
        if self.fixed_size and (height, width) != self.contract.size:
            raise UserMistake(
                f"{self.name} has one image size",
                found=found,
                expected="{}x{}".format(*self.contract.size),
                because="its positions were learned for one square grid of patches",
                attempt="leave --image-size out, or choose a family that takes any size: smt, davit, van",
            )
        if min(height, width) < self.size_min or height % self.size_multiple or width % self.size_multiple:
            rule = f"a multiple of {self.size_multiple}, " if self.size_multiple > 1 else ""
            raise UserMistake(
                f"{self.name} cannot see this image size", found=found, expected=f"{rule}at least {self.size_min}"
            )
        if self.sizes_by_trying and (height, width) != self.contract.size:
            self._family().check_size(self, (height, width))
        return height, width

    def check_contract(self, contract: ImageContract) -> None:
        """UserMistake where the network does not take what the contract makes of a picture."""
        if contract.face == self.contract.face:
            return
        check = getattr(self._family(), "check_input", None) if self.file is None else None
        if check is not None and contract.channels == self.contract.channels:
            check(self, contract)
            return
        channels, dtype, layout = self.contract.face
        raise UserMistake(
            f"The contract contradicts the input of {self.name}",
            found=face_words(*contract.face),
            expected=face_words(channels, dtype, layout),
            because="the file was written for it" if self.file else "its layers are made for it",
            attempt="leave out what says otherwise (--channels, --input-dtype, --layout)",
        )

    def contract_for(self, image_size: tuple[int, int]) -> ImageContract:
        """The input contract at another size; everything but the size stays."""
        return replace(self.contract, size=image_size)


def face_words(channels: int, dtype: str, layout: str) -> str:
    """``3 channels, float32, NCHW``."""
    return f"{channels} channel{'s' if channels > 1 else ''}, {dtype}, {layout}"
