"""Without labels and without a budget the outputs are held at a floor in dB; what goes back to floating point says why."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linear_graph import Noise, feeds, linear_graph

from edgesmith.calibration.budget import hold
from edgesmith.calibration.judge.accuracy import sqnr_db
from edgesmith.calibration.judge.classification import judge_logits
from edgesmith.calibration.nouns import Recipe
from edgesmith.calibration.precisions import PRECISIONS, weights_only
from edgesmith.calibration.sites.sites import find_sites

OUT_OF_REACH = 1000.0


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def held(cache: Path, floor_db: float | None, *, max_drop: float | None = None, labels: Any = None) -> hold.Quantised:
    data: Any = SimpleNamespace(calibration=Noise(16, 1), held_out=Noise(40, 2), skipped=(), notes=())
    calibration = hold.Calibration(Recipe(smooth=0, equalise=False), data, max_drop, cache)
    asked = hold.Facts(
        "net", "int8", "fp32", calibration, False, lambda images, reference: judge_logits(images, reference, labels),
        sqnr_db, floor_db=floor_db,
    )  # fmt: skip
    model = linear_graph()
    del model.graph.outputs[1:]
    sites = find_sites(model, feeds(1))
    asked = hold.fitted(asked, sites, model)
    return hold.within_budget(asked, model, sites, hold.collect_statistics(asked, model, sites))


def float_nodes(quantised: hold.Quantised) -> dict[str, str]:
    return {row["node"]: row["why"] for row in quantised.report["nodes"] if not row["quantised"]}


def db(quantised: hold.Quantised) -> float:
    assert quantised.figures is not None
    return quantised.figures.sqnr_db


def test_layers_go_back_until_the_outputs_reach_the_floor_and_say_why(cache):
    whole = held(cache, None)
    floor_db = db(whole) + 1.0
    found = held(cache, floor_db)
    back = float_nodes(found).keys() - float_nodes(whole).keys()
    assert db(found) >= floor_db and 0 < found.graph.share < whole.graph.share and back
    assert all("one-node SQNR" in float_nodes(found)[node] for node in back)
    told = found.report["floor"]
    assert told["met"] and told["high"] == len(back) and set(told["keep"]) == back
    assert told["curve"][0]["holds"] is False and told["curve"][0]["sqnr_db"] == pytest.approx(db(whole))
    (note,) = [note for note in found.notes if f"held at {floor_db:g} dB" in note]
    assert f"{len(back)} of " in note and f"from {db(whole):.1f} to {db(found):.1f} dB" in note
    assert found.report["accuracy"]["sqnr_db"] == pytest.approx(db(found)), (
        "what is told is that of the graph that ships"
    )
    assert found.met is None and "budget" not in found.report


def test_fewer_layers_would_not_have_reached_it(cache):
    rows = held(cache, db(held(cache, None)) + 1.0).report["floor"]["curve"]
    chosen = next(at for at, row in enumerate(rows) if row["holds"])
    assert rows[chosen]["high"] - rows[chosen - 1]["high"] == 1


def test_a_floor_out_of_reach_is_said_loudly_and_one_layer_stays_quantised(cache):
    whole, found = held(cache, None), held(cache, OUT_OF_REACH)
    assert found.graph.share > 0 and db(found) > db(whole) and not found.report["floor"]["met"]
    assert any(note.startswith("THE OUTPUTS STAY BELOW 1000 dB") for note in found.notes)


def test_a_graph_above_the_floor_is_left_alone(cache):
    whole = held(cache, None)
    found = held(cache, db(whole) - 1.0)
    assert found.report["scales_sha256"] == whole.report["scales_sha256"]
    assert "floor" not in found.report and found.graph.share == whole.graph.share


@pytest.mark.parametrize("said", [{"max_drop": 100.0}, {"labels": np.zeros(40, np.int64)}])
def test_a_budget_or_labels_say_what_may_be_lost_instead(cache, said):
    found = held(cache, OUT_OF_REACH, **said)
    assert "floor" not in found.report and found.graph.share == held(cache, None).graph.share


def test_only_what_is_meant_to_lose_nothing_has_a_floor():
    floors = {name: row.floor_db for name, row in PRECISIONS.items()}
    assert floors["int8"] and not any(floors[name] for name in floors if weights_only(name))
    assert replace(PRECISIONS["int8"], name="mine").floor_db == floors["int8"], "a precision made from it has it too"
