"""``edgesmith inspect --ops``: fused nodes of files, bundles and models by name, and the route of every target."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from command_line import edgesmith
from fused_ops import model_of

from edgesmith.exporter.commands.inspect.ops import inspect_ops, lines
from edgesmith.exporter.plan.targets import TARGETS
from edgesmith.exporter.plugins import OPS


def saved(tmp_path, head_dim, *, body=True):
    q = np.zeros((1, 2, 9, head_dim), np.float16)
    model = model_of(
        OPS["GatedPositionalAttention"], [q, q, q, np.zeros((2, 4), np.float32)], {"side": 3, "scale": 0.125}
    )
    if not body:
        del model.functions[:]
    path = tmp_path / "one.onnx"
    onnx.save(model, path)
    return str(path)


def test_a_file_with_one_node(tmp_path):
    found = inspect_ops(saved(tmp_path, 48))
    assert found["ops"] == {"GatedPositionalAttention": {"count": 1, "body": True}}
    (node,) = found["nodes"]
    assert node["type"] == "float16" and node["sizes"]["D"] == 48 and node["sizes"]["side"] == 3
    assert set(found["targets"]) == set(TARGETS)
    assert found["targets"]["tensorrt"]["ops"] == {"GatedPositionalAttention": "plugin"}
    assert found["targets"]["cpu"]["ops"] == {"GatedPositionalAttention": "body"}


def test_shapes_of_a_file_are_inferred_in_a_process_of_its_own(tmp_path, monkeypatch):
    """Inference is native code, and the file may be anybody's: what ends it may not end us."""
    path = saved(tmp_path, 48)
    model = onnx.load(path)
    middle = [onnx.helper.make_node("Identity", [name], [f"{name}_same"]) for name in model.graph.node[0].input]
    model.graph.node[0].input[:] = [node.output[0] for node in middle]
    model.graph.node.extend(middle)  # types that stand nowhere in the file
    fused = model.graph.node.pop(0)
    model.graph.node.append(fused)
    onnx.save(model, path)

    def here(*_, **__):
        raise AssertionError("inferred here")

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", here)
    (node,) = inspect_ops(path)["nodes"]
    assert node["type"] == "float16" and node["sizes"]["D"] == 48


def test_a_file_that_the_other_process_does_not_survive_has_no_known_shapes(tmp_path, monkeypatch):
    from edgesmith.exporter.run.foreign import trial

    monkeypatch.setattr(trial, "LIMIT_S", 0.0)  # it is ended before it answers, as by a fault
    monkeypatch.setattr(trial, "BYTES_A_SECOND", 2**60)
    (node,) = inspect_ops(saved(tmp_path, 48))["nodes"]
    assert node["type"] == "unknown" and "D" not in node["sizes"]


def test_sizes_without_a_kernel_are_told(tmp_path):
    routes = inspect_ops(saved(tmp_path, 20))["targets"]
    assert routes["jetpack7"]["ops"]["GatedPositionalAttention"] == "body: no kernel for float16, D 20"


def test_a_file_without_bodies_runs_where_there_is_a_plugin_only(tmp_path):
    routes = inspect_ops(saved(tmp_path, 48, body=False))["targets"]
    assert routes["tensorrt"]["ops"]["GatedPositionalAttention"] == "plugin"
    assert routes["rtx"]["ops"]["GatedPositionalAttention"].startswith("none")


def test_the_cpp_plugin_has_a_line_of_its_own(tmp_path):
    found = inspect_ops(saved(tmp_path, 48, body=False))
    assert found["targets"]["jetpack6"]["native_plugins"] == {"GatedPositionalAttention": "plugin"}
    assert [name for name, target in found["targets"].items() if "native_plugins" in target] == ["jetpack6"]
    assert any("jetpack6" in line and line.endswith("plugin (--native-plugins)") for line in lines(found))


@pytest.mark.parametrize(
    ("change", "said", "route"),
    [
        (lambda node: setattr(node, "op_type", "FooAttention"), "no op of this version is called that", "nothing"),
        (lambda node: node.attribute.append(onnx.helper.make_attribute("slide", 3)), "no attribute slide", "plugin"),
        (lambda node: next(a for a in node.attribute if a.name == "side").CopyFrom(
            onnx.helper.make_attribute("side", "three")), "its side is no int", "body"),
        (lambda node: node.attribute.remove(next(a for a in node.attribute if a.name == "side")), "side is missing", "body"),
    ],
)  # fmt: skip
def test_a_node_that_does_not_fit_its_declaration_is_told(tmp_path, change, said, route):
    path = saved(tmp_path, 48)
    model = onnx.load(path)
    change(model.graph.node[0])
    onnx.save(model, path)
    told = edgesmith("inspect", "--ops", path)
    assert told.code == 0 and "wrong: " in told.out and said in told.out
    (words,) = inspect_ops(path)["targets"]["jetpack7"]["ops"].values()
    assert words.startswith(route)


def test_a_model_by_name_is_traced_and_fused():
    found = inspect_ops("convit_tiny")
    assert found["ops"] == {"GatedPositionalAttention": {"count": 10, "body": True}}
    assert found["targets"]["jetpack7"]["ops"] == {"GatedPositionalAttention": "plugin"}
    assert "convit_tiny: 10 GatedPositionalAttention" in "\n".join(lines(found))


def test_the_command_lists_the_fused_ops_of_a_graph(tmp_path):
    path = saved(tmp_path, 48)
    told = edgesmith("inspect", "--ops", path)
    assert told.code == 0 and "1 GatedPositionalAttention" in told.out
    assert "no plugin has been run on hardware yet" in told.out
    assert json.loads(edgesmith("inspect", "--ops", path, "--json").out)["ops"]


@pytest.mark.parametrize(
    ("words", "says"),
    [(["convitt"], "no model is called that"), (["no_such.onnx"], "There is nothing at"),
     (["convit", "--gpu-arch", "sm89"], "leave --gpu-arch or --ops out")],
)  # fmt: skip
def test_words_that_do_not_fit_end_with_2_and_no_traceback(words, says):
    answer = edgesmith("inspect", "--ops", *words)
    assert answer.code == 2 and says in answer.err and "Traceback" not in answer.err


def test_a_graph_without_fused_ops(tmp_path):
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value("x", 1, [2])], [value("y", 1, [2])]
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "plain.onnx")
    assert "no fused nodes" in edgesmith("inspect", "--ops", str(tmp_path / "plain.onnx")).out
