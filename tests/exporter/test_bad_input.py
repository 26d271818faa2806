"""What users get wrong, as data: each is one screen that says what to try, exit code 2, no traceback, no debris.

A case is a command and the words its answer must contain; the files it names are made by ``FILES`` in an empty folder.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import edgesmith
from one_screen import Case, assert_told, listing
from small_bundle import write_small_bundle

CALIBRATION_CASES = 15


EXPORT = "export --model van_b0 "
CASES = [
    Case("no model", "export", ("--model", "edgesmith export --model smt")),
    Case("unknown model", "export --model smt_tny", ("smt_tny", "smt_tiny")),
    Case("unknown command", "exprot --model smt", ("exprot", "edgesmith export")),
    Case("unknown flag", EXPORT + "--precison fp16", ("--precison", "did you mean --precision")),
    Case("unknown key=value", "export model=smt precison=fp16", ("precison", "--precision")),
    Case("flag without its value", EXPORT + "--imgsz", ("--imgsz",)),
    Case("value of the wrong kind", EXPORT + "--num-classes many", ("--num-classes",)),
    Case("unknown precision", EXPORT + "--precision fp61", ("fp61", "fp16")),
    Case("precision the engine cannot compute", EXPORT + "--precision bf16 --target cpu", ("bf16", "openvino")),
    Case("two precisions", EXPORT + "--half --precision fp32", ("--half", "--precision fp32")),
    Case("unknown target", EXPORT + "--target jetpak6", ("jetpak6", "jetpack6")),
    Case("unknown GPU architecture", EXPORT + "--target rtx --gpu-arch sm42", ("sm42", "sm89")),
    Case("GPU architecture for the CPU", EXPORT + "--gpu-arch sm89", ("--target rtx",)),
    Case("opset the target cannot read", EXPORT + "--opset 99", ("99", "20")),
    Case("image size that is no number", EXPORT + "--imgsz large", ("large", "--image-size 224")),
    Case("image size 0", EXPORT + "--imgsz 0", ("0", "--image-size 224")),
    Case("negative image size", EXPORT + "--imgsz -224", ("-224", "--image-size 224")),
    Case("size a fixed family cannot take", "export --model convit --imgsz 256", ("256x256", "224x224")),
    Case("size that patches do not divide", "export --model vit_ggem --imgsz 230", ("230x230", "16")),
    Case("batch that shrinks", EXPORT + "--batch 8..1", ("8..1", "1..8")),
    Case("min above max", EXPORT + "--min-shapes 8x3x224x224 --max-shapes 4x3x224x224", ("min 8", "--min-shapes")),
    Case("shape with three axes", EXPORT + "--min-shapes 3x224x224", ("3x224x224", "images:1x3x224x224")),
    Case("shape of another input", EXPORT + "--max-shapes pixels:1x3x224x224", ("images", "pixels")),
    Case("unknown pass to skip", EXPORT + "--skip FuseTheMoon", ("FuseTheMoon", "CleanUp")),
    Case("no classes", EXPORT + "--num-classes 0", ("--num-classes 0", "no form without its classes")),
    Case("fewer classes than none", EXPORT + "--num-classes -1", ("-1", "--num-classes 10")),
    Case(
        "checkpoint that is not there",
        EXPORT + "--weights ten.safetensor",
        ("nothing at", "did you mean ten.safetensors"),
    ),
    Case("folder as checkpoint", EXPORT + "--weights folder", ("folder",)),
    Case("empty checkpoint", EXPORT + "--weights empty.safetensors", ("empty",)),
    Case("truncated safetensors", EXPORT + "--weights truncated.safetensors", ("truncated.safetensors",)),
    Case("truncated pth", EXPORT + "--weights truncated.pth", ("truncated.pth",)),
    Case("code in a pickle", EXPORT + "--weights code.pth", ("code.pth",)),
    Case("checkpoint of another model", EXPORT + "--weights other.safetensors", ("missing", "unexpected")),
    Case("checkpoint of another class count", EXPORT + "--weights ten.safetensors", ("10", "--num-classes 10")),
    Case("out is a folder of something else", EXPORT + "--out folder", ("not a bundle", "--out")),
    Case("out is a file", EXPORT + "--out notes.txt", ("not a bundle", "--out")),
    Case("out is a bundle already", EXPORT + "--out good.edge", ("--force",)),
    Case("out in a folder that is missing", EXPORT + "--out nowhere/x.edge", ("mkdir -p nowhere",)),
    Case("out in a file", EXPORT + "--out notes.txt/x.edge", ("not a folder",)),
    Case("out where nobody may write", EXPORT + "--out READONLY/x.edge", ("cannot be written", "--out")),
    Case("data that is not there", EXPORT + "--data pictures", ("pictures", "--data")),
    Case("data without pictures", EXPORT + "--data folder", ("folder", ".jpg")),
    Case("data that is no picture", EXPORT + "--data notes.txt", ("notes.txt", ".jpg")),
    Case("run: no such bundle", "run missing.edge photo.png", ("missing.edge",)),
    Case("run: not a bundle", "run folder photo.png", ("manifest.json",)),
    Case("run: no such picture", "run good.edge missing.png", ("missing.png",)),
    Case("run: broken picture", "run good.edge broken.png", ("broken.png",)),
    Case("run: text as picture", "run good.edge notes.txt", ("notes.txt",)),
    Case("run: tampered graph", "run tampered.edge photo.png", ("model.onnx",)),
    Case("run: missing graph", "run incomplete.edge photo.png", ("model.onnx",)),
    Case("run: schema of the future", "run future.edge photo.png", ("schema 999", "upgrade")),
    Case("run: manifest cut off", "run cut.edge photo.png", ("manifest.json",)),
    Case("run: unknown backend", "run good.edge photo.png --backend onnxrt", ("onnxrt", "onnxruntime")),
    Case("run: backend of another device", "run good.edge photo.png --backend tensorrt", ("NVIDIA", "onnxruntime")),
    Case("inspect: truncated ONNX", "inspect truncated.onnx", ("truncated.onnx",)),
    Case("inspect: garbage as engine", "inspect garbage.engine", ("garbage.engine",)),
    Case("inspect: no such file", "inspect missing.onnx", ("missing.onnx",)),
    Case("compare: no such file", "compare missing.onnx good.edge", ("missing.onnx",)),
    Case("compare: inputs that differ", "compare good.edge van_b0", ("8x8", "224x224")),
    Case("bench: not a bundle", "bench folder", ("manifest.json",)),
    Case("bench: unknown peer", "bench good.edge --against eagr", ("eagr", "eager")),
]

INT8 = EXPORT + "--int8 "
STATIC = INT8 + "--int8-form static "
DYNAMIC = "export --model vit_ggem --int8 "
CASES += [
    Case("int8: static without pictures", STATIC, ("without --data", "--data photos/", "--data random")),
    Case("int8: rtx without pictures", INT8 + "--target rtx", ("measured on them", "--data photos/")),
    Case("int8: pictures that are not there", STATIC + "--data photo", ("nothing at that path", "photo")),
    Case("int8: folder without pictures", STATIC + "--data folder", ("folder", "picture")),
    Case("int8: nothing but broken pictures", STATIC + "--data broken", ("2 that cannot be read", "without its end")),
    Case("int8: npz with another key", STATIC + "--data key.npz", ("pixels", "images")),
    Case("int8: npz of another shape", STATIC + "--data shape.npz", ("4, 9, 9", "shape.npz")),
    Case("int8: an archive as pictures", STATIC + "--data digits.zip", ("digits.zip", "unpack")),
    Case("int8: list with a path that is missing", STATIC + "--data list.txt", ("list.txt", "gone.png")),
    Case("int8 on TensorRT 8", INT8 + "--target jetpack5", ("TensorRT 8", "--precision fp16")),
    Case("fp8 on Orin", EXPORT + "--precision fp8 --target jetpack6", ("Orin (sm87)", "no fp8", "--precision int8")),
    Case("fp8 on Ampere", EXPORT + "--precision fp8 --target rtx --gpu-arch sm86", ("sm86", "--gpu-arch sm89")),
    Case("nvfp4 on Ada", EXPORT + "--precision nvfp4 --target rtx --gpu-arch sm89", ("sm89", "--gpu-arch sm120")),
    Case("fp8 on a CPU", EXPORT + "--precision fp8", ("no kernels", "--precision int8")),
    Case("int4 of a block that no kernel has", EXPORT + "--precision int4 --block 48", ("--block 48", "32, 64, 128")),
    Case("int8: unknown rule", STATIC + "--data one --ranges minmx", ("minmx", "did you mean minmax")),
    Case("int8: unknown form", INT8 + "--int8-form statc", ("statc", "did you mean static")),
    Case("int8: a form of the CPU for a GPU", INT8 + "--int8-form u8 --target rtx --data one", ("u8", "--target cpu")),
    Case("int8: budget without pictures", DYNAMIC + "--max-drop 0.5", ("--max-drop without --data", "--data photos/")),
    Case("int8: budget on noise", INT8 + "--max-drop 0.5 --data random", ("--data random", "pictures")),
    Case("int8: negative budget", INT8 + "--max-drop -1 --data one", ("--max-drop -1", "points")),
    Case("int8: budget that is no number", INT8 + "--max-drop little --data one", ("--max-drop", "valid number")),
    Case("fp16: budget", EXPORT + "--half --max-drop 0.5", ("--max-drop 0.5", "--precision int8")),
    Case("int8: no pictures to calibrate with", STATIC + "--data one --calib-images 0", ("--calib-images 0", "128")),
    Case("int8: negative held-out pictures", STATIC + "--data one --eval-images -5", ("--eval-images -5", "1000")),
    Case("int8: smoothing of more than one", STATIC + "--data one --smooth 2", ("--smooth 2", "0.75")),
    Case("int8: opset without 16-bit scales", DYNAMIC + "--opset 17", ("--opset 17", "16-bit scales")),
    Case("int8: cache in a file", STATIC + "--data one --calib-cache notes.txt", ("notes.txt", "--calib-cache")),
    Case("auto without pictures", EXPORT + "--precision auto", ("compares accuracies", "--data photos/")),
    Case("quantize to 5 bits", EXPORT + "--quantize 5", ("'5'", "int8")),
    Case("pass of another order", INT8 + "--skip OrtAttention", ("OrtAttention",)),
]


class Harmful:
    """What a hostile checkpoint does: it runs a command while it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran-the-code",)


def _tensors(folder: Path, name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({key: torch.zeros(shape) for key, shape in shapes.items()}, folder / name)


def _ten_classes(folder: Path) -> None:
    from safetensors.torch import save_file

    from edgesmith.models import create

    save_file(create("van_b0", num_classes=10).state_dict(), folder / "ten.safetensors")


def _changed(folder: Path, name: str, change: Callable[[Path], object]) -> None:
    shutil.copytree(folder / "good.edge", folder / name)
    change(folder / name)


def _future(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "schema": 999}))


def _make_files(folder: Path) -> None:
    import cv2
    import numpy as np

    write_small_bundle(folder / "good.edge")
    graph = (folder / "good.edge" / "model.onnx").read_bytes()
    _changed(folder, "tampered.edge", lambda bundle: (bundle / "model.onnx").write_bytes(graph[:-1] + b"!"))
    _changed(folder, "incomplete.edge", lambda bundle: (bundle / "model.onnx").unlink())
    _changed(folder, "cut.edge", lambda bundle: os.truncate(bundle / "manifest.json", 100))
    _changed(folder, "future.edge", _future)
    (folder / "folder").mkdir()
    (folder / "folder" / "readme.md").write_text("no picture")
    (folder / "notes.txt").write_text("no picture either")
    cv2.imwrite(str(folder / "photo.png"), np.full((32, 32, 3), 128, np.uint8))
    (folder / "broken.png").write_bytes((folder / "photo.png").read_bytes()[:40])
    for place in ("broken", "one"):
        (folder / place).mkdir()
    shutil.copy(folder / "photo.png", folder / "one" / "photo.png")
    for name in ("a.png", "b.jpg"):
        shutil.copy(folder / "broken.png", folder / "broken" / name)
    np.savez(folder / "key.npz", pixels=np.zeros((4, 3, 224, 224), np.float32))
    np.savez(folder / "shape.npz", images=np.zeros((4, 9, 9), np.float32))
    (folder / "digits.zip").write_bytes(b"PK\x03\x04" + bytes(60))
    (folder / "list.txt").write_text("photo.png\ngone.png\n")
    (folder / "truncated.onnx").write_bytes(graph[: len(graph) // 2])
    (folder / "garbage.engine").write_bytes(bytes(range(256)) * 16)
    (folder / "empty.safetensors").touch()
    _tensors(folder, "other.safetensors", {"stem.weight": (8, 3, 3, 3), "head.weight": (1000, 8), "head.bias": (1000,)})
    (folder / "truncated.safetensors").write_bytes((folder / "other.safetensors").read_bytes()[:2000])
    (folder / "code.pth").write_bytes(pickle.dumps({"model": Harmful()}, protocol=2))
    (folder / "truncated.pth").write_bytes(b"PK\x03\x04" + bytes(60))
    _ten_classes(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bad-input")
    _make_files(made)
    return made


def readonly_folder(folder: Path) -> str:
    """A folder nobody may write to: root may write everywhere but in /proc."""
    if os.geteuid() == 0:
        return "/proc"
    place = folder / "readonly"
    place.mkdir(mode=0o555, exist_ok=True)
    return place.name


def test_there_are_at_least_twenty_five_and_fifteen_of_calibration():
    assert len(CASES) >= 25 and len({case.name for case in CASES}) == len(CASES)
    assert sum(case.command.startswith((INT8, DYNAMIC)) for case in CASES) >= CALIBRATION_CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_told_in_one_screen(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    assert_told(replace(case, command=case.command.replace("READONLY", readonly_folder(folder))), folder)


def test_a_full_disk_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The disk fills up in the middle of writing the first large file of the bundle."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(folder)
    before = listing(folder)
    monkeypatch.setattr("onnx_ir.save", full)
    answer = edgesmith("export", "--model", "van_b0", "--num-classes", "2", "--imgsz", "32", "--out", "full.edge")
    assert answer.code == 2 and "No space left" in answer.err and "Traceback" not in answer.err, answer.err
    assert listing(folder) == before
