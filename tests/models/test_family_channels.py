"""Our own families of one channel and of four: contract, network, weights of three channels, and a bundle of grey pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import edgesmith
from edgesmith.models import prepare
from edgesmith.models.registry import FAMILIES, MODELS, find
from edgesmith.models.spec import ModelSpec
from edgesmith.runtime.errors import UserMistake

NARROW: dict[str, dict[str, object]] = {
    "convit": {"embed_dim": 12, "depth": 2, "local_up_to_layer": 1},
    "smt": {"dims": (16, 16, 32, 32), "depths": (1, 1, 2, 1), "attention_heads": (2, 2)},
    "davit": {"depths": (1, 1, 1, 1), "embed_dims": (16, 16, 32, 32), "num_heads": (2, 2, 2, 2)},
    "van": {"dims": (8, 16, 16, 32), "depths": (1, 1, 1, 1)},
    "vit_ggem": {"embed_dim": 48, "depth": 1, "num_heads": 3},
    "damo_yolo": {"variant": "nano_small"},
}


def of(family: str, channels: int) -> ModelSpec:
    return find(family, {**NARROW[family], "in_chans": channels})


def test_every_family_that_sees_one_picture_is_here():
    assert [name for name in FAMILIES if not MODELS[FAMILIES[name]].folder] == list(NARROW)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("family", NARROW)
def test_contract_and_network_are_those_of_the_channels(family: str, channels: int):
    usual, spec = find(family).contract, of(family, channels)
    assert spec.contract.channels == channels == len(spec.contract.mean) == len(spec.contract.std)
    assert spec.contract.mean == pytest.approx([sum(usual.mean) / 3] * channels)
    assert any(f"assumed for {channels} channel" in line for line in spec.assumed)
    size = spec.check_size(None) if spec.fixed_size else (64, 64)
    made = prepare(spec, image_size=size)
    with torch.no_grad():
        answer = made.module(torch.rand(1, channels, *size))
    assert all(part.isfinite().all() for part in (answer if isinstance(answer, tuple) else (answer,)))


@pytest.mark.parametrize("family", NARROW)
def test_weights_of_three_channels_answer_grey_pictures_as_three_alike_channels(family: str, tmp_path: Path):
    three, grey = (prepare(of(family, channels), num_classes=5) for channels in (3, 1))
    state = three.module.state_dict()
    torch.save(state, tmp_path / "three.pth")
    made = prepare(of(family, 1), tmp_path / "three.pth", num_classes=5)
    assert any("adapted from 3 to 1 channel" in note for note in made.notes)
    assert made.module.state_dict().keys() == grey.module.state_dict().keys()
    pixels = torch.rand(1, 1, *made.image_size)
    with torch.no_grad():
        ours, theirs = made.module(pixels), three.module(pixels.expand(-1, 3, -1, -1))
    parts = zip(*((one if isinstance(one, tuple) else (one,)) for one in (ours, theirs)), strict=True)
    for one, other in parts:
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_a_number_of_channels_that_no_picture_has_is_refused():
    with pytest.raises(UserMistake, match=r"1 \(grey\), 3 .* or 4"):
        find("van", {"in_chans": 2})


@pytest.mark.parametrize(("family", "size"), [("van", 64), ("damo_yolo", 64)])
def test_a_bundle_of_grey_pictures_runs(family: str, size: int, tmp_path: Path):
    edgesmith.export(
        family, "random", channels=1, model_args=NARROW[family], image_size=size, out=tmp_path / "grey.edge"
    )
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "colour.png"), photo)
    session = edgesmith.load(tmp_path / "grey.edge")
    assert session.bundle.contract.channels == 1
    answer = session(tmp_path / "colour.png")
    assert answer is not None and all(row.passed for row in session.self_test())
