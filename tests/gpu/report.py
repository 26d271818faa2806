"""What a check found -> <device>.json and a Markdown table beside it; written whole or not at all.

While the check runs, <device>.partial.json holds what is finished; it goes away when the two files are there.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesmith.exporter.plugins.declaration import FusedOp
from edgesmith.exporter.plugins.pack.pack import source_hash
from edgesmith.runtime.ground.files import replace_file
from edgesmith.runtime.plugins.pack import KernelPack

from .tables import markdown

FORMAT = 1
FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"
_BEGIN = time.monotonic()


def say(text: str) -> None:
    """One plain line of progress."""
    print(f"{time.monotonic() - _BEGIN:6.1f} s  {text}", flush=True)


@dataclass
class Report:
    """The result as it grows; ``found`` is what the JSON file holds."""

    pack: KernelPack
    path: Path
    found: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def start(
        cls, device: dict[str, Any], pack: KernelPack, pack_path: Path, out: Path | None, arguments: Sequence[str]
    ) -> Report:
        name = re.sub(r"[^a-z0-9]+", "-", device["name"].lower()).strip("-")
        stands_in = pack.about["target"] == "none"
        found = {
            "format": FORMAT,
            "finished": False,
            "ok": False,
            "arguments": list(arguments),
            "device": device | {"driver": driver_version()},
            "versions": {"python": platform.python_version()}
            | {name: _version(name) for name in ("torch", "triton", "numpy")},
            "pack": {
                "sha256": None if stands_in else hashlib.sha256(pack_path.read_bytes()).hexdigest(),
                "source_sha256": pack.about["source_sha256"],
                "in_step_with_sources": pack.about["source_sha256"] == source_hash(),
                "kernels": sum(len(op.launches) for op in pack.ops.values()),
            },
            "seconds": {},
            "problems": [],
            "correctness": [],
            "sanitizer": {"ran": False, "why": "not asked for"},
            "times": [],
        }
        return cls(pack, out or FOLDER / f"{name}.json", found)

    def check_pack(self, ops: Mapping[str, FusedOp], *, complete: bool) -> None:
        """What the declarations promise and the pack lacks."""
        without = [name for name, op in ops.items() if op.kernel is not None and name not in self.pack.ops]
        if without and complete:
            self.found["problems"].append(f"declared, but not in the pack: {', '.join(without)}; make kernels")

    def correctness(self, op: str, rows: Sequence[dict[str, Any]]) -> None:
        """The rows of one op, in the order of its cases."""
        self.found["correctness"] += rows
        bad = [row for row in rows if not row["ok"]]
        worst = {t: max((output["error"] for row in rows if row.get("type") == t
                         for output in row.get("outputs", ()) if "error" in output), default=None)
                 for t in dict.fromkeys(row.get("type") for row in rows) if t}  # fmt: skip
        shown = ", ".join(f"{t} {error:.1e}" for t, error in worst.items() if error is not None)
        say(f"  {op:<26}{len(rows) - len(bad):>4} of {len(rows)} hold   largest errors: {shown or 'none'}")
        for row in bad[:5]:
            say(f"    {row.get('case', '')} {row.get('type', '')}: {row['why']}")

    def time_row(self, row: dict[str, Any]) -> None:
        self.found["times"].append(row)
        if "contestants" not in row:
            say(f"  {row['op']}: {row.get('why', '')}")
            return
        times = ", ".join(f"{name} {entry['median_us']:.1f}" for name, entry in row["contestants"].items()
                          if "median_us" in entry)  # fmt: skip
        say(f"  {row['op']}, {row['race']}, {row['type']}: {times} us")

    def seconds(self, part: str, seconds: float) -> None:
        self.found["seconds"][part] = round(seconds, 1)

    def write(self, *, finished: bool) -> Path:
        """The JSON as it stands, atomically."""
        path = self.path if finished else self.path.with_suffix(".partial.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, (json.dumps(self.found, indent=1) + "\n").encode())
        return path

    def failures(self) -> list[str]:
        """Everything that stands against exit code 0, in words."""
        rows = [row for row in self.found["correctness"] if not row["ok"]]
        failed = [f"{row['op']} {row.get('case', '')} {row.get('type', '')}: {row['why']}" for row in rows]
        tools = self.found["sanitizer"].get("tools", {})
        failed += [f"compute-sanitizer {name}: {tool['errors']} errors, {tool['failed']}"
                   for name, tool in tools.items() if not tool["ok"]]  # fmt: skip
        failed += [f"times of {row['op']} {row.get('race', '')}: {row['why']}" for row in self.found["times"]
                   if not row["ok"]]  # fmt: skip
        return [*self.found["problems"], *failed]

    def finish(self) -> int:
        """Write both files; 1 when anything failed, else 0."""
        failed = self.failures()
        self.found |= {"finished": True, "ok": not failed, "failures": failed}
        replace_file(self.path.with_suffix(".md"), markdown(self.found).encode())
        self.write(finished=True)
        self.path.with_suffix(".partial.json").unlink(missing_ok=True)
        say(
            f"{self.path}, {self.path.with_suffix('.md').name}: {'all within limits' if not failed else f'{len(failed)} failures'}"
        )
        return int(bool(failed))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def driver_version() -> str | None:
    """The driver's own number, 580.95.05; None where nvidia-smi is not."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None
