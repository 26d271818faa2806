"""Half an hour of video, and a hundred thousand requests: does memory grow, is anything lost without being counted?

    python benchmarks/soak.py [--minutes 30] [--requests 100000]       writes benchmarks/soak.{json,md} and soak_{video,requests}.svg
    python benchmarks/soak.py --part requests                          one of the two; the other's figures stay as they are

Video: ``edgesmith run --reconnect`` on a camera of the network that plays a generated clip over and over and breaks off after each (soak_video.py).
Requests: ``edgesmith serve`` with two bundles and more clients than it has room for (soak_requests.py). Both with bundles of tests/data.
Loopback only. Growth is the median of the last tenth beside that of the second tenth.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

import soak_requests
import soak_video
from soak_plot import plot
from soak_watch import MOST_GROWTH

from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
BUNDLES = HERE.parent / "tests" / "data" / "bundles"
SERVED = (BUNDLES / "classifier_fp32", BUNDLES / "detector_int8")
KEPT = HERE / "soak.json"
ACROSS = {"video": "minutes", "requests": "requests"}
NAMES = {"rss_mb": "resident, MB", "private_mb": "private, MB", "descriptors": "file descriptors", "threads": "threads"}


def table(part: dict[str, Any]) -> list[str]:
    lines = ["| | after the warm-up | at the end | growth | at most |", "|---|---|---|---|---|"]
    for key, name in NAMES.items():
        row = part["judged"][key]
        lines.append(f"| {name} | {row['warm']:g} | {row['end']:g} | {row['growth']:+.1%} | {row['most']:g} |")
    grown = [name for key, name in NAMES.items() if part["judged"][key]["growth"] > MOST_GROWTH]
    return [
        *lines,
        "",
        f"**Grows: {', '.join(grown)}.**" if grown else f"Nothing grows by more than {MOST_GROWTH:.0%}.",
    ]


def of_video(part: dict[str, Any]) -> list[str]:
    told = (
        f"{part['minutes']:g} minutes, {part['lines']} lines lost and opened again {part['reconnected']} times: {part['sent']:,} frames sent = "
        f"{part['answered']:,} answered + {part['dropped']:,} counted as left out for a newer one + {part['lost']:,} counted as lost; "
        f"not accounted for: {part['unaccounted']}. Ended by SIGTERM with {part['exit_code']}."
    )
    return ["## Video", "", told, "", *table(part), "", "![memory](soak_video.svg)"]


def of_requests(part: dict[str, Any]) -> list[str]:
    columns = sorted({end for ends in part["ends"].values() for end in ends})
    lines = ["| request | sent | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    for name, ends in part["ends"].items():
        lines.append(
            f"| {name} | {sum(ends.values()):,} | " + " | ".join(f"{ends.get(end, 0):,}" for end in columns) + " |"
        )
    lines.append(
        f"| all | {part['sent']:,} | " + " | ".join(f"{part['totals'].get(end, 0):,}" for end in columns) + " |"
    )
    told = (
        f"{part['sent']:,} requests of {soak_requests.CLIENTS} clients in {part['took_s']:g} s, a queue of {soak_requests.QUEUE}; not accounted for: "
        f"{part['unaccounted']}. The server's own count: " + ", ".join(f"{count:,} {name}" for name, count in part["server"].items())
        + f" (what was cut in the middle counts as refused, or not at all where its head had not come). Tracebacks: {part['traces']}. Ended by SIGTERM with {part['exit_code']}."
    )  # fmt: skip
    return ["## Requests", "", told, "", *lines, "", *table(part), "", "![memory](soak_requests.svg)"]


def page(result: dict[str, Any]) -> str:
    lines = ["# A long run", ""]
    for name, write in (("video", of_video), ("requests", of_requests)):
        if name in result:
            part = result[name]
            lines += [
                *write(part),
                "",
                f"`{part['command']}`, {part['date']}, {part['machine']['cpu']}, {part['machine']['cores']} cores.",
                "",
            ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--part", choices=[*ACROSS], help="one of the two")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks at the process")
    asked = parser.parse_args()
    result = json.loads(KEPT.read_text()) if asked.part and KEPT.exists() else {}
    for name, across in ACROSS.items():
        if asked.part in (None, name):
            size = f"--minutes {asked.minutes:g}" if name == "video" else f"--requests {asked.requests}"
            head = {"date": date.today().isoformat(), "command": f"python benchmarks/soak.py --part {name} {size}"}
            done = (
                soak_video.soak(SERVED[0], asked.minutes, asked.every)
                if name == "video"
                else soak_requests.soak(SERVED, asked.requests, min(asked.every, 1.0))
            )
            result[name] = {**head, "machine": machine(), **done}
            memory = {
                "resident": [(one["at"], one["rss_mb"]) for one in done["samples"]],
                "private": [(one["at"], one["private_mb"]) for one in done["samples"]],
            }
            (HERE / f"soak_{name}.svg").write_text(plot(f"Memory of the process, {name}", across, memory))
            KEPT.write_text(json.dumps(result, indent=1) + "\n")
            (HERE / "soak.md").write_text(page(result))
    print(page(result))


if __name__ == "__main__":
    main()
