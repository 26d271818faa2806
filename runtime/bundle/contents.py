"""The schema of a manifest: of what kind each value is that the runtime, a command or the report reads, asked at the door.

The hash (trust/seal.py) says that nobody changed a value since; a bundle of version 0.1.0 has none, and one that was written by
another program may hold anything. The tables are here and in runtime/report/schema.py; what a task reads is its own to check
(``Task.check_bundle``), and tensors, engines and the input contract have readers of their own, which say more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BundleRefused, UserMistake
from ..pictures.contract import ImageContract
from ..report import schema
from ..report.devices import DEVICES
from ..report.kinds import COUNT, FLAG, PLAIN, TEXT, Check, Wrong, fields, listed, named, number, refuse, whole
from .trust.seal import HASH

MAX_CLASSES = 1_000_000
COSINE = number(-1, 1.001)
# what the self-test is held to: figures measured where the bundle was made
MEASURED = {
    "golden_cosine": COSINE,
    "golden_own_error": number(0, 1e30),
    "golden_detections": fields({"matched": number(0, 100), "cosine": COSINE}),
}
GRAPH: dict[str, Check] = {
    "inputs": listed(fields({})),
    "outputs": listed(fields({})),
    "engines": listed(schema.ENGINE),
}
TEXTS = (
    "name", "task", "target", "precision", "model", "family", "variant", "labels", "engine", "gpu_arch", "edgesmith", "judge", HASH
)  # fmt: skip
MANIFEST = fields(
    {
        **dict.fromkeys(TEXTS, TEXT),
        "probabilities": FLAG,
        "files": named(fields({"sha256": TEXT, "bytes": COUNT}, needed=("sha256", "bytes"))),
        "num_classes": whole(0, MAX_CLASSES),
        "input_contract": fields({}),
        **GRAPH,
        "graphs": named(fields({"file": TEXT, **GRAPH}, needed=("file", "inputs", "outputs"))),
        "precision_report": fields({**schema.PRECISION, **MEASURED}),
        "paper": PLAIN,
        "opset": PLAIN,
        "licence": schema.FACTS,
        "weights": schema.FACTS,
        "notes": schema.NOTES,
        "stages": schema.STAGES,
        "parity": schema.PARITY,
        "rewrite": schema.REWRITE,
        "quantisation": schema.QUANTISATION,
        "benchmark": schema.BENCHMARK,
        "device_benchmarks": DEVICES,
    }
)


def check_contents(folder: Path, manifest: Mapping[str, Any]) -> None:
    """BundleRefused for the first value of another kind or out of its range; a key may be absent or null."""
    refuse(folder, MANIFEST(manifest))
    if (labels := manifest.get("labels")) is not None and labels not in manifest["files"]:
        refuse(folder, Wrong("labels", labels, "a file of the bundle"))
    if (contract := manifest.get("input_contract")) is not None:
        try:
            ImageContract.from_json(contract)
        except UserMistake as error:
            raise BundleRefused(
                f"the manifest of {folder} is damaged",
                found=f"{error.what}: {error.found}"[:300],
                expected=error.expected,
                attempt="export it again",
            ) from None
