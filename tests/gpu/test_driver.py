"""driver.py against NVIDIA's own prototypes: a library in C that is compiled with their header and answers like a driver."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from gpu.driver import Driver, DriverError

# each answer comes back only when the argument before it arrived whole, in its place and width
SOURCE = """
#include <cuda.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static const CUcontext C = (CUcontext)0x123456789abc;
static const CUmodule M = (CUmodule)0xaaaabbbbccccULL;
static const CUfunction F = (CUfunction)0xddddeeeeffffULL;
char seen[512];
CUresult cuInit(unsigned flags) { return flags; }
CUresult cuGetErrorString(CUresult e, const char **s) { *s = "words of the driver"; return 0; }
CUresult cuDeviceGet(CUdevice *d, int ordinal) { *d = ordinal + 5; return 0; }
CUresult cuDeviceGetName(char *name, int size, CUdevice d) { snprintf(name, size, "device %d of %d", d, size); return 0; }
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute a, CUdevice d) {
  switch (a) {
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 132; break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 52428800; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = 0; break;
    default: return 1;
  }
  return 0;
}
CUresult cuDriverGetVersion(int *version) { *version = 13020; return 0; }
CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d) { *c = C; return d == 5 ? 0 : 1; }
CUresult cuCtxSetCurrent(CUcontext c) { return c == C ? 0 : 1; }
CUresult cuCtxSynchronize(void) { return 0; }
CUresult cuMemAlloc(CUdeviceptr *p, size_t n) { *p = (CUdeviceptr)malloc(n); return 0; }
CUresult cuMemFree(CUdeviceptr p) { free((void *)p); return 0; }
CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t n) { memcpy((void *)to, from, n); return 0; }
CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t n) { memcpy(to, (void *)from, n); return 0; }
CUresult cuModuleLoadData(CUmodule *m, const void *image) { *m = M; return strncmp(image, ".version", 8) ? 218 : 0; }
CUresult cuModuleLoadDataEx(CUmodule *m, const void *image, unsigned n, CUjit_option *o, void **v) {
  if (n == 2 && o[0] == CU_JIT_ERROR_LOG_BUFFER && o[1] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
    snprintf(v[0], (size_t)v[1], "log of %zu bytes", (size_t)v[1]);
  return 218;
}
CUresult cuModuleGetFunction(CUfunction *f, CUmodule m, const char *name) { *f = F; return m == M && !strcmp(name, "x") ? 0 : 500; }
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute a, CUfunction f) {
  *value = a == CU_FUNC_ATTRIBUTE_NUM_REGS ? 40 : a == CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES ? 8 : -1;
  return f == F ? 0 : 1;
}
CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream stream, void **p, void **extra) {
  snprintf(seen, sizeof seen, "%u %u %u, %u %u %u, %u, %llx, %d %d", gx, gy, gz, bx, by, bz, shared,
           (unsigned long long)stream, *(int *)p[1], *(int *)p[2]);
  memcpy(*(void **)p[3], *(void **)p[0], 64);
  return f == F && !extra ? 0 : 1;
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler, triton = shutil.which("cc"), importlib.util.find_spec("triton")
    if compiler is None or triton is None or triton.origin is None:
        pytest.skip("needs a C compiler, and Triton for NVIDIA's header")
    header = Path(triton.origin).parent / "backends" / "nvidia" / "include"
    folder = tmp_path_factory.mktemp("driver")
    (folder / "cuda.c").write_text(SOURCE)
    command = [compiler, "-shared", "-fPIC", f"-I{header}", str(folder / "cuda.c"), "-o", str(folder / "cuda.so")]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "cuda.so"))


def test_the_device_is_read_by_nvidias_numbers(library):
    assert Driver(library).about() == {
        "name": "device 5 of 256", "arch": "sm_90", "multiprocessors": 132, "l2_bytes": 52428800, "driver_api": "13.2",
    }  # fmt: skip


def test_a_launch_arrives_whole(library):
    driver = Driver(library)
    function = driver.load(".version 8.0\n", "x")
    assert (function.registers, function.local_bytes) == (40, 8)
    source, target = driver.allocate(64), driver.allocate(64)
    sent, got = np.arange(16, dtype=np.float32), np.zeros(16, np.float32)
    driver.upload(source, sent)
    driver.launch(function, (5, 6, 7), 128, 4096, [source], [-3, 2**31 - 1], [target], stream=0x7FFF12345678)
    driver.wait()
    driver.download(got, target)
    assert np.array_equal(got, sent)
    seen = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(library, "seen"))).decode()
    assert seen == "5 6 7, 128 1 1, 4096, 7fff12345678, -3 2147483647"
    driver.free(source)
    driver.free(target)


def test_refusals_are_told_in_the_words_of_driver_and_compiler(library):
    driver = Driver(library)
    with pytest.raises(DriverError, match="cuModuleLoadData: error 218, words of the driver; log of 8192 bytes"):
        driver.load("nonsense", "x")
    with pytest.raises(DriverError, match="cuModuleGetFunction: error 500"):
        driver.load(".version 8.0\n", "y")
