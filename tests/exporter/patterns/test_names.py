"""Every pass leaves a graph whose nodes and values have names of their own, as engines and --verify-each want them."""

from __future__ import annotations

import onnx_ir as ir
from graph_asserts import op_types, parse, run, weights

from edgesmith.exporter.patterns import rewrite as module
from edgesmith.exporter.patterns.base import Pattern
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.graph.edit import insert, name_apart

RESIZE = 'Resize<coordinate_transformation_mode = "asymmetric", mode = "nearest", nearest_mode = "floor">'
NECK = f"""
<ir_version: 10, opset_import: ["" : 20]>
neck (float[2, 3, 6, 10] images, float[2, 5, 3, 5] u) => (float[2, 4, 6, 10] logits)
<float[4] scales = {{1.0, 1.0, 2.0, 2.0}}, {weights(w=(4, 8, 1, 1), b=(4,))}>
{{
  [enlarge] up = {RESIZE}(u, , scales)
  [join] cat = Concat<axis = 1>(images, up)
  [mix] logits = Conv<kernel_shape = [1, 1]>(cat, w, b)
}}
"""


def names(model: ir.Model) -> list[str]:
    """All names of nodes, then of values; the weights and inputs among them."""
    values = [value for node in model.graph for value in node.outputs] + list(model.graph.inputs)
    made = [str(value.name) for value in values] + list(model.graph.initializers)
    return [f"node {node.name}" for node in model.graph] + made


def test_a_graph_can_be_run_after_every_pass():
    model, seen = parse(NECK), []
    wanted = run(model)[0]

    def check(now: ir.Model, name: str) -> None:
        seen.append(name)
        assert len(set(names(now))) == len(names(now)), name
        assert abs(run(now)[0] - wanted).max() < 1e-5, name

    shape = (2, 3, 6, 10)
    rewrite(ExportedGraph(model, "neck", Shapes.fixed(*shape)), "cpu", verify_each=check)
    assert "UpsampleLate" in seen, "the pass that gave two convolutions one name found nothing"


def test_the_driver_tells_equal_names_apart(monkeypatch):
    class SameNames(Pattern):
        def apply(self, model: ir.Model) -> int:
            (node,) = (node for node in model.graph if node.op_type == "Relu")
            first = insert(node, "Neg", [node.inputs[0]], name="twin", output="same")
            second = insert(node, "Neg", [first], name="twin", output="same")
            node.replace_input_with(0, second)
            return 1

    monkeypatch.setattr("edgesmith.exporter.patterns.order.passes_for", lambda *_: [SameNames])
    monkeypatch.setattr(module, "check_skip", lambda *_: None)
    text = (
        '<ir_version: 10, opset_import: ["" : 20]> g (float[2] images) => (float[2] logits) { logits = Relu(images) }'
    )
    done = rewrite(ExportedGraph(parse(text), "twins", Shapes.fixed(1, 1, 1, 2)), "cpu").model
    assert op_types(done) == ["Neg", "Neg", "Relu"]
    assert len(set(names(done))) == len(names(done))
    assert run(done)[0].shape == (2,)


def test_inputs_outputs_and_weights_keep_their_names():
    model = parse(NECK)
    resize, concat, convolution = model.graph
    resize.name = concat.name = convolution.name
    resize.outputs[0].name, concat.outputs[0].name = "logits", "w"
    name_apart(model)
    assert [value.name for value in (*model.graph.inputs, *model.graph.outputs)] == ["images", "u", "logits"]
    assert set(model.graph.initializers) == {"scales", "w", "b"}
    assert [node.name for node in model.graph] == ["mix", "mix_1", "mix_2"]
    assert [node.outputs[0].name for node in model.graph] == ["logits_1", "w_1", "logits"]
