"""How much memory a build may take on this machine, and what to say where it was not enough.

A Jetson's GPU lives in the memory of its CPU: what it may have is MemAvailable, which counts what the kernel gives back when asked;
CUDA's own figure counts only what lies free, a fraction of that after a camera or a copy has filled the page cache.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .cuda import Device

SHARE = 0.5  # of what is free, for the builder's workspace: weights, the CPU's side and the camera need the rest
DESKTOPS = ("gnome-shell", "Xorg", "Xwayland", "gdm3", "lightdm", "plasmashell")  # as /proc tells them, 15 letters
SHORT = (  # how libraries say that memory was short, in small letters
    "out of memory",
    "outofmemory",
    "cudaerrormemoryallocation",
    "insufficient memory",
    "insufficient workspace",
    "std::bad_alloc",
    "cannot allocate memory",
    "nvmap",
    "could not find any implementation",  # of TensorRT: no tactic fits the workspace
)
PIECES = "nvmap"  # the allocator of a Jetson: it fails where memory is free, but in pieces


@dataclass(frozen=True)
class Memory:
    """Of the whole machine, as its kernel tells it; 0 and "" where it does not."""

    available_bytes: int = 0
    swap_bytes: int = 0  # zram not counted
    zram_bytes: int = 0  # swap that lies in memory itself
    desktop: str = ""  # the program that shows one


def read_memory(proc: Path = Path("/proc")) -> Memory:
    """What the kernel says now."""
    rows = {name: rest for name, _, rest in (line.partition(":") for line in _lines(proc / "meminfo"))}
    available = rows.get("MemAvailable", "").split()
    swaps = [line.split() for line in _lines(proc / "swaps")[1:]]
    sizes = [("zram" in row[0], int(row[2]) * 1024) for row in swaps if len(row) > 2 and row[2].isdigit()]
    return Memory(
        int(available[0]) * 1024 if available and available[0].isdigit() else 0,
        sum(size for compressed, size in sizes if not compressed),
        sum(size for compressed, size in sizes if compressed),
        _desktop(proc),
    )


def free_for(device: Device, memory: Memory) -> int:
    """Bytes that a build for this GPU could have at most."""
    return memory.available_bytes if device.integrated and memory.available_bytes else device.free_bytes


def is_short(said: str) -> bool:
    """Whether these words of a library mean that memory was short."""
    return any(word in said.lower() for word in SHORT)


def because_of(said: str) -> str:
    """Why there was too little."""
    if PIECES in said.lower():
        return "the GPU's memory on a Jetson has to lie in large pieces, and after some hours what is free lies in small ones"
    return "the builder tries kernels that need more memory than is free"


def advice(memory: Memory, said: str = "") -> str:
    """What to do, one line each, for this machine."""
    lines = []
    if PIECES in said.lower():
        lines.append("start the device anew and build first, before anything else uses the GPU")
    if memory.desktop:
        lines.append(f"stop the desktop ({memory.desktop}) while it builds: sudo systemctl isolate multi-user.target")
    if memory.zram_bytes and not memory.swap_bytes:
        megabytes = memory.zram_bytes / 1e6
        lines.append(f"the {megabytes:.0f} MB of swap are zram, which lies in memory itself: add a swap file on disk")
    elif not memory.swap_bytes:
        lines.append("there is no swap: fallocate -l 8G /swap; chmod 600 /swap; mkswap /swap; swapon /swap")
    lines.append("close other programs, or export a smaller batch or picture")
    return "\n".join(lines)


def _desktop(proc: Path) -> str:
    with suppress(OSError):
        for entry in proc.iterdir():
            if entry.name.isdigit():
                name = "".join(_lines(entry / "comm"))
                if name in DESKTOPS:
                    return name
    return ""


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
