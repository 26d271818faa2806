"""``make demo`` in small: every command of it ends well, and it names what it made."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesmith.exporter.commands import demo


@pytest.mark.slow
def test_the_demo_ends_with_a_bundle_and_a_report(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEMO_ROUNDS", "2")
    demo.main()
    shown = capsys.readouterr().out
    assert "4 of 4 parity checks hold" in shown
    assert "plain torch.onnx.export + ONNX Runtime" in shown
    assert shown.rstrip().endswith("report   demo.run/smt_tiny.edge/report.html")
    assert (tmp_path / "demo.run" / "smt_tiny.edge" / "report.html").stat().st_size > 10_000
    right = shown.split("it is a ")[1].split()[0]
    assert f"digit {right}" in shown.split("digit.png --top 3")[1].splitlines()[2], "the first class is the right one"
