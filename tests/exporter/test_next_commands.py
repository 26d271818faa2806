"""The last lines of an export name commands that work from where the user stands."""

from __future__ import annotations

from pathlib import Path

from edgesmith.exporter.commands.screen import next_commands
from edgesmith.exporter.pipeline import Result
from edgesmith.exporter.plan.plan import make_plan
from edgesmith.exporter.tasks.rows import Row


def result(tmp_path: Path, stage: str, weights: str) -> Result:
    row = Row(stage, "x", "seeded", (1, 3, 8, 8), 1, 0.0, 1.0, 1.0, 1.0, 1.0, "", True)
    return Result(make_plan("smt", weights, out=tmp_path / "m.edge"), parity=(row,))


def test_bench_finds_the_checkpoint_of_the_export(tmp_path: Path):
    checkpoint = tmp_path / "my weights.pth"
    checkpoint.write_bytes(b"x")
    commands = next_commands(result(tmp_path, "bundle", str(checkpoint)))
    assert f"edgesmith bench {tmp_path}/m.edge --weights '{checkpoint}'" in commands
    assert f"edgesmith bench {tmp_path}/m.edge" in next_commands(result(tmp_path, "bundle", "random"))


def test_what_cannot_run_here_is_run_on_the_device(tmp_path: Path):
    commands = next_commands(result(tmp_path, "rewritten", "random"))
    assert f"edgesmith test {tmp_path}/m.edge" in commands
    assert not any("bench" in command for command in commands)
