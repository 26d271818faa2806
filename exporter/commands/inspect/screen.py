"""The facts of ``inspect`` as lines of text: the most telling first, long lists cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ....runtime.report.page import figure
from ...tasks.known import EXPORTS

LONGEST = 12


def lines(data: dict[str, Any]) -> Iterator[str]:
    """Text for a terminal, one string a line."""
    if data["kind"] == "engine":
        yield from _xray(data["xray"], data["summary"], data["path"])
    elif data["kind"] == "bundle":
        manifest = data["manifest"]
        chip = f", {manifest['gpu_arch']}" if manifest.get("gpu_arch") else ""
        yield f"bundle {manifest['name']}: {manifest['model'] or manifest['task']}, {manifest['precision']} for {manifest['target']}{chip}"
        for row in manifest.get("parity") or []:
            yield f"  parity {row.get('stage')} on {row.get('runner')}: {_agreement(row)}"
        if (task := EXPORTS.get(manifest["task"])) and manifest.get(task.key):  # a key of another task is nobody's
            yield f"  {task.rule_words(manifest[task.key])}"
        yield from (f"  note: {note}" for note in manifest.get("notes") or [])
        for graph in (data["graph"], *data.get("others", ())):
            yield from _graph(graph)
        for engine in data["engines"]:
            yield from _xray(engine["xray"], engine["summary"], engine["file"])
    else:
        yield from _graph(data)
        if "xray" in data:
            builder = data["builder"]
            yield from _xray(
                data["xray"], data["summary"], f"{builder['name']} {builder['version']} for {builder['arch']}"
            )


def _agreement(row: dict[str, Any]) -> str:
    """What one parity row found: numbers of a classifier, detections of a detector."""
    verdict = "holds" if row.get("passed") else "DOES NOT HOLD"
    if "detections" not in row:
        return f"max abs {figure(row.get('max_abs'), '.1e')}, cosine {figure(row.get('cosine'), '.6f')}, {verdict}"
    found = f"{figure(row.get('matched'), '.1%')} of {row['detections']} detections match"
    near = f"boxes within {figure(row.get('box_px'), '.2g')} px, scores within {figure(row.get('score_abs'), '.1e')}"
    return f"{found}, {near}, {verdict}"


def _graph(data: dict[str, Any]) -> Iterator[str]:
    opset = ", ".join(f"{domain} {version}" for domain, version in data["opset"].items())
    yield f"graph {data['path']}: {data['nodes']} nodes, opset {opset}, IR {data['ir_version']}"
    for word in ("inputs", "outputs"):
        for value in data[word]:
            yield f"  {word[:-1]:<8}{value['name']} {value['dtype']} {'x'.join(map(str, value['shape']))}"
    if data.get("wrong"):
        yield f"  WRONG   {data['wrong']}: no engine can run it"
    for one in data.get("beside") or ():
        yield f"  beside  {one['name']}: " + (f"WRONG: {one['why']}" if one["why"] else f"{one['found']:,} bytes")
    types = ", ".join(f"{kind} {size / 1e6:.1f} MB" for kind, size in data["weights_by_type"].items())
    yield f"  weights {types or 'none'}"
    ops = list(data["ops"].items())
    rest = f" and {len(ops) - LONGEST} more types" if len(ops) > LONGEST else ""
    yield "  ops     " + ", ".join(f"{count} {op}" for op, count in ops[:LONGEST]) + rest
    if data["attention"]:
        fused = [block["fused"] for block in data["attention"] if "fused" in block]
        state = f", {sum(fused)} of {len(fused)} run as one kernel" if fused else ""
        yield f"  attention blocks: {len(data['attention'])}{state}"
        for number, block in enumerate(data["attention"], 1):
            if "fused" in block:
                yield f"    block {number}: {'fused' if block['fused'] else 'not fused'} ({block['node']})"


def _xray(xray: dict[str, Any], summary: str, what: str) -> Iterator[str]:
    yield f"engine {what}: {summary}"
    if xray["recognised"]:
        yield "  kernels " + ", ".join(f"{count} {words}" for words, count in xray["counts"].items())
        yield "  kinds   " + ", ".join(f"{count} {kind}" for kind, count in Counter(xray["kinds"]).most_common())
    for kind, count in xray["unknown"].items():
        yield f"  not recognised: {count} steps of kind {kind}"
    for number, block in enumerate(xray["attention"], 1):
        yield f"  fused attention {number}: {', '.join(block['layers'][:4])}"
