"""What a board is set to and how it fares: power mode, clocks, temperatures, throttling, power rails; from sysfs and its own tools.

Figures of a Jetson mean little without these: one module is twice as fast in another power mode, and a warm one slows down. What a
board does not tell is left out. Paths of JetPack 5 to 7 as their
documentation has them; what of this ran where: docs/hardware.md.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

TOOL_S = 5.0  # nvpmodel and tegrastats answer at once, or not at all
GPU = re.compile(r"gpu|ga10b|gv11b|gp10b|gb10b")  # of a devfreq folder
WHOLE = ("VDD_IN", "SYS_VIN", "POM_5V_IN")  # the rail that feeds the module
RATE = re.compile(r"(\w+)_FREQ (\d+)%(?:@\[?(\d+)(?:,\d+)*\]?)?")
HEAT = re.compile(r"\b([A-Za-z]\w*)@(-?\d+(?:\.\d+)?)C\b")
POWER = re.compile(r"\b([A-Z]\w*) (\d+)(?:mW)?/(\d+)(?:mW)?(?= |$)")
NO_SENSOR_C = -250  # what a thermal zone says that is off


def board(root: Path = Path("/")) -> dict[str, Any]:
    """{"model", "release", "power_mode", "clocks", "temperatures_c", "throttled", "power_mw"} as far as they are known."""
    found: dict[str, Any] = {
        "model": _text(root / "proc/device-tree/model").strip("\0 "),
        "release": _text(root / "etc/nv_tegra_release").split("\n")[0].lstrip("# ")[:100],
        "power_mode": _power_mode(root),
        "clocks": _clocks(root),
        "temperatures_c": dict(_temperatures(root)),
        "throttled": dict(_throttled(root)),
        "power_mw": power_mw(root),
    }
    if root == Path("/"):
        found["tegrastats"] = parse_tegrastats(_first_line("tegrastats", "--interval", "100"))
    return {name: value for name, value in found.items() if value}


def power_mw(root: Path = Path("/")) -> dict[str, float]:
    """{rail: milliwatts now} of the board's monitors (INA3221, and INA238 on Thor); empty where there are none, or they may not be read."""
    rails: dict[str, float] = {}
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        for label in sorted(folder.glob("in*_label")):
            name, number = _text(label), label.name[2:].split("_")[0]
            millivolts, milliamperes = (_number(folder / f"{kind}{number}_input") for kind in ("in", "curr"))
            if name and name != "sum of shunt voltages" and millivolts is not None and milliamperes is not None:
                rails[name] = millivolts * milliamperes / 1e3
        for label in sorted(folder.glob("power*_label")):
            microwatts = _number(folder / label.name.replace("_label", "_input"))
            if (name := _text(label)) and microwatts is not None:
                rails[name] = microwatts / 1e3
    return rails


def whole_mw(rails: dict[str, float]) -> float | None:
    """What feeds the whole module; None where no rail is that."""
    return next((rails[name] for name in WHOLE if name in rails), None)


def parse_tegrastats(line: str) -> dict[str, Any]:
    """One line of tegrastats -> {"load_percent", "mhz", "temperatures_c", "power_mw"}; empty for anything else."""
    loads = {name: int(load) for name, load, _ in RATE.findall(line)}
    found = {
        "load_percent": loads,
        "mhz": {name: int(mhz) for name, _, mhz in RATE.findall(line) if mhz},
        "temperatures_c": {name: float(heat) for name, heat in HEAT.findall(line) if float(heat) > NO_SENSOR_C},
        "power_mw": {name: int(now) for name, now, _ in POWER.findall(line) if name not in ("RAM", "SWAP", "IRAM")},
    }
    return {name: value for name, value in found.items() if value}


def _power_mode(root: Path) -> str:
    if root == Path("/"):
        said = re.search(r"NV Power Mode: *(.+)", _output("nvpmodel", "-q"))
        if said:
            return said[1].strip()
    status = re.search(r"pmode:(\d+)", _text(root / "var/lib/nvpmodel/status"))
    return f"number {int(status[1])}" if status else ""


def _clocks(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        if GPU.search(folder.name):
            now, least, most = (_number(folder / f"{kind}_freq") for kind in ("cur", "min", "max"))
            if now is not None:
                found["gpu_mhz"] = now / 1e6
            if least is not None and most is not None:
                found |= {"gpu_most_mhz": most / 1e6, "fixed": least == most}  # as jetson_clocks leaves them
            break
    cpu = root / "sys/devices/system/cpu/cpu0/cpufreq"
    for name, file in (("cpu_mhz", "scaling_cur_freq"), ("cpu_most_mhz", "scaling_max_freq")):
        if (kilohertz := _number(cpu / file)) is not None:
            found[name] = kilohertz / 1e3
    if governor := _text(cpu / "scaling_governor"):
        found["cpu_governor"] = governor
    if (hertz := _number(root / "sys/kernel/debug/bpmp/debug/clk/emc/rate")) is not None:
        found["memory_mhz"] = hertz / 1e6
    return found


def _temperatures(root: Path) -> Iterator[tuple[str, float]]:
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        thousandths = _number(zone / "temp")
        if thousandths is not None and thousandths / 1e3 > NO_SENSOR_C:
            yield _text(zone / "type") or zone.name, thousandths / 1e3


def _throttled(root: Path) -> Iterator[tuple[str, int]]:
    """{what: state or count of events} of all that slows the board down now, or has."""
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        for file in sorted(folder.glob("oc*_event_cnt")):
            if count := _number(file):
                yield f"{file.name.removesuffix('_event_cnt')} events", int(count)
    for device in sorted((root / "sys/class/thermal").glob("cooling_device*")):
        kind, state = _text(device / "type"), _number(device / "cur_state")
        if state and not kind.endswith("fan"):
            yield kind or device.name, int(state)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    with suppress(ValueError):
        return float(_text(path))
    return None


def _output(*command: str) -> str:
    """What a tool of the board says; nothing where it is not there, or asks for more rights."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TOOL_S, stdin=subprocess.DEVNULL, check=False
        )
        return done.stdout
    return ""


def _first_line(*command: str) -> str:
    """The first line of a tool that goes on for ever."""
    try:
        tool = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True
        )
    except OSError:
        return ""
    try:
        out, _ = tool.communicate(timeout=0.5)
    except subprocess.TimeoutExpired:
        tool.kill()
        out, _ = tool.communicate()
    return (out or "").split("\n")[0]
