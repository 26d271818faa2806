"""The part of the report on what goes in and out of a bundle, where it comes from and which files it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .page import Html, facts, join, size, table

Data = Mapping[str, Any]


def contract(manifest: Data) -> Html:
    """The tensors of each graph, and what a picture goes through before it."""
    told = {key.replace("_", " "): value for key, value in (manifest.get("input_contract") or {}).items()}
    if "scale" in told:
        told["scale"] = f"{told['scale']:.6g}"
    specs = [
        (f"{name} {kind}".strip(), spec)
        for name, graph in (manifest.get("graphs") or {"": manifest}).items()
        for kind in ("inputs", "outputs")
        for spec in graph.get(kind) or []
    ]
    keys = ["shape", *(key for key in ("min", "opt", "max") if any(spec.get(key) for _, spec in specs))]
    rows = [
        (kind, spec.get("name"), spec.get("dtype"), *(" x ".join(map(str, spec.get(key) or ())) for key in keys))
        for kind, spec in specs
    ]
    return join([table(("", "name", "type", *keys), rows, ("", "code", "", *["number"] * len(keys))), facts(told)])


def origin(manifest: Data) -> Html:
    """Paper, weights, licences."""
    licence, weights = manifest.get("licence") or {}, manifest.get("weights") or {}
    return facts(
        {
            "model": manifest.get("model"),
            "paper": manifest.get("paper"),
            "weights": weights.get("source"),
            "sha256 of the weights": weights.get("sha256"),
            "licence of the code": licence.get("code"),
            "licence of the weights": licence.get("weights"),
            "classes": manifest.get("num_classes"),
            "opset": manifest.get("opset"),
        }
    )


def files(records: Data) -> Html:
    """The files with their hashes; the report itself is left out, no page can hold its own hash."""
    rows = [(n, size(r.get("bytes")), r.get("sha256")) for n, r in records.items() if n != "report.html"]
    return table(("file", "size", "sha256"), rows, ("code", "number", "code"))
