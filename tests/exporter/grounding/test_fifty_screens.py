"""A bundle over 50 screens and instructions: what a screen was stored for once answers as the whole sequence does in PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from grounding_folder import write_folder

import edgesmith
from edgesmith.exporter.pipeline import export
from edgesmith.models.families.gui_aima import judge, picture
from edgesmith.models.folders.folder import load_eager, open_folder
from edgesmith.runtime.tasks.grounding.regions import regions

ROOT = Path(__file__).parents[3]
TRAINED = ROOT / "models" / "fixtures" / "trained" / "gui_aima_screens"
SCREENS = 50
WORDS = (
    "open",
    "close",
    "the",
    "blue",
    "red",
    "save",
    "button",
    "settings",
    "search",
    "field",
    "menu",
    "second",
    "on top",
)
Ask = tuple[np.ndarray, str]


def drawn(size: tuple[int, int]) -> list[Ask]:
    """Coarse and fine noise, and a few words."""
    rng = np.random.default_rng(14)
    found = []
    for _ in range(SCREENS):
        coarse = rng.integers(0, 256, (1 + size[0] // 28, 1 + size[1] // 28, 3)).repeat(28, 0).repeat(28, 1)
        fine = rng.integers(-40, 40, (*size, 3))
        shown = np.clip(coarse[: size[0], : size[1]] + fine, 0, 255).astype(np.uint8)
        found.append((shown, " ".join(rng.choice(WORDS, rng.integers(1, 7)))))
    return found


@pytest.fixture
def held_out() -> Iterator[list[Ask]]:
    """Screens of two sizes, as the checkpoint never saw them."""
    sys.path.insert(0, str(ROOT / "tools" / "screens"))
    from screen import SIZES, screen

    shown = [screen(index, "held_out", SIZES[index % 2]) for index in range(SCREENS)]
    yield [(one.picture, one.asks[0][0]) for one in shown]
    sys.path.remove(str(ROOT / "tools" / "screens"))


def check(folder: Path, asks: list[Ask], out: Path) -> None:
    sizes = dict.fromkeys(f"{shown.shape[1]}x{shown.shape[0]}" for shown, _ in asks)
    export("gui_aima", str(folder), screen=",".join(sizes), out=out)
    opened = open_folder(folder)
    module = load_eager(opened)
    with edgesmith.load(out) as session:
        for shown, text in asks:
            pixels = picture.prepared(shown)
            ids = opened.prompt.instruction(text, opened.tokenizer)
            wanted = judge.scores(module, opened.prompt, pixels, ids, opened.weighting)
            grid = picture.grid_of((pixels.shape[1], pixels.shape[2]))
            with session.open(shown) as screen:
                click = screen.click(text)
            assert click.scores.shape == grid
            assert np.abs(click.scores.ravel() - wanted).max() <= 1e-4 * wanted.max()
            assert click.scores.argmax() == wanted.argmax()
            apart = np.array(click.point) - regions(wanted.reshape(grid))[0].point
            assert (
                np.hypot(*(apart * shown.shape[1::-1])) < 0.05
            )  # pixels: float32 of the scores that weight a region's patches


@pytest.mark.slow
def test_the_tiny_configuration_clicks_where_the_whole_sequence_does(tmp_path: Path):
    check(write_folder(tmp_path / "tiny", golden=True), drawn((170, 220)), tmp_path / "tiny.edge")


@pytest.mark.slow
def test_the_trained_configuration_clicks_where_the_whole_sequence_does(held_out: list[Ask], tmp_path: Path):
    check(TRAINED, held_out, tmp_path / "trained.edge")
