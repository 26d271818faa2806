"""An engine file from anywhere -> its X-ray, read in a process of its own that may not take for ever.

The format is undocumented and read with patterns: what a file that was made to be slow costs is the child's time, which
has a limit, and not the caller's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...runtime.errors import UserMistake
from ...runtime.ground.regular import open_regular
from .xray import Kernel, XRay, read_engine

MOST_BYTES = 8 * 2**30
LIMIT_S = 120.0  # the largest engine of ours is read in two seconds


def read_foreign(path: Path, limit_s: float = LIMIT_S) -> XRay:
    """As ``read_engine``. UserMistake: no regular file, larger than any engine, or not read within ``limit_s``."""
    with open_regular(path, MOST_BYTES):
        pass
    paths = os.pathsep.join([os.environ.get("PYTHONPATH", ""), *map(os.path.abspath, filter(None, sys.path))])
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": paths.strip(os.pathsep)}
    command = [sys.executable, "-m", __name__, str(path.absolute())]
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=False
        )
        told = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise UserMistake(
            f"{path} could not be read as an engine",
            found=f"still reading after {limit_s:g} s",
            because="it is no engine, or one that was made to be slow",
            attempt="inspect an engine that you built",
        ) from None
    except ValueError:
        raise UserMistake(
            f"{path} could not be read as an engine",
            found=f"the reader ended with code {done.returncode}",
            because="it takes more memory than there is, or it is no engine",
        ) from None
    kernels = tuple(Kernel(**_tuples(one)) for one in told["kernel_list"])
    return XRay(**{**_tuples(told), "kernel_list": kernels})


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where ours are tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


if __name__ == "__main__":
    print(json.dumps(asdict(read_engine(sys.argv[1]))))
