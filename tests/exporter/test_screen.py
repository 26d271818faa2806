"""The stages on a terminal: one bar at a time, also where a stage has stages of its own, and none left behind."""

from __future__ import annotations

import io

from rich.console import Console

from edgesmith.exporter.commands.screen import StageScreen
from edgesmith.exporter.run.stages import Run, Stage


def terminal() -> tuple[StageScreen, io.StringIO]:
    screen, out = StageScreen(), io.StringIO()
    screen.console = Console(file=out, force_terminal=True, width=120)
    return screen, out


def test_a_stage_inside_a_stage_takes_the_bar_over(tmp_path):
    screen, out = terminal()
    run = Run(tmp_path, screen)
    with run.stage("choose", "int8, fp32") as outer:
        first = screen.bar
        with run.stage("calibrate", "running the pictures") as inner:
            assert first is not None and not first.live.is_started
            assert screen.bar is not None and screen.bar.live.is_started
            screen.step("calibrating", 8, 64)
            inner.detail = "64 pictures"
        screen.step("rounds", 1, 21)  # of the outer stage, whose bar is gone
        outer.detail = "int8 is the fastest"
    assert screen.bar is None
    assert [stage.name for stage in run.stages] == ["calibrate", "choose"]
    assert "64 pictures" in out.getvalue() and "int8 is the fastest" in out.getvalue()


def test_a_failure_inside_leaves_no_bar(tmp_path):
    screen, _ = terminal()
    run = Run(tmp_path, screen)
    try:
        with run.stage("choose", "int8"), run.stage("calibrate", "running"):
            raise ValueError
    except ValueError:
        pass
    assert screen.bar is None and run.stages == []


def test_without_a_terminal_there_is_one_line_a_stage():
    screen, out = StageScreen(), io.StringIO()
    screen.console = Console(file=out, force_terminal=False, width=200)
    screen.start("calibrate", "running")
    assert screen.bar is None
    screen.end(Stage("calibrate", "64 pictures of photos/", 1.5, 2_000_000))
    assert out.getvalue().split() == ["calibrate", "64", "pictures", "of", "photos/", "1.5", "s", "2.0", "MB"]
