"""Calibration carried out from a handful of facts: no plan, no run, whoever asks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linear_graph import LINEARS, feeds, linear_graph

from edgesmith.calibration.budget import hold
from edgesmith.calibration.judge.accuracy import sqnr_db
from edgesmith.calibration.judge.classification import judge_logits
from edgesmith.calibration.judge.evaluation import Evaluation, NothingFound
from edgesmith.calibration.nouns import Recipe
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.runtime.errors import UserMistake


class Noise:
    """Seeded noise with what a report tells of an ImageSet."""

    source, kind, contract, labels = "noise", "arrays", None, None

    def __init__(self, count: int, seed: int) -> None:
        self.array = np.random.default_rng(seed).standard_normal((count, 8, 8, 96)).astype(np.float32)
        self.digest = f"{seed:064}"

    def __len__(self) -> int:
        return len(self.array)

    def batches(self, size: int, start: int = 0):
        for first in range(start, len(self.array), size):
            yield self.array[first : first + size]


def by_answers(held_out: Any, reference: Any) -> Evaluation:
    return judge_logits(held_out, reference)


def facts(cache: Path, evaluation: Any = by_answers, **recipe: Any) -> hold.Facts:
    data: Any = SimpleNamespace(
        calibration=Noise(16, 1), held_out=Noise(40, 2), skipped=(), notes=("noise, no photos",)
    )
    wanted = Recipe(smooth=0, equalise=False, **recipe)
    return hold.Facts("net", "int8", "fp32", hold.Calibration(wanted, data, None, cache), False, evaluation, sqnr_db)


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
    assert quantised.met and quantised.figures is not None and quantised.figures.sqnr_db > 20
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
