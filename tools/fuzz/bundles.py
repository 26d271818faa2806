"""The bundles that are damaged, and what the commands do with one: it is opened, looked at, tested, run, reported on."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random as random_
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

OLD = Path(__file__).parents[2] / "tests" / "data" / "bundles"
PICTURE = "picture.png"


def write_originals(folder: Path) -> None:
    """Small bundles of both tasks, old ones with every part of a report, and a picture."""
    import cv2
    import numpy as np
    from detection_bundle import write_detection_bundle
    from sealed import edit_manifest
    from small_bundle import write_small_bundle

    write_small_bundle(folder / "classifier.edge")
    write_detection_bundle(folder / "detector.edge")
    write_detection_bundle(folder / "open_batch.edge", batch="batch")
    for name in ("classifier_fp32", "classifier_int8", "detector_int8"):  # schema 1, and the same as schema 2
        shutil.copytree(OLD / name, folder / f"old_{name}.edge")
        shutil.copytree(OLD / name, folder / f"new_{name}.edge")
        edit_manifest(folder / f"new_{name}.edge", schema=2)
    levels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / PICTURE), levels)


def chosen(random: random_.Random, folder: Path) -> Path:
    """One of the originals; the small ones more often, since they take a tenth of the time."""
    found = sorted(folder.glob("*.edge"))
    large = [path for path in found if path.name.startswith(("old_", "new_"))]
    return random.choice(large if random.random() < 0.3 else [path for path in found if path not in large])


def copied(original: Path, target: Path, without: str) -> Path:
    """A copy of a bundle whose files are the original's own, but for one that is to be written anew."""
    place = target / original.name
    for path in original.rglob("*"):
        here = place / path.relative_to(original)
        if path.is_dir():
            here.mkdir(parents=True, exist_ok=True)
        elif path.name != without:
            here.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, here)
    os.link(original.parent / PICTURE, target / PICTURE)
    return place


def put(bundle: Path, name: str, content: bytes) -> None:
    """One file in place of another, its hash in the manifest, the manifest sealed again."""
    import hashlib

    from sealed import edit_manifest

    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (bundle / "manifest.json").unlink()  # it is the original's own
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    if manifest["schema"] > 1:
        edit_manifest(bundle)


def use_bundle(bundle: Path) -> None:
    """Every command that reads a bundle, as a user runs it. The first refusal is raised once all have had their turn."""
    from edgesmith.exporter.commands import cli, look
    from edgesmith.runtime.bundle.bundle import open_bundle
    from edgesmith.runtime.bundle.report import write_report

    path, picture = str(bundle), str(bundle.parent / PICTURE)
    opened = open_bundle(path)
    in_turn(
        lambda: write_report(opened.manifest).encode(),
        lambda: look.inspect(path),
        lambda: cli.test(path),
        lambda: cli.run(path, [picture], save=str(bundle.parent / "drawn.png"), force=True, as_json=True),
        *([lambda: look.quant_report(path)] if opened.manifest.get("quantisation") else []),
    )


def in_turn(*steps: Callable[[], Any]) -> None:
    import typer

    from edgesmith.runtime.errors import EdgesmithError

    first: EdgesmithError | None = None
    for step in steps:
        with _nowhere():
            try:
                step()
            except EdgesmithError as error:
                first = first or error
            except (typer.Exit, SystemExit):  # a result that does not hold
                pass
    if first is not None:
        raise first


@contextlib.contextmanager
def _nowhere():
    """Streams that can spell no more than a terminal of UTF-8, as the commands have them."""
    from edgesmith.runtime.commands.streams import shown_streams

    def stream() -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BytesIO(), encoding="utf-8")

    with contextlib.redirect_stdout(stream()), contextlib.redirect_stderr(stream()), shown_streams():
        yield
