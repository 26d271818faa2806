"""int8 of networks that nobody wrote the passes for: twelve of timm, photographs without labels, ours beside ONNX Runtime's tool.

    make bench-zoo-int8        or  python benchmarks/zoo_int8.py [NAME ...] [--work FOLDER] [--steps make ours peer judge] [--again]
    python benchmarks/zoo_int8.py --report        the page from the rows that are there

The models are of zoo/models.txt: of each way of computing that int8 treats differently (``MODELS``) the smallest that the list
has. No weights are downloaded: they are random, seeded and alive (zoo/living.py), so the figures say how well int8 follows
PyTorch, and nothing about classes.

A row is a step of a model (zoo_int8_steps.py, zoo_int8_peer.py) in a process of its own, one line of rows.jsonl in the work folder as soon as it is
there; a run that breaks goes on behind it, ``--again`` makes the rows asked for anew. Writes zoo_int8.json and zoo_int8.md beside
this file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "zoo"))

from apart import Limits, Notes, Row, run_apart

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
FIGURES, OURS, PEER = "figures", "ours.onnx", "peer.onnx"
MOST_WHYS = 6
HEAD = """# int8 of twelve networks of timm

`make bench-zoo-int8` ([zoo_int8.py](zoo_int8.py)). Weights are random, seeded and alive; no labels. Photographs of scikit-image and scikit-learn in
seeded crops: of each the left half calibrates, the right one judges; 32 crops calibrate both tools, 39 judge.

- **ours**: `edgesmith export timm:NAME --precision int8 --target cpu --data FOLDER`, nothing else said.
- **peer**: `quantize_static` on the plain `torch.onnx.export` behind `quant_pre_process`, Q/DQ, per channel, the same 32 pictures; of seven settings (uint8 or
  int8 activations; MinMax, Percentile, Entropy; all operators or those with weights alone) the one with the best SQNR on the pictures that judge.
- **dB**: SQNR of the logits against PyTorch in float32; agreement is that of top-1; cosine is that of the worst picture.
- **time**: CPU time of one thread against the plain export on ONNX Runtime, in turns, medians with quartiles; lower is better.
"""
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
    import zoo_int8_peer
    import zoo_int8_steps as own

    works, code = (
        {"make": own.make, "ours": own.ours, "peer": zoo_int8_peer.peer, "judge": own.judge},
        state_of_the_code(),
    )
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


def page(found: Sequence[Row], told: Mapping[str, Any]) -> Iterator[str]:
    """The counts, a line a model, and which layers stay in float and why."""
    chip, whole = told["machine"], [row for row in found if OURS in row.get("judge", {}).get(FIGURES, {})]
    packages = ", ".join(f"{name} {told[name]}" for name in ("torch", "timm", "onnxruntime"))
    yield HEAD
    yield f"{told['date']}, {chip['cpu']}, {chip['cores']} cores, load {chip['load']}, {packages}. Measured: {len(whole)} of {len(found)} models."
    low = [row for row in whole if db(row, OURS) < FLOOR_DB]
    unsaid = [row["model"] for row in low if not row["ours"]["float"]]
    behind = [row["model"] for row in whole if db(row, OURS) < db(row, PEER)]
    yield f"\n- at least as accurate as the peer's best file: {len(whole) - len(behind)} of {len(whole)}{_named(behind)}"
    yield f"- {FLOOR_DB:g} dB and more: {len(whole) - len(low)} of {len(whole)}{_named([row['model'] for row in low])}"
    yield f"- below it, and the report does not name layers kept and why: {len(unsaid)}{_named(unsaid)}"
    yield "\n| model | for | form, MACs in int8 | dB: ours | peer | agreement %: ours | peer | cosine, worst: ours | peer | time to fp32: ours | peer | best peer |"
    yield "|" + "---|" * 12
    yield from (line(row) for row in whole)
    yield "\n## Layers in float, and why\n"
    for row in whole:
        kept = [f"{one['count']} x {one['why']}" for one in row["ours"]["float"][:MOST_WHYS]]
        more = sum(one["count"] for one in row["ours"]["float"][MOST_WHYS:])
        notes = [note for note in row["ours"]["notes"] if "dB" in note]
        yield f"- **{row['model']}**, {row['ours']['sites']} layers. " + ". ".join(
            [*notes, *kept, *([f"And {more} more"] if more else [])]
        )
    failed = [
        f"- **{row['model']}**, {step}: {row[step].get('failed') or row[step]['ended']}"
        for row in found
        for step in STEPS
        if row.get(step, {}).get("failed") or row.get(step, {}).get("ended")
    ]
    missing = [row["model"] for row in found if row not in whole]
    if failed or missing:
        yield "\n## Not measured\n"
        yield from failed
        yield f"- no row yet: {', '.join(missing)}" if missing else ""


def line(row: Row) -> str:
    """One model."""
    ours, figures, times = row["ours"], row["judge"][FIGURES], row["judge"]["times"]
    cells = [row["model"], MODELS[row["model"]], f"{ours['form']}, {ours['share']:.0%}"]
    cells += [f"{db(row, one):.1f}" for one in (OURS, PEER)]
    cells += [f"{figures[one]['agreement']:.1f}" for one in (OURS, PEER)]
    cells += [f"{figures[one]['cosine']:.4f}" for one in (OURS, PEER)]
    cells += [f"{times[one]['ratio']:.2f} ({times[one]['low']:.2f}-{times[one]['high']:.2f})" for one in (OURS, PEER)]
    return "| " + " | ".join([*cells, row["peer"]["best"]]) + " |"


def db(row: Row, file: str) -> float:
    """SQNR of one file; what is not finite is worse than all."""
    found = row["judge"][FIGURES][file]["sqnr_db"]
    return float("-inf") if found is None else float(found)


def _named(models: Sequence[str]) -> str:
    return f" ({', '.join(models)})" if models else ""


if __name__ == "__main__":
    sys.exit(main())
