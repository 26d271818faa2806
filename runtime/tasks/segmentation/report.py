"""The parts of the report that only segmenters have: masks side by side, and the share of pixels with the same class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...report.kinds import COUNT, FIGURE, PLAIN, TEXT, Check, fields, listed
from ...report.page import Html, image, join, tag
from ...report.parts import Parts, parity
from ...report.words import number

KEY = "segmentation_report"
INSIDE = re.compile(r"pictures/[\w-]+\.(jpg|png)")  # the only places that the page may load from
TOLD: Check = fields(
    {KEY: fields({"pictures": listed(fields({"file": TEXT, "name": PLAIN, "size": listed(COUNT), "same": FIGURE}))})}
)


def parts(manifest: Mapping[str, Any]) -> Parts:
    """All of them; what the manifest does not have is left out."""
    rows = manifest.get("parity") or []
    shares = [share for row in rows if (share := number(row.get("top1"))) is not None]
    return Parts(
        parity=parity(rows, manifest.get("judge"), "places"),
        headline=[(f"{min(shares):.2%}", "of the places have the same class")] if shares else [],
        pictures=pictures((manifest.get(KEY) or {}).get("pictures") or []),
        run_options=" --save masks.jpg",
    )


def pictures(told: Sequence[Mapping[str, Any]]) -> Html:
    """PyTorch on the left, the bundle on the right."""
    lines: list[Html] = []
    for one in told:
        if not INSIDE.fullmatch(str(one.get("file"))):
            continue
        share = number(one.get("same"))
        words = f"{one.get('name')}: PyTorch left, this bundle right"
        lines += [
            image(str(one["file"]), words, one.get("size")),
            tag("p", words + (f"; {share:.2%} of the pixels have the same class" if share is not None else ""), "soft"),
        ]
    return join(lines)
