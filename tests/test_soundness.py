"""What ``make soundness`` rests on: its mutants are seeded and valid, its judge sees each kind of fault, and a few of both."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import attention_graph
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgesmith.exporter.patterns.base import Pattern
from edgesmith.graph.edit import insert, shared_constant

FOLDER = Path(__file__).parents[1] / "tools" / "soundness"


def part(name: str) -> ModuleType:
    """A module of the tool, by its file."""
    spec = importlib.util.spec_from_file_location(f"soundness_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(FOLDER))  # as the tool itself runs: its modules import each other by name
cut, judge, mutate, foreign = part("cut"), part("judge"), part("mutate"), part("foreign")


def start() -> onnx.ModelProto:
    return cut.with_shapes(ir.to_proto(attention_graph.vit(2)))


def scaled(model: ir.Model, by: float) -> int:
    (softmax,) = (node for node in model.graph if node.op_type == "Softmax")
    factor = shared_constant(model, "factor", np.float32(by))
    softmax.replace_input_with(0, insert(softmax, "Mul", [softmax.inputs[0], factor]))
    return 1


def misspelt(model: ir.Model) -> int:
    next(node for node in model.graph if node.op_type == "Softmax").op_type = "Softmix"
    return 1


def raising(model: ir.Model) -> int:
    raise KeyError("half-way")


@pytest.mark.parametrize(
    ("kind", "work"),
    [
        ("wrong", lambda model: scaled(model, 1.5)),
        ("does not load", misspelt),
        ("raised", raising),
        ("not idempotent", lambda model: scaled(model, 1.0)),
    ],
)
def test_each_kind_of_fault_is_seen(kind: str, work: Callable[[ir.Model], int], monkeypatch: pytest.MonkeyPatch):
    class Planted(Pattern):
        def apply(self, model: ir.Model) -> int:
            return work(model)

    monkeypatch.setattr(judge, "STEPS", (Planted,) * 4)
    monkeypatch.setattr(judge, "passes_for", lambda order: [])
    model = start()
    given = judge.feeds(model, 0)
    found = judge.faults(model, given, judge.valid(model, given), random.Random(0))
    assert {fault.kind for fault in found} >= {kind}
    assert {fault.steps[0] for fault in found} == {"Planted"}


def test_mutants_are_seeded_small_and_other_graphs():
    def some(seed: int) -> list[bytes]:
        rng, whole = random.Random(seed), start()
        pieces = [cut.piece(whole, rng) or whole for _ in range(6)]
        made = [mutate.mutant(piece, rng) for piece in pieces]
        return [one[0].SerializeToString() for one in made if one]

    assert some(3) == some(3) != some(4)
    assert len(set(some(3))) > 1


def test_the_passes_hold_on_a_few_mutants():
    rng, whole, ran = random.Random(11), start(), 0
    while ran < 8:
        made = mutate.mutant(cut.piece(whole, rng) or whole, rng)
        given = judge.feeds(made[0], rng.randrange(1000)) if made else {}
        wanted = judge.valid(made[0], given) if made else None
        if made is None or wanted is None:
            continue
        ran += 1
        assert judge.faults(made[0], given, wanted, rng) == [], made[1]


@pytest.mark.parametrize("change", [foreign.in_a_branch, foreign.in_a_loop, foreign.may_be_replaced])
def test_the_passes_hold_on_what_other_tools_write(change: Callable[..., bool]):
    rng, whole, ran = random.Random(5), start(), 0
    while ran < 3:
        made = onnx.ModelProto()
        made.CopyFrom(whole)
        assert change(made.graph, rng)
        made = onnx.shape_inference.infer_shapes(made, strict_mode=True)
        onnx.checker.check_model(made)
        given = judge.feeds(made, rng.randrange(1000))
        if (wanted := judge.valid(made, given)) is None:
            continue
        ran += 1
        assert judge.faults(made, given, wanted, rng) == []
