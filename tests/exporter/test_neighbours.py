"""An answer is that of the picture alone: an export asks, and the int8 of a CPU keeps it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from digit_pictures import arrays, export

import edgesmith
from edgesmith.exporter.bundle.neighbours import moved_by_neighbours
from edgesmith.models.fixtures.digits import digits
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import ParityFailed
from edgesmith.runtime.pictures.preprocess import preprocess

pytestmark = pytest.mark.usefixtures("each_graph_traced_once")
VIT = "vit_ggem_mnist"
RUNS = {
    "alone": (lambda x: x.mean(axis=(2, 3)), False),
    "a range of the batch": (lambda x: np.round(x.mean(axis=(2, 3)) / x.max() * 127) * x.max(), True),
    "centred over the batch": (lambda x: x.mean(axis=(2, 3)) - x.mean(axis=(0, 2, 3)), True),
    "what came before": (lambda x: np.cumsum(x.mean(axis=(2, 3)), axis=0), True),
    "what comes behind": (lambda x: np.cumsum(x.mean(axis=(2, 3))[::-1], axis=0)[::-1], True),
    "nothing finite beside it": (lambda x: x.mean(axis=(2, 3)) + 0 * np.where(x > 3, np.inf, x).sum(), True),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("batch", [2, 5])
def test_what_is_computed_across_a_batch_is_seen(kind: str, batch: int):
    run, mixes = RUNS[kind]
    pictures = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    moved = moved_by_neighbours(run, *pictures, batch)
    assert moved > 1e-3 if mixes else moved == 0


@pytest.mark.parametrize("choices", [{"batch": "1..4"}, {"batch": "3"}])
def test_a_dynamic_graph_for_several_pictures_answers_each_as_alone(choices: dict[str, str], tmp_path: Path):
    """The range of the whole batch moved the logits by hundredths, and 1 of 200 answers."""
    result = export(VIT, tmp_path / "vit.edge", precision="int8", int8_form="dynamic", **choices)
    pictures = digits("held_out")[0][:36]
    with edgesmith.load(result.path) as session:
        fed = preprocess(list(pictures), session.bundle.contract)
        size = 3 if choices["batch"] == "3" else 4
        together = [session.run({"images": fed[at : at + size]})["logits"] for at in range(0, 36, size)]
        copies = [session.run({"images": np.repeat(one[None], size, axis=0)})["logits"][:1] for one in fed]
    np.testing.assert_allclose(np.concatenate(together), np.concatenate(copies), rtol=1e-4, atol=1e-4)


def test_a_graph_that_mixes_pictures_is_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The form of one picture in a graph of several: DynamicQuantizeLinear over the whole batch."""
    monkeypatch.setattr("edgesmith.calibration.forms.dynamic.takes_one", lambda model: True)
    with pytest.raises(ParityFailed, match="depend on the pictures beside them(.|\n)*the range of a tensor"):
        export(VIT, tmp_path / "vit.edge", precision="int8", int8_form="dynamic", batch="1..4")
    assert {path.name for path in tmp_path.iterdir()} == {"vit.run"}
    result = export(VIT, tmp_path / "a.edge", precision="int8", int8_form="dynamic", batch="1..4", check=False)
    assert any("answers depend on the pictures beside them" in note for note in result.notes)


@pytest.mark.slow
def test_several_pictures_take_fixed_ranges_where_there_are_pictures_to_find_them(tmp_path: Path):
    result = export(VIT, tmp_path / "vit.edge", precision="int8", batch="1..4", data=arrays(32, 40))
    assert open_bundle(result.path).manifest["quantisation"]["form"] == "qdq"
    one = export(VIT, tmp_path / "one.edge", precision="int8", data=arrays(32, 40))
    assert open_bundle(one.path).manifest["quantisation"]["form"] == "dynamic"
