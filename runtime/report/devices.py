"""The section of a report on the devices that a bundle was measured on: one row a way of a backend, and what the board was set to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .kinds import COUNT, FIGURE, TEXT, TIME, fields, listed, named
from .page import Html, figure, join, table, tag

Data = Mapping[str, Any]
TIMES = {"median_ms": TIME, "p90_ms": TIME, "p99_ms": FIGURE}
NEEDED = ("median_ms", "p90_ms")
BOARD = fields({"model": TEXT, "release": TEXT, "power_mode": TEXT, "clocks": fields({}), "throttled": fields({})})
DOCUMENT = fields(
    {
        "kind": TEXT, "schema": COUNT, "bundle": TEXT, "graphs": named(TEXT), "date": TEXT, "backend": TEXT, "rounds": COUNT,
        "rows": listed(fields({"name": TEXT, **TIMES, "throughput_per_s": FIGURE}, needed=("name", *NEEDED))),
        "end_to_end": fields(TIMES, needed=NEEDED), "energy": fields({"mj_per_item": FIGURE}), "machine": fields({"cpu": TEXT}),
        "board": fields({"before": BOARD, "after": BOARD}),
    },
    needed=("kind", "schema", "graphs", "backend", "rows"),
)  # fmt: skip
DEVICES = listed(DOCUMENT)
COLUMNS = ("", "median ms", "p90 ms", "p99 ms", "per second", "mJ each")


def devices(documents: Sequence[Data]) -> Html:
    """One table a device, in the order in which they were added."""
    return join(_one(document) for document in documents)


def _one(document: Data) -> Html:
    energy = (document.get("energy") or {}).get("mj_per_item")
    lines = []
    for at, row in enumerate(document["rows"]):
        times = (figure(row.get(key), ".4g") for key in ("median_ms", "p90_ms", "p99_ms", "throughput_per_s"))
        lines.append((row["name"], *times, figure(energy, ".3g") if at == 0 else ""))
    if whole := document.get("end_to_end"):
        lines.append(("from pixels to the answer", *(figure(whole.get(key), ".4g") for key in TIMES), "", ""))
    return join(
        [
            tag("h3", place_of(document)),
            table(COLUMNS, lines, ("", *["number"] * 5)),
            tag("p", _set_to(document), "soft"),
        ]
    )


def place_of(document: Data) -> str:
    """Which device, as a heading: its model, or its CPU where it has no such name; its power mode."""
    board = (document.get("board") or {}).get("after") or {}
    name = board.get("model") or (document.get("machine") or {}).get("cpu") or "a device"
    return ", ".join(filter(None, (name, board.get("power_mode"), document["backend"])))


def _set_to(document: Data) -> str:
    board = (document.get("board") or {}).get("after") or {}
    said = [document.get("date"), board.get("release"), f"{document.get('rounds')} rounds in turns"]
    for name in ("clocks", "temperatures_c", "throttled"):
        if isinstance(held := board.get(name), dict) and held:
            said.append(f"{name.removesuffix('_c')}: " + ", ".join(f"{key} {value}" for key, value in held.items()))
    return "; ".join(str(one) for one in said if one)
