"""What users get wrong at the doors: each is one screen that says what to try, exit code 2, no traceback, no debris."""

from __future__ import annotations

from pathlib import Path

import pytest
from one_screen import Case, assert_told
from own_networks import write_file

EXPORT = "export --model "
CASES = [
    Case("unknown name", EXPORT + "resnt18", ("resnet18", "edgesmith list")),
    Case("unknown prefix", EXPORT + "keras:resnet50", ("timm:NAME", "torchvision:NAME")),
    Case("unknown name of timm", EXPORT + "timm:efficientnt_b0", ("efficientnet_b0", "edgesmith list --timm")),
    Case("unknown tag of timm", EXPORT + "timm:resnet18.a9_in1k", ("a1_in1k",)),
    Case("unknown pattern of timm", "list --timm resnt18", ("resnet18",)),
    Case("unknown name of torchvision", EXPORT + "torchvision:resnt18", ("resnet18",)),
    Case("detector of torchvision", EXPORT + "torchvision:ssd300_vgg16", ("another task", "damo_yolo")),
    Case("size timm's network cannot see", EXPORT + "timm:levit_128s --imgsz 250", ("250x250", "--image-size ")),
    Case("argument timm's network lacks", EXPORT + "timm:vit_tiny_patch16_224 --model-arg dept=3", ("dept", "depth")),
    Case(
        "argument without a value", EXPORT + "timm:resnet18 --model-arg depth", ("depth", "--model-arg depths=1,1,3,1")
    ),
    Case("argument a family lacks", EXPORT + "smt --model-arg depts=1,1,1,1", ("depts", "did you mean depths")),
    Case("argument of a folder's family", EXPORT + "gui_aima --model-arg layers=3", ("--model-arg", "config.json")),
    Case("own weights of a name", EXPORT + "timm:resnet18 --weights own", ("--weights own", "--weights random")),
    Case("folder without its prefix", EXPORT + "folder", ("--model hf:folder",)),
    Case("weights for a model", EXPORT + "net.pth", ("--weights net.pth",)),
    Case("no such file", EXPORT + "nett.py:make", ("nett.py", "did you mean net.py")),
    Case("no such file, no folder", EXPORT + "nowhere/net.py:make", ("nowhere/net.py",)),
    Case("file without the function", EXPORT + "net.py:mak", ("mak", "net.py:make")),
    Case("file alone", EXPORT + "net.py", ("Which function", "net.py:make")),
    Case("file that is no Python", EXPORT + "broken.py:make", ("broken.py", "line 1")),
    Case("file that raises", EXPORT + "raising.py:make", ("raising.py", "nobody_has_this")),
    Case("file that leaves", EXPORT + "leaving.py:make", ("SystemExit",)),
    Case("function that gives a number", EXPORT + "net.py:number", ("int 3", "torch.nn.Module")),
    Case("function that raises", EXPORT + "net.py:raises", ("no such backbone", "net.py, line")),
    Case("function that needs arguments", EXPORT + "net.py:needs", ("depth", "--model-arg depth=VALUE")),
    Case("argument the function lacks", EXPORT + "net.py:make --model-arg widht=8", ("widht", "--model-arg width=8")),
    Case("two inputs", EXPORT + "net.py:two", ("image, depth", "2 inputs")),
    Case("two outputs", EXPORT + "net.py:several", ("2 outputs",)),
    Case(
        "classes the function does not take", EXPORT + "net.py:fixed --num-classes 9", ("3 outputs", "--num-classes 9")
    ),
    Case("size of a fixed network", EXPORT + "net.py:small --imgsz 64", ("64x64", "--image-size 32 32")),
    Case("name that is no function", EXPORT + "net.py:WIDTH", ("cannot be called", "int")),
    Case("no folder of transformers", EXPORT + "hf:nothing", ("nothing", "hf download")),
    Case("empty folder of transformers", EXPORT + "hf:empty", ("config.json",)),
    Case("a file for a folder", EXPORT + "hf:net.py", ("config.json",)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_told_on_one_screen(case: Case, tmp_path: Path, monkeypatch):
    write_file(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "net.pth").write_bytes(b"weights")
    (tmp_path / "broken.py").write_text("def make(:\n", encoding="utf-8")
    (tmp_path / "raising.py").write_text("import nobody_has_this\ndef make(): ...\n", encoding="utf-8")
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(3)\ndef make(): ...\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    assert_told(case, tmp_path)
