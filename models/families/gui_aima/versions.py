"""Does this transformers give Qwen2.5-VL's tokens the positions that the checkpoints were trained with? If not, it is refused.

Some versions need ``mm_token_type_ids`` beside the ids and fall back, without a word, to positions of one axis where they
are missing or meant in another way: every score would change. A version number alone does not tell, so a network of a few
values is asked, and what reaches its rotary table is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ....runtime.errors import UserMistake
from .network import FLOOR, check_version, empty, installed
from .picture import patch_rows
from .prompt import positions
from .shape import MULTIPLE, Shape, TokenIds

BEFORE, GRID, BEHIND = (
    3,
    (2, 3),
    4,
)  # of the text that is asked about; a grid that is not square, so that axes cannot change places
IMAGE = 7  # its image token

Asked = Callable[[np.ndarray, np.ndarray, tuple[int, int]], Any]  # ids (1, N), token types (1, N), grid -> positions


@cache
def check_transformers() -> None:
    """UserMistake where the transformers here gives other positions than the checkpoints were trained with. Asked once."""
    check_version()
    check_positions(positions_seen, f"transformers {installed()}")


def check_positions(asked: Asked, source: str) -> None:
    """UserMistake where ``asked`` gives other positions than (3, 1, N) of text, one picture's rows and columns, text."""
    expected = positions(BEFORE, GRID, BEHIND)
    types = np.concatenate([np.zeros(BEFORE), np.ones(GRID[0] * GRID[1]), np.zeros(BEHIND)]).astype(np.int64)[None]
    ids = np.where(types == 1, IMAGE, 1)
    try:
        found = np.asarray(asked(ids, types, GRID))
    except (TypeError, AttributeError, ValueError) as error:
        raise _refused(
            source, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:160]
        ) from None
    if found.shape == (3, 1, expected.shape[1]) and (found[:, 0] == expected).all():
        return
    flat = found.reshape(-1, found.shape[-1]) if found.ndim else found.reshape(1, 1)
    one_axis = found.size > 0 and bool((flat == flat[0]).all())
    raise _refused(source, "positions of one axis" if one_axis else f"positions of shape {found.shape} that are others")


def positions_seen(ids: np.ndarray, types: np.ndarray | None, grid: tuple[int, int]) -> np.ndarray:
    """What reaches the rotary table of a tiny Qwen2.5-VL that is given ids, token types and a picture, but no positions."""
    import torch

    shape = Shape(
        vocabulary=8, hidden=16, layers=1, heads=2, kv_heads=1, mlp=8, sections=(2, 1, 1), vision_layers=1,
        vision_hidden=8, vision_heads=2, vision_mlp=8, full_attention=(0,), tokens=TokenIds(IMAGE, 5, 6, 2, 3),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        module = empty(shape)
    seen: list[Any] = []
    rotary = module.model.language_model.rotary_emb
    rotary.register_forward_pre_hook(
        lambda _module, given, named: seen.append((*given, *named.values())), with_kwargs=True
    )
    rows, columns = grid
    with torch.inference_mode():
        module.model(
            input_ids=torch.from_numpy(ids),
            mm_token_type_ids=None if types is None else torch.from_numpy(types),
            pixel_values=torch.from_numpy(patch_rows(np.zeros((3, rows * MULTIPLE, columns * MULTIPLE), np.float32))),
            image_grid_thw=torch.tensor([[1, 2 * rows, 2 * columns]]),
            use_cache=False,
        )
    return np.asarray(next(value for value in seen[0] if not value.is_floating_point()))


def _refused(source: str, found: str) -> UserMistake:
    return UserMistake(
        f"{source} counts the positions of a picture in another way",
        found=found,
        expected="three axes, time, row and column, for the tokens of a picture",
        because="GUI-AIMA's checkpoints were trained with those; with others every score changes, and no error is raised",
        attempt=f'pip install "transformers>={FLOOR[0]}.{FLOOR[1]}", or the version in requirements.lock',
    )
