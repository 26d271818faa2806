"""A folder of GUI-AIMA, opened: sizes, prompt and tokenizer, and tensors that are read when they are needed.

    FOLDER -> open_folder -> ModelFolder -> load_eager -> torch module (all at once) | .tensors (one by one)

Nothing of a folder is run: config.json and tokenizer.json are data, tensors are safetensors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.errors import UserMistake
from ..families.gui_aima.names import EMBEDDINGS, LEFT_OUT, check_names, name_of, shapes_of
from ..families.gui_aima.prompt import MESSAGE, Prompt, prompt_of
from ..families.gui_aima.shape import Shape, shape_of
from ..families.gui_aima.weighting import Weighting, from_flags
from ..weights.place import sha256_of
from .licence import RANDOM, licence_of
from .random_weights import random_array
from .stand_in import stand_in
from .tensors import LazyTensor, files_of, read_tensors
from .words import bytes_of, check_processor, json_of, tokenizer_of

if TYPE_CHECKING:
    from torch import Tensor

ATTEMPT = "download a checkpoint, such as smz8599/GUI-AIMA-3B of huggingface.co, and give its folder"
LONGEST_MESSAGE = 10_000  # characters
MESSAGE_KEY = (
    "grounding_message"  # in config.json, where a checkpoint was trained with another message than the authors'
)


@dataclass(frozen=True, eq=False)
class ModelFolder:
    """One checkpoint. ``tensors`` has every tensor of ``shape``, under the names of transformers 5.x, and no other."""

    source: str  # the folder's name
    shape: Shape
    weighting: Weighting
    prompt: Prompt
    message: str
    tokenizer_json: bytes
    tensors: Mapping[str, LazyTensor]
    path: Path | None = None
    notes: tuple[str, ...] = ()
    tokenizer: Any = field(default=None, repr=False)  # tokenizers.Tokenizer
    licence: str = RANDOM  # of the weights

    @property
    def parameters(self) -> int:
        return sum(_count(one.shape) for one in self.tensors.values())

    @property
    def dtype(self) -> str:
        """That of the table of embeddings, as most checkpoints have one for all."""
        return self.tensors[EMBEDDINGS].dtype

    def sha256(self) -> str | None:
        """Of the bytes of config.json, tokenizer.json and the tensors' files, one after the other; None for random weights."""
        if self.path is None:
            return None
        return sha256_of([self.path / "config.json", self.path / "tokenizer.json", *files_of(self.path)])


def open_folder(path: str | os.PathLike[str]) -> ModelFolder:
    """The folder with its tensors' names and shapes; no values are read.

    Raises:
        UserMistake: a file is missing, cut off or of another kind; the base is not Qwen2.5-VL; the anchor's tokens are
            missing; tensors are not those of config.json, or hold no floating-point numbers; pictures are prepared otherwise.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserMistake(
            "--weights: GUI-AIMA's checkpoint is a folder",
            found=f"{path}, a file" if folder.is_file() else f"{path}, which is not there",
            expected="a folder with config.json, tokenizer.json and the tensors",
            attempt=f"--weights {folder.parent}" if (folder.parent / "config.json").is_file() else ATTEMPT,
        )
    source = folder.name or str(folder)
    words = json_of(folder, "config.json", source)
    shape = shape_of(words, source)
    weighting = from_flags(words, source)
    message = words.get(MESSAGE_KEY, MESSAGE)
    if not isinstance(message, str) or len(message) > LONGEST_MESSAGE:
        raise UserMistake(
            f"{source}: config.json, {MESSAGE_KEY}",
            found=repr(message)[:80],
            expected=f"a text of at most {LONGEST_MESSAGE} characters",
            attempt="leave it out for the message of the published checkpoints",
        )
    check_processor(folder, source)
    content = bytes_of(folder, "tokenizer.json", source)
    tokenizer = tokenizer_of(content, source)
    prompt = prompt_of(tokenizer, shape, message, source)
    found = read_tensors(folder, name_of)
    check_names({name: one.shape for name, one in found.items()}, shape, source)
    wanted = {name: found[name] for name in shapes_of(shape)}
    notes = tuple(f"left out, no score depends on it: {name}" for name in found if LEFT_OUT.fullmatch(name))
    if shape != Shape():
        notes += (f"a network of its own sizes: {shape}",)
    licence = licence_of(folder, shape)
    return ModelFolder(source, shape, weighting, prompt, message, content, wanted, folder, notes, tokenizer, licence)


def random_folder(
    shape: Shape | None = None, seed: int = 0, weighting: Weighting | None = None, message: str = MESSAGE,
    dtype: str = "bfloat16",
) -> ModelFolder:  # fmt: skip
    """A checkpoint that is not there: each tensor is made of its name and the seed when it is read."""
    shape = shape or Shape()
    content = stand_in(shape)
    source = f"random, seed {seed}"
    tokenizer = tokenizer_of(content, source)
    tensors = {
        name: LazyTensor(name, "", dtype, sides, partial(_random, name, sides, seed, dtype))
        for name, sides in shapes_of(shape).items()
    }
    note = f"random weights of seed {seed}, and a tokenizer of bytes: the points mean nothing"
    prompt = prompt_of(tokenizer, shape, message, source)
    return ModelFolder(
        source, shape, weighting or Weighting(), prompt, message, content, tensors, None, (note,), tokenizer
    )


def load_eager(folder: str | os.PathLike[str] | ModelFolder, dtype: str = "float32") -> Any:
    """All tensors in a ``Qwen2_5_VLForConditionalGeneration`` of transformers, eval mode, on the CPU.

    Raises:
        UserMistake: as open_folder; values are not finite; transformers is too old or counts positions in another way.
    """
    import torch

    from ..families.gui_aima.network import filled
    from ..families.gui_aima.versions import check_transformers

    opened = folder if isinstance(folder, ModelFolder) else open_folder(folder)
    check_transformers()
    kind = getattr(torch, dtype)
    return filled(opened.shape, {name: one.read().to(kind) for name, one in opened.tensors.items()})


def _random(name: str, sides: tuple[int, ...], seed: int, dtype: str) -> Tensor:
    import torch

    return torch.from_numpy(random_array(name, sides, seed)).to(getattr(torch, dtype))


def _count(sides: tuple[int, ...]) -> int:
    count = 1
    for side in sides:
        count *= side
    return count
