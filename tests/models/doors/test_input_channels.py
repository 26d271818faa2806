"""Networks of one channel and of four, of bytes and with the channels last, behind each door; weights of three are adapted."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import timm
import torch

from edgesmith.models import prepare
from edgesmith.models.registry import find
from edgesmith.models.weights.recorded import recorded
from edgesmith.runtime.errors import UserMistake

NAME = "test_resnet"  # timm's own for tests: a third of a million parameters, mean and std of a half
FILE = '''
import torch
from torch import nn

def net(in_chans=1):
    return nn.Sequential(nn.Conv2d(in_chans, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))

def one():
    return net(1)

def four():
    return net(4)

class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net(3)

    def forward(self, x):
        return self.net(x.permute(0, 3, 1, 2))

class Table(nn.Module):
    """Floats are no places in a table."""

    def __init__(self):
        super().__init__()
        self.levels, self.net = nn.Embedding(256, 1), net(3)

    def forward(self, x):
        return self.net(self.levels(x.int()).squeeze(-1) if x.dtype == torch.uint8 else x[:, :, :0])

def last():
    return Last()

def table():
    return Table()
'''
ONNX = """
<ir_version: 8, opset_import: ["" : 18]>
net ({kind}[n, {shape}] pixels) => (float[n, {channels}] scores)
<int64[2] sides = {{{sides}}}>
{{
  wide = Cast<to = 1>(pixels)
  scores = ReduceMean<keepdims = 0>(wide, sides)
}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "channels.py"
    path.write_text(FILE, encoding="utf-8")
    return path


def onnx_file(path: Path, kind: str, shape: str, channels: int, sides: str) -> Path:
    text = ONNX.format(kind=kind, shape=shape, channels=channels, sides=sides)
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.mark.parametrize("channels", [1, 4])
def test_weights_of_three_channels_are_adapted_as_timm_adapts_them(channels: int, tmp_path: Path):
    torch.manual_seed(0)
    state = timm.create_model(NAME, num_classes=7).state_dict()
    torch.save(state, tmp_path / "three.pth")
    made = prepare(f"timm:{NAME}", tmp_path / "three.pth", 7, model_args={"in_chans": channels})
    ours, name = made.module.state_dict(), "conv1.0.weight"
    first = state[name]
    expected = first.sum(1, keepdim=True) if channels == 1 else torch.cat([first, first[:, :1]], 1) * (3 / 4)
    torch.testing.assert_close(ours[name], expected)
    assert all(torch.equal(ours[other], state[other]) for other in state if other != name)
    assert any(f"{name} adapted from 3 to {channels}" in note for note in made.notes)


@pytest.mark.parametrize("channels", [1, 4])
def test_mean_and_std_of_three_channels_are_averaged_as_in_timm_and_told(channels: int):
    spec = find("timm:resnet18", {"in_chans": channels})
    assert spec.contract.channels == channels and spec.channels_argument == "in_chans"
    assert spec.contract.mean == pytest.approx([0.449] * channels) and spec.contract.std == pytest.approx(
        [0.226] * channels
    )
    assert any(f"assumed for {channels} channel" in line and "0.449" in line for line in spec.assumed)
    assert find("timm:resnet18").assumed == ()


def test_more_channels_than_pictures_have_are_refused():
    with pytest.raises(UserMistake, match=r"1 \(grey\), 3 .* or 4"):
        find("timm:resnet18", {"in_chans": 12})


def test_a_checkpoint_that_records_one_channel_is_a_network_of_one(tmp_path: Path):
    network = timm.create_model(NAME, in_chans=1, num_classes=3)
    content = {
        "state_dict": network.state_dict(),
        "args": {"in_chans": 1, "num_classes": 3, "mean": [0.2], "std": [0.3]},
    }
    torch.save(content, tmp_path / "grey.pth")
    spec = recorded(tmp_path / "grey.pth").applied(find(f"timm:{NAME}"))
    assert (spec.contract.channels, spec.contract.mean, spec.contract.std) == (1, (0.2,), (0.3,))
    made = prepare(f"timm:{NAME}", tmp_path / "grey.pth")
    assert made.module(torch.zeros(1, 1, 160, 160)).shape == (1, 3) and made.spec.contract.channels == 1


@pytest.mark.parametrize(
    ("function", "face"),
    [
        ("one", (1, "float32", "NCHW")),
        ("four", (4, "float32", "NCHW")),
        ("last", (3, "float32", "NHWC")),
        ("table", (3, "uint8", "NCHW")),
    ],
)
def test_a_module_tells_what_it_takes_by_running_once(file: Path, function: str, face: tuple[int, str, str]):
    spec = find(f"{file}:{function}")
    assert spec.contract.face == face and spec.num_classes == 5 and spec.contract_assumed == "a module"
    assert prepare(spec, image_size=64).module is not None


def test_a_function_is_told_the_channels_by_the_name_that_it_has(file: Path):
    assert find(f"{file}:net").channels_argument == "in_chans" and find(f"{file}:one").channels_argument == ""
    assert find(f"{file}:net", {"in_chans": 4}).contract.channels == 4


@pytest.mark.parametrize(
    ("kind", "shape", "channels", "sides", "face", "size"),
    [
        ("float", "1, 20, 30", 1, "2, 3", (1, "float32", "NCHW"), (20, 30)),
        ("float", "4, 20, 30", 4, "2, 3", (4, "float32", "NCHW"), (20, 30)),
        ("uint8", "3, h, w", 3, "2, 3", (3, "uint8", "NCHW"), (224, 224)),
        ("float", "20, 30, 3", 3, "1, 2", (3, "float32", "NHWC"), (20, 30)),
        ("uint8", "20, 30, 1", 1, "1, 2", (1, "uint8", "NHWC"), (20, 30)),
    ],
)
def test_an_onnx_file_says_what_it_takes_at_its_input(tmp_path, kind, shape, channels, sides, face, size):
    spec = find(str(onnx_file(tmp_path / "net.onnx", kind, shape, channels, sides)))
    assert (spec.task, spec.num_classes) == ("classification", channels)
    assert (spec.contract.face, spec.contract.size) == (face, size)
    assert spec.contract.plain is (kind == "uint8")


def test_an_input_of_two_channels_is_no_picture(tmp_path: Path):
    assert find(str(onnx_file(tmp_path / "net.onnx", "float", "2, 20, 30", 2, "2, 3"))).task == "tensors"
