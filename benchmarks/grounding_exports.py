"""What the flows of the grounding benchmark open: bundles made once for a state of the code, and the graphs of optimum-intel.

work/SIZE/folder            the checkpoint
work/SIZE/bundles-DIGEST    what `edgesmith export` wrote; other code of the package makes others
work/SIZE/optimum           what grounding_peer.py wrote
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from grounding_runs import BACKENDS, OURS, PEER_GRAPHS, PEER_PYTHON, PEERS, SIZED

HERE = Path(__file__).parent
PACKAGE = ("calibration", "exporter", "graph", "models", "runtime")
EXPORTS_AT_ONCE = 2
_PEER = threading.Lock()


def digest(*more: Path) -> str:
    """Of the package's code and of ``more`` files."""
    found = hashlib.sha256()
    for folder in PACKAGE:
        for file in sorted((HERE.parent / folder).rglob("*.py")):
            found.update(file.read_bytes())
    for file in more:
        found.update(file.read_bytes())
    return found.hexdigest()[:10]


def settings_of(
    folder: Path, bundles: Path, names: Sequence[str], screens: Sequence[tuple[int, int]], python: Path = PEER_PYTHON
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Flow -> how its worker opens it, and flow -> why it cannot be measured; bundles that are missing are made.

    The first of ``screens`` is that of the table; only flows of SIZED have the others, too.
    """
    found: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}

    def settings(name: str) -> dict[str, Any] | str:
        if name in PEERS:
            how, dtype = PEERS[name]
            return {"kind": "eager", "folder": str(folder), "how": how, "dtype": dtype}
        if name in PEER_GRAPHS:
            told = {"folder": str(folder), "graphs": str(bundles.parent / "optimum"), "precision": PEER_GRAPHS[name]}
            return peer_export(folder, Path(told["graphs"]), python) or {
                "kind": "optimum",
                **told,
                "python": str(python),
            }
        precision, target = OURS[name]
        bundle = bundles / f"{precision}_{target}.edge"
        sizes = screens if name in SIZED else screens[:1]
        why = None if bundle.exists() else export(folder, bundle, precision, target, sizes)
        return why or {"kind": "ours", "bundle": str(bundle), "backend": BACKENDS[target]}

    with ThreadPoolExecutor(EXPORTS_AT_ONCE) as pool:
        for name, told in zip(names, pool.map(settings, names), strict=True):
            if isinstance(told, str):
                failed[name] = told
            else:
                found[name] = told
    return found, failed


def export(
    folder: Path, out: Path, precision: str, target: str, screens: Sequence[tuple[int, int]], *more: str
) -> str | None:
    """`edgesmith export` in a process of its own; why it could not be made, or None.

    A bundle that misses its limits beside PyTorch is written all the same, and says so in its notes: random weights are no
    measure of what a precision costs, and the page tells how far its scores are off.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    sizes = ",".join(f"{width}x{height}" for width, height in screens)
    words = ["--model", "gui_aima", "--weights", str(folder), "--precision", precision, "--target", target]
    words += ["--screen", sizes, "--out", str(out), "--no-check", *more]
    command = [sys.executable, "-m", "edgesmith", "export", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return None if done.returncode == 0 else " ".join((done.stderr or done.stdout).split())[-400:]


def peer_export(folder: Path, out: Path, python: Path) -> str | None:
    """What optimum-intel makes of the checkpoint, once; why there is nothing of it, or None."""
    if not python.exists():
        return "no environment for it: see the head of grounding_peer.py"
    with _PEER:  # two flows wait for the same graphs
        return None if (out / "done").exists() else _peer_export(folder, out, python)


def _peer_export(folder: Path, out: Path, python: Path) -> str | None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    command = [str(python), str(HERE / "grounding_peer.py"), str(folder), str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode == 0:
        (out / "done").touch()
        return None
    return " ".join((done.stderr or done.stdout).split())[-400:]
