"""Fused ops through a whole export: which ones, on which route, in which types; what the bundle carries and says.

The trained fixtures stand for their families; each is traced once for all tests of this file.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import edgesmith as command
from openvino_here import openvino_or_skip

import edgesmith
from edgesmith.exporter.engine.fused_ops import unused
from edgesmith.exporter.engine.rtx import installed
from edgesmith.exporter.pipeline import Result, export
from edgesmith.exporter.plan.plan import make_plan
from edgesmith.exporter.plan.targets import TARGETS
from edgesmith.exporter.plugins import OPS
from edgesmith.exporter.plugins.pack import pack as kernel_pack
from edgesmith.exporter.trace import trace as tracing
from edgesmith.models import create, find
from edgesmith.models.fixtures.fixtures import TRAINED
from edgesmith.runtime.errors import EdgesmithError, UserMistake
from edgesmith.runtime.plugins.pack import read_pack
from edgesmith.runtime.plugins.schema import DOMAIN

GPSA, WINDOW, CHANNELS = "GatedPositionalAttention", "WindowAttention", ("ChannelApply", "ChannelGram")
FUSED = {
    "convit_mnist": {GPSA: 3},
    "davit_mnist": {**dict.fromkeys(CHANNELS, 4), WINDOW: 4},
    "vit_ggem_mnist": {"GGeMPool": 1},
}
rtx = pytest.mark.skipif(not installed(), reason="TensorRT-RTX is not installed: pip install 'edgesmith[rtx]'")
traced = cache(tracing.trace)


@pytest.fixture(autouse=True)
def _trace_once(monkeypatch):
    def trace(module, shapes, *, name, opset, outputs, folder, dtype):
        return once(name, shapes, opset, tuple(outputs))

    monkeypatch.setattr(tracing, "trace", trace)


@cache
def once(name, shapes, opset, outputs):
    module = create(name, weights=TRAINED / f"{name}.safetensors") if name in FUSED else create(name, weights="random")
    return traced(module, shapes, name=name, opset=opset, outputs=outputs)


def run(name: str, out: Path, **choices) -> Result:
    weights = TRAINED / f"{name}.safetensors" if name in FUSED else "random"
    result = export(name, weights, out=out / f"{name}.edge", **{"plugins": "all", **choices})
    assert result.bundle is not None and all(row.passed for row in result.parity)
    return result


def counts(result: Result) -> dict[str, int]:
    """Fused nodes of the graph in the bundle."""
    graph = onnx.load(result.bundle.graph).graph
    return dict(Counter(node.op_type for node in graph.node if node.domain == DOMAIN))


def bodies(result: Result) -> set[str]:
    return {function.name for function in onnx.load(result.bundle.graph).functions}


@pytest.mark.parametrize("name", FUSED)
def test_on_the_cpu_the_bodies_run(name, tmp_path):
    result = run(name, tmp_path)
    assert counts(result) == FUSED[name] and bodies(result) == set(FUSED[name])
    assert {row.stage for row in result.parity} == {"rewritten", "bundle"}
    manifest = result.bundle.manifest
    assert manifest["rewrite"]["fused"] == {"route": "function", "ops": FUSED[name]}
    assert "plugins" not in manifest and "kernels.zip" not in manifest["files"]
    assert any(note.startswith("fused ops run from their bodies") for note in manifest["notes"])
    assert next(iter(FUSED[name])) in (result.path / "report.html").read_text()
    assert result.to_json()["fused"]["ops"] == FUSED[name]
    assert all(row.passed for row in edgesmith.load(result.path).self_test())


@pytest.mark.parametrize("name", ["convit_mnist", "davit_mnist"])
def test_on_jetpack7_nodes_bodies_and_kernels_travel(name, tmp_path):
    result = run(name, tmp_path, target="jetpack7")
    assert counts(result) == FUSED[name] and bodies(result) == set(FUSED[name])
    manifest = result.bundle.manifest
    assert manifest["plugins"] == {"route": "aot", "ops": sorted(FUSED[name])}
    assert set(FUSED[name]) <= set(read_pack(result.path / "kernels.zip").ops)
    assert len(manifest["files"]["kernels.zip"]["sha256"]) == 64
    edgesmith.runtime.bundle.bundle.open_bundle(result.path)
    assert any("not yet run on hardware" in note for note in manifest["notes"])
    types = types_of(result)
    for node in onnx.load(result.bundle.graph).graph.node:
        if node.domain == DOMAIN:
            schema = OPS[node.op_type].schema
            for value, tensor in [
                *zip(node.input, schema.inputs, strict=True),
                *zip(node.output, schema.outputs, strict=True),
            ]:
                assert types[value] == tensor.type_for("float16"), (node.op_type, tensor.name)


def types_of(result: Result) -> dict[str, str]:
    graph = onnx.load(result.bundle.graph).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    found |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name: str(onnx.helper.tensor_dtype_to_np_dtype(kind)) for name, kind in found.items()}


def test_native_plugins_leave_the_bodies_out(tmp_path):
    result = run("davit_mnist", tmp_path, target="jetpack6", native_plugins=True)
    assert counts(result) == FUSED["davit_mnist"] and bodies(result) == set()
    assert result.bundle.manifest["plugins"]["route"] == "native"
    assert (result.path / "kernels.zip").is_file()
    assert any("C++ plugin" in note and "not yet run on hardware" in note for note in result.notes)


@pytest.mark.parametrize("target", ["jetpack6", "jetpack5", "openvino"])
@pytest.mark.parametrize("name", ["convit_mnist", "davit_mnist"])
def test_elsewhere_they_are_written_out(name, target, tmp_path):
    if target == "openvino":
        openvino_or_skip()
    result = run(name, tmp_path, target=target)
    graph = onnx.load(result.bundle.graph)
    assert not graph.functions and {node.domain for node in graph.graph.node} == {""}
    assert {opset.domain for opset in graph.opset_import} == {""}
    assert not [node for node in graph.graph.node if node.op_type == "CastLike"]
    manifest = result.bundle.manifest
    assert manifest["rewrite"]["fused"] == {"route": "inline", "ops": FUSED[name]}
    assert "plugins" not in manifest and "kernels.zip" not in manifest["files"]


@pytest.mark.parametrize("name", ["convit_mnist", pytest.param("davit_mnist", marks=pytest.mark.slow)])
def test_plugins_take_an_open_batch(name, tmp_path):
    result = run(name, tmp_path, batch="1..3")
    assert counts(result) == FUSED[name]
    assert {row.shape[0] for row in result.parity if row.stage == "bundle"} == {1, 2, 3}


def test_plugins_stand_beside_int8_layers(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (28, 28, 3)).astype(np.uint8) for _ in range(24)]
    result = run(
        "convit_mnist", tmp_path, precision="int8", int8_form="static", data=pictures, calib_images=16, eval_images=0
    )
    assert counts(result) == FUSED["convit_mnist"]
    inside = [node.op_type for node in onnx.load(result.bundle.graph).graph.node]
    assert inside.count("QuantizeLinear") >= 3


def test_a_kept_node_computes_in_float32_between_casts():
    from edgesmith.exporter.patterns.rewrite import rewrite
    from edgesmith.exporter.precision.casts import to_precision
    from edgesmith.exporter.run.nouns import Shapes

    size = find("convit_mnist").contract.size
    exported = once("convit_mnist", Shapes.fixed(1, 3, *size), 20, ("logits",))
    model = rewrite(exported, "rtx", plugins=(GPSA,)).model
    first, second, *_ = [node for node in model.graph if node.domain == DOMAIN]
    typed = to_precision(model, "fp16", keep={str(first.name)})
    kinds = {
        node.name: [value.dtype.name for value in (*node.inputs, *node.outputs)]
        for node in typed.model.graph
        if node.domain
    }
    assert set(kinds[first.name]) == {"FLOAT"}
    assert kinds[second.name] == ["FLOAT16", "FLOAT16", "FLOAT16", "FLOAT", "FLOAT16"]
    low = to_precision(model, "bf16").model
    assert low.graph.opset_imports[""] == 22
    assert {body.opset_imports[""] for body in low.functions.values()} == {22}


def test_each_pass_is_checked_and_can_be_skipped(tmp_path):
    result = run("davit_mnist", tmp_path, verify_each=True, skip=["FuseWindowAttention"])
    assert "WindowAttention is not put in: --skip FuseWindowAttention" in result.notes
    assert not any("no place took" in note for note in result.notes)
    assert counts(result) == dict.fromkeys(CHANNELS, 4)


def test_one_of_a_pair_brings_the_other():
    assert make_plan("davit", plugins="channelgram").plugins == ("ChannelGram", "ChannelApply")


def test_without_the_flag_nothing_is_fused(tmp_path):
    result = run("convit_mnist", tmp_path, plugins=None)
    assert counts(result) == {} and result.bundle.manifest["rewrite"]["fused"] is None


def test_a_model_without_places_says_so():
    plan = make_plan("smt", plugins="all")
    assert unused(plan, None) == ["--plugins all: no fused op occurs in smt_tiny"]
    assert unused(make_plan("smt"), None) == []


def test_no_kernel_for_the_sizes_is_refused_where_plugins_run(tmp_path, monkeypatch):
    from dataclasses import replace

    op = OPS[GPSA]
    others = tuple(variant for variant in op.kernel.variants if "48" in variant.when)
    assert others, "the declaration has no variant for 48 channels"
    monkeypatch.setitem(OPS, GPSA, replace(op, kernel=replace(op.kernel, variants=others)))
    result = run("convit_mnist", tmp_path, target="jetpack7")
    assert counts(result) == {} and "plugins" not in result.bundle.manifest
    passes = {row["name"]: row for row in result.bundle.manifest["rewrite"]["passes"]}
    assert "no float16 kernel for D = 16" in passes["FuseGatedPositionalAttention"]["refused"][0]["why"]
    assert f"no place took {GPSA}: the passes' refusals say why" in result.notes


def test_a_missing_pack_is_said_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_pack, "PACKED", tmp_path / "kernels.zip")
    with pytest.raises(EdgesmithError) as told:
        run("convit_mnist", tmp_path, target="jetpack7")
    assert "no such file" in told.value.found and "make kernels" in told.value.attempt
    assert not list(tmp_path.glob("*.edge"))


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"plugins": "GatedPositionalAtention"}, "--plugins GatedPositionalAttention"),
        ({"plugins": "WindowAttention"}, "it stands for a block of davit"),
        ({"plugins": ["GGeMPool", "nothing"]}, "it stands for a block of vit_ggem"),
        ({"plugins": "GatedPositionalAttention,All"}, "names with commas between"),
        ({"plugins": ["none", "GatedPositionalAttention"]}, "--plugins none"),
        ({"plugins": True}, 'plugins="all"'),
        ({"plugins": ["GatedPositionalAttention", 1]}, "plugins=1"),
        ({"plugins": "DilatedDepthwiseConv"}, "no rewrite puts DilatedDepthwiseConv in"),
        ({"plugins": "all", "native_plugins": True}, "--target jetpack6"),
        ({"native_plugins": True, "target": "jetpack6"}, "--plugins all"),
    ],
)
def test_plugins_that_cannot_be_had_are_refused_in_words(choices, words):
    with pytest.raises(UserMistake) as mistake:
        make_plan("convit", **choices)
    told = mistake.value
    assert words in f"{told.found} {told.expected} {told.because} {told.attempt}"


def test_a_model_without_places_has_no_use_for_the_cpp_plugin():
    with pytest.raises(
        UserMistake, match="none of them occurs in this model(.|\n)*leave --native-plugins and --plugins out"
    ):
        make_plan("smt", plugins="all", native_plugins=True, target="jetpack6")


def test_one_pass_may_be_skipped_by_its_bare_name():
    assert make_plan("vit_ggem", plugins="all", skip="FuseGGeMPool").skip == ("FuseGGeMPool",)


def test_every_target_has_a_route():
    routes = {name: target.plugin_route for name, target in TARGETS.items()}
    assert routes == {
        "cpu": "function", "openvino": "inline", "rtx": "inline", "tensorrt": "aot", "jetpack7": "aot", "jetpack7.0": "aot",
        "jetpack6": "inline", "jetpack6.0": "inline", "jetpack5": "inline",
    }  # fmt: skip
    assert [name for name, target in TARGETS.items() if target.native_plugins] == ["jetpack6"]


def test_the_plan_says_which_plugins_and_by_which_route():
    plan = make_plan("convit", plugins="all", target="jetpack7").to_json()
    assert (plan["plugins"], plan["plugin_route"]) == ([GPSA], "aot")
    json.dumps(plan)


def test_the_command_knows_the_flags():
    answer = command(
        "export",
        "--model",
        "convit",
        "--plugins",
        "all",
        "--target",
        "jetpack6",
        "--native-plugins",
        "--dry-run",
        "--json",
    )
    plan = json.loads(answer.out)["plan"]
    assert (answer.code, plan["plugins"], plan["plugin_route"]) == (0, [GPSA], "native")
    wrong = command("export", "--model", "convit", "plugins=ChannelGram", "--dry-run")
    assert wrong.code == 2 and "ChannelGram cannot occur in convit_tiny" in wrong.err
    told = " ".join(command("export", "--help").out.split())
    assert "no GPU has measured anything yet" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wanted"),
    [("convit_tiny", {GPSA: 10}), ("davit_tiny", {**dict.fromkeys(CHANNELS, 6), WINDOW: 6})],
)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_networks_of_full_size_get_all_their_plugins(name, wanted, precision, tmp_path):
    result = run(name, tmp_path, precision=precision)
    assert counts(result) == wanted


@rtx
@pytest.mark.slow
@pytest.mark.parametrize("name", ["convit_mnist", "davit_mnist", "vit_ggem_mnist", "convit_tiny", "davit_tiny"])
def test_rtx_gets_an_engine_without_plugins(name, tmp_path):
    result = run(name, tmp_path, target="rtx", precision="fp16")
    assert counts(result) == {} and len(result.bundle.engines) == 1
    assert result.bundle.manifest["engines"][0]["xray"]["recognised"] == 1.0
