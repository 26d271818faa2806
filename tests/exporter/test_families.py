"""The main promise: every family, at float32 and float16, for the CPU and as an RTX engine, on the reference weights.

Slow: twenty whole exports of full-size models. Limits are the product's own (exporter/run/runners.py); a row that misses
them makes the export fail, so what is asserted here is that they are the promised ones.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reference_weights import official_state, reference_state

from edgesmith import export
from edgesmith.models import find

FAMILIES = ("convit", "smt", "davit", "van", "vit_ggem")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reference weights of each default variant, in the official layout where there is one."""
    folder, paths = tmp_path_factory.mktemp("weights"), {}
    for family in FAMILIES:
        name = find(family).name
        if family == "vit_ggem":
            state = reference_state(name)
            state["ggem.p"] = torch.tensor([2.0, 3.0, 4.5])[:, None]
        else:
            state = {key: torch.from_numpy(value) for key, value in official_state(name).items()}
        paths[family] = folder / f"{family}.pth"
        torch.save(state, paths[family])
    return paths


@pytest.mark.parametrize("target", ["cpu", "rtx"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_export_of_every_family_is_verified(
    family: str, precision: str, target: str, weights: dict[str, Path], tmp_path: Path
):
    if target == "rtx":
        pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx builds the engine")
    result = export(family, weights=weights[family], precision=precision, target=target, out=tmp_path / "m.edge")
    rewritten = [row for row in result.parity if row.stage == "rewritten"]  # in float32, whatever was asked
    assert rewritten and max(row.max_abs for row in rewritten) <= 2e-5
    assert min(row.cosine for row in result.parity) >= 0.9999
    assert precision == "fp32" or any(row.stage == "fp16" for row in result.parity)
    assert {row.inputs for row in result.parity} >= {"seeded", "pictures"}
    assert result.bundle is not None
    assert bool(result.bundle.engines) == (target == "rtx")


@pytest.mark.parametrize("family", ["convit", "davit"])
def test_a_fine_tune_in_timm_layout_exports(family: str, tmp_path: Path):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = tmp_path / "mine.safetensors"
    save_file(timm.create_model(find(family).name, num_classes=10).state_dict(), path)
    result = export(family, weights=path, num_classes=10, out=tmp_path / "mine.edge")
    assert result.bundle is not None
    assert result.bundle.manifest["num_classes"] == 10


@pytest.mark.parametrize("family", ["convit", "davit", "smt", "van"])
def test_a_fine_tune_in_the_official_layout_exports(family: str, tmp_path: Path):
    state = {key: torch.from_numpy(value) for key, value in official_state(find(family).name).items()}
    state |= {name: state[name][:10].clone() for name in ("head.weight", "head.bias")}
    torch.save({"state_dict": state}, tmp_path / "mine.pth")
    result = export(family, weights=tmp_path / "mine.pth", num_classes=10, out=tmp_path / "mine.edge")
    assert result.bundle is not None
    assert result.bundle.manifest["outputs"][0]["shape"] == [1, 10]
