"""What is installed, what is missing, what each target can do on this machine; looks, imports nothing heavy, never fails.

Versions come from package metadata, minimum versions from our own; a GPU is looked for through the driver alone, since
TensorRT ends the process on a machine without one.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plan.engines import ENGINES
from ..plan.targets import TARGETS, Target

if TYPE_CHECKING:
    from rich.console import Console

# extra -> distributions that serve it; the first is the one we name, the others are as good
PACKAGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "": (("numpy",), ("opencv-python-headless", "opencv-python", "opencv-contrib-python")),
    "export": (
        ("torch",), ("torchvision",), ("timm",), ("onnx",), ("onnx-ir",), ("onnxscript",), ("onnxslim",), ("onnx-graphsurgeon",),
        ("polygraphy",), ("safetensors",), ("transformers",), ("tokenizers",), ("pyyaml",), ("pycocotools",), ("scikit-image",),
        ("rich",), ("typer",),
    ),
    **{engine.extra: (engine.distributions,) for engine in ENGINES.values()},
    "serve": (("starlette",), ("uvicorn",), ("httptools",), ("uvloop",), ("prometheus-client",)),
    "triton": (("tritonclient",),),
    "sign": (("cryptography",),),
    "ray": (("ray",),),
    "hf": (("pyarrow",),),
    "mlflow": (("mlflow",),),
}  # fmt: skip
NEEDED_FOR = {  # what a row says, where it is neither the name of a target nor of an extra
    "": "everything", "serve": "edgesmith serve", "triton": "edgesmith triton --check", "sign": "edgesmith sign, verify", "ray": "--ray",
    "hf": "--data of Parquet, Arrow", "mlflow": "eval --log mlflow",
}  # fmt: skip
CPU_FLAGS = tuple("avx2 avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_int8 asimdhp bf16".split())  # noqa: SIM905


def doctor() -> dict[str, Any]:
    """All findings as plain values."""
    packages = _packages()
    missing = {
        extra: [row["name"] for row in packages if row["extra"] == extra and row["state"] != "ok"] for extra in PACKAGES
    }
    gpu = _gpu()
    return {
        "edgesmith": _version("edgesmith") or _own_version(),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "machine": _machine(),
        "gpu": gpu,
        "packages": packages,
        "targets": [_ability(target, missing, gpu) for target in TARGETS.values()],
    }


def show(data: dict[str, Any], console: Console) -> None:
    """The findings as two tables and three lines, for a terminal."""
    from rich.table import Table
    from rich.text import Text

    machine, gpu = data["machine"], data["gpu"]
    flags = ", ".join(machine["cpu_features"]) or "none of those we look for"
    console.print(Text(f"edgesmith {data['edgesmith']}, Python {data['python']['version']}, {machine['system']}"))
    console.print(Text(f"CPU: {machine['cpu']}, {machine['cores']} cores, {flags}"))
    console.print(Text(f"GPU: {gpu['count']} found" if gpu["count"] else f"GPU: none, {gpu['why']}"))
    table = Table("package", "version", "needed for", "", title="Packages", title_justify="left")
    for row in data["packages"]:
        remark = "" if row["state"] == "ok" else row["attempt"]
        found = row["version"] or "missing"
        table.add_row(row["name"], Text(found), row["needed_for"], Text(remark), style=None if not remark else "yellow")
    console.print(table)
    table = Table("target", "export", "run here", "precisions", title="Targets", title_justify="left")
    for row in data["targets"]:
        export, run = (Text("yes" if not row[key] else row[key]) for key in ("export_lacks", "run_lacks"))
        table.add_row(row["name"], export, run, " ".join(row["precisions"]))
    console.print(table)


def _packages() -> list[dict[str, Any]]:
    minima = _minima()
    rows = []
    for extra, groups in PACKAGES.items():
        for names in groups:
            version = next((found for found in map(_version, names) if found), None)
            wanted = minima.get(names[0], "")
            old = bool(version and wanted and _key(version) < _key(wanted))
            pip = f"edgesmith[{extra}]" if extra else "edgesmith"
            rows.append(
                {
                    "name": names[0],
                    "extra": extra,
                    "needed_for": NEEDED_FOR.get(extra, f"--target {extra}" if extra in TARGETS else extra),
                    "version": version,
                    "wanted": wanted,
                    "state": "missing" if not version else "old" if old else "ok",
                    "attempt": f"pip install '{pip}'" if not old else f"pip install '{names[0]}>={wanted}'",
                }
            )
    return rows


def _ability(target: Target, missing: dict[str, list[str]], gpu: dict[str, Any]) -> dict[str, Any]:
    """What is lacking for export and for running here; an empty text means: works."""
    extra = target.engine.extra
    export = missing[""] + missing["export"] + (missing[extra] if target.builds_here else [])
    run = [*missing[""], *missing[extra], *([] if gpu["count"] or target.engine.runs_here else ["a GPU"])]
    if target.name.startswith("jetpack") and not _on_jetson():
        run = ["a Jetson"]
    return {
        "name": target.name,
        "engine": target.engine.name,
        "precisions": list(target.offered),
        "archs": list(target.archs),
        "export_lacks": f"needs {', '.join(export)}" if export else "",
        "run_lacks": f"needs {', '.join(run)}" if run else "",
        "note": target.note,
    }


def _gpu() -> dict[str, Any]:
    from ...runtime.errors import EdgesmithError

    try:
        from ...runtime.backends.gpu.cuda import find_driver

        return {"count": find_driver(), "why": ""}
    except (EdgesmithError, ImportError, OSError, AttributeError) as error:
        return {"count": 0, "why": getattr(error, "found", "") or getattr(error, "what", "") or str(error)}


def _machine() -> dict[str, Any]:
    words: set[str] = set()
    name = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            words.update(value.split())
        elif key.strip() == "model name":
            name = value.strip()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": name,
        "cores": os.cpu_count() or 1,
        "cpu_features": [flag for flag in CPU_FLAGS if flag in words],
        "jetson": _on_jetson(),
    }


def _on_jetson() -> bool:
    return Path("/etc/nv_tegra_release").exists()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except Exception:  # noqa: BLE001  broken metadata of another package must not break the diagnosis
        return None


def _own_version() -> str:
    from ...runtime.ground.version import __version__

    return __version__


def _minima() -> dict[str, str]:
    """Least versions as our own metadata demands them of this Python."""
    try:
        lines = importlib.metadata.requires("edgesmith") or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    found = (re.match(r"([A-Za-z0-9_.-]+)\s*>=\s*([0-9.]+)", line) for line in lines if _for_this_python(line))
    return {match[1]: match[2] for match in found if match}


def _for_this_python(line: str) -> bool:
    """Whether a line of metadata holds here: onnxruntime>=1.31; python_version >= "3.11" and extra == "cpu"."""
    bound = re.search(r"""python_version (>=|<) ["']3\.(\d+)["']""", line)
    return bound is None or (sys.version_info[:2] >= (3, int(bound[2]))) == (bound[1] == ">=")


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])
