"""Networks that nobody here wrote the passes for, from the papers' equations (tests/zoo), through the command as a user's own.

Each is held to PyTorch by the export itself: it ends with 0 where every check of parity holds, and with 1 where one does not.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_line import edgesmith
from openvino_here import openvino_or_skip
from torch import Tensor, nn

from edgesmith.exporter.engine import rtx
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.trace.others import it_traces
from edgesmith.exporter.trace.trace import trace
from edgesmith.models.registry import find
from edgesmith.runtime.errors import UserMistake

ZOO = Path(__file__).parents[1] / "zoo"
SIZES_PX = {  # small; ViTGaze's place of the head is one of 64 pixels
    "agent_attention": 32,
    "catanet": 32,
    "dependency_vit": 32,
    "dhvt": 32,
    "moh": 32,
    "moment_probing": 64,
    "neighborhood_attention": 32,
    "ram_plus": 32,
    "sparsifiner": 32,
    "spectformer": 40,
    "tic": 32,
    "vision_mamba": 32,
    "vitgaze": 64,
}
FAST = ("moh", "moment_probing", "sparsifiner", "spectformer")
TIMM_PX = {"halonet26t": 256, "ecaresnet26t": 64}  # HaloNet cuts its maps into blocks of 8, after a stride of 32
needs_rtx = pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)


def exported(name: str, *words: str) -> list[str]:
    """The types of the nodes of a bundle's graph."""
    size = str(SIZES_PX[name])
    answer = edgesmith("export", f"{ZOO / name}.py:make", "--image-size", size, "--out", "made.edge", *words)
    assert answer.code == 0, answer.err
    manifest = json.loads(Path("made.edge/manifest.json").read_text(encoding="utf-8"))
    assert manifest["model"] == f"{name}.py:make"
    return list(manifest["rewrite"]["nodes_after"])


def test_every_file_of_the_zoo_is_exported():
    assert sorted(SIZES_PX) == sorted(path.stem for path in ZOO.glob("*.py"))


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in SIZES_PX]
)
def test_it_computes_what_pytorch_computes(name: str):
    assert not {"DFT", "Loop", "Scan", "If"} & set(exported(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES_PX)
def test_openvino_computes_what_pytorch_computes(name: str):
    openvino_or_skip()
    exported(name, "--target", "openvino")


@needs_rtx
@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES_PX)
def test_tensorrt_rtx_builds_it(name: str):
    exported(name, "--target", "rtx", "--gpu-arch", "sm89", "--precision", "fp16")
    assert list(Path("made.edge/engines").glob("*.fp16.sm89.engine"))


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM_PX)
def test_those_that_timm_has_go_by_their_name(name: str):
    answer = edgesmith("export", f"timm:{name}", "--image-size", str(TIMM_PX[name]), "--out", "made.edge")
    assert answer.code == 0, answer.err


def test_a_sort_that_torchs_exporter_does_not_know_is_told_with_its_place_and_the_way_round():
    word = f"{ZOO / 'catanet'}.py:make"
    answer = edgesmith("export", word, "--model-arg", "stable=True", "--image-size", "32", "--out", "made.edge")
    assert answer.code == 2 and "Traceback" not in answer.err
    told = " ".join(answer.err.split())
    assert "the operator aten.sort.stable in layer, catanet.py line" in told and "of which no two are equal" in told
    assert not Path("made.edge").exists()


class Branch(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        if images.sum() > 0:
            return images + 1
        return images


class Complex(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return (torch.fft.fft2(images) * torch.exp(1j * torch.ones(1, 1, 4, 4))).real


class Inverse(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.linalg.inv(images)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "found", "attempt"),
    [
        (Branch, "test_user_modules.py line", "torch.where in place of if"),
        (Complex, "of complex numbers", "real and imaginary parts as two tensors"),
        (Inverse, "aten.linalg_inv_ex.default, test_user_modules.py line", "a closed form"),
    ],
)
def test_what_cannot_be_traced_is_told_in_words(network: type[nn.Module], found: str, attempt: str):
    shapes = Shapes.fixed(1, 3, 4, 4)
    with pytest.raises(UserMistake) as refused, it_traces(find("timm:resnet18"), network(), shapes.opt):
        trace(network(), shapes)
    assert found in refused.value.found and attempt in refused.value.attempt
