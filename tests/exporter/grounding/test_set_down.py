"""What goes into the files of weights and what stays in a graph; a size beside the first answers before anything is published."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from grounding_bundle import SQUARE, WIDE, ids, screenshot, write_grounding_bundle

from edgesmith.exporter.grounding import verify, write
from edgesmith.exporter.grounding.few_bits.store import Store
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.errors import ParityFailed


def test_the_widths_of_many_pieces_stay_in_the_graph(tmp_path: Path):
    """A 4K screen is cut into hundreds of rows of windows: an engine wants their widths before it has any file of weights."""
    pieces = 200
    outputs = ", ".join(f"float[1, n{at}] y{at}" for at in range(pieces))
    text = f"""<ir_version: 10, opset_import: ["" : 18]>
    cut (float[1, {2 * pieces}] x) => ({outputs}) <int64[{pieces}] widths = {{{", ".join(["2"] * pieces)}}},
    float[1, {2 * pieces}] weight = {{{", ".join(["1.0"] * (2 * pieces))}}}>
    {{ moved = Add(x, weight) {", ".join(f"y{at}" for at in range(pieces))} = Split<axis = 1>(moved, widths) }}"""
    model = ir.from_onnx_text(text)
    with Store(tmp_path / "some.data") as store:
        write._set_down(model, "cut", {}, store)
    kept = {name: isinstance(value.const_value, ir.ExternalTensor) for name, value in model.graph.initializers.items()}
    assert kept == {"widths": False, "weight": True}
    ir.save(model, tmp_path / "cut.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "cut.onnx"), providers=["CPUExecutionProvider"])
    assert len(session.run(None, {"x": np.zeros((1, 2 * pieces), np.float32)})) == pieces


def test_every_size_answers_before_a_bundle_is_published(tmp_path: Path):
    with load(write_grounding_bundle(tmp_path / "colours.edge", sizes=(WIDE, SQUARE))) as session:
        verify.check_others(session, screenshot(WIDE), ids("red"))


@pytest.mark.parametrize("score", [np.nan, 0.0, 1.0])
def test_a_size_that_gives_no_scores_is_not_published(score: float):
    places = [SimpleNamespace(words=words) for words in ("224x140", "112x112")]
    desk = SimpleNamespace(
        facts=SimpleNamespace(buckets=places), look=lambda *_: ({}, None), scores=lambda *_: np.full((1, 16), score)
    )
    with pytest.raises(ParityFailed, match="112x112"):
        verify.check_others(SimpleNamespace(screens=lambda: desk), screenshot(WIDE), ids("red"))
