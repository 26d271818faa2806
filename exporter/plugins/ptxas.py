"""What NVIDIA's assembler makes of every kernel of the pack for every chip: registers, spilled bytes, shared memory.

``make kernels-table`` writes benchmarks/kernels.md. The assembler comes with Triton (12.9, and 13 for Blackwell); none of
this needs a GPU. Spills are not an error, they are a row that has to say why.
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

from ...runtime.kernel_pack import KernelPack, read_pack
from .kernel_pack import PACKED

CHIPS = ("sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_110", "sm_120")
FIRST_BLACKWELL = 100  # what the older assembler does not know
TABLE = Path(__file__).parents[2] / "benchmarks" / "kernels.md"


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


def main(arguments: list[str]) -> int:
    """Write the table."""
    pack = read_pack(PACKED)
    found = measure(pack)
    print(len(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
