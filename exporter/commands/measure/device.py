"""``edgesmith bench BUNDLE --device FILE``: what a device measured (runtime/commands/device/bench.py) goes into the bundle and its report here."""

from __future__ import annotations

import json
from typing import Any

from ....runtime.bundle.bundle import open_bundle, update_bundle
from ....runtime.bundle.report import write_report
from ....runtime.commands.device.bench import KIND, SCHEMA, graphs_of
from ....runtime.errors import UserMistake
from ....runtime.ground.regular import read_regular
from ....runtime.report.devices import DOCUMENT, place_of

MOST_BYTES = 4 << 20
MOST = 20  # documents in one bundle


def add_device(place: str, file: str) -> dict[str, Any]:
    """The document of the device, which is in the bundle now; it replaces an older one of the same device, power mode and backend.

    Raises:
        UserMistake: the file is none of ``edgesmith bench --json`` on a device, or of another bundle.
    """
    document = _read(file)
    bundle = open_bundle(place)
    if document["graphs"] != graphs_of(bundle):
        raise UserMistake(
            f"{file} is of another bundle",
            found=f"graphs of {document.get('bundle')}: {', '.join(f'{n} {h[:12]}' for n, h in document['graphs'].items())}",
            expected=", ".join(f"{name} {digest[:12]}" for name, digest in graphs_of(bundle).items()),
            because="a figure belongs to the graph that was measured",
            attempt="measure this bundle on the device: edgesmith bench BUNDLE --json",
        )
    others = [one for one in bundle.manifest.get("device_benchmarks") or [] if place_of(one) != place_of(document)]
    if len(others) >= MOST:
        raise UserMistake(
            "a bundle holds figures of few devices", found=f"{len(others) + 1}", expected=f"at most {MOST}"
        )
    changes = {"device_benchmarks": [*others, document]}
    manifest = {**bundle.manifest, **changes}
    update_bundle(bundle, {"report.html": write_report(manifest, {}).encode()}, changes)
    return document


def _read(file: str) -> dict[str, Any]:
    try:
        document = json.loads(read_regular(file, MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise UserMistake(
            f"cannot read {file}",
            found=str(getattr(error, "strerror", None) or error)[:200],
            expected="what edgesmith bench BUNDLE --json printed on the device",
        ) from None
    wrong = DOCUMENT(document)
    if wrong or not isinstance(document, dict) or document.get("kind") != KIND or document.get("schema") != SCHEMA:
        found = f"{wrong.place or 'the whole'}: {wrong.value!r:.60}" if wrong else str(document)[:80]
        raise UserMistake(
            f"{file} is no benchmark of a device",
            found=found,
            expected=f"{KIND!r} of form {SCHEMA}" + (f", {wrong.expected} there" if wrong else ""),
            attempt="on the device: edgesmith bench BUNDLE --json > device.json",
        )
    return document
