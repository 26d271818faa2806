"""INT8 side by side: our files and those of ONNX Runtime's tools, ModelOpt and NNCF, made from the same float export.

    make bench-int8        or  python benchmarks/int8.py [--again] [model ...]

Every tool gets the plain float32 export at batch 1 and the same calibration pictures (128 digits of the training set);
every file is then measured by int8_figures.py. Peers are called as int8_peers.py says, each with its defaults and, where
that helps it, set up by hand. Models of full size have random weights: there only size, parser and latency are compared.
"Ours, cpu" is the default of ``--precision int8 --target cpu``; "portable" is ``--int8-form static``, one file for ONNX Runtime
and TensorRT; "rtx" has fp16 around the codes. ModelOpt's files are meant for TensorRT, NNCF's for OpenVINO: their time is that
of a user who runs them on ONNX Runtime.

A row that is finished is kept in int8.run: a broken run goes on where it stopped. A finished run, or other code, starts
afresh (--again keeps the rows all the same). Writes int8.json and int8.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import multiprocessing
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from int8_figures import accuracy, int8_share, latency, tensorrt
from int8_models import (
    FULL_PEERS,
    MODELS,
    OURS_FLOAT,
    OURS_FP16,
    PLAIN,
    Model,
    float_graphs,
    make_ours,
    save_pictures,
    traced,
)  # fmt: skip
from int8_peers import PEERS, first_line
from int8_table import written

from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
RUN = HERE / "int8.run"
PEERS_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
LIBRARIES = ("onnxruntime", "onnx", "onnxslim", "torch", "timm", "tensorrt-rtx")
JOB_LIMIT_S = 900.0
WORKERS = 2  # models at a time, but one alone while latency is taken


def file_of(model: Model, row: str) -> Path:
    """Where the file of a row lies in the run."""
    return RUN / model.name / (row.replace(", ", "-").replace(" ", "_") + ".onnx")


def once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The JSON at ``path``, made and written first where it is missing."""
    if not path.is_file():
        found = make()
        path.write_text(json.dumps(found))
    return json.loads(path.read_text())


def prepare(model: Model) -> None:
    """The plain export, our float graphs and the pictures of one model."""
    import onnx_ir as ir

    folder = RUN / model.name
    if (folder / "ready").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    exported = traced(model)
    for row, graph in float_graphs(model, exported).items():
        ir.save(graph, file_of(model, row))
    ir.save(exported.model, file_of(model, PLAIN))
    save_pictures(model, folder)
    (folder / "ready").touch()


def jobs(models: Sequence[Model], ours: bool) -> list[dict[str, str]]:
    """What the peers shall do, those in our environment or the others, finished ones left out."""
    found = []
    for model in models:
        for peer in PEERS if model.kind == "fixture" else FULL_PEERS:
            output = file_of(model, peer)
            if peer.startswith("ORT") == ours and not output.with_suffix(".made").is_file():
                paths = {"source": file_of(model, PLAIN), "pictures": RUN / model.name / "pictures.npz",
                         "output": output, "result": output.with_suffix(".made")}  # fmt: skip
                found.append({"peer": peer, **{key: str(path) for key, path in paths.items()}})
    return found


def run_jobs(python: Path, models: Sequence[Model], ours: bool) -> None:
    """All jobs in one process; one that dies with the process is a failure of that row, and the rest goes on."""
    while left := jobs(models, ours):
        if not python.is_file():
            for job in left:
                Path(job["result"]).write_text(json.dumps({"failed": "its environment is missing: make peers"}))
            return
        listing = RUN / f"jobs-{ours}.json"
        listing.write_text(json.dumps(left))
        with (RUN / f"peers-{ours}.log").open("a") as log:
            try:
                code = subprocess.run([python, HERE / "int8_peers.py", listing], stdout=log, stderr=log, timeout=JOB_LIMIT_S,
                                      check=False).returncode  # fmt: skip
            except subprocess.TimeoutExpired:
                code = -9
        died = next((job for job in left if not Path(job["result"]).is_file()), None)
        if died is not None:
            Path(died["result"]).write_text(json.dumps({"failed": f"the process ended with exit code {code}"}))


def ours_of(model: Model) -> None:
    """Our files of one model."""
    for row in model.ours:
        output = file_of(model, row)
        once(output.with_suffix(".made"), lambda r=row, o=output: _made(model, r, o))
        say(f"{model.name}: {row}")


def _made(model: Model, row: str, output: Path) -> dict[str, Any]:
    try:
        return make_ours(model, row, RUN / model.name, output)
    except Exception as error:  # noqa: BLE001  ours fails in the table, as the peers do
        return {"failed": first_line(error)}


def figures(model: Model, row: str) -> dict[str, Any]:
    """One row but for its latency."""
    file, folder = file_of(model, row), RUN / model.name
    made = json.loads(file.with_suffix(".made").read_text()) if file.with_suffix(".made").is_file() else {}
    found: dict[str, Any] = {
        "row": row,
        **{key: made[key] for key in ("failed", "form", "seconds", "cpu_seconds") if key in made},
    }
    if not file.is_file():
        return found
    plain = file_of(model, PLAIN)
    found["size_ratio"] = file.stat().st_size / plain.stat().st_size
    if row.startswith("ours, fp32"):
        return found
    quantised = row in PEERS or row in model.ours
    found |= tensorrt(file, build=model.kind == "fixture" and "xray" not in made)
    if "xray" in made:
        found |= {**made["xray"], "rest": "fp16, its own"}
    if quantised:
        found["share"] = made["share"] if "share" in made else int8_share(file, folder / "pictures.npz")
    if model.kind == "fixture":
        found |= accuracy(file, plain, folder / "held_out.npz")
    return found


def figures_of(model: Model) -> list[dict[str, Any]]:
    """Every row of one model but for the latency."""
    found = [
        once(RUN / model.name / f"{file_of(model, row).stem}.json", lambda r=row: figures(model, r))
        for row in rows_of(model)
    ]
    say(f"{model.name}: accuracy, share and TensorRT-RTX of {len(found)} files")
    return found


def rows_of(model: Model) -> list[str]:
    """The rows in the order of the table."""
    peers = PEERS if model.kind == "fixture" else FULL_PEERS
    return [PLAIN, OURS_FLOAT, *([OURS_FP16] if model.kind == "fixture" else []), *model.ours, *peers]


def timed(model: Model, rounds: int) -> dict[str, Any]:
    """CPU time of every file of a model, in turns."""
    with np.load(RUN / model.name / "pictures.npz") as held:
        images = held["images"][:1]
    files = {row: file_of(model, row) for row in rows_of(model) if file_of(model, row).is_file()}
    return latency(files, images, rounds)


def say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)


def code_key() -> str:
    """Of everything that a row can depend on in this checkout."""
    folders = ("benchmarks", "calibration", "exporter", "models", "runtime")
    sources = sorted(path for folder in folders for path in (HERE.parent / folder).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def open_run(again: bool) -> None:
    """Go on with a broken run of the same code; a finished one, or one of other code, is thrown away."""
    key = RUN / "code"
    if (
        RUN.is_dir()
        and not again
        and ((RUN / "finished").is_file() or not key.is_file() or key.read_text() != code_key())
    ):
        shutil.rmtree(RUN)
    RUN.mkdir(exist_ok=True)
    (RUN / "finished").unlink(missing_ok=True)
    key.write_text(code_key())


def report_of(models: Sequence[Model], rounds: int, full_rounds: int) -> dict[str, Any]:
    """The whole run as plain data, made or read from the run folder."""
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
        say("float exports and pictures")
        list(pool.map(prepare, models))
        say("files: the peers beside ours")
        threads = [
            threading.Thread(target=run_jobs, args=(Path(sys.executable), models, True)),
            threading.Thread(target=run_jobs, args=(PEERS_PYTHON, models, False)),
        ]
        for thread in threads:
            thread.start()
        list(pool.map(ours_of, models))
        for thread in threads:
            thread.join()
        found = list(pool.map(figures_of, models))
    rows = {model.name: one for model, one in zip(models, found, strict=True)}
    for model in models:  # last, when nothing else runs
        count = rounds if model.kind == "fixture" else full_rounds
        times = once(RUN / model.name / "latency.json", lambda m=model, c=count: timed(m, c))
        for row in rows[model.name]:
            row |= times.get(row["row"], {})
        say(f"{model.name}: latency")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "command": " ".join(["python benchmarks/int8.py", *sys.argv[1:]]),
        "rounds": rounds,
        "full_rounds": full_rounds,
        "versions": versions(models),
        "machine": machine(),
        "models": [{"name": model.name, "kind": model.kind, "rows": rows[model.name]} for model in models],
    }


def versions(models: Sequence[Model]) -> dict[str, dict[str, str]]:
    """Of the libraries here, and of those in the environment of the peers."""
    here = {name: importlib.metadata.version(name) for name in LIBRARIES}
    results = [file_of(model, peer).with_suffix(".made") for model in models for peer in PEERS if peer[:3] != "ORT"]
    there = next((json.loads(path.read_text()).get("versions", {}) for path in results if path.is_file()), {})
    return {"Here": here, "ModelOpt and NNCF in an environment of their own": there}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=201, help="of the fixtures; a round of all files takes 20 ms")
    parser.add_argument("--full-rounds", type=int, default=15)
    parser.add_argument(
        "--again", action="store_true", help="keep the finished rows of the last run, whatever the code"
    )
    arguments = parser.parse_args()
    started = time.monotonic()
    open_run(arguments.again)
    report = report_of([MODELS[name] for name in arguments.models], arguments.rounds, arguments.full_rounds)
    (HERE / "int8.json").write_text(json.dumps(report, indent=1) + "\n")
    text = written(report, str(__doc__).split("\n", 2)[2])
    (HERE / "int8.md").write_text(text)
    (RUN / "finished").touch()
    print(text)
    say(f"done in {(time.monotonic() - started) / 60:.1f} minutes; benchmarks/int8.md and int8.json written")


if __name__ == "__main__":
    main()
