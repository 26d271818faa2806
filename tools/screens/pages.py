"""Screenshots of real pages: ours in pages/, rendered by headless Chromium, with the boxes of what can be asked for.

    python tools/screens/pages.py FOLDER  ->  settings_1280x800.png, ..., pages.json, in FOLDER
    shot(page, size, folder) -> Shot: file, asks (instruction, box x1 y1 x2 y2 in pixels)

An element says in ``data-ask`` what somebody would say to have it clicked. Chromium is Debian's package ``chromium``; it is asked for nothing
outside the page, and keeps nothing.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from edgesmith.runtime.errors import UserMistake

PAGES = Path(__file__).parent / "pages"
SIZES = ((1280, 800), (1920, 1080), (390, 844), (3840, 2160))  # width, height
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
BOXES = """<script>
const boxes = [...document.querySelectorAll("[data-ask]")].map((one) => {
  const box = one.getBoundingClientRect();
  return [one.dataset.ask, [box.left, box.top, box.right, box.bottom]];
});
document.documentElement.dataset.boxes = JSON.stringify(boxes);
</script>
"""


@dataclass(frozen=True)
class Shot:
    file: str
    size: tuple[int, int]  # width, height
    asks: tuple[tuple[str, tuple[float, float, float, float]], ...]


def chromium() -> str | None:
    """Where Chromium is installed, if it is."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _chromium(page: Path, size: tuple[int, int], *asked: str) -> str:
    program = chromium()
    if program is None:
        raise UserMistake("Chromium is not installed", attempt="apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            program,
            "--headless",
            "--no-sandbox",  # the pages are ours, and root has no other way
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
            f"--user-data-dir={profile}",
            f"--window-size={size[0]},{size[1]}",
            *asked,
            page.as_uri(),
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def shot(page: Path, size: tuple[int, int], folder: Path) -> Shot:
    """Renders ``page`` at ``size`` (width, height) into ``folder``; what lies below the window is not asked for."""
    file = folder / f"{page.stem}_{size[0]}x{size[1]}.png"
    with tempfile.TemporaryDirectory() as scratch:
        measured = Path(scratch) / page.name
        measured.write_text(page.read_text() + BOXES)
        dom = _chromium(measured, size, "--dump-dom")
        _chromium(measured, size, f"--screenshot={file}")
    found = re.search(r'data-boxes="([^"]*)"', dom)
    boxes = json.loads(html.unescape(found.group(1))) if found else []
    asks = tuple((text, tuple(box)) for text, box in boxes if box[2] <= size[0] and box[3] <= size[1])
    return Shot(file.name, size, asks)


def main() -> None:
    parser = argparse.ArgumentParser(description="render our pages as screenshots")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    shots = [shot(page, size, options.folder) for page in sorted(PAGES.glob("*.html")) for size in SIZES]
    (options.folder / "pages.json").write_text(json.dumps([asdict(one) for one in shots], indent=1) + "\n")
    print(f"{len(shots)} screenshots in {options.folder}")


if __name__ == "__main__":
    main()
