"""Twelve networks of the zoo through the whole product: parity with PyTorch on the CPU and after the passes for RTX.

Small ones, each with another form of attention, gate or convolution. A pass that is wrong on one of them fails the test
(conftest.py); how fast they are, and the others, measures ``make bench-zoo``.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "zoo"
SAMPLE = (
    "edgenext_xx_small",  # attention between channels
    "efficientformerv2_s0",  # talking heads, bias of positions
    "efficientvit_m0",  # heads in a cascade
    "ghostnet_050",  # cheap convolutions beside others
    "levit_128s",  # keys narrower than values
    "mobilenetv3_small_050",  # squeeze and excitation, HardSwish
    "mobilevit_xxs",  # pixels unfolded into tokens
    "pvt_v2_b0",  # keys of a smaller map
    "regnetx_002",  # grouped convolutions
    "repvit_m1",  # branches that are one convolution
    "starnet_s050",  # maps multiplied with each other
    "vit_tiny_patch16_dinov3_qkvb",  # rotary positions, no classifier
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_a_network_of_the_zoo_computes_what_pytorch_computes(name: str, tmp_path: Path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    apart, steps = importlib.import_module("apart"), importlib.import_module("steps")
    cpu, rtx = apart.Notes(tmp_path / "cpu.json"), apart.Notes(tmp_path / "rtx.json")
    steps.cpu(name, tmp_path, cpu)
    assert cpu.row["parity"]["holds"] and cpu.row["left_out"] == []
    rtx.put(size=cpu.row["size"], num_classes=cpu.row["num_classes"])
    steps.rewritten_for("rtx", name, tmp_path, rtx)
    assert rtx.row["parity"]["holds"] and rtx.row["left_out"] == []
