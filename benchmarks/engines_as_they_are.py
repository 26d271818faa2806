"""What the engines really do where a good guess is wrong, each row run on the engine, and what an export makes of it.

    python benchmarks/engines_as_they_are.py [--out FOLDER]      half a minute; writes engines_as_they_are.md

"engine" is what it does with the graph as one would write it, "ours" what it does with the graph, or the settings, of this
project. Small seeded graphs; TensorRT-RTX builds for sm89 without a GPU and does not run; times are CPU time of one thread.
A row whose engine is not installed is left out.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from edgesmith.calibration.judge.evaluation import any_batch
from edgesmith.exporter.engine import rtx
from edgesmith.exporter.engine.buildable import buildable
from edgesmith.exporter.engine.rtx import BuildFailed, build_rtx, parse_only
from edgesmith.exporter.run.on_engine import on_engine
from edgesmith.exporter.tasks.detection.nms_graph import append_nms
from edgesmith.runtime.backends.openvino import EXACT, UNCACHED
from edgesmith.runtime.backends.openvino_library import openvino, openvino_core
from edgesmith.runtime.errors import BackendUnavailable, UserMistake
from edgesmith.runtime.session.benchmark import machine
from edgesmith.runtime.tasks.detection.detection import DetectionRule, keep

HERE = Path(__file__).parent
LIBRARIES = ("onnx", "onnxruntime", "openvino", "tensorrt-rtx", "numpy")
HEADER = '<ir_version: 10, opset_import: ["" : {opset}]>'
Row = tuple[str, str, str]  # what, engine, ours
F32 = {"INFERENCE_PRECISION_HINT": "f32"}
ONE_THREAD = {"INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
CHANNELS, WIDE, TOKENS, BLOCK = 384, 1536, 196, 32


def parsed(text: str, opset: int = 20) -> ir.Model:
    proto = onnx.parser.parse_model(HEADER.format(opset=opset) + text)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def compiled(model: ir.Model, **config: Any) -> Any:
    core = openvino_core()
    proto = ir.to_proto(model).SerializeToString()
    return core.compile_model(core.read_model(proto), "CPU", {**F32, **ONE_THREAD, **config})


def built(model: ir.Model) -> str:
    """``parsed, built``, or how far it gets."""
    try:
        parse_only(model)
    except BuildFailed:
        return "not parsed"
    try:
        build_rtx(model, "sm89")
    except BuildFailed:
        return "parsed, NOT built"
    return "parsed and built"


def builders() -> Iterator[Row]:
    """What TensorRT-RTX's parser reads and its builder does not build."""
    if not rtx.installed():
        return
    for kind, head in (("float", 32), ("float16", 256), ("float16", 264), ("bfloat16", 264)):
        shape = f"{kind}[1, 2, 16, {head}]"
        model = parsed(f"g ({shape} q, {shape} k, {shape} v) => ({shape} y) {{ y = Attention(q, k, v) }}", 23)
        made, _ = buildable(model, "tensorrt_rtx")
        ours = built(made) + (", written out" if made is not model else ", left alone")
        yield f"TensorRT-RTX: Attention, {kind}, heads of {head}", built(model), ours
    graphs = {
        "NonMaxSuppression": "g (float[1, 9, 4] b, float[1, 1, 9] s) => (int64[n, 3] y) <int64[1] m = {5}, float[1] t = {0.5}>"
        " { [node] y = NonMaxSuppression(b, s, m, t) }",
        "TopK of 3841": "g (float[1, 5000] x) => (float[1, 3841] y, int64[1, 3841] i) <int64[1] k = {3841}> { [node] y, i = TopK(x, k) }",
        **{
            f"Q/DQ of {kind}, zero point {zero}": f"g (float[4] x) => (float[4] y) <float s = {{0.1}}, {kind} z = {{{zero}}}>"
            " { [q] c = QuantizeLinear(x, s, z) [node] y = DequantizeLinear(c, s, z) }"
            for kind, zero in (("uint8", 0), ("uint8", 128), ("int8", 3))
        },
    }
    for name, text in graphs.items():
        model = parsed(text)
        try:
            buildable(model, "tensorrt_rtx")
            ours = "not refused"
        except UserMistake as refused:
            ours = f"refused before a build: {refused.found}"
        yield f"TensorRT-RTX: {name}", built(model), ours


def four_bits(kind: str) -> tuple[onnx.ModelProto, np.ndarray]:
    """(1, TOKENS, CHANNELS) -> (1, TOKENS, WIDE): a weight in blocks behind DequantizeLinear, and the weight in float64."""
    rng, nodes = np.random.default_rng(0), []
    block = BLOCK if kind == "int4" else 16
    low, high, codes_type = (-8, 8, ml_dtypes.int4) if kind == "int4" else (-4, 5, ml_dtypes.float4_e2m1fn)
    codes = rng.integers(low, high, (CHANNELS, WIDE)).astype(np.float32)
    scale = rng.uniform(0.01, 0.02, (CHANNELS // block, WIDE)).astype(np.float32)
    weights = [ir.tensor(codes.astype(codes_type), name="codes")]
    if kind == "int4":
        weights.append(ir.tensor(scale, name="scale"))
    else:
        eight = (scale * 64).astype(ml_dtypes.float8_e4m3fn)
        scale = eight.astype(np.float32) / 64
        weights += [ir.tensor(eight, name="eight"), ir.tensor(np.float32(1 / 64), name="outer")]
        nodes.append(helper.make_node("DequantizeLinear", ["eight", "outer"], ["scale"]))
    nodes += [helper.make_node("DequantizeLinear", ["codes", "scale"], ["weight"], axis=0, block_size=block),
              helper.make_node("MatMul", ["x", "weight"], ["y"])]  # fmt: skip
    return _product(nodes, [ir.serde.serialize_tensor(one) for one in weights]), codes * np.repeat(
        scale, block, axis=0
    ).astype(np.float64)


def _product(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> onnx.ModelProto:
    make = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [make("x", 1, [1, TOKENS, CHANNELS])], [make("y", 1, [1, TOKENS, WIDE])], weights
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


def weights_only() -> Iterator[Row]:
    """Weight-only files: what the engine rounds by itself."""
    import onnxruntime

    x = np.random.default_rng(1).standard_normal((1, TOKENS, CHANNELS)).astype(np.float32)
    for kind in ("int4", "nvfp4"):
        proto, weight = four_bits(kind)
        exact = x.astype(np.float64) @ weight
        plain = _product(
            [helper.make_node("MatMul", ["x", "w"], ["y"])], [numpy_helper.from_array(weight.astype(np.float32), "w")]
        )

        def told(run: Callable[[], np.ndarray], exact: np.ndarray = exact) -> str:
            error = np.abs(run() - exact).max() / np.abs(exact).max()
            return f"{error:.1e} of the largest, {_ms(run):.2f} ms"

        found = {}
        for name, settings in (("default", {}), ("exact", {"session.qdq_matmulnbits_accuracy_level": "1"})):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            for key, value in settings.items():
                options.add_session_config_entry(key, value)
            try:
                session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
                found[name] = told(lambda session=session: session.run(None, {"x": x})[0])
            except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
                found[name] = "does not load"
        yield (
            f"ONNX Runtime: {kind} in blocks, DequantizeLinear > MatMul",
            found["default"],
            f"accuracy level 1: {found['exact']}",
        )
        if not _openvino():
            continue
        runs = {}
        for name, one, config in (("default", proto, {}), ("exact", proto, EXACT), ("float32", plain, {})):
            model = compiled(ir.from_proto(one), **config)
            runs[name] = told(lambda model=model: np.asarray(model({"x": x})[0]))
        yield (
            f"OpenVINO: the same, {kind}",
            runs["default"],
            f"group size 0: {runs['exact']}; float32: {runs['float32']}",
        )


def suppression() -> Iterator[Row]:
    """Pairs of boxes whose overlap is the threshold itself."""
    if not _openvino():
        return
    for iou in (0.25, 0.5, 0.75):
        rng = np.random.default_rng(0)
        low = rng.integers(0, 8, (1, 300, 2)) * 2
        boxes = np.concatenate([low, low + rng.integers(1, 7, (1, 300, 2)) * 2], axis=-1).astype(np.float32)
        scores = rng.uniform(0.1, 0.9, (1, 300, 1)).astype(np.float32)
        rule = DetectionRule("graph", 0.05, iou, 300)
        wanted = len(keep(np.concatenate([boxes, scores], axis=-1)[0], rule).scores)
        counts = []
        for engine in ("onnxruntime", "openvino"):  # the graph of the first tells the threshold as it is
            model = compiled(append_nms(_detector(), rule, engine))
            counts.append(int(model({"given_boxes": boxes, "given_scores": scores})["num_detections"].item()))
        yield f"OpenVINO: of {wanted} boxes that stay at IoU {iou:g}", f"{counts[0]} stay", f"{counts[1]} stay"


def _detector() -> ir.Model:
    return parsed(
        "g (float[1, 300, 4] given_boxes, float[1, 300, 1] given_scores) => (float[1, 300, 4] boxes, float[1, 300, 1] scores)"
        " { boxes = Identity(given_boxes) scores = Identity(given_scores) }"
    )


def ties() -> Iterator[Row]:
    """Exact ties of QuantizeLinear: codes that differ from those that OpenVINO computes."""
    if not _openvino():
        return
    images = ((np.arange(384, dtype=np.float32).reshape(2, 3, 8, 8) - 100) * 2 + 1) / 2
    for zero in (0, 3, 127, 128):
        model = parsed(
            "g (float[1, 3, 8, 8] images) => (float[1, 3, 8, 8] logits) <float s = {1.0}, uint8 z = {"
            + str(zero)
            + "}>"
            " { q = QuantizeLinear(images, s, z) logits = DequantizeLinear(q, s, z) }"
        )
        engine = compiled(model)
        there = np.concatenate([np.asarray(engine({"images": one[None]})[0]) for one in images])
        judge = on_engine(model, "openvino")
        assert judge is not None
        off = [int((np.asarray(run(images)) != there).sum()) for run in (any_batch(model), judge)]
        yield (
            f"OpenVINO: 384 ties, zero point {zero}",
            f"{off[0]} codes are not those of a judge on ONNX Runtime",
            f"{off[1]} are not those of the judge of the budget",
        )


def cache() -> Iterator[Row]:
    """A cached model, and weights beside the graph that changed since; the graph itself did not."""
    if not _openvino():
        return
    words = {64.0: "the OLD weights", 128.0: "the new weights"}
    answers = []
    for where in ("cache", ""):
        with tempfile.TemporaryDirectory() as place:
            folder, config = Path(place), {"CACHE_DIR": str(Path(place) / where) if where else UNCACHED["CACHE_DIR"]}
            for weight in (1.0, 2.0):
                _beside(folder / f"{weight:g}", weight)
            for file in ("1", "2"):
                (folder / file / "model.onnx.data").replace(folder / "1" / "model.onnx.data")
                run = openvino_core().compile_model(str(folder / "1" / "model.onnx"), "CPU", {**F32, **config})
                last = float(np.asarray(run({"x": np.ones((1, 64), np.float32)})[0]).ravel()[0])
            answers.append(words[last])
    yield (
        "OpenVINO: compile_model(path) after the external weights changed",
        f"with CACHE_DIR: {answers[0]}",
        f"CACHE_DIR empty, as our sessions have it: {answers[1]}",
    )


def _beside(folder: Path, value: float) -> None:
    """x (1, 64) times a matrix of one value, which lies beside the graph."""
    folder.mkdir()
    make = helper.make_tensor_value_info
    weight = numpy_helper.from_array(np.full((64, 64), value, np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [make("x", 1, [1, 64])], [make("y", 1, [1, 64])], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0)


def small_numbers() -> Iterator[Row]:
    """Where ONNX Runtime and OpenVINO disagree, and why it does not reach a bundle."""
    if not _openvino():
        return
    cases = {
        "a cast of 465 to E4M3, saturating": ("g (float[1] x) => (float[1] y) { q = Cast<to = 17>(x) y = Cast<to = 1>(q) }", 465.0, "codes are clipped before they are stored"),
        "DynamicQuantizeLinear's scale of zeros": ("g (float[1] x) => (float y) { q, y, z = DynamicQuantizeLinear(x) }", 0.0, "that form is for ONNX Runtime alone"),
        "1e-39 over a scale of 1e-40": ("g (float[1] x) => (uint8[1] y) <float s = {1e-40}, uint8 z = {0}> { y = QuantizeLinear(x, s, z) }", 1e-39, "no scale is subnormal, that of a bias included"),
    }  # fmt: skip
    for name, (text, value, ours) in cases.items():
        model, x = parsed(text), np.float32([value])
        import onnxruntime

        there = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString()).run(None, {"x": x})[0]
        here = np.asarray(compiled(model)({"x": x})[0])
        yield f"{name}", f"ONNX Runtime {there.ravel()[0]:g}, OpenVINO {here.ravel()[0]:g}", ours


def _ms(run: Callable[[], np.ndarray], rounds: int = 21) -> float:
    """CPU time of the process, median."""
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        run()
        taken.append(time.process_time() - started)
    return 1e3 * statistics.median(taken)


def _openvino() -> bool:
    try:
        openvino()
    except BackendUnavailable:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of engines_as_they_are.md")
    out = parser.parse_args().out
    rows = ["| what | engine | ours |", "|---|---|---|"]
    print(*rows, sep="\n")
    for part in (builders, weights_only, suppression, ties, cache, small_numbers):
        for row in part():
            rows.append("| " + " | ".join(row) + " |")
            print(rows[-1], flush=True)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    here, day = machine(), datetime.datetime.now(datetime.timezone.utc).date()
    head = [
        "# The engines as they are",
        "",
        str(__doc__).strip(),
        "",
        f"{day}; {here.get('cpu', 'a CPU')}; {versions}.",
        "",
    ]
    (out / "engines_as_they_are.md").write_text("\n".join([*head, *rows]) + "\n")


if __name__ == "__main__":
    main()
