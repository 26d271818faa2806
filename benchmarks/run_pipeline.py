"""``edgesmith run`` over a folder of 720p photographs and over a 1080p video: pictures a second, beside others that do the same.

    python benchmarks/run_pipeline.py [--pictures 500] [--frames 500] [--rounds 3] [--against CHECKOUT] [--model timm:mobilenetv3_small_050]

Pictures are crops of a photograph that scikit-image ships, each another one, as JPEG of quality 90; the video has the same in mp4v.
The network is exported once to a bundle for ``cpu`` and a second time, plain, for the loader. Weights are random: nothing here tells
of accuracy.

    edgesmith           this checkout, ``edgesmith run BUNDLE FOLDER --json-lines``
    the other checkout  ``--against``: the same words there
    DataLoader          torch.utils.data.DataLoader with a worker a core and torchvision's transforms, ONNX Runtime, batches of 8

Each is a process of its own, one after the other, in turns for ``--rounds`` rounds; what is measured is the wall time of the whole
process less that of one over 10 pictures (start, import, load), and its CPU time the same way. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
ROOT = HERE.parent
FEW = 10
LOADER = """
import sys
from pathlib import Path
import onnxruntime, torch, torchvision
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
folder, graph, count, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
files = sorted(Path(folder).iterdir())[:count]
prepare = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.ToDtype(torch.float32, scale=True),
                      v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
class Files(Dataset):
    def __len__(self): return len(files)
    def __getitem__(self, index): return prepare(torchvision.io.read_image(str(files[index])))
session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
for batch in DataLoader(Files(), batch_size=8, num_workers=workers):
    for row in session.run(None, {name: batch.numpy()})[0]:
        print(int(row.argmax()))
"""


def write_pictures(folder: Path, count: int) -> None:
    """1280 x 720 pictures, no two alike."""
    import cv2
    import numpy as np
    from skimage import data

    photo = cv2.resize(cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR), (2000, 2000), interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(0)
    folder.mkdir()
    for index in range(count):
        y, x = int(rng.integers(0, 2000 - 720)), int(rng.integers(0, 2000 - 1280))
        noisy = cv2.add(photo[y : y + 720, x : x + 1280], rng.integers(0, 12, (720, 1280, 3), dtype=np.uint8))
        cv2.imwrite(str(folder / f"{index:04}.jpg"), noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])


def write_video(pictures: Path, path: Path, frames: int) -> None:
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 30, (1920, 1080))
    files = sorted(pictures.iterdir())
    for index in range(frames):
        writer.write(cv2.resize(cv2.imread(str(files[index % len(files)])), (1920, 1080)))
    writer.release()


def timed(command: list[str], folder: Path, checkout: Path | None = None) -> tuple[float, float]:
    """(wall seconds, CPU seconds) of a process; CalledProcessError where it fails."""
    environment = dict(os.environ)
    if checkout is not None:
        own = folder / f"path-{checkout.resolve().name}"
        own.mkdir(exist_ok=True)
        if not (own / "edgesmith").exists():
            (own / "edgesmith").symlink_to(checkout.resolve())
        environment["PYTHONPATH"] = str(own)
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)  # subprocess itself does not tell what one child used
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime


def ways_of(bundle: Path, plain: Path, work: Path, against: Path | None) -> dict[tuple[str, str], Any]:
    """{(source, way): count -> (command, checkout)}."""
    run = [sys.executable, "-m", "edgesmith", "run", str(bundle), "--json-lines", "--source"]
    sources = {"720p pictures": work / "pictures", "1080p video": work / "video.mp4"}
    builds = {"edgesmith": ROOT} | ({"the other checkout": against} if against else {})
    found: dict[tuple[str, str], Any] = {}
    for source, place in sources.items():
        for build, checkout in builds.items():
            words = [*run, str(place), "--max-frames"]
            found[source, build] = lambda count, words=words, checkout=checkout: ([*words, str(count)], checkout)
    loader = [sys.executable, "-c", LOADER, str(work / "pictures"), str(plain)]
    workers = str(os.cpu_count() or 1)
    found["720p pictures", "DataLoader"] = lambda count: ([*loader, str(count), workers], None)
    return found


def exported(model: str, work: Path) -> tuple[Path, Path]:
    """Our bundle, and the plain graph of the same weights with an open batch."""
    import timm
    import torch

    import edgesmith

    net = timm.create_model(model.removeprefix("timm:"), pretrained=False).eval()
    torch.save(net.state_dict(), work / "weights.pth")
    bundle = edgesmith.export(model, str(work / "weights.pth"), target="cpu", out=work / "net.edge").path
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.onnx.export(
        net, (torch.zeros(2, 3, 224, 224),), dynamo=True, dynamic_shapes=({0: batch},), verbose=False
    )
    assert program is not None
    program.save(work / "plain.onnx")
    return bundle, work / "plain.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="a checkout to compare with")
    parser.add_argument("--model", default="timm:mobilenetv3_small_050")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_pictures(work / "pictures", asked.pictures)
        write_video(work / "pictures", work / "video.mp4", asked.frames)
        ways = ways_of(*exported(asked.model, work), work, asked.against)
        took: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in ways}
        for _ in range(asked.rounds):
            for key, way in ways.items():
                count = asked.frames if "video" in key[0] else asked.pictures
                few, many = (timed(words, work, checkout) for words, checkout in (way(FEW), way(count)))
                took[key].append(((many[0] - few[0]) / (count - FEW), (many[1] - few[1]) / (count - FEW)))
                print(*key, *(f"{1e3 * one:.2f} ms" for one in took[key][-1]), flush=True)
    write(asked, took)
    print((HERE / "run_pipeline.md").read_text())


def write(asked: argparse.Namespace, took: dict[tuple[str, str], list[tuple[float, float]]]) -> None:
    import onnxruntime

    facts = {**machine(), "onnxruntime": onnxruntime.__version__, "date": str(date.today()), "model": asked.model}
    rows = []
    for (source, way), samples in took.items():
        wall_ms, cpu_ms = (1e3 * statistics.median(column) for column in zip(*samples, strict=True))
        rows.append({"source": source, "way": way, "wall_ms": wall_ms, "cpu_ms": cpu_ms, "rounds": len(samples)})
    (HERE / "run_pipeline.json").write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")
    words = f"--pictures {asked.pictures} --frames {asked.frames} --rounds {asked.rounds}"
    chip = f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}, onnxruntime {facts['onnxruntime']}, {asked.model}"
    ours = {row["source"]: row["wall_ms"] for row in rows if row["way"] == "edgesmith"}
    lines = [
        "# Pictures a second of `edgesmith run`",
        "",
        "How to read it: the head of [run_pipeline.py](run_pipeline.py).",
        "",
        f"`python benchmarks/run_pipeline.py {words}`, {facts['date']}, {chip}",
        "",
        "| source | | pictures a second | wall, ms each | CPU, ms each | edgesmith is |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            row["source"],
            row["way"],
            f"{1e3 / row['wall_ms']:.1f}",
            f"{row['wall_ms']:.2f}",
            f"{row['cpu_ms']:.2f}",
        ]
        cells.append("" if row["way"] == "edgesmith" else f"{row['wall_ms'] / ours[row['source']]:.2f} x as fast")
        lines.append("| " + " | ".join(cells) + " |")
    (HERE / "run_pipeline.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
