"""Click accuracy of the trained small GUI-AIMA on held-out synthetic screens: PyTorch, and bundles of every precision.

    python tools/screens/accuracy.py [rows ...] [--screens 500] [--asks 2]

The checkpoint (models/fixtures/trained/gui_aima_screens) on screens of the split "held_out": other screens, other sentences, and pairs of
colour and word that training never showed. A click is right where it falls into the box of the thing that is meant.

    PyTorch              the judge, float32, one forward an instruction
    TARGET PRECISION     a bundle as ``edgesmith export`` writes it, each screen opened once
    ... with screens     exported with --data and 8 screens of the training split: the tower multiplies whole numbers
    kv BITS SCHEME       bits of a stored key or value

"same patch" is the share of instructions whose largest score is at the patch of PyTorch's; "pixels away" is the distance between the
clicks, middle and 95 % quantile; "CPU ms" are of a screen's opening and of one further instruction, medians of all. Writes
grounding_accuracy.json and .md into benchmarks/; rows that are named take the place of those that stand there.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from learn.cases import Case, Tally, held_out, pixels_apart
from screen import SIZES, screen

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "models" / "fixtures" / "trained" / "gui_aima_screens"
LIBRARIES = ("torch", "transformers", "onnxruntime", "openvino", "numpy", "opencv-python-headless")
BITS = (16, 8, 4, 2)
CALIBRATING = 8


@dataclass(frozen=True)
class Row:
    target: str
    precision: str
    kv_bits: int | None = None  # None: as the precision has it
    scheme: str | None = None
    screens: bool = False  # that calibrate the tower

    @property
    def name(self) -> str:
        kv = f", kv {self.kv_bits}" if self.kv_bits else ""
        screens = " with screens" if self.screens else ""
        return f"{self.target} {self.precision}{screens}{kv}{' ' + self.scheme if self.scheme else ''}"


ROWS = (
    Row("cpu", "fp32"),
    Row("cpu", "fp16"),
    Row("cpu", "int8"),
    Row("cpu", "int8", screens=True),
    Row("cpu", "int4"),
    Row("cpu", "int4", screens=True),
    *(Row("cpu", "fp32", bits) for bits in BITS),
    *(Row("cpu", "fp32", bits, "rotatekv") for bits in (4, 2)),
    *(Row("cpu", "int4", bits) for bits in BITS),
    Row("openvino", "fp32"),
    Row("openvino", "bf16"),
    Row("openvino", "int8"),
    Row("openvino", "int4"),
    *(Row("openvino", "int4", bits) for bits in (16, 4)),
)


@dataclass(frozen=True, eq=False)
class Found:
    """Of each case the click, and the patch with the largest score; CPU ms of the openings and of single instructions."""

    points: list[tuple[float, float]]
    patches: list[int]
    opening_ms: list[float] = field(default_factory=list)
    further_ms: list[float] = field(default_factory=list)


def torch_found(folder: Path, cases: Sequence[Case]) -> Found:
    from edgesmith.models.families.gui_aima import judge, picture
    from edgesmith.models.folders.folder import load_eager, open_folder
    from edgesmith.runtime.tasks.grounding.regions import regions

    opened = open_folder(folder)
    module, found = load_eager(opened), Found([], [])
    for case in cases:
        pixels = picture.prepared(case.picture)
        ids = opened.prompt.instruction(case.instruction, opened.tokenizer)
        scores = judge.scores(module, opened.prompt, pixels, ids, opened.weighting)
        scores = scores.reshape(picture.grid_of((pixels.shape[1], pixels.shape[2])))
        found.points.append(regions(scores)[0].point)
        found.patches.append(int(scores.argmax()))
    return found


def bundle_found(path: Path, cases: Sequence[Case]) -> Found:
    import edgesmith

    found = Found([], [])
    with edgesmith.load(path, threads=1) as session:
        for _, some in groupby(cases, key=lambda case: id(case.picture)):
            asked = list(some)
            started = time.process_time()
            with session.open(asked[0].picture) as screen:
                found.opening_ms.append(1e3 * (time.process_time() - started))
                for case in asked:
                    started = time.process_time()
                    click = screen.click(case.instruction)
                    found.further_ms.append(1e3 * (time.process_time() - started))
                    found.points.append(click.point)
                    found.patches.append(int(click.scores.argmax()))
    return found


def exported(row: Row, folder: Path, scratch: Path) -> Path:
    from edgesmith.exporter.pipeline import export

    out = scratch / f"{row.name.replace(', ', '_').replace(' ', '_')}.edge"
    export(
        "gui_aima",
        weights=str(folder),
        target=row.target,
        precision=row.precision,
        screen=",".join(f"{width}x{height}" for height, width in SIZES),
        kv_bits=row.kv_bits,
        kv_scheme=row.scheme,
        data=str(calibration(scratch)) if row.screens else None,
        calib_cache=str(scratch / "cache") if row.screens else None,
        out=str(out),
    )
    return out


def calibration(scratch: Path) -> Path:
    """A folder with a few screens that training showed."""
    import cv2

    folder = scratch / "screens"
    folder.mkdir()
    for index in range(CALIBRATING):
        one = screen(index, "train", SIZES[index % len(SIZES)])
        cv2.imwrite(str(folder / f"{index}.png"), one.picture[..., ::-1])
    return folder


def figures(name: str, cases: Sequence[Case], found: Found, judge: Found, size: int | None = None) -> dict[str, Any]:
    tally = Tally.of(cases, found.points)
    apart = pixels_apart(cases, found.points, judge.points)
    return {
        "row": name,
        "right": tally.right,
        "clicks": tally.clicks,
        "bounds": tally.bounds,
        "same_patch": float(np.mean(np.array(found.patches) == np.array(judge.patches))),
        "pixels_median": float(np.median(apart)),
        "pixels_95": float(np.quantile(apart, 0.95)),
        "bytes": size,
        "opening_ms": float(np.median(found.opening_ms)) if found.opening_ms else None,
        "further_ms": float(np.median(found.further_ms)) if found.further_ms else None,
    }


def by_kind(cases: Sequence[Case], found: Found) -> dict[str, Tally]:
    parts: dict[str, list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        parts[case.kind].append(index)
    return {
        kind: Tally.of([cases[i] for i in some], [found.points[i] for i in some])
        for kind, some in sorted(parts.items())
    }


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    cases = held_out(options.screens, options.asks)
    judge = torch_found(options.folder, cases)
    kinds = {kind: (tally.right, tally.clicks) for kind, tally in by_kind(cases, judge).items()}
    yield {**figures("PyTorch float32", cases, judge, judge), "kinds": kinds}
    for row in ROWS:
        if options.rows and row.name not in options.rows:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            path = exported(row, options.folder, Path(scratch))
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            yield figures(row.name, cases, bundle_found(path, cases), judge, size)


def _line(row: dict[str, Any]) -> str:
    low, high = row["bounds"]
    share = f"{100 * row['right'] / row['clicks']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    if row["bytes"] is None:  # the judge itself
        return f"| {row['row']} | {share} | | | | |"
    apart = f"{row['pixels_median']:.2f}, {row['pixels_95']:.2f}"
    ms = f"{row['opening_ms']:.0f}, {row['further_ms']:.0f}"
    return f"| {row['row']} | {share} | {100 * row['same_patch']:.1f} % | {apart} | {row['bytes'] / 1e6:.2f} | {ms} |"


def page(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    first = report["rows"][0]
    kinds = [
        f"| {kind} | {right} of {clicks} | {100 * right / clicks:.1f} % |"
        for kind, (right, clicks) in first["kinds"].items()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    assert __doc__
    told = f"{report['date']}; `{report['command']}`; {first['clicks']} instructions on {report['screens']} screens. "
    told += f"Versions: {versions}."
    return "\n".join(
        [
            "# Click accuracy of the trained GUI-AIMA",
            "",
            *__doc__.strip().splitlines(),
            "",
            told,
            "",
            "| row | right clicks (95 %) | same patch | pixels away: median, 95 % | MB | CPU ms: opening, further |",
            "|---|---|---|---|---|---|",
            *(_line(row) for row in report["rows"]),
            "",
            "By what was asked for, PyTorch:",
            "",
            "| kind | right | share |",
            "|---|---|---|",
            *kinds,
            "",
        ]
    )


def among(standing: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """The rows that stood, those measured again in their place; both commands are told."""
    again = {row["row"]: row for row in report["rows"]}
    rows = [again.pop(row["row"], row) for row in standing["rows"]]
    return {**report, "command": f"{standing['command']}; then {report['command']}", "rows": [*rows, *again.values()]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [row.name for row in ROWS]
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"all without; else of: {'; '.join(names)}")
    parser.add_argument("--screens", type=int, default=500)
    parser.add_argument("--asks", type=int, default=2, help="instructions a screen")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the checkpoint")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(names):
        parser.error(f"no row is called {', '.join(sorted(unknown))}")
    place, rows = options.out / "grounding_accuracy.json", []
    for row in measured(options):
        print(json.dumps(row), flush=True)
        rows.append(row)
    report = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "command": " ".join(["python tools/screens/accuracy.py", *sys.argv[1:]]),
        "screens": options.screens,
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "rows": rows,
    }
    if options.rows and place.is_file() and (standing := json.loads(place.read_text()))["screens"] == options.screens:
        report = among(standing, report)
    place.write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "grounding_accuracy.md").write_text(page(report))


if __name__ == "__main__":
    main()
