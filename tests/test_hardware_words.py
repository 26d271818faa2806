"""What has not run on hardware is said through one constant, and told on one page."""

import re
from pathlib import Path

from edgesmith.runtime.ground.words import NOT_ON_HARDWARE

ROOT = Path(__file__).parents[1]
SAID = {Path("runtime/ground/words.py"), Path("docs/hardware.md")}
PLACES = ("benchmarks", "calibration", "docs", "exporter", "graph", "models", "runtime", "tools")


def test_one_constant_and_one_page_say_it():
    words = re.compile(r"\s+".join(NOT_ON_HARDWARE.split()), re.IGNORECASE)
    texts = [
        path for place in PLACES for kind in ("py", "md", "cpp", "hpp") for path in (ROOT / place).rglob(f"*.{kind}")
    ]
    found = {path.relative_to(ROOT) for path in texts if words.search(path.read_text(encoding="utf-8"))}
    assert found == SAID, "write NOT_ON_HARDWARE, or a link to docs/hardware.md"
