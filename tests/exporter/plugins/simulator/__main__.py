"""``python tests/exporter/plugins/simulator``: JSON on stdin, JSON in the last line of stdout; a process of its own.

{"pack": path, "nodes": [{"op", "type", "shapes", "attributes", "cases"}]}
{"registered": [ops], "nodes": [[a record for every tactic] or the words of a refusal], "wrong": {attempt: error}, ...}
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from drive import drive
from load import load
from wrong import refusals

from edgesmith.runtime.errors import EdgesmithError
from edgesmith.runtime.plugins.pack import KernelPack, OpKernels, read_pack
from edgesmith.runtime.plugins.register import register_plugins


def main() -> None:
    asked = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        trt, registry = load(Path(folder))
    pack = read_pack(Path(asked["pack"]))
    registered = register_plugins(trt, pack)
    answer = {
        "registered": registered,
        "again": register_plugins(trt, read_pack(Path(asked["pack"]))),
        "other_pack": _other_pack(trt, pack),
        "nodes": [],
    }
    for node in asked["nodes"]:
        schema = pack.ops[node["op"]].schema
        rest = (node["type"], node["shapes"], node["attributes"], node["cases"])
        try:
            answer["nodes"].append(list(drive(trt, registry, schema, *rest)))
        except EdgesmithError as error:
            answer["nodes"].append(str(error))
    import tensorrt.plugin as trtp

    answer["wrong"] = refusals(trt, trtp, registry)
    print(json.dumps(answer))


def _other_pack(trt: object, pack: KernelPack) -> str:
    name, kernels = next(iter(pack.ops.items()))
    other = KernelPack({name: OpKernels(kernels.schema, kernels.launches[:1])}, pack.ptx, pack.about)
    try:
        register_plugins(trt, other)
    except EdgesmithError as error:
        return str(error)
    return "accepted"


main()
