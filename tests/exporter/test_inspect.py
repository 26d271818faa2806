"""inspect: facts on graphs and engines, and four lines of reason for everything else."""

import io

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from attention_graph import vit
from detection_bundle import write_detection_bundle
from rich.console import Console
from sealed import edit_manifest
from small_bundle import write_small_bundle

from edgesmith.exporter.commands.inspect.inspect import inspect, show
from edgesmith.exporter.engine import rtx
from edgesmith.exporter.engine.build import build
from edgesmith.exporter.plan.targets import TARGETS
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.runtime.bundle.bundle import open_bundle, write_bundle
from edgesmith.runtime.errors import BundleRefused, UserMistake
from edgesmith.runtime.pictures.contract import ImageContract

needs_rtx = pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed")


@pytest.fixture
def graph(tmp_path):
    """Writes the small ViT and gives its path."""

    def write(precision="fp32", batch=1):
        path = tmp_path / f"{precision}.onnx"
        ir.save(to_precision(vit(batch), precision).model, path)
        return path

    return write


def screen(data):
    out = io.StringIO()
    show(data, Console(file=out, width=200))
    return out.getvalue()


def test_a_graph_is_described(graph):
    path = graph()
    data = inspect(path)
    proto = onnx.load(path)
    assert data["kind"] == "onnx" and data["nodes"] == len(proto.graph.node) == sum(data["ops"].values())
    assert data["ops"]["MatMul"] == 8 and data["opset"] == {"ai.onnx": 20} and data["ir_version"] == 10
    assert data["inputs"] == [{"name": "images", "dtype": "float", "shape": [1, 3, 32, 32]}]
    assert data["outputs"] == [{"name": "logits", "dtype": "float", "shape": [1, 10]}]
    wanted = sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in proto.graph.initializer)
    assert data["weights_bytes"] == wanted and data["weights_by_type"]["float"] > data["weights_by_type"]["int64"]
    assert data["attention"] == [{"node": "softmax", "form": "MatMul, Softmax, MatMul"}]
    assert "xray" not in data and data["precision"] is None
    assert f"{data['nodes']} nodes" in screen(data)


def test_precision_and_half_size_show(graph):
    full, half = inspect(graph()), inspect(graph("fp16"))
    assert half["precision"] == "fp16"
    assert half["weights_by_type"]["float16"] * 2 == full["weights_by_type"]["float"]


def test_an_open_batch_is_named(graph):
    assert inspect(graph(batch="batch"))["inputs"][0]["shape"] == ["batch", 3, 32, 32]


def test_external_weights_are_counted_without_being_read(tmp_path):
    big = ir.from_proto(
        onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 20]> g (float[64] x) => (float[64] y) { y = Add(x, w) }'
        )
    )
    proto = ir.to_proto(big)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(64, np.float32), "w"))
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    (tmp_path / "w.data").unlink()
    assert inspect(tmp_path / "m.onnx")["weights_bytes"] == 256


def test_a_softmax_that_is_no_attention_is_not_counted(tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[2, 4] x) => (float[2, 4] y) { y = Softmax(x) }'
    )
    onnx.save(model, tmp_path / "m.onnx")
    assert inspect(tmp_path / "m.onnx")["attention"] == []


@needs_rtx
@pytest.mark.parametrize(("precision", "fused"), [("fp16", True), ("fp32", False)])
def test_with_a_chip_the_graph_is_built_and_each_block_judged(graph, precision, fused):
    data = inspect(graph(precision), arch="sm89")
    assert data["attention"][0]["fused"] is fused
    assert data["xray"]["fused_attention"] == int(fused) and data["builder"]["arch"] == "sm89"
    assert f"block 1: {'fused' if fused else 'not fused'} (softmax)" in screen(data)


@needs_rtx
def test_an_open_batch_is_built_for_one_to_eight(graph):
    assert inspect(graph(batch="batch"), arch="sm89")["xray"]["host_steps"] > 0


@needs_rtx
def test_an_engine_file_is_x_rayed(graph, tmp_path):
    engine = tmp_path / "e.engine"
    engine.write_bytes(rtx.build_rtx_engine(graph("fp16"), "sm86"))
    data = inspect(engine)
    assert data["kind"] == "engine" and data["xray"]["archs"] == ["sm86"]
    assert len(data["xray"]["kernel_list"]) == data["xray"]["kernels"] > 5
    assert "fused attention 1: " in screen(data) and "softmax" in screen(data)
    renamed = engine.rename(tmp_path / "no-suffix")
    assert inspect(renamed)["kind"] == "engine"


@needs_rtx
def test_a_bundle_shows_its_graph_and_its_engine(tmp_path):
    built = build(to_precision(vit(), "fp16").model, TARGETS["rtx"], "sm89", Shapes.fixed(1, 3, 32, 32), tmp_path)
    small = open_bundle(write_small_bundle(tmp_path / "small.edge"))
    changes = {
        "target": "rtx",
        "precision": "fp16",
        "engines": list(built.engines),
        "inputs": [{"name": "images", "dtype": "float32", "shape": [1, 3, 32, 32]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": [1, 10]}],
        "input_contract": ImageContract(size=(32, 32)).to_json(),
    }
    content = {key: value for key, value in small.manifest.items() if key != "files"} | changes
    files = {name: small.path / name for name in small.manifest["files"]} | built.files
    bundle = write_bundle(tmp_path / "vit.edge", files, content)
    data = inspect(bundle.path)
    assert data["kind"] == "bundle" and data["graph"]["attention"][0]["fused"] is True
    assert data["engines"][0]["xray"]["fused_attention"] == 1
    assert "1 of 1 run as one kernel" in screen(data) and "fp16 for rtx" in screen(data)


def test_a_bundle_with_a_changed_graph_is_refused(tmp_path):
    path = write_small_bundle(tmp_path / "small.edge")
    (path / "model.onnx").write_bytes(b"other")
    with pytest.raises(BundleRefused):
        inspect(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x0a" + b"x" * 300, b"PK\x03\x04" + bytes(50)])
def test_what_is_no_model_is_the_users_mistake(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(UserMistake, match="not an ONNX model") as error:
        inspect(tmp_path / "m.onnx")
    assert f"{len(content)} bytes" in error.value.found


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_graph_is_the_users_mistake(graph, share):
    path = graph()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserMistake, match="not an ONNX model"):
        inspect(path)


def test_an_engine_in_name_only_is_refused(tmp_path):
    (tmp_path / "a.engine").write_bytes(b"nothing of the kind")
    with pytest.raises(UserMistake, match="is not an engine"):
        inspect(tmp_path / "a.engine")


def test_a_path_with_nothing_there_is_a_mistake(tmp_path):
    with pytest.raises(UserMistake, match="nothing at"):
        inspect(tmp_path / "gone")


def test_a_detector_tells_its_thresholds_and_how_its_detections_match(tmp_path):
    row = {"stage": "bundle", "runner": "onnxruntime", "detections": 214, "matched": 0.995, "box_px": 0.031, "score_abs": 2.4e-6, "passed": True}  # fmt: skip
    data = inspect(write_detection_bundle(tmp_path / "colours.edge", nms="graph", parity=[row]))
    text = screen(data)
    assert "99.5% of 214 detections match, boxes within 0.031 px, scores within 2.4e-06, holds" in text
    assert "boxes: NMS graph, score 0.5, IoU 0.7, at most 8" in text
    assert data["manifest"]["task"] == "detection" and "num_detections" in text


def test_the_rule_of_another_task_is_nobody_s_and_what_an_old_manifest_leaves_out_has_its_default(tmp_path):
    from edgesmith.exporter.commands.inspect.screen import lines

    classifier = write_small_bundle(tmp_path / "small.edge", detection=5)
    assert not [line for line in lines(inspect(classifier)) if "boxes:" in line]
    detector = write_detection_bundle(tmp_path / "detector.edge")
    edit_manifest(detector, lambda manifest: manifest["detection"].pop("max_detections"))
    (said,) = [line for line in lines(inspect(detector)) if "boxes:" in line]
    assert said.endswith("at most 500")
