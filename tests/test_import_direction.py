"""Imports run downhill only, the device side stays free of torch and onnx, and ``import edgesmith`` costs nothing.

exporter -> calibration -> runtime        exporter -> models -> runtime (the image contract only)
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = ("calibration", "exporter", "graph", "models", "runtime")
ALLOWED = {
    "exporter": {"exporter", "calibration", "graph", "models", "runtime"},
    "calibration": {"calibration", "graph", "runtime"},
    "graph": {"graph"},
    "models": {"models", "runtime"},
    "runtime": {"runtime"},
}
# what a device does not have; even an import inside a function of runtime/ would fail there, at the worst moment
NOT_ON_THE_DEVICE = {
    "torch",
    "torchvision",
    "timm",
    "onnx",
    "onnx_ir",
    "onnxscript",
    "onnx_graphsurgeon",
    "typer",
    "rich",
}
HEAVY = NOT_ON_THE_DEVICE | {"onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "cv2", "skimage", "sklearn", "PIL"}
MODULES = sorted(path for top in TOP for path in (ROOT / top).rglob("*.py"))


def imports(path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, absolute module name) of every import; relative ones are resolved inside ``edgesmith``."""
    package = ("edgesmith", *path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield node.lineno, module
            for alias in node.names:  # `from .. import runtime` names a folder too
                yield node.lineno, f"{module}.{alias.name}"


def test_the_resolver_understands_relative_imports():
    tree = ast.parse("from ..models.registry import find\nfrom . import names\nimport torch.nn")
    assert [name for _, name in imports(ROOT / "runtime" / "bundle.py", tree)] == [
        "edgesmith.models.registry",
        "edgesmith.models.registry.find",
        "edgesmith.runtime",
        "edgesmith.runtime.names",
        "torch.nn",
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_packages_below_it(path: Path):
    folder = path.relative_to(ROOT).parts[0]
    wrong = []
    for line, name in imports(path, ast.parse(path.read_text(encoding="utf-8"))):
        parts = name.split(".")
        if parts[0] == "edgesmith" and len(parts) > 1 and parts[1] in TOP and parts[1] not in ALLOWED[folder]:
            wrong.append(f"line {line}: {name}")
        if folder == "runtime" and parts[0] in NOT_ON_THE_DEVICE:
            wrong.append(f"line {line}: {name} is not on the device")
        if "patterns" in path.parts and parts[:2] == ["edgesmith", "models"]:
            wrong.append(f"line {line}: a pattern may not know a model, {name}")
        if (
            folder == "models"
            and parts[:2] == ["edgesmith", "runtime"]
            and parts[2:4] != ["pictures", "contract"]
            and parts[2:3] != ["errors"]
            and parts[2:4] != ["ground", "registry"]
        ):
            wrong.append(f"line {line}: models take only the image contract, the errors and the registry, {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "statement",
    ["import edgesmith", "import edgesmith.exporter.commands.cli", "import edgesmith.runtime.bundle.bundle"],
)
def test_nothing_heavy_is_imported_before_it_is_used(statement: str):
    allowed = {"typer", "rich"} if statement.endswith("cli") else set()
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not (HEAVY - allowed) & set(done.stdout.split())
