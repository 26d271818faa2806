"""The parts of the report that only grounding has: sizes and what a screen takes, clicks beside those of PyTorch.

    manifest["grounding"], ["grounding_report"], ["parity"] -> sections of runtime/bundle/report.py

"grounding_report": {"pictures": [{"name", "file": "pictures/screen.jpg", "size": [width, height], "rows": [{"instruction",
"judge": [x, y], "bundle": [x, y], "apart_px", "score"}]}]}: pictures are drawn by ``draw.draw`` and are files of the bundle;
points are pixels. A part that the manifest does not have is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...report.kinds import COUNT, FIGURE, LONG_TEXT, PLAIN, TEXT, Check, fields, listed
from ...report.page import Html, facts, figure, image, join, table, tag
from ...report.parts import NOTHING, Parts, parity
from .facts import KEY

Data = Mapping[str, Any]
REPORT = "grounding_report"
INSIDE = re.compile(r"pictures/[\w-]+\.(jpg|png)")  # the only places that the page may load from
ROW = fields(
    {"instruction": LONG_TEXT, "judge": listed(FIGURE), "bundle": listed(FIGURE), "apart_px": FIGURE, "score": FIGURE}
)
TOLD: Check = fields(
    {
        REPORT: fields(
            {"pictures": listed(fields({"name": PLAIN, "file": TEXT, "size": listed(COUNT), "rows": listed(ROW)}))}
        )
    }
)


def parts(manifest: Data) -> Parts:
    """All of them."""
    return Parts(
        parity=parity(manifest.get("parity") or []),
        pictures=join(picture(one) for one in (manifest.get(REPORT) or {}).get("pictures") or []),
        thresholds=rules(manifest.get(KEY) or {}),
        run_options=' --instruction "open the settings" --save click.png',
    )


def picture(told: Data) -> Html:
    """One screen with its clicks drawn on it, and where PyTorch clicks."""
    file, name = str(told.get("file", "")), str(told.get("name", ""))
    rows = [
        (
            row.get("instruction"),
            _place(row.get("judge")),
            _place(row.get("bundle")),
            figure(row.get("apart_px"), ".1f"),
            figure(row.get("score"), ".4f"),
        )
        for row in told.get("rows") or []
    ]
    columns = ("instruction", "PyTorch clicks at", "this bundle at", "apart, px", "score")
    seen = image(file, f"{name}: the clicks of this bundle", told.get("size")) if INSIDE.fullmatch(file) else NOTHING
    return join([tag("h3", name), seen, table(columns, rows, ("words", "number", "number", "number", "number"))])


def _place(point: Sequence[Any] | None) -> str:
    return ", ".join(figure(one, ".0f") for one in point or ())


def rules(told: Data) -> Html:
    """Sizes, threshold, and how keys and values are stored."""
    sizes = [
        f"{'x'.join(map(str, one.get('screen') or ()))} seen as {'x'.join(map(str, (one.get('size') or ())[::-1]))}"
        for one in told.get("buckets") or []
    ]
    kv = told.get("kv") or {}
    stored = f"{kv.get('bits')} bits" + (f", {kv['scheme']}" if kv.get("scheme") and kv.get("bits", 16) < 16 else "")
    return facts(
        {
            "screens": "; ".join(sizes),
            "heads weighted by": told.get("weighting"),
            "regions above": f"{told['threshold']:g} of the largest score" if "threshold" in told else None,
            "keys and values stored in": stored if kv else None,
            "licence of the weights": told.get("licence_note"),
        }
    )
