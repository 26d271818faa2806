"""The same check where pytest runs on a machine with a GPU; elsewhere every test is skipped and says why."""

from __future__ import annotations

import pytest
from gpu.correctness import check_op
from gpu.driver import Driver

from edgesmith.exporter.plugins import OPS
from edgesmith.exporter.plugins.pack.pack import PACKED
from edgesmith.runtime.backends.gpu.cuda import find_driver
from edgesmith.runtime.errors import BackendUnavailable
from edgesmith.runtime.plugins.pack import KernelPack, read_pack

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def device() -> tuple[Driver, KernelPack]:
    try:
        find_driver()
    except BackendUnavailable as error:
        pytest.skip(f"no GPU: {error.found}; on a machine with one, make gpu-check runs all of it")
    if not PACKED.is_file():
        pytest.skip("no kernels.zip in this checkout: make kernels")
    return Driver(), read_pack(PACKED)


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.kernel is not None])
def test_every_kernel_of_the_pack_holds(device, name):
    driver, pack = device
    assert name in pack.ops, "make kernels"
    assert not [row for row in check_op(driver, pack, OPS[name]) if not row["ok"]]
