"""Whether sums of products of uint8 and int8 saturate here: on x86 with AVX2 and without VNNI (findings/ort_matmulinteger_saturates_without_vnni.sh).

ONNX Runtime keeps the weights of Q/DQ products as uint8 there when it is asked to, as we do; ``MatMulInteger``, which the
dynamic form is made of, it does not mend.
"""

from __future__ import annotations

from pathlib import Path

import pytest

CPU = Path("/proc/cpuinfo")
FLAGS = CPU.read_text(errors="replace") if CPU.exists() else ""
exact_products = pytest.mark.skipif(
    "avx2" in FLAGS and "vnni" not in FLAGS, reason="MatMulInteger of uint8 and int8 saturates on x86 without VNNI"
)
