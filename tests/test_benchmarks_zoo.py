"""The zoo's list, its weights, what it counts and what its page says; no network of timm is exported here."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import attention_graph
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

FOLDER = Path(__file__).parents[1] / "benchmarks" / "zoo"


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch):
    """A module of the benchmark; they find each other beside themselves."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def names() -> list[tuple[str, str]]:
    lines = (FOLDER / "models.txt").read_text().splitlines()
    return [(line.split()[0], line.split()[1]) for line in lines if not line.startswith("#")]


def test_the_list_has_one_model_of_each_module_of_timm():
    import timm

    assert len(names()) >= 95
    assert len({module for _, module in names()}) == len(names())
    found = [(name, timm.model_entrypoint(name).__module__.rpartition(".")[2]) for name, _ in names()]
    assert found == names()


class Sleeping(nn.Module):
    """A norm, a LayerScale of 1e-6 and a gate of 0, as networks are born."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.scale = nn.Parameter(1e-6 * torch.ones(3))
        self.gate = nn.Parameter(torch.zeros(3))
        self.table = nn.Parameter(torch.arange(3.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x) * self.scale[:, None, None] + self.gate[:, None, None]


class Spec:
    """What the benchmark asks of a ModelSpec."""

    class contract:
        channels = 3

    def build(self, **_: Any) -> nn.Module:
        return Sleeping()


def test_no_path_is_dead_and_the_same_seed_gives_the_same_network(part):
    first, second = (part("living").living(Spec(), 10, (8, 8)) for _ in range(2))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
        if value.is_floating_point():
            assert len(set(value.tolist())) == 3, name
    assert first.scale.abs().min() > 1e-3
    assert first.table.tolist() == [0.0, 1.0, 2.0]  # what is not constant was drawn, or means something
    assert not first.training and first.norm.momentum == 0.1


class Pooled(nn.Module):
    """A norm of one pooled value a picture, as in a gate, behind a norm of maps; and a bound that clips nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3, affine=False))
        self.pooled = nn.BatchNorm2d(3, affine=False)
        self.register_buffer("highest", torch.tensor(float("inf")))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pooled(self.maps(x).mean((2, 3), keepdim=True)).clamp(max=self.highest)


def test_no_norm_blows_rounding_up_and_no_bound_is_infinite(part, monkeypatch):
    monkeypatch.setattr(Spec, "build", lambda self, **_: Pooled())
    network = part("living").living(Spec(), 10, (32, 32))
    usual = network.maps[0].running_var.median()
    assert 0.5 < usual < 2  # of 32 x 32 numbers of variance 1; the means of so many have one of 1 / 1024
    assert network.pooled.running_var.min() > 0.01
    assert network.highest == part("living").BOUND


def test_attention_is_a_softmax_between_two_products_of_values(part):
    assert len(part("softmaxes").attentions(attention_graph.vit(2))) == 1
    split = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        gate (float[1, 4] x) => (float[1, 4] y)
        <float[4, 4] w = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}> { a = MatMul(x, w)  b = Softmax(a)  y = Mul(x, b) }""")
    assert part("softmaxes").attentions(ir.from_proto(split)) == []


def test_what_a_step_found_before_it_stopped_is_kept(part, tmp_path: Path):
    apart = part("apart")

    def stops(notes: Any) -> None:
        notes.put(stage="trace")
        raise SystemExit(3)

    row = apart.run_apart(stops, tmp_path / "model", "cpu", apart.Limits())
    assert (row["stage"], row["ended"]) == ("trace", "the process ended with 3")


def test_a_step_is_stopped_at_its_memory(part, tmp_path: Path):
    apart = part("apart")

    def waits(notes: Any) -> None:
        notes.put(stage="build")
        import signal

        signal.pause()

    row = apart.run_apart(waits, tmp_path / "model", "rtx", apart.Limits(memory_gb=0.001))
    assert row["stage"] == "build" and row["ended"].startswith("stopped at")


def full(ratio: float = 0.9, fused: int = 3, plain: int = 2, **cpu: Any) -> dict[str, Any]:
    holds = {"holds": True, "max_abs": 1e-6, "largest": 1.0, "limit": "max abs <= 2.0e-05"}
    return {
        "cpu": {"size": [224, 224], "own_size": [384, 384], "parity": holds, "nodes_before": 9, "nodes_after": 5,
                "passes": {"CleanUp": 2, "OrtAttention": 3}, "left_out": [], "attentions": 3, **cpu},
        "time": {"ratio": ratio, "low": ratio, "high": ratio, "plain_ms": 10.0, "ours_ms": 10.0 * ratio},
        "rtx": {"parity": holds, "ours": {"kernels": 4, "fused": fused}, "plain": {"kernels": 6, "fused": plain}, "left_out": []},
    }  # fmt: skip


def rows(**models: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(name, step): row for name, steps in models.items() for step, row in steps.items()}


def found(module: ModuleType, names: list[str], **models: dict[str, Any]) -> dict[str, Any]:
    return {one.what: one for one in module.totals(names, rows(**models))}


def test_the_aims_are_reached_where_everything_is_right(part):
    assert all(one.reached for one in found(part("totals"), ["a", "b"], a=full(), b=full(0.8)).values())


def test_a_row_that_is_missing_counts_as_one_that_failed(part):
    told = found(part("totals"), ["a", "b"], a=full())
    assert not any(one.reached for one in told.values())  # b may be the one that is wrong, or slow
    missed = [one for one in told.values() if one.models == ("b",)]
    assert [one.reached for one in missed] == [False, False]
    assert [one.found for one in missed] == ["1 of 2, 50.0%"] * 2


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (full(ratio=1.05), "slower than"),
        (full(left_out=["OrtAttention: it changed the numbers"]), "graph wrong"),
        (full(fused=1, plain=2), "fewer fused"),
        (full(failed="ParityFailed: max abs 1"), "exported with"),
        (full() | {"rtx": {"ours": {"failed": "BuildFailed"}, "plain": {"kernels": 6, "fused": 2}}}, "RTX builds"),
    ],
)
def test_each_fault_is_counted_with_its_model(part, wrong: dict[str, Any], word: str):
    told = found(part("totals"), ["a", "b"], a=full(), b=wrong)
    (one,) = (one for what, one in told.items() if word in what)
    assert one.models == ("b",) and not one.reached


def test_an_engine_of_a_graph_without_parity_is_none_that_a_user_gets(part):
    off = full()
    off["rtx"]["parity"] = {"holds": False, "max_abs": 2e-3, "largest": 7.0, "limit": "max abs <= 1.6e-03"}
    assert found(part("totals"), ["a"], a=off)["TensorRT-RTX builds in fp16 (sm89)"].models == ("a",)
    assert list(part("zoo_page").why({"model": "a", **off})) == [
        "**a**, rtx: parity does not hold: max abs 2.0e-03, limit max abs <= 1.6e-03"
    ]


def test_every_line_of_the_table_is_as_wide_and_failures_are_told_in_words(part):
    page, totals = part("zoo_page"), part("totals")
    models = {"a": full(), "b": {"cpu": {"failed": "UserMistake: two inputs"}}, "c": {}}
    summed = totals.totals(list(models), rows(**models))
    machine = {"date": "d", "machine": {"cpu": "c", "cores": 2, "load": 1}, "torch": "2", "timm": "1", "onnxruntime": "1", "tensorrt-rtx": "1"}  # fmt: skip
    text = "\n".join(page.lines([{"model": name, **steps} for name, steps in models.items()], summed, machine))
    lines = text.splitlines()
    table = [line for line in lines if line.startswith(("| a |", "| b |", "| c |", "| model |"))]
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1
    assert "| 224 of 384 | 1e-06 of 1 | 9 > 5 | OrtAttention 3 |" in "\n".join(table)
    assert "- **b**, cpu: UserMistake: two inputs" in lines


def test_rows_that_are_missing_or_of_other_code_are_told(part):
    page = part("zoo_page")
    found = [{"model": "a", "cpu": {"code": "1"}, "rtx": {"code": "2"}}, {"model": "b", "cpu": {"code": "2"}}]
    told = page.measured(found)
    assert "of 2 models: cpu 2, time 0, rtx 1." in told and "2 states of the code" in told
    assert "states" not in page.measured(found[1:])


def test_an_opening_whose_memory_lay_badly_does_not_count(part, monkeypatch):
    clocks, opened = part("clocks"), iter((1.106, 0.98, 0.97))

    def once(paths):
        ratio = next(opened)
        return {"ours": SimpleNamespace(rounds=5, median_ms=60 * ratio, time_ratio=ratio, time_ratio_low=ratio - 0.02, time_ratio_high=ratio + 0.02)}  # fmt: skip

    monkeypatch.setattr(clocks, "_opened", once)
    ours = clocks.in_turns({"ours": Path("ours.onnx")})["ours"]
    assert (ours.rounds, ours.ratio, ours.ms) == (15, 0.98, 60 * 0.98)
    assert (ours.low, ours.high) == pytest.approx((0.96, 1.0))
