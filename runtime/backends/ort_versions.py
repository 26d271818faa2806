"""What ONNX Runtime says of a file that is newer than itself -> which release is needed.

A release reads ONNX files up to an opset and an IR version. The table was measured: one small graph in every opset and IR
version, loaded with each release from 1.17 to 1.32.
"""

from __future__ import annotations

import re

NEWEST: dict[
    str, tuple[int, int]
] = {  # release: newest opset, newest IR; a release between reads what the one before does
    "1.19": (21, 10),  # 1.18 reads the same; 1.19 is the oldest that we test (tests/runtime/floor.txt)
    "1.21": (22, 10),
    "1.23": (23, 11),
    "1.24": (25, 13),
    "1.25": (26, 13),
    "1.32": (28, 14),
}
OPSET = re.compile(r"Opset (\d+) is under development.*?support for domain ai\.onnx is till opset (\d+)", re.DOTALL)
IR = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")


def too_old(said: str) -> tuple[str, str] | None:
    """ONNX Runtime's refusal -> (what the graph is, which release reads it); None when its age is not the reason."""
    for pattern, place, word in ((OPSET, 0, "opset"), (IR, 1, "IR version")):
        if told := pattern.search(said):
            asked, most = int(told[1]), int(told[2])
            release = next((name for name, newest in NEWEST.items() if newest[place] >= asked), None)
            found = f"a graph of {word} {asked}, and this release reads {most} at most"
            return found, f"onnxruntime {release} or newer" if release else "a newer onnxruntime"
    return None
