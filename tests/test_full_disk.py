"""Where a disk is full, or may not be written, what was there stays, nothing half-written lies about, and our words say so."""

from __future__ import annotations

import pytest
from kill_kinds import KINDS as OF_A_FLEET
from kill_programs import needs, told

WHOLE = [kind for kind in OF_A_FLEET if kind not in ("build", "triton")]
LONG = {"build": 5, "triton": 11, "publish": 3}  # those take long: before each fifth change, eleventh, third


@pytest.mark.parametrize(("kind", "every"), [(kind, 1) for kind in [*WHOLE, "engines"]] + list(LONG.items()))
def test_a_disk_that_is_full_from_any_change_on(kind, every):
    needs(kind)
    result = told("full_disk.py", kind, "full", every)
    assert result["left"] == {} and result["old"] >= 2 and result["new"] == 1


@pytest.mark.parametrize("how", ["readonly", "small"])
@pytest.mark.parametrize("kind", [*OF_A_FLEET, "publish", "engines", "calibration"])
def test_a_place_that_may_not_be_written_and_files_that_may_not_grow(kind, how):
    """From 0 bytes to more than most files of ours have."""
    needs(kind)
    result = told("full_disk.py", kind, how)
    assert result["left"] == {} and result["steps"] == (1 if how == "readonly" else 7) and result["old"] >= 1
