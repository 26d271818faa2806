"""Graphs whose weights lie in a file beside them: the same numbers, and nothing of them in memory."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from edgesmith.exporter.engine.build import _save
from edgesmith.exporter.patterns.cleanup.fold_constants import FoldConstants
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.precision.emulate import emulate
from edgesmith.graph import beside
from edgesmith.graph.edit import add_constant, clone
from edgesmith.graph.run import open_session, run_values

NET = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[2, 40] x) => (float[2, 40] y)
<float[1] small = {0.5}>
{
  turned = Transpose <perm = [1, 0]> (weight)
  a = MatMul(x, turned)
  b = Relu(a)
  c = MatMul(b, other)
  y = Mul(c, small)
}
"""
FEEDS = {"x": np.random.default_rng(1).standard_normal((2, 40), dtype=np.float32)}


def net() -> ir.Model:
    import onnx.parser

    model = ir.from_proto(onnx.parser.parse_model(NET))
    rng = np.random.default_rng(0)
    for name, shape in (("weight", (64, 40)), ("other", (64, 40))):
        value = ir.Value(name=name, const_value=ir.tensor(rng.standard_normal(shape, dtype=np.float32), name=name))
        model.graph.register_initializer(value)
        for node in model.graph:
            for place, source in enumerate(node.inputs):
                if source is not None and source.name == name:
                    node.replace_input_with(place, value)
    return model


def kept(folder: Path) -> ir.Model:
    model = net()
    beside.keep_beside(model, folder)
    return model


def weights(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    return {name: value.const_value for name, value in model.graph.initializers.items()}


def answer(model: ir.Model) -> np.ndarray:
    return np.asarray(run_values(model, FEEDS, None)["y"])


def test_large_weights_go_to_the_file_and_small_ones_stay(tmp_path):
    model = kept(tmp_path)
    places = {name: isinstance(tensor, beside.Kept) for name, tensor in weights(model).items()}
    assert places == {"small": False, "weight": True, "other": True}
    assert [path.name for path in tmp_path.iterdir()] == [beside.NAME]
    assert all(tensor.offset % beside.PAGE_BYTES == 0 for name, tensor in weights(model).items() if places[name])
    for name, tensor in weights(net()).items():
        assert np.array_equal(weights(model)[name].numpy(), tensor.numpy())
    assert beside.weight_bytes(model) == beside.weight_bytes(net()) == 4 * (2 * 64 * 40 + 1)


def test_the_graph_computes_the_same_from_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)  # the file is found by its own folder
    assert np.array_equal(answer(kept(tmp_path)), answer(net()))


def test_what_is_made_later_is_written_behind_it_when_a_session_opens(tmp_path):
    model = kept(tmp_path)
    before, first = (tmp_path / beside.NAME).stat().st_size, (tmp_path / beside.NAME).read_bytes()
    doubled = add_constant(model, "doubled", 2 * weights(model)["other"].numpy())
    node = next(node for node in model.graph if node.outputs[0].name == "c")
    node.replace_input_with(1, doubled)
    open_session(model)
    assert isinstance(doubled.const_value, beside.Kept) and doubled.const_value.offset >= before
    assert (tmp_path / beside.NAME).read_bytes().startswith(first)
    assert np.allclose(answer(model), 2 * answer(net()), rtol=1e-6)  # the same sums, doubled exactly


def test_a_graph_that_holds_its_weights_is_left_alone(tmp_path):
    model = net()
    beside.settle(model)
    assert not beside.is_beside(model) and not any(
        isinstance(one, ir.ExternalTensor) for one in weights(model).values()
    )


def test_the_file_of_somebody_else_is_never_written_to(tmp_path):
    files = _save(kept(tmp_path), tmp_path)
    data = files["model.onnx.data"].read_bytes()
    model = ir.load(files["model.onnx"])
    add_constant(model, "more", np.ones((64, 64), np.float32))
    beside.settle(model)
    assert not beside.is_beside(model) and files["model.onnx.data"].read_bytes() == data


@pytest.mark.parametrize("kind", [np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.int4, np.int64])
def test_every_type_comes_back(tmp_path, kind):
    array = np.arange(-40, 40).astype(np.int8).reshape(4, 20)
    array = np.tile(array % 8, (200, 1)).astype(kind)
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 21})
    graph.register_initializer(ir.Value(name="a", const_value=ir.tensor(array, name="a")))
    model = ir.Model(graph, ir_version=10)
    beside.keep_beside(model, tmp_path)
    found = weights(model)["a"]
    assert isinstance(found, beside.Kept)
    assert np.array_equal(found.numpy(), array) and found.tobytes() == ir.tensor(array).tobytes()


def test_what_nobody_looks_at_is_not_mapped(tmp_path):
    model = kept(tmp_path)
    looked = weights(model)["weight"].numpy()
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no list of maps here")
    assert str(tmp_path) in maps.read_text()
    del looked
    assert str(tmp_path) not in maps.read_text()


def test_a_constant_product_is_folded_as_in_memory(tmp_path):
    models = [net(), kept(tmp_path)]
    for model in models:
        assert FoldConstants().run(model).count == 1
    one, two = (sorted((node.op_type, len(node.inputs)) for node in model.graph) for model in models)
    assert one == two and np.array_equal(*map(answer, models))


def test_fp16_halves_what_ships_and_rounds_as_in_memory(tmp_path):
    typed = [to_precision(model, "fp16").model for model in (net(), kept(tmp_path))]
    assert all(isinstance(one, beside.Kept) for name, one in weights(typed[1]).items() if name != "small_fp16")
    rounded = [run_values(emulate(model, "fp16"), FEEDS, None)["y"] for model in typed]
    assert np.array_equal(*rounded)
    (tmp_path / "out").mkdir()
    sizes = [_save(model, tmp_path / "out")["model.onnx.data"].stat().st_size for model in (kept(tmp_path), typed[1])]
    assert sizes[1] <= 0.5 * sizes[0] + beside.PAGE_BYTES


def test_a_wide_fp16_weight_is_rounded_where_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("edgesmith.exporter.precision.emulate.LARGE", 1000)
    typed = [to_precision(model, "fp16").model for model in (net(), kept(tmp_path))]
    graphs = [emulate(model, "fp16") for model in typed]
    wide = [node for node in graphs[1].graph if node.op_type == "Cast" and str(node.name).endswith("_wide")]
    assert len(wide) == 2 and np.array_equal(*(run_values(model, FEEDS, None)["y"] for model in graphs))


def test_a_saved_graph_has_one_flat_file_of_what_it_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(beside, "ONE_FILE_BYTES", 10_000)
    for folder, model in (("a", net()), ("b", kept(tmp_path))):
        (tmp_path / folder).mkdir()
        files = _save(clone(model), tmp_path / folder)
        assert sorted(files) == ["model.onnx", "model.onnx.data"]
        assert np.array_equal(answer(ir.load(files["model.onnx"])), answer(net()))
    assert not isinstance(weights(net())["weight"], ir.ExternalTensor)
