"""The process of one cell: an export, its time beside the plain export, and the row that tells of both.

Started by cell.py as ``python -m edgesmith.exporter.commands.measure.sweep.child`` with one JSON object on stdin. Its
stages go to stdout, what goes wrong to stderr; the row is a file.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .....models.registry import names_a_place
from .....runtime.backends.engine_child import end_with_parent
from .....runtime.bundle.engines import ONNXRUNTIME, OPENVINO
from .....runtime.commands.mistakes import mistake_of
from .....runtime.errors import EdgesmithError
from .....runtime.ground.files import replace_file
from ....pipeline import Result
from ....run.stages import Silent, Stage
from .. import bench

if TYPE_CHECKING:
    from .....runtime.bundle.bundle import Bundle

BUG = 70  # as the command leaves
STAGE = "stage "  # before the name of a stage that begins
NOT_LOADED = (".json", ".html", ".npz", ".jpg", ".png")  # labels, reports and self-tests, which hold times too
PLAIN = {ONNXRUNTIME: "plain", OPENVINO: OPENVINO}  # the peer that runs on the same engine


class Told(Silent):
    """Stages as lines, so that the log says how far a cell has come that is ended from outside."""

    def start(self, name: str, doing: str) -> None:
        print(f"{STAGE}{name}: {doing}", flush=True)

    def end(self, stage: Stage) -> None:
        print(f"  {stage.detail}, {stage.seconds:.1f} s", flush=True)


def row_of(asked: dict[str, Any]) -> dict[str, Any]:
    """What is known of the cell; ``why`` and an exit code of its own where there is no bundle."""
    from ....pipeline import export

    try:
        result = export(asked["model"], **asked["choices"], out=asked["bundle"], overwrite=True, progress=Told())
        row = exported(result)
        if asked["rounds"]:
            row |= timed(asked, result)
    except Exception as error:  # noqa: BLE001 whatever it is, it is a row
        return failed(error)
    return row


def exported(result: Result) -> dict[str, Any]:
    """Figures of a bundle, the same whenever and wherever it is made."""
    assert result.bundle is not None
    told = result.bundle.manifest
    rewrite = told.get("rewrite") or {}
    xray: dict[str, Any] = next((one.get("xray") or {} for one in told.get("engines") or []), {})
    passes = {one["name"]: one["count"] for one in rewrite.get("passes", []) if one["count"]}
    return {
        "exit_code": 0,
        "checks": len(result.parity),
        "held": sum(row.passed for row in result.parity),
        "max_abs": max((row.max_abs for row in result.parity if hasattr(row, "max_abs")), default=None),
        "nodes_before": sum((rewrite.get("nodes_before") or {}).values()),
        "nodes_after": sum((rewrite.get("nodes_after") or {}).values()),
        "passes": passes,
        "left_out": [one["name"] for one in rewrite.get("left_out", [])],
        "size_bytes": loaded_bytes(result.bundle),
        "kernels": xray.get("kernels"),
        "fused_attention": xray.get("fused_attention"),
    }


def loaded_bytes(bundle: Bundle) -> int:
    """Of what a device loads: engines, or graphs and weights where there are none."""
    records = bundle.manifest["files"]
    engines = [one["file"] for one in bundle.manifest.get("engines") or []]
    return sum(records[name]["bytes"] for name in engines or records if not name.endswith(NOT_LOADED))


def timed(asked: dict[str, Any], result: Result) -> dict[str, Any]:
    """CPU time beside the plain export on the same engine, in turns, on one thread; nothing where the engine does not run here."""
    target, model = result.plan.target, asked["model"]
    peer = PLAIN.get(target.engine.name)
    if peer is None or not target.engine.runs_here or result.plan.task.in_steps:
        return {}
    place = model if names_a_place({"model": model}) else None
    weights = asked["choices"].get("weights")
    try:
        told = bench.bench(
            asked["bundle"], weights=weights, model=place, against=peer, rounds=asked["rounds"], threads=1, clock="cpu", memory=False,
            progress=Told(),
        )  # fmt: skip
    except EdgesmithError as error:
        return {"not_timed": error.what}
    if told["skipped"]:
        return {"not_timed": next(iter(told["skipped"].values()))}
    ours = told["rows"][-1]
    ratio = {
        f"cpu_{key.removeprefix('time_')}": ours[key] for key in ("time_ratio", "time_ratio_low", "time_ratio_high")
    }
    return {"timing": {**ratio, "against": told["rows"][0]["name"], "median_ms": ours["median_ms"]}}


def failed(error: Exception) -> dict[str, Any]:
    """The row of a cell without a bundle; the whole message goes to the log."""
    told = error if isinstance(error, EdgesmithError) else mistake_of(error)
    if told is None:
        traceback.print_exc()
        return {
            "exit_code": BUG,
            "why": f"a bug of ours: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}",
        }
    print(told, file=sys.stderr)
    why = told.what.splitlines()[0]
    return {"exit_code": told.exit_code, "why": f"{why}: {told.found.splitlines()[0]}" if told.found else why}


def main() -> None:
    end_with_parent()
    asked = json.load(sys.stdin)
    replace_file(Path(asked["row"]), json.dumps(row_of(asked)).encode())


if __name__ == "__main__":
    main()
