"""How long the rewrite stage takes, beside another checkout: all six families, floating point and quantised orders.

    python benchmarks/rewrite_cost.py --against CHECKOUT [--rounds 7]      writes benchmarks/rewrite_cost.{json,md}

Each family's default variant (random weights) is traced once, here, and kept as ONNX; both checkouts rewrite these same files
for cpu, as an export does. A round is one process of each checkout, in turns; a process rewrites every graph once to warm
up and once on the clock. A ratio is taken within a round, then its median. Lower is better.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
ROOT = HERE.parent
OURS, OTHER = "edgesmith", "the other checkout"
ORDERS = ("cpu", "cpu-quantised")
REWRITER = """
import json, sys, time
from pathlib import Path
import onnx_ir
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
found = {}
for path in map(Path, sys.argv[2:]):
    for order in sys.argv[1].split(","):
        for _ in range(2):
            model = onnx_ir.load(path)
            shape = tuple(size if isinstance(size, int) else 1 for size in model.graph.inputs[0].shape)
            graph = ExportedGraph(model, path.stem, Shapes(shape, shape, shape))
            begin = time.perf_counter()
            rewrite(graph, order)
            found[f"{path.stem}, {order}"] = time.perf_counter() - begin
print(json.dumps(found))
"""


def write_graphs(folder: Path) -> list[Path]:
    """The six families as they come out of the exporter."""
    from edgesmith.exporter.plan.plan import make_plan
    from edgesmith.exporter.trace.trace import trace
    from edgesmith.models.loading import prepare
    from edgesmith.models.registry import FAMILIES, MODELS

    paths = []
    for name in FAMILIES.values():
        if MODELS[name].task not in ("classification", "detection"):
            continue
        plan = make_plan(name, out=str(folder / f"{name}.edge"))
        source = prepare(plan.spec, plan.weights, plan.num_classes, plan.contract.size, plan.seed, plan.ema)
        graph = trace(source.module, plan.shapes, name=name, opset=plan.opset, outputs=plan.task.runtime.outputs)
        import onnx_ir

        paths.append(folder / f"{name}.onnx")
        onnx_ir.save(graph.model, paths[-1])
        print(f"{name}: {len(graph.model.graph)} nodes", file=sys.stderr)
    return paths


def seconds(link: Path, graphs: list[Path]) -> dict[str, float]:
    """Graph and order -> seconds. CalledProcessError where a process does not end well."""
    words = [sys.executable, "-c", REWRITER, ",".join(ORDERS), *map(str, graphs)]
    environment = {**os.environ, "PYTHONPATH": str(link)}
    told = subprocess.run(words, cwd=link, env=environment, stdout=subprocess.PIPE, check=True).stdout
    return dict(json.loads(told))


def rows(found: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Medians in ms and the ratio to the other checkout; the last row is all graphs together."""
    rounds = {who: [{**one, "all together": sum(one.values())} for one in found[who]] for who in found}
    table = []
    for name in rounds[OURS][0]:
        ratios = sorted(one[name] / other[name] for one, other in zip(rounds[OURS], rounds[OTHER], strict=True))
        ours, other = (round(1000 * median(one[name] for one in rounds[who])) for who in (OURS, OTHER))
        ends = [round(ratios[0], 3), round(ratios[-1], 3)]
        table.append(
            {"graph": name, "rewrite_ms": ours, "other_rewrite_ms": other, "time_ratio": round(median(ratios), 3), "ends": ends}
        )  # fmt: skip
    return table


def written(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    facts = report["machine"]
    lines = [
        "# How long the rewrite stage takes",
        "",
        "How to read it: the head of [rewrite_cost.py](rewrite_cost.py).",
        "",
        f"`python benchmarks/rewrite_cost.py --rounds {report['rounds']}`, {facts['cpu']}, {facts['cores']} cores, load {facts['load']}, Python {facts['python']}",
        "",
        f"| graph, order | ms | ms, {OTHER} | time ratio | lowest and highest |",
        "|---|---|---|---|---|",
    ]
    for one in report["rows"]:
        lines.append(
            f"| {one['graph']} | {one['rewrite_ms']} | {one['other_rewrite_ms']} | {one['time_ratio']} | {one['ends'][0]} to {one['ends'][1]} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--against", type=Path, required=True, help="a checkout to compare with")
    options = parser.parse_args()
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        graphs = write_graphs(Path(folder))
        links = {}
        for name, checkout in ((OURS, ROOT), (OTHER, options.against)):
            links[name] = Path(folder, name.replace(" ", "-"))
            links[name].mkdir()
            (links[name] / "edgesmith").symlink_to(checkout.resolve())
        found: dict[str, list[dict[str, float]]] = {name: [] for name in links}
        for turn in range(options.rounds):
            for name in sorted(links, reverse=bool(turn % 2)):
                found[name].append(seconds(links[name], graphs))
    report = {"machine": facts, "rounds": options.rounds, "rows": rows(found)}
    (HERE / "rewrite_cost.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (HERE / "rewrite_cost.md").write_text(written(report), encoding="utf-8")
    print(written(report))


if __name__ == "__main__":
    main()
