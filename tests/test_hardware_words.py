"""What has not run on hardware is said through one constant, and told on one page."""

import json
import re
from pathlib import Path

import pytest

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


def test_the_table_of_jetpacks_is_that_of_the_targets():
    targets = pytest.importorskip("edgesmith.exporter.plan.targets", reason="needs the exporter").TARGETS
    text = (ROOT / "docs" / "hardware.md").read_text(encoding="utf-8")
    table = text.split("## JetPack, release by release")[1].split("\n\n")[1].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert {row[1].strip("`") for row in rows} == {name for name in targets if name.startswith("jetpack")}
    names = json.loads((ROOT / "tests" / "data" / "tensorrt_names.json").read_text(encoding="utf-8"))
    held = {".".join(version.split(".")[:2]) for version in re.findall(r"\d+\.\d+[.\d]*", " ".join(_versions(names)))}
    chips = {"Xavier": "sm72", "Orin": "sm87", "Thor": "sm110"}
    for _, name, _, _, library, modules, _, bindings in rows:
        target = targets[name.strip("`")]
        assert {chips[module.strip()] for module in modules.split(",")} <= set(target.archs)
        assert set(re.findall(r"\d+\.\d+", library)) <= set(re.findall(r"\d+\.\d+", target.library)), name
        if not bindings.startswith("none"):
            assert set(re.findall(r"\d+\.\d+", bindings)) <= held, name


def _versions(value: object) -> list[str]:
    """Every word of a JSON document that could name a version: its keys."""
    return [*value, *(word for inner in value.values() for word in _versions(inner))] if isinstance(value, dict) else []
