"""Whether sums of products of uint8 and int8 saturate here: on x86 with AVX2 and without VNNI (findings/ort_matmulinteger_saturates_without_vnni.sh)."""

from __future__ import annotations

from pathlib import Path

import pytest

CPU = Path("/proc/cpuinfo")
FLAGS = CPU.read_text(errors="replace") if CPU.exists() else ""
exact_products = pytest.mark.skipif(
    "avx2" in FLAGS and "vnni" not in FLAGS,
    reason="products of uint8 and int8 saturate on x86 without VNNI, in ONNX Runtime as in OpenVINO",
)
