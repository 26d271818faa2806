"""The GPU check itself, on a CPU: every op's small cases through the fake driver, and the faults that it has to find."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import ctypes
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from gpu.case import Case
from gpu.cases import CASES
from gpu.correctness import check_op, compiled_types
from gpu.driver import Driver, DriverError
from gpu.fake_cuda import FakeCuda
from gpu.fenced import Fenced
from gpu.sanitizer import judge, launch_all
from gpu.shapes import output_shapes
from gpu.stand_in import stand_in_pack

from edgesmith.exporter.plugins import OPS
from edgesmith.runtime.plugins.expressions import parse
from edgesmith.runtime.plugins.schema import chosen, float_bits

PACK = stand_in_pack(OPS.values())
WITH_KERNEL = list(PACK.ops)
POOL = OPS["GGeMPool"]


def fake(run: bool = True) -> FakeCuda:
    return FakeCuda(PACK, dict(OPS), run)


def rows_of(library: FakeCuda, name: str, t: str = "float32") -> list[dict]:
    return list(check_op(Driver(library), PACK, OPS[name], real=False, types=(t,)))


def names_of(op, case):
    return op.schema.bind([array.shape for array in case.arrays()], case.attributes)


@pytest.mark.parametrize("name", WITH_KERNEL)
def test_every_launch_is_taken_by_a_case_and_every_case_takes_one(name):
    op, kernels = OPS[name], PACK.ops[name]
    labels = [case.label for case in CASES[name]]
    assert len(set(labels)) == len(labels)
    taken = set()
    for case in CASES[name]:
        names = names_of(op, case)
        for t in compiled_types(kernels):
            launches = chosen(kernels.launches, t, names)
            assert launches, f"{case.label}, {t}: no kernel"
            taken |= {launch.entry for launch in launches}
    assert [f"{x.type}, {x.when}" for x in kernels.launches if x.entry not in taken] == []
    assert sum(not case.real for case in CASES[name]) > 1, "the interpreter and the sanitizer need small ones"


@pytest.mark.parametrize("name", WITH_KERNEL)
def test_a_small_case_holds_in_the_interpreter_in_every_type(name, monkeypatch):
    monkeypatch.setitem(CASES, name, CASES[name][:1])
    for t in compiled_types(PACK.ops[name]):
        rows = rows_of(fake(), name, t)
        assert rows
        assert not [row for row in rows if not row["ok"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_KERNEL)
def test_all_small_cases_hold_in_the_interpreter(name):
    for t in compiled_types(PACK.ops[name]):
        assert not [row for row in rows_of(fake(), name, t) if not row["ok"]]


@pytest.mark.parametrize("name", WITH_KERNEL)
def test_a_launch_is_inputs_int32_scalars_outputs(name, monkeypatch):
    op, case = OPS[name], next(case for case in CASES[name] if not case.real)
    monkeypatch.setitem(CASES, name, [case])
    library = fake(run=False)
    rows_of(library, name, compiled_types(PACK.ops[name])[0])
    seen, names = library.launched[0], names_of(op, case)
    launch = next(launch for launch in PACK.ops[name].launches if launch.entry == seen.entry)
    inputs, outputs = len(op.schema.inputs), len(op.schema.outputs)
    assert seen.kinds == ("u64",) * inputs + ("u32",) * len(launch.scalars) + ("u64",) * outputs
    assert list(seen.values[inputs:-outputs]) == [parse(text).value(names) for text in launch.scalars]
    assert len(set(seen.values[:inputs] + seen.values[-outputs:])) == inputs + outputs
    assert seen.grid == tuple(parse(text).value(names) for text in launch.grid)
    assert (seen.threads, seen.shared_bytes) == (launch.threads, launch.shared_bytes)


def test_a_float_attribute_travels_as_its_bits(monkeypatch):
    library = fake(run=False)
    monkeypatch.setitem(CASES, "GGeMPool", CASES["GGeMPool"][:1])
    rows_of(library, "GGeMPool")
    assert float_bits(1e-6) in library.launched[0].values


class Meddling(FakeCuda):
    """A driver whose kernels do one thing wrong after the right ones."""

    def meddle(self, outputs: int, count_bytes: int) -> None:
        raise NotImplementedError

    def _interpret(self, entry, grid, values):
        super()._interpret(entry, grid, values)
        op, _ = self._variants[entry]
        case = CASES[op.name][0]
        asked = output_shapes(op.schema, names_of(op, case))[0]
        self.meddle(list(values)[-len(op.schema.outputs)], int(np.prod(asked)) * 4)


def faults(monkeypatch, meddle) -> list[str]:
    monkeypatch.setitem(CASES, "GGeMPool", CASES["GGeMPool"][1:2])
    monkeypatch.setattr(Meddling, "meddle", meddle)
    return [row["why"] for row in rows_of(Meddling(PACK, dict(OPS)), "GGeMPool") if not row["ok"]]


def test_a_write_right_behind_an_output_is_found(monkeypatch):
    (why,) = faults(monkeypatch, lambda self, at, size: ctypes.memset(at + size, 0, 1))
    assert "writes beside y, 540 bytes: at offsets [540]" in why


def test_a_write_before_an_output_is_found(monkeypatch):
    (why,) = faults(monkeypatch, lambda self, at, size: ctypes.memset(at - 4, 0, 4))
    assert "at offsets [-4, -3, -2, -1]" in why


def test_an_element_that_is_not_written_is_found(monkeypatch):
    turns = iter([0xFF, 0x5A])
    (why,) = faults(monkeypatch, lambda self, at, size: ctypes.memset(at, next(turns), 4))
    assert "two runs differ" in why
    assert "inf, limit" in why


def test_a_wrong_value_is_found(monkeypatch):
    def add(self, at, size):
        ctypes.cast(at, ctypes.POINTER(ctypes.c_float))[1] *= 1.001

    (why,) = faults(monkeypatch, add)
    assert why.startswith("y: ")


def test_a_write_into_an_input_is_found(monkeypatch):
    library = Meddling(PACK, dict(OPS))
    monkeypatch.setitem(CASES, "GGeMPool", CASES["GGeMPool"][1:2])
    monkeypatch.setattr(Meddling, "meddle", lambda self, at, size: ctypes.memset(self.launched[-1].values[1], 0, 4))
    why = next(row["why"] for row in rows_of(library, "GGeMPool"))
    assert "writes into or beside its input p" in why


def test_one_code_that_differs_fails(monkeypatch):
    name = "QuantizeV"
    monkeypatch.setitem(CASES, name, CASES[name][:1])

    def flip(self, at, size):
        ctypes.cast(at, ctypes.POINTER(ctypes.c_uint32))[3] ^= 1

    monkeypatch.setattr(Meddling, "meddle", flip)
    (row,) = rows_of(Meddling(PACK, dict(OPS)), name)
    assert not row["ok"]
    codes = row["outputs"][0]
    assert 0.99 < codes["equal"] < 1


def test_a_read_beside_an_input_meets_nan(monkeypatch):
    # the op believes that its tokens are one more than there are: what it then reads is the fence
    case = Case("short", lambda rng: [np.ones((1, 4, 8), np.float32), np.ones((2, 1), np.float32)], {})
    monkeypatch.setitem(CASES, "GGeMPool", [case])
    longer = replace(POOL.kernel, scalars={**POOL.kernel.scalars, "n": "N + 1"})
    op = replace(POOL, kernel=longer)
    pack = stand_in_pack([op])
    (row,) = check_op(Driver(FakeCuda(pack, {"GGeMPool": op})), pack, op, types=("float32",))
    assert not row["ok"]


def test_code_that_the_driver_refuses_is_told_in_its_words():
    with pytest.raises(DriverError, match="device kernel image is invalid; ptxas: not the text"):
        Driver(fake()).load(".version 8.0\n", "nothing")


def test_after_an_illegal_address_the_op_ends_with_one_row(monkeypatch):
    library = fake()
    monkeypatch.setattr(FakeCuda, "_room", lambda self, address: 1 << 40 if library.launched == [] else 0)
    rows = rows_of(library, "GGeMPool")
    assert [row["ok"] for row in rows] == [False]
    assert "error 700, an illegal memory access" in rows[0]["why"]


def test_fences_hold_every_length():
    driver = Driver(fake())
    for size in (0, 1, 255, 256):
        with closing(Fenced(driver, size)) as place:
            place.fill(0x11)
            data, broken = place.read()
            assert (data.tolist(), broken) == ([0x11] * size, [])


@pytest.mark.parametrize("name", WITH_KERNEL)
def test_the_sanitizer_is_given_every_launch_once(name):
    library, rows = fake(run=False), []
    launch_all(Driver(library), PACK, OPS[name], lambda: True, rows.append)
    wanted = sorted(launch.entry for launch in PACK.ops[name].launches)
    assert sorted(launched.entry for launched in library.launched) == wanted
    assert sorted(row["entry"] for row in rows) == wanted
    assert not library._memory, "memory that was not freed"


CLEAN = "========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors\n"


@pytest.mark.parametrize(
    ("text", "rows", "ok"),
    [
        (CLEAN, [{"ok": True}], True),
        (CLEAN.replace("0 errors", "3 errors"), [{"ok": True}], False),
        ("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", [{"ok": True}], True),
        ("========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)", [{"ok": True}], False),
        ("Device not supported", [{"ok": True}], False),
        (CLEAN, [{"ok": False, "op": "X", "why": "exit code 1"}], False),
    ],
)
def test_the_sanitizer_passes_only_on_a_clean_summary(text, rows, ok):
    assert judge("memcheck", rows, text, lambda line: None)["ok"] is ok
