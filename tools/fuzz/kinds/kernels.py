"""kernels.zip of a bundle: its table, its lines and its zip; the plugins are put into a stand-in for TensorRT and called."""

from __future__ import annotations

import hashlib
import io
import json
import random as random_
import sys
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from bundles import copied, put
from json_damage import damaged, damaged_text

NAME = "kernels"
FILE, TABLE, LINES = "kernels.zip", "kernels.json", "plugins.txt"
OURS = Path(__file__).parents[3] / "exporter" / "plugins" / FILE
KEPT = 3  # ops of our own pack, so that a mutant is small
SIZES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "int32": "i32"}
TEXTS = (
    "B * N", "cdiv(N, 0)", "N // 0", "1", "", "B +", "__import__('os')", "missing", "cdiv(N)", "-1", "0", "9" * 30, "B == N and N",
    "(" * 300 + "1" + ")" * 300, "1" + "+1" * 3000, "N\x00", "lambda: 1", "[1]", "N.real", "True", "1.5", "B ** 9", "cdiv",
    "-" * 4000 + "1", "class", "B\nN", "../x.ptx", "x.ptx", "B if N else 1",
)  # fmt: skip


def prepare(folder: Path) -> None:
    import cv2
    import numpy as np
    from small_bundle import write_small_bundle

    with zipfile.ZipFile(OURS) as archive:
        table, lines = json.loads(archive.read(TABLE)), archive.read(LINES).decode()
        names = sorted(table["ops"], key=lambda name: len(table["ops"][name]["launches"]))[:KEPT]
        table["ops"] = {name: table["ops"][name] for name in names}
        files = {launch["file"] for op in table["ops"].values() for launch in op["launches"]}
        members = {name: archive.read(name) for name in files}
    plugins = {"route": "aot", "ops": names}
    place = write_small_bundle(folder / "plugins.edge", target="tensorrt", plugins=plugins)
    cv2.imwrite(str(folder / "picture.png"), np.zeros((8, 8, 3), np.uint8))
    (place / FILE).write_bytes(b"")
    put(place, FILE, _packed(table, lines.encode(), members))


def mutant(random: random_.Random, folder: Path, target: Path) -> Path:
    bundle = copied(folder / "plugins.edge", target, FILE)
    content = (folder / "plugins.edge" / FILE).read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    table, lines = json.loads(members.pop(TABLE)), members.pop(LINES)
    kind = random.randrange(6)
    if kind == 0:
        at = random.randrange(len(content))
        put(bundle, FILE, random.choice((content[:at], content[:at] + b"x" + content[at + 1 :], b"", content[at:])))
        return bundle
    if kind == 1:
        lines = damaged_text(random, lines)
    elif kind == 2:
        for name in random.sample(sorted(members), 1):
            members[name] = damaged_text(random, members[name])
            for op in table["ops"].values():
                for launch in op["launches"]:
                    if launch["file"] == name:
                        launch["sha256"] = hashlib.sha256(members[name]).hexdigest()
    elif kind == 3:
        _expression(random, table)
    else:
        table = damaged(random, table, random.randrange(1, 4))
    put(bundle, FILE, _packed(table, lines, members))
    return bundle


def _expression(random: random_.Random, table: dict[str, Any]) -> None:
    """Another text where an expression, a name or a type stands."""
    op = random.choice(list(table["ops"].values()))
    launch = random.choice(op["launches"])
    schema = op["schema"]
    text = random.choice(TEXTS)
    place = random.randrange(7)
    if place == 0:
        launch["grid"][random.randrange(3)] = text
    elif place == 1:
        launch["when"] = text
    elif place == 2 and launch["scalars"]:
        launch["scalars"][random.randrange(len(launch["scalars"]))] = text
    elif place == 3:
        tensor = random.choice(schema["outputs"])
        tensor["shape"][random.randrange(len(tensor["shape"]))] = text
    elif place == 4:
        tensor = random.choice(schema["inputs"])
        tensor["shape"][random.randrange(len(tensor["shape"]))] = text
    elif place == 5:
        random.choice((*schema["inputs"], *schema["outputs"]))[random.choice(("name", "type"))] = text
    else:
        launch[random.choice(("type", "entry", "threads", "shared_bytes"))] = random.choice((text, 0, -1, 2**40, 0.5))


def _packed(table: Any, lines: bytes, members: dict[str, bytes]) -> bytes:
    if isinstance(table, dict):
        table["lines_sha256"] = hashlib.sha256(lines).hexdigest()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(TABLE, json.dumps(table))
        archive.writestr(LINES, lines)
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def use(path: Path) -> None:
    from tensorrt_plugin import stand_in

    from edgesmith.runtime.bundle.bundle import open_bundle
    from edgesmith.runtime.plugins.pack import read_pack
    from edgesmith.runtime.plugins.routes import add_plugins, plugins_of

    bundle = open_bundle(path)
    trt = stand_in()
    with patch.dict(sys.modules, {"tensorrt": trt, "tensorrt.plugin": trt.plugin}), ExitStack() as stack:
        asked = plugins_of(bundle, "tensorrt")
        add_plugins(trt, asked, stack)
        pack = read_pack(path / FILE)
        pack.unpack(path.parent / "unpacked")  # as the C++ plugin has it
        for name in asked["ops"] if asked else ():
            _called(trt, getattr(trt.plugin.op.edgesmith, name), pack.ops[name].schema)


def _called(trt: Any, plugin: Any, schema: Any) -> None:
    """The three functions, as TensorRT calls them while it builds; an op may refuse the sizes that we make up."""
    from tensorrt_plugin import ShapeExpr, TensorDesc

    from edgesmith.runtime.errors import EdgesmithError

    sizes = {symbol: 16 for tensor in schema.inputs for symbol in tensor.shape if symbol.isidentifier()}
    attributes = [
        (1 if one.kind == "int" else 0.5) if one.default is None else one.default for one in schema.attributes
    ]
    descs = []
    for tensor in schema.inputs:
        shape = [sizes.get(symbol, 16) for symbol in tensor.shape]
        descs.append(TensorDesc([ShapeExpr(size) for size in shape], SIZES.get(tensor.type_for("float16")), shape))
    for call in (
        lambda: plugin.register_func(*descs, *attributes),
        lambda: plugin.tune(*descs, *attributes, ()),
        lambda: plugin.start(*descs, *attributes, (), 0),
    ):
        try:
            call()
        except EdgesmithError:
            pass
