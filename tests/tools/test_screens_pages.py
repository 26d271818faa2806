"""Real screenshots: our pages in headless Chromium, in four sizes; skipped where it is not installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

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
