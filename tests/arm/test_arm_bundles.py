"""A bundle of each task that x86 wrote holds its golden outputs on Arm, and answers as there (int8: tests/test_old_bundles.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import arm_cases
import pytest

LIMIT = 2e-5  # of the logits of these bundles, as their self-test says


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a JSON document, with the way to it."""
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, f"{path}/{key}")
    else:
        yield path, value


def test_every_bundle_holds_its_golden_outputs_and_answers_as_on_x86(x86, told_there):
    here = arm_cases.told(x86)
    assert here.keys() == told_there.keys() == {"small", "boxes", "masks", "features", "clicks"}
    for name, there in told_there.items():
        assert all(row["passed"] for row in here[name]["test"]), here[name]["test"]
        assert [row["limit"] for row in here[name]["test"]] == [row["limit"] for row in there["test"]]
        found, expected = (dict(leaves(answers["run"])) for answers in (here[name], there))
        assert found.keys() == expected.keys(), name
        for path, value in expected.items():
            if isinstance(value, float):
                assert found[path] == pytest.approx(value, abs=LIMIT), (name, path)
            else:
                assert found[path] == value, (name, path)  # labels, classes, sizes, pixels to click
