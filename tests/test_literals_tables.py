"""An engine or a precision is named in its table: nowhere else in product code does a name stand as a word of its own.

Docstrings and sentences may say the names; a string that is exactly one of them is a comparison, a key or an argument, and those ask
the row, or take the constant of the table.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from edgesmith.runtime.bundle.engines import ENGINES
from edgesmith.runtime.ground.limits import COSINE, FP32, QUANTISED

ROOT = Path(__file__).parents[1]
PRODUCT = ("exporter", "calibration", "graph", "models", "runtime")
NAMES = {FP32, *COSINE, *QUANTISED, *ENGINES}
TABLES = {  # file -> what it is a table of
    "runtime/ground/limits.py": "names and limits of precisions",
    "runtime/bundle/engines.py": "names of engines, and their modules and targets",
    "calibration/precisions.py": "precisions: spellings and words",
    "exporter/plan/engines.py": "engines: orders, extras and distributions",
    "exporter/plan/targets.py": "targets, some of which are called like their engine",
    "runtime/backends/tensorrt.py": "numpy's names of TensorRT's types",
    "runtime/backends/openvino.py": "what OpenVINO calls the precisions that it can be told to compute in",
    "models/weights/files/safetensors_file.py": "types as a safetensors header spells them",
    "models/weights/files/stored.py": "bytes of PyTorch's types",
    "models/weights/files/tensors.py": "types of PyTorch's storages",
    "exporter/engine/xray.py": "types as the names of kernels spell them",
}


def literals(text: str) -> list[tuple[int, str]]:
    """Line and name of every string that is exactly a name."""
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant) and node.value in NAMES]
    return [(node.lineno, str(node.value)) for node in found]


def product_files() -> list[Path]:
    inside = (path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py")))
    return [*inside, ROOT / "__init__.py", ROOT / "__main__.py"]


def test_no_engine_or_precision_is_named_outside_its_table():
    wrong = [
        f"{name}:{line}: {word!r}"
        for path in product_files()
        if (name := path.relative_to(ROOT).as_posix()) not in TABLES
        for line, word in literals(path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "ask the row of the table, or take its constant:\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_that_is_excepted_is_there_and_needs_it(name: str):
    assert literals((ROOT / name).read_text(encoding="utf-8"))


def test_the_count_sees_a_comparison_a_key_and_a_default_but_no_sentence():
    text = '''def f(engine="openvino"):\n    """Of int8."""\n    return {"fp16": engine == "tensorrt", "x": "int8 is fast"}\n'''
    assert sorted(word for _, word in literals(text)) == ["fp16", "openvino", "tensorrt"]
