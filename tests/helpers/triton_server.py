"""The real ``tritonserver`` with its python backend, from the wheel nvidia-pytriton, on a CPU and for this machine alone.

It is no dependency of ours: ``make triton-env`` has it in an environment of its own, and tests without it are skipped.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

START_S, END_S = 600.0, 30.0  # a busy machine imports slowly, once a model


@dataclass(frozen=True)
class Addresses:
    """Where the server listens, and what it has said."""

    http: str
    grpc: str
    log: Path


def wheel() -> Path:
    """The folder of the package pytriton, whose Python is not needed; skips where it is not installed."""
    found = importlib.util.find_spec("pytriton")
    if found is None or found.origin is None:
        pytest.skip("nvidia-pytriton is not in this environment: make triton-env, make test-triton")
    return Path(found.origin).parent


@contextmanager
def serving(repository: Path, folder: Path) -> Iterator[Addresses]:
    """A server of ``repository``; what it needs and says is kept in ``folder``. It ends with the block."""
    server = wheel() / "tritonserver"
    backend = folder / "backends" / "python"
    shutil.copytree(server / "backends" / "python", backend)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = shutil.copy(server / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
    os.chmod(stub, 0o755)
    program = shutil.copy(server / "bin" / "tritonserver", folder / "tritonserver")
    os.chmod(program, 0o755)
    http, grpc = _free_ports()
    log = folder / "server.log"
    # the stub is isolated: it reads no PYTHONPATH, and takes the Python that is first on PATH
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(server.parent.parent / "nvidia_pytriton.libs"),
    }
    command = [
        str(program), f"--model-repository={repository}", f"--backend-directory={folder / 'backends'}", "--exit-on-error=false",
        "--http-address=127.0.0.1", f"--http-port={http}", "--grpc-address=127.0.0.1", f"--grpc-port={grpc}",
        "--allow-metrics=false", "--exit-timeout-secs=10",
    ]  # fmt: skip
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said, env=env) as process:
        try:
            _wait(process, http, log)
            yield Addresses(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", log)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            if process.poll() is None:
                process.kill()


def _wait(process: subprocess.Popen[bytes], http: int, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"http://127.0.0.1:{http}/v2/health/live", timeout=5).close()
            return
        time.sleep(0.2)
    raise AssertionError(f"the server did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
