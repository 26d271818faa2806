"""The trained fixtures export to the graphs that they exported to before the package was rearranged, node for node.

The graphs stand in tests/data/graphs as text (tests/helpers/graph_lines.py). Where a change of a graph is meant, write them anew:

    EDGESMITH_WRITE_GRAPHS=1 python -m pytest tests/exporter/test_same_graphs.py
"""

from __future__ import annotations

import gzip
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digit_pictures import NAMES, arrays, export
from graph_lines import first_difference, graph_lines

pytestmark = pytest.mark.usefixtures("each_graph_traced_once")
GRAPHS = Path(__file__).parents[1] / "data" / "graphs"
WRITE = bool(os.environ.get("EDGESMITH_WRITE_GRAPHS"))
DETECTOR = "damo_yolo_scenes"
slow = pytest.mark.slow
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="TensorRT-RTX is not installed, and its audit gives layers back",
)


def scenes() -> list[np.ndarray]:
    """Sixteen pictures of 128 x 128 with edges of every kind; what is on them does not matter."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)
    return [np.kron(one, np.ones((8, 8, 1), np.uint8)) for one in coarse]


def check(name: str, label: str, folder: Path, **choices: Any) -> None:
    """Export the fixture and compare the graph in its bundle with the one of that label."""
    if name == DETECTOR:
        choices["image_size"] = 128
    result = export(name, folder / "same.edge", **choices)
    lines = graph_lines(result.path / "model.onnx")
    path = GRAPHS / f"{name}-{label}.txt.gz"
    if WRITE:
        GRAPHS.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    found = first_difference(gzip.decompress(path.read_bytes()).decode().split("\n"), lines)
    assert not found, f"{name} for {label} became another graph, {found}"


@pytest.mark.parametrize(
    "label", ["cpu-fp32", "openvino-fp32", pytest.param("tensorrt-fp32", marks=slow), "tensorrt-fp16"]
)
@pytest.mark.parametrize("name", [*NAMES, DETECTOR])
def test_in_floating_point_the_graph_is_the_same(name: str, label: str, tmp_path: Path):
    target, precision = label.split("-")
    check(name, label, tmp_path, target=target, precision=precision)


def test_with_suppression_inside_the_graph_is_the_same(tmp_path: Path):
    check(DETECTOR, "cpu-fp32-nms", tmp_path, target="cpu", precision="fp32", nms="graph")


@slow
def test_with_an_open_batch_the_graph_is_the_same(tmp_path: Path):
    check("vit_ggem_mnist", "cpu-fp32-batch", tmp_path, target="cpu", precision="fp32", batch="1..4")


@pytest.mark.parametrize("name", ["vit_ggem_mnist", "convit_mnist", pytest.param("davit_mnist", marks=slow)])
def test_with_fused_ops_the_graph_is_the_same(name: str, tmp_path: Path):
    check(name, "cpu-fp32-plugins", tmp_path, target="cpu", precision="fp32", plugins="all")


def test_in_dynamic_int8_the_graph_is_the_same(tmp_path: Path):
    check("vit_ggem_mnist", "cpu-int8-dynamic", tmp_path, target="cpu", precision="int8")


FAST = {("vit_ggem_mnist", "openvino")}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        pytest.param(name, target, marks=() if (name, target) in FAST else slow)
        for name in (*NAMES, DETECTOR)
        for target in ("cpu", "openvino")
    ],
)
def test_in_int8_with_pictures_the_graph_is_the_same(name: str, target: str, tmp_path: Path):
    given = {"data": scenes(), "calib_images": 8, "eval_images": 8}
    if name != DETECTOR:
        given = {"data": arrays(), "calib_images": 64, "eval_images": 100}
    check(name, f"{target}-int8", tmp_path, target=target, precision="int8", **given)


@slow
@needs_rtx
@pytest.mark.parametrize("precision", ["int8", "fp8", "int4"])
def test_quantised_for_tensorrt_the_graph_is_the_same(precision: str, tmp_path: Path):
    given = {"data": arrays(), "calib_images": 64, "eval_images": 100}
    check("vit_ggem_mnist", f"tensorrt-{precision}", tmp_path, target="tensorrt", precision=precision, **given)


@slow
@pytest.mark.parametrize(("name", "target"), [("convit_mnist", "jetpack5"), ("smt_mnist", "jetpack6.0")])
def test_lowered_for_old_parsers_the_graph_is_the_same(name: str, target: str, tmp_path: Path):
    check(name, f"{target}-fp16", tmp_path, target=target, precision="fp16")


NODE = "Conv group=1 | n6, FLOAT[16, 16, 1, 1] 6.256324e-01 -6.396424e-08 | 1"


def test_the_first_other_node_is_named_and_rounding_is_not():
    assert first_difference([NODE, "Relu | n0 | 1"], [NODE, "Gelu | n0 | 1"]).startswith("line 1:\n  was  Relu")
    assert "1 lines became 2" in first_difference([NODE], [NODE, "Relu | n0 | 1"])
    assert not first_difference(
        [NODE], [NODE.replace("6.256324e-01", "6.256330e-01").replace("-6.396424e-08", "2.1e-07")]
    )
    assert first_difference([NODE], [NODE.replace("-6.396424e-08", "-6.396424e-03")]), "the weights changed places"
    assert first_difference([NODE], [NODE.replace("n6", "n5")]), "the input is another"
