"""Screenshots of real pages: ours in pages/, rendered by headless Chromium, with the boxes of what can be asked for.

    python tools/screens/pages.py FOLDER                  ->  settings_1280x800.png, ..., pages.json, in FOLDER
    python tools/screens/pages.py FOLDER --bundle BUNDLE  ->  clicks.json and drawn/ beside them, and how many clicks are right
    shot(page, size, folder) -> Shot: file, asks (instruction, box x1 y1 x2 y2 in pixels)

The second asks everything of every page through the command, as a user would: ``edgesmith run BUNDLE mail_*.png --instructions
FILE --json --save drawn``. A click is right where it falls into the box of what is meant.

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
import sys
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

    @property
    def page(self) -> str:
        return self.file.rpartition("_")[0]


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


@dataclass(frozen=True)
class Judged:
    """One click on a shot: where it fell, and whether that is inside what was meant."""

    file: str
    instruction: str
    pixels: tuple[int, int]
    right: bool


def judged(bundle: Path, shots: list[Shot], folder: Path) -> list[Judged]:
    """Asks everything of all shots, a command for each page: those of one page share their instructions."""
    found = []
    for page in dict.fromkeys(one.page for one in shots):
        mine = {str(folder / one.file): one for one in shots if one.page == page}
        asked = list(dict.fromkeys(text for one in mine.values() for text, _ in one.asks))
        listed = folder / f"{page}.txt"
        listed.write_text("\n".join(asked) + "\n")
        words = [
            "run",
            str(bundle),
            *mine,
            "--instructions",
            str(listed),
            "--json",
            "--save",
            str(folder / "drawn" / page),
        ]
        told = subprocess.run([sys.executable, "-m", "edgesmith", *words], check=True, capture_output=True, text=True)
        for answer in json.loads(told.stdout):
            boxes = dict(mine[answer["image"]].asks)
            for click in answer["clicks"]:
                if click["instruction"] in boxes:  # else it is below the window in this size
                    x, y = click["pixels"]
                    left, top, right, bottom = boxes[click["instruction"]]
                    inside = left <= x < right and top <= y < bottom
                    found.append(Judged(Path(answer["image"]).name, click["instruction"], (x, y), inside))
    return found


def table(clicks: list[Judged]) -> str:
    """How many are right: of each shot, and of all."""
    lines = [
        f"{file:26} {sum(one.right for one in mine):3} of {len(mine):3} right"
        for file in dict.fromkeys(one.file for one in clicks)
        if (mine := [one for one in clicks if one.file == file])
    ]
    return "\n".join([*lines, f"{'all':26} {sum(one.right for one in clicks):3} of {len(clicks):3} right"])


def main() -> None:
    parser = argparse.ArgumentParser(description="render our pages as screenshots")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bundle", type=Path, help="a grounding bundle that is asked for everything")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    shots = [shot(page, size, options.folder) for page in sorted(PAGES.glob("*.html")) for size in SIZES]
    (options.folder / "pages.json").write_text(json.dumps([asdict(one) for one in shots], indent=1) + "\n")
    print(f"{len(shots)} screenshots in {options.folder}")
    if options.bundle:
        clicks = judged(options.bundle, shots, options.folder)
        (options.folder / "clicks.json").write_text(json.dumps([asdict(one) for one in clicks], indent=1) + "\n")
        print(table(clicks))


if __name__ == "__main__":
    main()
