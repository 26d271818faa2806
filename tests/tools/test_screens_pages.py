"""Real screenshots: our pages in headless Chromium, in four sizes, and clicks on them through the command.

What needs Chromium is skipped where it is not installed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import edgesmith
from grounding_bundle import WIDE, screenshot, write_grounding_bundle

from edgesmith.models.fixtures.fixtures import TRAINED

PAGES = Path(__file__).parents[2] / "tools" / "screens" / "pages.py"


@pytest.fixture(scope="module")
def pages() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("screens_pages", PAGES)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["screens_pages"] = module  # where dataclasses look
    spec.loader.exec_module(module)
    yield module
    del sys.modules["screens_pages"]


def test_every_page_says_what_can_be_asked_for(pages: Any):
    for page in pages.PAGES.glob("*.html"):
        assert page.read_text().count("data-ask=") >= 6, page


def test_without_chromium_the_mistake_says_what_to_install(pages: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from edgesmith.runtime.errors import UserMistake

    monkeypatch.setattr(pages.shutil, "which", lambda name: None)
    with pytest.raises(UserMistake, match="chromium"):
        pages.shot(pages.PAGES / "mail.html", (390, 844), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080), (390, 844), (3840, 2160)], ids=str)
def test_a_page_is_as_large_as_asked_and_its_boxes_show_something(pages: Any, tmp_path: Path, size: tuple[int, int]):
    if pages.chromium() is None:
        pytest.skip("Chromium is not installed")
    one = pages.shot(pages.PAGES / "settings.html", size, tmp_path)
    picture = cv2.imread(str(tmp_path / one.file))
    assert picture.shape == (size[1], size[0], 3)
    told = [text for text, _ in one.asks]
    assert {"click the green save button", "close the settings window", "turn on sound"} <= set(told)
    for _, (x1, y1, x2, y2) in one.asks:
        part = picture[int(y1) : int(y2), int(x1) : int(x2)].astype(np.int64)
        assert np.ptp(part, axis=(0, 1)).max() > 60
    green = dict(one.asks)["click the green save button"]
    blue, green_part, red = picture[int(green[1]) + 6, int(green[0]) + 12].tolist()
    assert green_part > max(blue, red)


def test_a_click_is_right_inside_the_box_of_what_was_meant(pages: Any, tmp_path: Path):
    pytest.importorskip("tokenizers")
    place = write_grounding_bundle(tmp_path / "colours.edge")
    cv2.imwrite(str(tmp_path / "desk_224x140.png"), screenshot(WIDE, red=(5, 1), blue=(0, 0))[:, :, ::-1])
    cv2.imwrite(str(tmp_path / "desk_112x112.png"), screenshot((112, 112), red=(1, 1))[:, :, ::-1])
    asks = (("click the red button", (140.0, 28.0, 168.0, 56.0)), ("blue", (50.0, 50.0, 60.0, 60.0)))
    shots = [
        pages.Shot("desk_224x140.png", WIDE, asks),
        pages.Shot("desk_112x112.png", (112, 112), (("click the red button", (28.0, 28.0, 56.0, 56.0)),)),
    ]
    found = pages.judged(place, shots, tmp_path)
    assert [(one.file, one.instruction, one.right) for one in found] == [
        ("desk_224x140.png", "click the red button", True),
        ("desk_224x140.png", "blue", False),
        ("desk_112x112.png", "click the red button", True),
    ]
    assert found[0].pixels == (154, 42) and pages.table(found).splitlines()[-1].split()[1:] == ["2", "of", "3", "right"]
    assert sorted(path.name for path in (tmp_path / "drawn" / "desk").iterdir()) == [
        "desk_112x112.png",
        "desk_224x140.png",
    ]


@pytest.mark.slow
def test_real_screens_of_four_sizes_run_the_whole_path_through_the_command(pages: Any, tmp_path: Path):
    """The trained network learned on drawn screens, not on pages: that its clicks are right is not asked for here."""
    if pages.chromium() is None:
        pytest.skip("Chromium is not installed")
    bundle, sizes = tmp_path / "trained.edge", ",".join(f"{width}x{height}" for width, height in pages.SIZES[::-1])
    words = ("--weights", str(TRAINED / "gui_aima_screens"), "--screen", sizes, "--out", str(bundle))
    made = edgesmith("export", "--model", "gui_aima", *words)
    assert made.code == 0, made.err
    assert "RESEARCH" not in made.out and "apache-2.0" in made.out
    shots = [pages.shot(page, size, tmp_path) for page in sorted(pages.PAGES.glob("*.html")) for size in pages.SIZES]
    found = pages.judged(bundle, shots, tmp_path)
    assert len(found) == sum(len(one.asks) for one in shots) >= 90
    for one in shots:
        width, height = one.size
        assert all(
            0 <= click.pixels[0] < width and 0 <= click.pixels[1] < height for click in found if click.file == one.file
        )
        bare, drawn = (cv2.imread(str(place / one.file)) for place in (tmp_path, tmp_path / "drawn" / one.page))
        assert drawn.shape == bare.shape == (height, width, 3)
        assert (drawn != bare).any(axis=2).mean() > 0.005
    assert len({click.pixels for click in found}) > len(found) / 4  # it looks at the words, not at one place
