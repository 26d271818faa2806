"""int8 of networks that nobody wrote the passes for: twelve of timm, photographs without labels, ours beside ONNX Runtime's tool.

    make bench-zoo-int8        or  python benchmarks/zoo_int8.py [NAME ...] [--work FOLDER] [--steps make ours peer judge] [--again]
    python benchmarks/zoo_int8.py --report        the page from the rows that are there

The models are of zoo/models.txt: of each way of computing that int8 treats differently (``MODELS``) the smallest that the list
has. No weights are downloaded: they are random, seeded and alive (zoo/living.py), so the figures say how well int8 follows
PyTorch, and nothing about classes.

A row is a step of a model (zoo_int8_steps.py) in a process of its own, one line of rows.jsonl in the work folder as soon as it is
there; a run that breaks goes on behind it, ``--again`` makes the rows asked for anew. Writes zoo_int8.json and zoo_int8.md beside
this file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "zoo"))

from apart import Limits, Notes, Row, run_apart  # noqa: E402

MODELS = {
    "resnet10t": "residual sums",
    "mobilenetv3_small_050": "squeeze and excitation, HardSwish",
    "rexnet_100": "SiLU, ReLU6, depthwise",
    "ghostnet_050": "maps made cheaply, side by side",
    "regnetx_002": "grouped convolutions",
    "mobileone_s1": "branches that become one convolution",
    "convnext_zepto_rms": "depthwise 7 x 7, norms, GELU",
    "poolformerv2_s12": "pooling for attention, StarReLU",
    "gmlp_ti16_224": "products across tokens, gates",
    "vit_tiny_patch16_224": "attention",
    "tiny_vit_5m_224": "attention in windows",
    "mobilevit_xxs": "convolutions, then attention",
}
STEPS = ("make", "ours", "peer", "judge")
FLOOR_DB = 30.0
PLAIN, OURS, PEER = "plain.onnx", "ours.onnx", "peer.onnx"
Rows = dict[tuple[str, str], Row]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of timm; the twelve unless told")
    parser.add_argument("--work", type=Path, default=Path("build") / "zoo_int8", help="rows, pictures and graphs")
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS)
    parser.add_argument("--again", action="store_true", help="make rows anew that are there")
    parser.add_argument("--report", action="store_true", help="only write the page")
    asked = parser.parse_args()
    if not asked.report:
        work(asked.models or list(MODELS), asked.steps, asked.work, asked.again)
    rows = read(asked.work / "rows.jsonl")
    found = [{"model": name, **{step: rows[name, step] for step in STEPS if (name, step) in rows}} for name in MODELS]
    told = {**machine(), "rows": found}
    (HERE / "zoo_int8.json").write_text(json.dumps(told, indent=1) + "\n")
    (HERE / "zoo_int8.md").write_text("\n".join(page(found, told)) + "\n")
    return 0


def work(names: Sequence[str], steps: Sequence[str], folder: Path, again: bool) -> None:
    """Make the rows that are missing, each in a process of its own."""
    import warm  # noqa: F401  torch and all that a child needs, once
    import zoo_int8_steps as own

    works, code = {"make": own.make, "ours": own.ours, "peer": own.peer, "judge": own.judge}, state_of_the_code()
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names, 1):
        for step in (one for one in STEPS if one in steps):
            made = read(folder / "rows.jsonl")
            if (name, step) in made and not again or (step != "make" and "made" not in made.get((name, "make"), {})):
                continue
            row = run_apart(partial(_step, works[step], name, folder / name), folder / name, step, Limits(cpu_s=1800.0))
            row = {"model": name, "step": step, "code": code, **row}
            with (folder / "rows.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            words = {
                key: row[key] for key in ("failed", "ended", "form", "own_sqnr_db", "best", "figures") if row.get(key)
            }
            print(f"{number}/{len(names)} {name} {step} {row['cpu_s']} s {row['peak_gb']} GB {words}", flush=True)


def _step(run: Any, name: str, folder: Path, notes: Notes) -> None:
    run(name, folder, notes)


def read(path: Path) -> Rows:
    """The last row of each model and step."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return {(row["model"], row["step"]): row for row in map(json.loads, lines)}


def state_of_the_code() -> str:
    """A short hash of what a row depends on: rows of another state are to be told from these."""
    found = hashlib.sha256()
    for path in sorted(path for name in ("calibration", "exporter", "graph", "models") for path in (HERE.parent / name).rglob("*.py")):  # fmt: skip
        found.update(path.read_bytes())
    return found.hexdigest()[:8]


def machine() -> dict[str, Any]:
    from edgesmith.runtime.session.benchmark import machine as here

    packages = {name: version(name) for name in ("torch", "timm", "onnxruntime")}
    return {"date": date.today().isoformat(), "machine": here(), **packages}


def page(found: Sequence[Mapping[str, Any]], told: Mapping[str, Any]) -> Iterator[str]:
    yield ""


if __name__ == "__main__":
    sys.exit(main())
