"""Words about other people's software that were wrong once, held against that software."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from openvino_here import openvino_or_skip

from edgesmith.exporter.plan.targets import NO_BF16_KERNELS, TARGETS


def loads(text: str) -> bool:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    model = onnx.parser.parse_model(text)
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 its exceptions share no base class but this one
        assert "NOT_IMPLEMENTED" in str(error), error
        return False
    return True


HEAD = '<ir_version: 10, opset_import: ["" : 22]> g (bfloat16[1, 4, 4, 4] x, bfloat16[4] w, bfloat16[4, 4, 1, 1] k) => '


def test_what_onnxruntime_does_with_bf16():
    assert not loads(HEAD + "(bfloat16[1, 4, 4, 4] y) { y = MatMul(x, x) }")
    assert not loads(HEAD + "(bfloat16[1, 4, 4, 4] y) { y = Conv(x, k) }")
    assert loads(HEAD + "(bfloat16[1, 4, 4, 4] y) { y = LayerNormalization(x, w) }")
    assert loads(HEAD + "(bfloat16[1, 4, 4, 4] y) { y = Transpose<perm = [0, 2, 3, 1]>(x) }")
    for word in ("Conv and MatMul", "LayerNormalization", "move data"):
        assert word in NO_BF16_KERNELS


def test_bf16_of_openvino_needs_no_amx():
    able = "BF16" in openvino_or_skip().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    flags = {
        word
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("flags")
        for word in line.split()
    }
    assert able == bool({"avx512_bf16", "amx_bf16"} & flags)
    assert "AMX, avx512_bf16" in TARGETS["openvino"].note


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_opencv_resizes_as_torch_does_floats_and_not_bytes(method):
    import torch

    picture = np.random.default_rng(0).integers(0, 256, (37, 53, 3)).astype(np.uint8)
    flag = cv2.INTER_CUBIC if method == "bicubic" else cv2.INTER_LINEAR
    ours = cv2.resize(picture, (21, 29), interpolation=flag).astype(int)
    tensor = torch.from_numpy(picture.transpose(2, 0, 1)[None].copy())

    def theirs(values):
        made = torch.nn.functional.interpolate(values, (29, 21), mode=method, align_corners=False, antialias=False)
        return made.float().round().clamp(0, 255).numpy()[0].transpose(1, 2, 0).astype(int)

    assert abs(ours - theirs(tensor.float())).max() <= 1
    if method == "bicubic":
        assert abs(ours - theirs(tensor)).max() > 5
