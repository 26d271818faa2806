"""The GPU check itself, on a CPU: every op's small cases through the fake driver, and faults that it has to find."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

from dataclasses import replace

import numpy as np
import pytest
from gpu.cases import CASES
from gpu.correctness import check_op, compiled_types
from gpu.driver import Driver, DriverError
from gpu.fake_cuda import FakeCuda
from gpu.stand_in import stand_in_pack

from edgesmith.exporter.plugins import OPS

PACK = stand_in_pack(OPS.values())
WITH_KERNEL = [name for name, op in OPS.items() if op.kernel is not None]
INTERPRETED = ("float32", "float16")  # its bfloat16 products are wrong


def fake(**changes) -> FakeCuda:
    return FakeCuda(PACK, dict(OPS), **changes)


@pytest.mark.parametrize("name", WITH_KERNEL)
def test_small_cases_hold_in_the_interpreter(name):
    types = tuple(t for t in INTERPRETED if t in compiled_types(PACK.ops[name]))
    rows = list(check_op(Driver(fake()), PACK, OPS[name], real=False, types=types))
    assert {row["type"] for row in rows} == set(types)
    assert not [row for row in rows if not row["ok"]]
