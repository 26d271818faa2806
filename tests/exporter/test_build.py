"""Building: an engine without a GPU, files that old parsers read, and errors that name the node."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from attention_graph import cosine, images, run, vit

from edgesmith.exporter.engine import lower_opset as lowering
from edgesmith.exporter.engine import rtx
from edgesmith.exporter.engine.build import build, build_rtx_engine
from edgesmith.exporter.engine.lower_opset import lower_opset
from edgesmith.exporter.engine.rtx import BuildFailed, build_rtx
from edgesmith.exporter.engine.xray import read_engine
from edgesmith.exporter.plan.targets import TARGETS
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.graph.edit import clone
from edgesmith.runtime.backends import engine_build
from edgesmith.runtime.errors import BackendUnavailable, EdgesmithError, UserMistake

needs_rtx = pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed")
ONE = Shapes.fixed(1, 3, 32, 32)


def parse(text):
    return ir.from_proto(onnx.parser.parse_model(text))


class Heard:
    def __init__(self):
        self.steps = []

    def step(self, note, done, total):
        self.steps.append((note, done, total))


@pytest.mark.parametrize("target", ["cpu", "openvino"])
def test_a_cpu_target_gets_the_graph(target, tmp_path):
    built = build(vit(), TARGETS[target], None, ONE, tmp_path)
    assert list(built.files) == ["model.onnx"] and built.engines == () and built.xray is None
    assert built.size_bytes == (tmp_path / "model.onnx").stat().st_size
    np.testing.assert_array_equal(run(ir.load(built.files["model.onnx"]), images()), run(vit(), images()))


@needs_rtx
def test_rtx_writes_an_engine_beside_the_graph_and_lists_it(tmp_path):
    heard = Heard()
    built = build(to_precision(vit(), "fp16").model, TARGETS["rtx"], "8.6", ONE, tmp_path, heard, name="tiny")
    assert list(built.files) == ["model.onnx", "engines/tiny.fp16.sm86.engine"]
    (engine,) = built.engines
    assert engine["arch"] == "sm86" and engine["version"].startswith("1.") and engine["xray"]["fused_attention"] == 1
    assert built.xray.archs == ("sm86",) and built.xray.to_json() == engine["xray"]
    assert built.size_bytes == (tmp_path / engine["file"]).stat().st_size
    assert ("Building engine", 6, 6) in heard.steps and all(0 <= done <= total for _, done, total in heard.steps)


@needs_rtx
def test_every_architecture_gets_an_engine_of_its_own():
    model = to_precision(vit(), "fp16").model
    archs = TARGETS["rtx"].archs
    assert [read_engine(build_rtx_engine(model, arch)).archs for arch in archs] == [(arch,) for arch in archs]


@needs_rtx
def test_open_dimensions_need_shapes():
    with pytest.raises(UserMistake, match="input images has shape") as error:
        build_rtx_engine(vit("batch"))
    assert "--min-shapes" in error.value.attempt


@needs_rtx
def test_a_node_the_parser_refuses_is_named():
    model = parse(
        '<ir_version: 10, opset_import: ["" : 20]> g (uint8[4] x) => (uint8[4] y) { [odd] y = BitShift<direction="LEFT">(x, x) }'
    )
    with pytest.raises(BuildFailed, match=r"did not parse the graph\n.*node odd \(BitShift\)"):
        build_rtx_engine(model)


@needs_rtx
def test_an_operator_that_it_has_not_is_told_as_that():
    model = parse(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[1, 4, 1] x) => (float[1, 4, 2] y) { [waves] y = DFT(x) }'
    )
    with pytest.raises(BuildFailed, match=r"node waves \(DFT\): TensorRT has no such operator") as failed:
        build_rtx_engine(model)
    assert "another --target" in failed.value.attempt


@needs_rtx
def test_bytes_that_are_no_model_are_refused():
    with pytest.raises(BuildFailed, match="not an ONNX model"):
        build_rtx_engine(b"xx")


def test_a_missing_file_and_an_unknown_chip_are_the_users(tmp_path):
    with pytest.raises(UserMistake, match="no such file"):
        build_rtx_engine(tmp_path / "no.onnx")
    with pytest.raises(UserMistake, match="sm121"):
        build_rtx_engine(vit(), "sm90")


def test_without_the_library_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(rtx, "installed", lambda: False)
    with pytest.raises(BackendUnavailable, match=r"edgesmith\[rtx\]"):
        build_rtx_engine(vit())
    built = build(vit(), TARGETS["jetpack6"], None, ONE, tmp_path)
    assert "neither parsed nor built by any TensorRT here" in built.notes[-1]


def test_a_crash_of_the_builder_is_an_error_and_not_the_end(monkeypatch):
    monkeypatch.setattr(rtx, "installed", lambda: True)
    crash = f"import os, signal; os.kill(os.getpid(), {int(signal.SIGSEGV)})"
    monkeypatch.setattr(engine_build, "COMMAND", [sys.executable, "-c", crash])
    with pytest.raises(BuildFailed, match="ended by signal 11"):
        build_rtx_engine(vit())


@needs_rtx
def test_a_time_limit_ends_the_child():
    with pytest.raises(BuildFailed, match="limit 0.01 s"):
        build_rtx(vit(), timeout_s=0.01)


@needs_rtx
@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_ctrl_c_leaves_no_child_behind(interrupts_heard):
    script = textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, {str(next(p for p in sys.path if p.endswith("helpers")))!r})
        from attention_graph import vit
        from edgesmith.exporter.engine import rtx
        from edgesmith.runtime.backends import engine_build
        children = []
        original = engine_build.subprocess.Popen
        def spy(*args, **options):
            children.append(original(*args, **options))
            return children[-1]
        engine_build.subprocess.Popen = spy
        try:
            rtx.build_rtx(vit(), progress=lambda *step: os.kill(os.getpid(), signal.SIGINT))
        except KeyboardInterrupt:
            print("interrupted", children[0].poll() is not None)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "interrupted True", done.stderr


@pytest.mark.parametrize(
    ("target", "opset"), [("jetpack5", 16), ("jetpack6.0", 17), ("jetpack6", 20), ("jetpack7", 20)]
)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_device_gets_a_file_that_its_parser_reads(target, opset, precision, tmp_path):
    typed = to_precision(vit(), precision).model
    built = build(typed, TARGETS[target], None, ONE, tmp_path)
    proto = onnx.load(built.files["model.onnx"])
    onnx.checker.check_model(proto, full_check=True)
    assert proto.opset_import[0].version == opset == built.opset and proto.ir_version <= TARGETS[target].max_ir
    ops = {node.op_type for node in proto.graph.node}
    assert ("Gelu" in ops) == (opset >= 20) and ("LayerNormalization" in ops) == (opset >= 17)
    for words in ("lowered from opset 20", "the changed file gives the same numbers here"):
        assert any(words in note for note in built.notes) == (opset < 20)
    assert "not yet run on hardware" in " ".join(built.notes) or not rtx.installed()
    ours, wanted = run(ir.from_proto(proto), images()), run(vit(), images())
    # fp32: the lowered Gelu and LayerNormalization differ by rounding only; fp16 has 11 bits
    np.testing.assert_allclose(ours, wanted, atol=2e-6 if precision == "fp32" else 4e-3)
    assert cosine(ours, wanted) > 0.99999


def test_a_replacement_that_computes_something_else_is_caught(monkeypatch, tmp_path):
    monkeypatch.setitem(lowering.LOWER, "Gelu", lambda builder, node: builder.op("Relu", node.inputs[0]))
    with pytest.raises(EdgesmithError, match="does not compute the same"):
        build(vit(), TARGETS["jetpack6.0"], None, ONE, tmp_path)


def test_the_graph_given_is_not_touched(tmp_path):
    model = vit()
    before = onnx.printer.to_text(ir.to_proto(model))
    build(model, TARGETS["jetpack5"], None, ONE, tmp_path)
    assert onnx.printer.to_text(ir.to_proto(model)) == before


def test_an_operator_without_an_older_form_is_refused_by_name(tmp_path):
    model = parse('<ir_version: 10, opset_import: ["" : 20]> g (float[2, 2] x) => (float[2, 2] y) { [turn] y = Foo.missing(x) }'
                  .replace("Foo.missing", "Col2Im").replace("(x)", "(x, s, s)").replace("{ [", "<int64[2] s = {1, 2}> { ["))  # fmt: skip
    with pytest.raises(UserMistake, match="Col2Im cannot be written in opset 17") as error:
        build(model, TARGETS["jetpack6.0"], None, ONE, tmp_path)
    assert "node turn" in error.value.found and "jetpack6" in error.value.attempt


def test_an_operator_of_another_runtime_is_refused(tmp_path):
    model = parse('<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]> g (float[2] x) => (float[2] y)'
                  ' { [fast] y = com.microsoft.QuickGelu(x) }')  # fmt: skip
    assert build(model, TARGETS["cpu"], None, ONE, tmp_path).summary
    with pytest.raises(EdgesmithError, match=r"com.microsoft.QuickGelu, node fast"):
        build(model, TARGETS["jetpack6"], None, ONE, tmp_path)


LOWERABLE = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[2, 6, 4] x) => (float[2, 3, 4] y, float[2, 1, 4] z, float[2, 6, 4] t, float[2, 8, 4] p)
<int64[1] axis = {1}, int64[6] pads = {0, 1, 0, 0, 1, 0}, float fill = {2.0}>
{
  y, b = Split<axis = 1, num_outputs = 2>(x)
  z = ReduceMax<keepdims = 1>(b, axis)
  t = Gelu<approximate = "tanh">(x)
  p = Pad(x, pads, fill)
}
"""


def test_what_changed_between_the_opsets_is_rewritten_exactly():
    import onnxruntime

    model = parse(LOWERABLE)
    x = np.random.default_rng(0).standard_normal((2, 6, 4), dtype=np.float32)
    lowered = clone(model)
    assert lower_opset(lowered, 17) == {"Split": 1, "ReduceMax": 1, "Gelu": 1}
    onnx.checker.check_model(ir.to_proto(lowered), full_check=True)
    sessions = [onnxruntime.InferenceSession(ir.to_proto(each).SerializeToString()) for each in (model, lowered)]
    for wanted, ours in zip(*(session.run(None, {"x": x}) for session in sessions), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-6)  # float32 rounding of the tanh form
    assert lower_opset(lowered, 17) == {}
