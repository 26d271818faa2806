"""--channels, --scale, --layout, --input-dtype and --contract: what is said, what is assumed, and what contradicts the network."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from command_line import edgesmith
from onnx_files import classifier

from edgesmith.exporter.plan.plan import make_plan
from edgesmith.exporter.plan.preparing import scale_of
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import UserMistake

FILE = '''
from torch import nn

def grey(in_chans=1, num_classes=4):
    return nn.Sequential(
        nn.Conv2d(in_chans, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )

def one():
    return grey()

class Raw(nn.Module):
    """Bytes, channels last: the network normalises."""

    def __init__(self):
        super().__init__()
        self.net = grey(3)

    def forward(self, x):
        return self.net((x.permute(0, 3, 1, 2).float() - 127.5) / 127.5)

def raw():
    return Raw()
'''
CONTRACT = """
channels = 1
mean = 0.3
std = [0.2]
scale = "1/255"
resize = "bilinear"
crop = 0.95
fit = "stretch"
antialias = false
size = [48, 64]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(FILE, encoding="utf-8")
    (tmp_path / "c.toml").write_text(CONTRACT, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("word", "factor"),
    [
        ("255", 1 / 255),
        ("1/255", 1 / 255),
        (255, 1 / 255),
        ("1", 1.0),
        ("127.5", 1 / 127.5),
        (0.0039215, 0.0039215),
        ("2/255", 2 / 255),
    ],
)
def test_scale_is_what_pixels_are_divided_by(word, factor):
    assert scale_of(word) == pytest.approx(factor)


@pytest.mark.parametrize("word", ["0", "-255", "1/0", "nan", "a", "1e30", ""])
def test_a_scale_that_is_none_is_refused(word):
    with pytest.raises(UserMistake, match="--scale"):
        scale_of(word)


def test_a_file_says_all_of_it_and_a_flag_counts_before_the_file(here: Path):
    plan = make_plan("net.py:grey", contract="c.toml", crop=0.8)
    contract = plan.contract
    assert (contract.channels, contract.mean, contract.std, contract.scale) == (1, (0.3,), (0.2,), 1 / 255)
    assert (contract.resize, contract.crop_fraction, contract.fit, contract.antialias) == (
        "bilinear",
        0.8,
        "stretch",
        False,
    )
    assert contract.size == (48, 64) and plan.shapes.opt == (1, 1, 48, 64)
    assert not any("does not say how its pictures are prepared" in note for note in plan.notes)


def test_what_nobody_says_is_told_with_its_values(here: Path):
    (told,) = [note for note in make_plan("net.py:one", std="0.2").notes if note.startswith("assumed, since a module")]
    assert "--mean 0.449" in told and "--scale 1/255" in told and "--std" not in told and "--colour" not in told
    (told,) = [
        note
        for note in make_plan("net.py:raw", input_dtype="uint8").notes
        if note.startswith("assumed, since a module")
    ]
    assert "--mean" not in told and "--crop 0.875" in told and "--colour rgb" in told


def test_channels_build_a_network_of_timm_for_them():
    plan = make_plan("timm:resnet18", channels=1, mean=0.5, std=0.25, image_size=64)
    assert plan.spec.config["in_chans"] == 1 and plan.to_json()["model_args"] == {"in_chans": 1}
    assert plan.contract.face == (1, "float32", "NCHW") and plan.contract.mean == (0.5,)
    assert plan.shapes.opt == (1, 1, 64, 64)


def test_the_shapes_of_channels_last_are_written_so(here: Path):
    plan = make_plan("net.py:raw", image_size=(32, 40), batch="1..4", input_dtype="uint8", layout="nhwc")
    assert (plan.shapes.min, plan.shapes.max) == ((1, 32, 40, 3), (4, 32, 40, 3))
    assert plan.shapes.symbolic() == ("batch", 32, 40, 3) and plan.contract.face == (3, "uint8", "NHWC")
    with pytest.raises(UserMistake, match="images:BATCHxHEIGHTxWIDTHx3"):
        make_plan("net.py:raw", opt_shapes="images:1x3x32x40")


@pytest.mark.parametrize(
    ("model", "asked", "words"),
    [
        ("timm:resnet18", {"channels": 1, "model_args": {"in_chans": 3}}, ("--channels 1", "in_chans=3", "3 channels, float32")),
        ("timm:resnet18", {"layout": "nhwc"}, ("NHWC", "3 channels, float32, NCHW")),
        ("timm:resnet18", {"input_dtype": "uint8"}, ("uint8", "3 channels, float32, NCHW")),
        ("timm:resnet18", {"channels": 2}, ("--channels 2", "1, 3, 4")),
        ("timm:resnet18", {"layout": "nwhc"}, ("--layout", "NHWC")),
        ("timm:resnet18", {"mean": "0.5,0.5"}, ("--mean", "one for all")),
        ("timm:resnet18", {"channels": 1, "mean": "0.5,0.5,0.5"}, ("--mean 0.5,0.5,0.5", "1 number", "--mean 0.5")),
        ("timm:resnet18", {"channels": 1, "colour": "bgr"}, ("--colour bgr", "leave --colour out")),
        ("timm:resnet18", {"scale": 1}, ("0..255", "--mean 123.7,116.3,103.5")),
        ("torchvision:resnet18", {"channels": 1}, ("--channels 1", "3 channels")),
        ("net.py:one", {"channels": 3}, ("--channels 3", "1 channel, float32")),
        ("net.py:one", {"layout": "nhwc"}, ("NHWC", "1 channel, float32, NCHW")),
        ("net.py:raw", {"layout": "nchw"}, ("NCHW", "NHWC")),
        ("net.py:raw", {"input_dtype": "uint8", "mean": 0.5}, ("--mean 0.5", "takes bytes", "leave --mean out")),
        ("net.onnx", {"channels": 1}, ("--channels 1", "the file was written for it")),
        ("net.onnx", {"layout": "nhwc"}, ("NHWC", "the file was written for it")),
        ("net.onnx", {"input_dtype": "uint8"}, ("uint8", "the file was written for it")),
        ("net.onnx", {"contract": "size.toml"}, ("height", "16")),
        ("net.py:one", {"contract": "unknown.toml"}, ("chanels", "did you mean channels")),
        ("net.py:one", {"contract": "broken.toml"}, ("broken.toml", "cannot be read", "quotes")),
        ("net.py:one", {"contract": "c.tml"}, ("There is no contract", "did you mean c.toml")),
        ("net.py:one", {"contract": "wrong.toml"}, ("crop", "a number")),
        ("net.py:one", {"contract": "table.toml"}, ("mean", "list of numbers")),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_what_contradicts_the_network_is_refused_in_words(here: Path, model, asked, words):
    classifier(here / "net.onnx")
    for name, text in {
        "size.toml": "size = 64", "unknown.toml": "chanels = 1", "broken.toml": "resize = bicubic", "wrong.toml": 'crop = "a"',
        "table.toml": "[mean]\nred = 1",
    }.items():  # fmt: skip
        (here / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserMistake) as told:
        make_plan(model, **asked)
    for word in words:
        assert word in str(told.value)


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(coarse, (40, 36)))
    return folder


@pytest.mark.parametrize("words", ["net.py:grey --channels 1", "net.py:raw"])
@pytest.mark.slow
def test_the_whole_way_of_one_channel_and_of_bytes(here: Path, words: str):
    """Export, run, test, bench, compare with PyTorch, int8, and quant-report, each by its command."""
    data, size = str(pictures(here / "data", 40)), ["--image-size", "32"]
    model, *flags = words.split()
    for out, more in (("a.edge", []), ("b.edge", ["--precision", "int8"])):
        made = edgesmith("export", model, *flags, *size, "--data", data, "--out", out, *more)
        assert made.code == 0, made.err
        assert edgesmith("test", out).code == 0
        ran = edgesmith("run", out, "data/1.png", "--json")
        assert ran.code == 0 and len(json.loads(ran.out)[0]["top"]) == 4, ran.err
    face = open_bundle("a.edge").contract.face
    spec = open_bundle("a.edge").inputs[0]
    assert face == ((1, "float32", "NCHW") if flags else (3, "float32", "NHWC"))
    assert spec.shape == ((1, 1, 32, 32) if flags else (1, 32, 32, 3))
    bench = edgesmith(
        "bench", "a.edge", "--model", model, "--rounds", "2", "--against", "eager,plain", "--no-memory", "--json"
    )
    assert bench.code == 0 and all(row["max_abs"] < 1e-4 for row in json.loads(bench.out)["rows"]), bench.err
    compared = edgesmith("compare", model, "a.edge", "--data", data, "--json")
    assert compared.code == 0 and json.loads(compared.out)["agree"], compared.err
    report = edgesmith("quant-report", "b.edge", "--data", data, "--ref", "a.edge", "--json")
    assert report.code == 0, report.err


@pytest.mark.slow
def test_an_onnx_file_of_bytes_is_judged_by_itself(here: Path):
    text = """
    <ir_version: 8, opset_import: ["" : 18]>
    net (uint8[n, 8, 8, 3] pixels) => (float[n, 3] scores)
    <int64[2] sides = {1, 2}>
    {
      wide = Cast<to = 1>(pixels)
      scores = ReduceMean<keepdims = 0>(wide, sides)
    }
    """
    onnx.save(onnx.parser.parse_model(text), "net.onnx")
    made = edgesmith("export", "net.onnx", "--out", "net.edge")
    assert made.code == 0, made.err
    contract = open_bundle("net.edge").contract
    assert contract.face == (3, "uint8", "NHWC") and contract.plain
    assert edgesmith("test", "net.edge").code == 0
    assert edgesmith("compare", "net.onnx", "net.edge").code == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [("image_size = 0.5", "not an image size"), (f"image_size = {'9' * 400}", "not an image size"), (f"mean = {'9' * 400}", "mean cannot be used"),
     (f"crop = {'9' * 400}", "--crop is out of range"), (f"std = [1, 1, {'9' * 400}]", "std cannot be used")],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_numbers_that_no_file_should_have_are_told(tmp_path, line, said):
    (tmp_path / "c.toml").write_text(line + "\n")
    with pytest.raises(UserMistake, match=said):
        make_plan("van_b0", num_classes=2, out=tmp_path / "van.edge", contract=str(tmp_path / "c.toml"))
