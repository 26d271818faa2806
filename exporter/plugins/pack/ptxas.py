"""What NVIDIA's assembler makes of every kernel of the pack for every chip: registers, spilled bytes, shared memory.

``make kernels`` writes benchmarks/kernels.md with it. The assembler comes with Triton (12.9, and 13 for Blackwell); none of
this needs a GPU. Spills are not an error, but the declaration has to say why (a note that starts with "spills").
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ....runtime.ground.files import replace_file
from ....runtime.plugins.pack import KernelPack, read_pack
from .pack import PACKED

CHIPS = ("sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_110", "sm_120")
FIRST_BLACKWELL = 100  # what the older assembler does not know
TABLE = Path(__file__).parents[3] / "benchmarks" / "kernels.md"


@dataclass(frozen=True)
class Resources:
    """Of one kernel on one chip."""

    registers: int
    spilled_bytes: int


def assembler(chip: str) -> str:
    """The ptxas that knows ``chip``."""
    import triton

    nvidia = triton.knobs.nvidia
    return str((nvidia.ptxas_blackwell if int(chip.removeprefix("sm_")) >= FIRST_BLACKWELL else nvidia.ptxas).path)


def assemble(ptx: str, chip: str) -> Resources:
    """Assemble one kernel; ValueError with the assembler's words when it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = [assembler(chip), "-v", f"-arch={chip}", str(source), "-o", str(source.with_suffix(".cubin"))]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    told = done.stdout + done.stderr
    registers = re.search(r"Used (\d+) registers", told)
    if done.returncode or registers is None:
        raise ValueError(f"ptxas for {chip}: {told.strip()[:400]}")
    spilled = sum(map(int, re.findall(r"(\d+) bytes spill stores", told)))
    return Resources(int(registers[1]), spilled)


def measure(pack: KernelPack, chips: Iterable[str] = CHIPS) -> dict[tuple[str, str], Resources]:
    """{(entry, chip): resources} of every kernel of the pack."""
    jobs = [(launch.entry, chip) for op in pack.ops.values() for launch in op.launches for chip in chips]
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(jobs, threads.map(lambda job: assemble(pack.ptx[job[0]], job[1]), jobs), strict=True))


def table(pack: KernelPack, found: dict[tuple[str, str], Resources]) -> str:
    """benchmarks/kernels.md: a row a kernel, registers / spilled bytes for every chip."""
    chips = list(dict.fromkeys(chip for _, chip in found))
    lines = [
        "# Kernels of the fused ops, as NVIDIA's assembler sees them",
        "",
        f"Written by `make kernels`: {len(pack.ptx)} kernels of kernels.zip, PTX for {pack.about['target']} (ISA "
        + f"{pack.about['ptx']}), compiled by Triton {pack.about['triton']} and assembled for each chip.",
        "Cells are registers a thread / spilled bytes a thread. No GPU was used: these are no timings.",
        "",
        "| op | type | when | threads | shared, bytes | PTX, kB | " + " | ".join(chips) + " |",
        "|---" * (6 + len(chips)) + "|",
    ]
    for name, op in pack.ops.items():
        for launch in op.launches:
            cells = [found[launch.entry, chip] for chip in chips]
            row = [name, launch.type, "always" if launch.when == "1" else launch.when, str(launch.threads)]
            row += [str(launch.shared_bytes), f"{len(pack.ptx[launch.entry]) / 1e3:.0f}"]
            row += [f"{cell.registers} / {cell.spilled_bytes}" for cell in cells]
            lines.append("| " + " | ".join(row) + " |")
    lines += ["", *(f"- {name}: {note}" for name, note in spill_notes(pack, found))]
    return "\n".join(lines).rstrip() + "\n"


def spill_notes(pack: KernelPack, found: dict[tuple[str, str], Resources]) -> list[tuple[str, str]]:
    """(op, why) for every op with a kernel that spills somewhere; ValueError when its declaration does not say why."""
    from .. import OPS

    notes = []
    for name, op in pack.ops.items():
        entries = {launch.entry for launch in op.launches}
        if any(cell.spilled_bytes and entry in entries for (entry, _), cell in found.items()):
            why = [note for note in OPS[name].notes if note.startswith("spills")]
            if not why:
                raise ValueError(f"{name} spills registers, and no note of its declaration says why")
            notes.append((name, why[0]))
    return notes


def main() -> int:
    """Write the table of the pack."""
    pack = read_pack(PACKED)
    replace_file(TABLE, table(pack, measure(pack)).encode())
    print(f"{TABLE.name}: {sum(len(op.launches) for op in pack.ops.values())} kernels, {len(CHIPS)} chips")
    return 0


if __name__ == "__main__":
    sys.exit(main())
