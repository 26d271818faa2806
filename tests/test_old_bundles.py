"""Bundles that Edgesmith 0.1.0 made (tests/data/bundles) still open, test themselves, run and can be looked at.

A bundle on a device outlives the version that wrote it: no later version may answer otherwise about the same picture.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import edgesmith as command
from floor import workstation
from saturation import exact_products

import edgesmith

BUNDLES = Path(__file__).parent / "data" / "bundles"
ANSWERS = json.loads((BUNDLES / "answers.json").read_text(encoding="utf-8"))
# Integer kernels add exactly on every CPU, the float parts between them do not: a code may round to its neighbour
TOLERANCE = {"classifier_fp32": 1e-4, "classifier_int8": 0.01, "detector_int8": 0.03}
BOX_PX = 2.0
LEAST_SCORE, CLEAR_SCORE = 0.25, 0.3  # a detection that is clear on one CPU is above the least on every other


def told(*words: str) -> Any:
    answer = command(*words, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


@pytest.fixture(params=ANSWERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=exact_products if name == "classifier_int8" else ()) for name in ANSWERS]
)
def test_an_old_bundle_passes_its_own_test(name: str):
    (row,) = told("test", str(BUNDLES / name))
    assert row["passed"], row


def test_an_old_bundle_answers_as_on_the_day_it_was_made(name: str):
    then = ANSWERS[name]
    more = ("--score", str(LEAST_SCORE)) if "detections" in then else ()
    (now,) = told("run", str(BUNDLES / name), str(BUNDLES / then["image"]), *more)
    assert now.keys() == then.keys()
    if "top" in then:
        assert now["top"][0]["label"] == then["top"][0]["label"]
        by_label = {guess["label"]: guess["probability"] for guess in now["top"]}
        for guess in then["top"][:2]:
            assert by_label[guess["label"]] == pytest.approx(guess["probability"], abs=TOLERANCE[name])
        return
    assert now["size"] == then["size"]
    assert_same_detections(then["detections"], now["detections"], TOLERANCE[name])


def assert_same_detections(then: list[dict], now: list[dict], tolerance: float) -> None:
    """Every clear detection of one list is in the other: class, score and box."""
    for one, others in [(one, now) for one in then] + [(one, then) for one in now]:
        if one["score"] < CLEAR_SCORE:
            continue
        assert any(
            other["class"] == one["class"]
            and other["label"] == one["label"]
            and other["score"] == pytest.approx(one["score"], abs=tolerance)
            and other["box"] == pytest.approx(one["box"], abs=BOX_PX)
            for other in others
        ), f"{one} has no partner"


def test_python_opens_an_old_bundle(name: str):
    then = ANSWERS[name]
    with edgesmith.load(str(BUNDLES / name)) as session:
        found = session(str(BUNDLES / then["image"]))
    if "top" in then:
        assert found.best.label == then["top"][0]["label"]
    else:
        assert next(iter(found)).label == then["detections"][0]["label"]


@workstation
def test_an_old_bundle_can_be_inspected(name: str):
    document = told("inspect", str(BUNDLES / name))
    assert document["kind"] == "bundle" and document["manifest"]["edgesmith"] == "0.1.0"
    assert command("inspect", str(BUNDLES / name)).code == 0


@workstation
@pytest.mark.parametrize("name", ["classifier_int8", "detector_int8"])
def test_the_quantisation_of_an_old_bundle_is_told(name: str):
    found = told("quant-report", str(BUNDLES / name))["quantisation"]
    assert found["precision"] == "int8" and found["share"] > 0.3
    assert found["accuracy"]["metric"] == ("mAP" if name == "detector_int8" else "top1")
