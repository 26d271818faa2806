"""The short form of ``make fuzz``: some seeded mutants of each kind, each used or refused in words, never a traceback.

The kinds that need PyTorch or other tools have their short forms beside what they damage.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from floor import workstation

FUZZ = Path(__file__).parents[1] / "tools" / "fuzz"
COUNTS = {
    "manifest": 60,
    "labels": 25,
    "golden": 40,
    "kernels": 40,
    "account": 60,
    "contract": 80,
    "grounding": 30,
    "repository": 20,
}
NEEDED = {"account": "cryptography", "repository": "tritonclient"}
pytestmark = workstation  # the commands that look at a bundle are the workstation's


@pytest.fixture(scope="module")
def child() -> Iterator[Any]:
    sys.path.insert(0, str(FUZZ))
    import child

    yield child
    sys.path.remove(str(FUZZ))


@pytest.mark.parametrize("name", COUNTS)
def test_every_mutant_is_used_or_refused_in_words(child: Any, name: str):
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    kind = child.load_kind(FUZZ / "kinds" / f"{name}.py")
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        kind.prepare(Path(folder))
        for index in range(COUNTS[name]):
            outcome, what = child.one(kind, Path(folder), "short", index)
            assert outcome != child.TRACEBACK, (
                f"{what}\npython tools/fuzz/driver.py --kinds {name} --seed short --again {index}"
            )
            ends[outcome] += 1
    assert ends[child.REFUSED] > COUNTS[name] / 10 and ends[child.ACCEPTED] > COUNTS[name] / 20, ends
