"""What the export and the start of a network of gigabytes take in memory: weights that lie in a file beside the graph.

    python benchmarks/large_weights.py [davit_huge] [--precision fp32] [--limit BYTES]      writes benchmarks/large_weights.{json,md}

The export is a process of its own. Its memory is asked of the system twenty times a second: resident, maps of files included,
when the network is loaded (the first time that the judge is asked) and at the most. `--limit` lowers the size of weights above
which they go beside the graph, so that a network smaller than `davit_giant` takes the same way. Then the bundle is loaded by a
process that has nothing but the runtime, and answers once: with its weights as they lie in the file, as bundles are loaded, and
laid out for the kernels, as ONNX Runtime does by default; private memory is that which is no map of a file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
WATCH = """
import json, sys, threading, time
def memory():
    rows = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return {key: int(rows[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM", "RssAnon")}
"""
EXPORT = """
import edgesmith.graph.beside as beside
from edgesmith import export
from edgesmith.exporter.bundle.judge import Judge
name, precision, limit, out = sys.argv[1:]
beside.ONE_FILE_BYTES = int(limit) or beside.ONE_FILE_BYTES
loaded, real, most = [], Judge.check_answers, [0.0]
def check(judge):
    loaded.append(memory()["VmRSS"])
    real(judge)
Judge.check_answers = check
def watch():
    while True:
        most[0] = max(most[0], memory()["VmRSS"])
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
made = export(name, "random", precision=precision, out=out)
data = made.bundle.manifest["files"]["model.onnx.data"]["bytes"] / 2**20
print(json.dumps({"loaded_mb": loaded[0], "peak_mb": most[0], "parameters": made.plan.spec.parameters, "data_mb": data,
                  "holds": all(row.passed for row in made.parity), "seconds": sum(stage.seconds for stage in made.stages)}))
"""
START = """
import numpy, onnxruntime
path, as_they_lie = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.add_session_config_entry("session.disable_prepacking", as_they_lie)
before, begin = memory(), time.perf_counter()
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
load_s, loaded = time.perf_counter() - begin, memory()
feed = session.get_inputs()[0]
images, seconds = numpy.zeros([1, *feed.shape[1:]], numpy.float32), []
for _ in range(3):
    begin = time.process_time()
    session.run(None, {feed.name: images})
    seconds.append(time.process_time() - begin)
after = memory()
print(json.dumps({"load_s": load_s, "loaded_private_mb": loaded["RssAnon"] - before["RssAnon"], "run_s": sorted(seconds)[1],
                  "private_mb": after["RssAnon"] - before["RssAnon"], "peak_mb": after["VmHWM"]}))
"""


def asked(code: str, *words: str) -> dict[str, Any]:
    """The JSON that a process of its own prints last."""
    answer = subprocess.run([sys.executable, "-c", WATCH + code, *words], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(answer.stderr)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def written(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    facts, export = report["machine"], report["export"]
    weights = 4 * export["parameters"] / 2**20
    over = (export["peak_mb"] - export["loaded_mb"]) / weights
    holds = "holds" if export["holds"] else "does NOT hold"
    command = f"python benchmarks/large_weights.py {report['model']} --precision {report['precision']} --limit {report['limit']}"
    lines = [
        "# Networks of gigabytes: memory of the export and of the start",
        "",
        "How to read it: the head of [large_weights.py](large_weights.py).",
        "",
        f"`{command}`, {facts['cpu']}, {facts['cores']} cores, load {facts['load']}, Python {facts['python']}",
        "",
        f"| weights in float32, MB | network loaded, MB | peak, MB | above the loaded network, x {weights:,.0f} MB | parity | model.onnx.data, MB | s |",
        "|---|---|---|---|---|---|---|",
        f"| {weights:,.0f} | {export['loaded_mb']:,.0f} | {export['peak_mb']:,.0f} | {over:.2f} | {holds} | {export['data_mb']:,.0f} | {export['seconds']:,.0f} |",
        "",
        "| weights of the session | load s | private MB then | private MB after three runs | peak MB | CPU s a run |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in report["starts"].items():
        cells = (one["load_s"], one["loaded_private_mb"], one["private_mb"], one["peak_mb"], one["run_s"])
        lines.append(
            f"| {name} | {cells[0]:.1f} | " + " | ".join(f"{cell:,.0f}" for cell in cells[1:4]) + f" | {cells[4]:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="davit_huge")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--limit", type=int, default=0, help="bytes; 0: that of the product")
    options = parser.parse_args()
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "large.edge"
        export = asked(EXPORT, options.model, options.precision, str(options.limit), str(out))
        graph = str(out / "model.onnx")
        starts = {"as they lie": asked(START, graph, "1"), "laid out for the kernels": asked(START, graph, "0")}
    report = {
        "machine": facts, "model": options.model, "precision": options.precision, "limit": options.limit,
        "export": export, "starts": starts,
    }  # fmt: skip
    (HERE / "large_weights.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (HERE / "large_weights.md").write_text(written(report), encoding="utf-8")
    print(written(report))


if __name__ == "__main__":
    main()
