"""The ctypes layer says what is missing; what it does with a GPU: docs/hardware.md."""

import ctypes

import numpy as np
import pytest

from edgesmith.runtime.backends.gpu import cuda
from edgesmith.runtime.errors import BackendUnavailable, EdgesmithError


class FakeDriver:
    def __init__(self, init=0, count=1):
        self.init, self.count = init, count

    def cuInit(self, flags):
        return self.init

    def cuDeviceGetCount(self, pointer):
        pointer._obj.value = self.count
        return 0


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (None, "no NVIDIA driver, libcuda.so.1"),
        (FakeDriver(init=100), "error 100: .*no GPU"),
        (FakeDriver(init=35), "older than"),
        (FakeDriver(count=0), "no GPU"),
    ],
)
def test_without_a_gpu_the_driver_probe_says_why(monkeypatch, driver, said):
    def open_library(name):
        assert name == "libcuda.so.1", "nothing else may be touched before the driver is known to be there"
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(cuda.ctypes, "CDLL", open_library)
    with pytest.raises(BackendUnavailable, match=said) as caught:
        cuda.find_driver()
    assert "onnxruntime" in str(caught.value)


def test_with_a_gpu_it_counts(monkeypatch):
    monkeypatch.setattr(cuda.ctypes, "CDLL", lambda name: FakeDriver(count=2))
    assert cuda.find_driver() == 2


def test_the_real_library_has_every_name_and_fails_in_words_without_a_driver():
    try:
        cuda.find_driver()
        pytest.skip("there is a GPU here: the failure cannot be seen")
    except BackendUnavailable:
        pass
    try:
        library = cuda.load_runtime()
    except BackendUnavailable as missing:
        pytest.skip(missing.found)
    for name in [
        "cudaMalloc",
        "cudaFree",
        "cudaMemcpyAsync",
        "cudaStreamCreate",
        "cudaStreamDestroy",
        "cudaStreamSynchronize",
        "cudaMemGetInfo",
        "cudaDeviceGetAttribute",
        "cudaDriverGetVersion",
        "cudaRuntimeGetVersion",
        "cudaGetErrorString",
        "cudaGetLastError",
        "cudaHostAlloc",
        "cudaHostGetDevicePointer",
        "cudaFreeHost",
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphInstantiateWithFlags",
        "cudaGraphLaunch",
        "cudaGraphDestroy",
        "cudaGraphExecDestroy",
    ]:
        assert isinstance(getattr(library, name), ctypes._CFuncPtr)
    with pytest.raises(EdgesmithError, match=r"cudaMalloc failed.*\n.*error \d+: \w+"):
        cuda.Cuda(library).allocate(16)


def test_no_library_at_all_is_said(monkeypatch):
    def nothing(name):
        raise OSError(name)

    monkeypatch.setattr(cuda.ctypes, "CDLL", nothing)
    with pytest.raises(BackendUnavailable, match="no CUDA runtime library"):
        cuda.load_runtime()


def test_arguments_reach_the_library_as_the_c_types_it_takes():
    calls = []

    class Library:
        class cudaGetErrorString:
            restype = None

        def __getattr__(self, name):
            return lambda *arguments: calls.append((name, arguments)) or 0

    layer = cuda.Cuda(Library())
    array = np.arange(6, dtype=np.float32)
    layer.upload(0x7F0000000000, array, 0x1234567890)
    name, (to, source, size, kind, stream) = calls[0]
    assert name == "cudaMemcpyAsync" and (to.value, source.value) == (0x7F0000000000, array.ctypes.data)
    assert (size.value, kind, stream.value) == (24, cuda.HOST_TO_DEVICE, 0x1234567890)
    layer.download(array, 8, 0)
    assert calls[1][1][0].value == array.ctypes.data and calls[1][1][3] == cuda.DEVICE_TO_HOST
