"""Every kernel of every op -> kernels.zip, the same bytes from the same sources and versions; ``make kernels``.

Started as ``python -m edgesmith.exporter.plugins.pack.pack [--check]``: compiling imports Triton as a compiler, which a
process that interprets kernels cannot do.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....runtime.ground.files import replace_file
from ....runtime.plugins.expressions import parse
from ....runtime.plugins.pack import FORMAT, LINES, PACK, TABLE
from ....runtime.plugins.schema import Launch
from ..declaration import FusedOp
from .compile import CAPABILITY, PTX_VERSION

if TYPE_CHECKING:
    from .compile import Compiled

PLUGINS = Path(__file__).parents[1]
PACKED = PLUGINS / PACK
OPS = (
    "declaration.py",
    "softmax.py",
    "kv/*.py",
    "vision/*.py",
    "kernels/*.py",
    "kernels/kv/*.py",
    "pack/compile.py",
    "pack/pack.py",
)
SHARED = ("expressions.py", "schema.py", "pack.py")  # of the runtime
EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip's own clock start: the bytes do not depend on when it was made


def source_hash() -> str:
    """The hash of what the pack is made from: declarations, kernels, the compiler's driver and the expressions."""
    root = PLUGINS.parents[1]
    files = [path for pattern in OPS for path in PLUGINS.glob(pattern)]
    files += [root / "runtime" / "plugins" / name for name in SHARED]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def pack(ops: Iterable[FusedOp], compiled: Iterable[Compiled]) -> bytes:
    """The zip: table, lines and PTX."""
    by_op: dict[str, list[Compiled]] = {}
    for kernel in compiled:
        by_op.setdefault(kernel.op, []).append(kernel)
    kept = [op for op in ops if op.name in by_op]
    launches = {op.name: [kernel.launch for kernel in by_op[op.name]] for op in kept}
    lines = "\n".join(line for op in kept for line in lines_of(op, launches[op.name])) + "\n"
    table: dict[str, Any] = {
        "format": FORMAT,
        "target": f"sm_{CAPABILITY}",
        "ptx": f"{PTX_VERSION // 10}.{PTX_VERSION % 10}",
        "source_sha256": source_hash(),
        "triton": importlib.metadata.version("triton"),
        "lines_sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "ops": {
            op.name: {"schema": op.schema.to_json(), "launches": [asdict(launch) for launch in launches[op.name]]}
            for op in kept
        },
    }
    files = {TABLE: json.dumps(table, indent=1) + "\n", LINES: lines}
    files |= {kernel.launch.file: kernel.ptx for kernels in by_op.values() for kernel in kernels}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr, info.create_system = 0o644 << 16, 3
            archive.writestr(info, files[name], zipfile.ZIP_DEFLATED, 9)
    return buffer.getvalue()


def lines_of(op: FusedOp, launches: Iterable[Launch]) -> Iterable[str]:
    """One op for the C++ plugin: a word says what a line is, expressions are postfix with commas between tokens."""
    schema = op.schema
    yield f"op {schema.name}"
    for tensor in schema.inputs:
        yield f"input {tensor.name} {tensor.type} {' '.join(map(postfix, tensor.shape))}"
    for tensor in schema.outputs:
        yield f"output {tensor.name} {tensor.type} {' '.join(map(postfix, tensor.shape))}"
    for attribute in schema.attributes:
        yield f"attribute {attribute.name} {attribute.kind} {'-' if attribute.default is None else repr(attribute.default)}"
    for launch in launches:
        yield f"kernel {launch.entry} {launch.file} {launch.type} {launch.threads} {launch.shared_bytes}"
        yield f"when {postfix(launch.when)}"
        yield f"grid {' '.join(map(postfix, launch.grid))}"
        yield " ".join(["scalars", *map(postfix, launch.scalars)])
    yield "end"


def postfix(text: str) -> str:
    return ",".join(map(str, parse(text).postfix))


def about(path: Path = PACKED) -> Mapping[str, Any]:
    """The table of a pack, unchecked."""
    with zipfile.ZipFile(path) as archive:
        found: Mapping[str, Any] = json.loads(archive.read(TABLE))
        return found


def build() -> bytes:
    """Compile everything."""
    from .. import OPS
    from .compile import compile_op

    compiled: list[Compiled] = []
    for op in OPS.values():
        compiled += compile_op(op)
        print(f"{op.name:<28}{sum(kernel.op == op.name for kernel in compiled):>3} kernels", flush=True)
    return pack(OPS.values(), compiled)


def main(arguments: list[str]) -> int:
    """Write the pack, or with ``--check`` compare it with the one that is there: 1 when they differ, 2 for other words."""
    if arguments not in ([], ["--check"]):
        print(
            f"kernel_pack: unknown {' '.join(arguments)}; --check compares, no argument writes the pack",
            file=sys.stderr,
        )
        return 2
    made = build()
    if arguments:
        same = PACKED.is_file() and PACKED.read_bytes() == made
        print(f"{PACK}: {'the same, byte for byte' if same else 'differs from what the sources give'}")
        return int(not same)
    replace_file(PACKED, made)
    print(f"{PACK}: {len(made) / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
