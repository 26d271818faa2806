"""Calibration carried out from a handful of facts: no plan, no run, whoever asks."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linear_graph import LINEARS, Noise, feeds, linear_graph

from edgesmith.calibration.budget import hold
from edgesmith.calibration.judge.accuracy import sqnr_db
from edgesmith.calibration.judge.classification import ClassificationJudge, judge_logits
from edgesmith.calibration.judge.evaluation import Evaluation, NothingFound
from edgesmith.calibration.nouns import Recipe
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.runtime.errors import UserMistake


def by_answers(held_out: Any, reference: Any) -> Evaluation:
    return judge_logits(held_out, reference)


def facts(
    cache: Path, evaluation: Any = by_answers, judge: int = 40, max_drop: float | None = None, **recipe: Any
) -> hold.Facts:
    data: Any = SimpleNamespace(
        calibration=Noise(16, 1), held_out=Noise(judge, 2), skipped=(), notes=("noise, no photos",)
    )
    wanted = hold.Calibration(Recipe(smooth=0, equalise=False, **recipe), data, max_drop, cache)
    return hold.Facts("net", "int8", "fp32", wanted, False, evaluation, sqnr_db)


def held(asked: hold.Facts, heard: list[Any]) -> hold.Quantised:
    model = linear_graph()
    del model.graph.outputs[1:]
    sites = find_sites(model, feeds(1))
    asked = hold.fitted(asked, sites, model)
    statistics = hold.collect_statistics(asked, model, sites, lambda *step: heard.append(step))
    return hold.within_budget(asked, model, sites, statistics)


def test_facts_alone_quantise_judge_and_tell(tmp_path):
    heard: list[Any] = []
    quantised = held(facts(tmp_path), heard)
    assert quantised.met is None, "nobody gave a budget"
    assert quantised.figures is not None and quantised.figures.sqnr_db > 20
    assert quantised.report["accuracy"]["n"] == 40 and quantised.report["data"]["source"] == "noise"
    assert "noise, no photos" in quantised.notes and heard[-1] == ("calibrating", 16, 16)


def test_a_reference_that_finds_nothing_is_a_note_and_not_the_end(tmp_path):
    def nothing(*_: object) -> None:
        raise NothingFound("the detector sees nothing")

    quantised = held(facts(tmp_path, nothing), [])
    assert "accuracy not measured: the detector sees nothing" in quantised.notes and "accuracy" not in quantised.report


def test_nothing_to_quantise_names_model_precision_and_what_to_try(tmp_path):
    said = "Nothing in net can be quantised to int8 in the form qdq(.|\n)*--precision fp32"
    with pytest.raises(UserMistake, match=said):
        held(facts(tmp_path, keep=dict.fromkeys(LINEARS, "asked")), [])


@pytest.mark.parametrize(
    "form", [{"form": "qdq"}, {"form": "dynamic"}, {"form": "nbits", "precision": "int4", "block": 32}]
)
def test_a_budget_that_nothing_measures_is_a_mistake_and_never_holds(form, tmp_path):
    with pytest.raises(UserMistake, match="budget of net in int8 cannot be measured"):
        held(facts(tmp_path, judge=0, max_drop=0.5, **form), [])


def test_a_budget_where_the_reference_finds_nothing_is_a_mistake(tmp_path):
    def nothing(*_: object) -> None:
        raise NothingFound("the detector sees nothing")

    with pytest.raises(UserMistake, match="sees nothing"):
        held(facts(tmp_path, nothing, max_drop=0.5), [])


@pytest.mark.parametrize("max_drop, high", [(100.0, False), (0.0001, True)])
def test_a_budget_finer_than_one_picture_holds_only_where_none_is_lost(max_drop, high, tmp_path):
    """Plain int8 changes the answers to some of 400 pictures of noise, 0.25 points each."""
    quantised = held(facts(tmp_path, judge=400, max_drop=max_drop), [])
    full, *_ = quantised.report["budget"]["curve"]
    assert full["drop"]["points"] >= 0.25 and full["holds"] is not high
    assert quantised.met and quantised.report["budget"]["met"] and quantised.report["accuracy"]["n"] == 400
    assert (quantised.figures.drop.points == 0) or not high
    assert high == any("in steps of 0.25 points" in note for note in quantised.notes)


@pytest.mark.parametrize("count", [0, 40])
def test_one_answer_to_all_pictures_is_told_of_held_out_and_of_calibrating_ones(count, tmp_path):
    """The same picture forty times, as black ones are the same: whatever the network says, it says it to all."""
    asked = facts(tmp_path, judge=count)
    data = asked.calibration.data
    for part in (data.calibration, data.held_out):
        part.array[:] = part.array[:1] if len(part) else part.array
    doubted = held(replace(asked, doubts=ClassificationJudge().doubts), [])
    said = [note for note in doubted.notes if note.startswith("ONE ANSWER FOR ALL")]
    assert len(said) == 1 and f"each of {count or 16} pictures" in said[0] and "mean, std" in said[0]
    assert not any("ONE ANSWER" in note for note in held(asked, []).notes), "who asks for no doubts hears of none"


def test_different_answers_few_pictures_and_one_logit_raise_no_wrong_doubt():
    doubts = ClassificationJudge().doubts
    assert doubts(np.eye(10, dtype=np.float32)) == [] == doubts(np.ones((7, 10), np.float32))
    assert doubts(np.array([[-1.0], [2.0]] * 5, np.float32)) == [], "the sign of one logit is its answer"
    assert len(doubts(np.full((8, 1), 3.0, np.float32))) == 1
