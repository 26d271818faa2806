"""What a board is set to, read from trees of files as Jetsons have them; and a benchmark on it, without torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from floor import workstation

from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle
from edgesmith.runtime.bundle.golden import golden_bytes
from edgesmith.runtime.commands.cli import main
from edgesmith.runtime.commands.device.bench import KIND, bench, graphs_of, show
from edgesmith.runtime.commands.device.board import board, parse_tegrastats, power_mw, whole_mw
from edgesmith.runtime.errors import UserMistake

ORIN_NANO = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n# more\n",
    "var/lib/nvpmodel/status": "pmode:0002",
    "sys/class/devfreq/17000000.gpu/cur_freq": "624750000\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1510400\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1728000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "50500\n",
    "sys/class/thermal/thermal_zone1/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "-256000\n",  # off
    "sys/class/thermal/cooling_device0/type": "gpu-throttle-alert\n",
    "sys/class/thermal/cooling_device0/cur_state": "1\n",
    "sys/class/thermal/cooling_device1/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device1/cur_state": "3\n",
    "sys/class/hwmon/hwmon1/oc1_event_cnt": "0\n",
    "sys/class/hwmon/hwmon1/oc3_event_cnt": "4\n",
    "sys/class/hwmon/hwmon2/in1_label": "VDD_IN\n",
    "sys/class/hwmon/hwmon2/in1_input": "5000\n",
    "sys/class/hwmon/hwmon2/curr1_input": "1200\n",
    "sys/class/hwmon/hwmon2/in2_label": "VDD_CPU_GPU_CV\n",
    "sys/class/hwmon/hwmon2/in2_input": "5000\n",
    "sys/class/hwmon/hwmon2/curr2_input": "400\n",
    "sys/class/hwmon/hwmon2/in7_label": "sum of shunt voltages\n",
    "sys/class/hwmon/hwmon2/in7_input": "9\n",
    "sys/class/hwmon/hwmon3/power1_label": "VIN\n",
    "sys/class/hwmon/hwmon3/power1_input": "7000000\n",
}


def tree(root: Path, files: dict[str, str] = ORIN_NANO) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_an_orin_nano_is_told_whole(tmp_path):
    assert board(tree(tmp_path)) == {
        "model": "NVIDIA Jetson Orin Nano Developer Kit",
        "release": "R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64",
        "power_mode": "number 2",
        "clocks": {
            "gpu_mhz": 624.75, "gpu_most_mhz": 1020.0, "fixed": False, "cpu_mhz": 1510.4, "cpu_most_mhz": 1728.0, "cpu_governor": "schedutil",
        },
        "temperatures_c": {"cpu-thermal": 50.5},
        "throttled": {"oc3 events": 4, "gpu-throttle-alert": 1},
        "power_mw": {"VDD_IN": 6000.0, "VDD_CPU_GPU_CV": 2000.0, "VIN": 7000.0},
    }  # fmt: skip
    assert whole_mw({"VDD_IN": 6000.0, "VIN": 7000.0}) == 6000.0 and whole_mw({"VDD_GPU_SOC": 1.0}) is None


def test_fixed_clocks_are_known_by_their_limits(tmp_path):
    fixed = {**ORIN_NANO, "sys/class/devfreq/17000000.gpu/min_freq": "1020000000"}
    assert board(tree(tmp_path, fixed))["clocks"]["fixed"] is True


@pytest.mark.parametrize("damage", ["", "no number\n", "\xff\xfe"])
def test_what_a_board_does_not_tell_is_left_out(tmp_path, damage):
    assert board(tmp_path / "empty") == {} and power_mw(tmp_path / "empty") == {}
    found = board(tree(tmp_path / "odd", dict.fromkeys(ORIN_NANO, damage)))
    assert set(found) <= {"model", "release", "clocks", "throttled", "temperatures_c"}
    assert "temperatures_c" not in found and "power_mw" not in found


LINES = {
    "01-02-2025 10:00:00 RAM 3200/7620MB (lfb 5x4MB) SWAP 0/3810MB (cached 0MB) CPU [10%@1510,off,3%@1510] EMC_FREQ 2%@2133 GR3D_FREQ 45%@[624] "
    "VIC_FREQ 0% cpu@50.5C soc2@49C cv0@-256C tj@51.2C VDD_IN 5040mW/5000mW VDD_CPU_GPU_CV 480mW/470mW": {
        "load_percent": {"EMC": 2, "GR3D": 45, "VIC": 0}, "mhz": {"EMC": 2133, "GR3D": 624},
        "temperatures_c": {"cpu": 50.5, "soc2": 49.0, "tj": 51.2}, "power_mw": {"VDD_IN": 5040, "VDD_CPU_GPU_CV": 480},
    },
    "RAM 1/2MB GR3D_FREQ 99%@[1300,1300] GPU@60C VDD_GPU_SOC 4000mW/3900mW": {
        "load_percent": {"GR3D": 99}, "mhz": {"GR3D": 1300}, "temperatures_c": {"GPU": 60.0}, "power_mw": {"VDD_GPU_SOC": 4000},
    },
    "": {}, "bash: tegrastats: command not found": {},
}  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=["orin nano", "agx orin", "nothing", "no such tool"])
def test_a_line_of_tegrastats(line):
    assert parse_tegrastats(line) == LINES[line]


def test_a_benchmark_has_the_rows_the_board_and_the_energy(tiny, tmp_path):
    result = bench(str(tiny.path), rounds=5, energy_s=0.05, root=tree(tmp_path / "root"))
    assert (result["kind"], result["schema"], result["bundle"], result["backend"]) == (KIND, 1, "tiny", "onnxruntime")
    assert result["graphs"] == {"main": tiny.manifest["files"]["model.onnx"]["sha256"]}
    (row,) = result["rows"]
    assert row["name"] == "Edgesmith, onnxruntime, fp32" and row["rounds"] == 5
    assert result["board"]["after"]["power_mode"] == "number 2"
    energy = result["energy"]
    assert energy["mj_per_item"] == pytest.approx(6000.0 * energy["seconds"] / energy["items"])
    assert energy["busy_mw"] == energy["idle_mw"] == {"VDD_IN": 6000.0, "VDD_CPU_GPU_CV": 2000.0, "VIN": 7000.0}
    assert "mJ an item" in show(result) and "throttled" in show(result)
    json.dumps(result)


def test_without_rails_there_is_no_energy(tiny, tmp_path):
    result = bench(str(tiny.path), rounds=2, root=tmp_path)
    assert "energy" not in result and result["board"] == {"before": {}, "after": {}}


def test_every_way_of_a_gpu_has_its_row_and_one_that_cannot_be_had_is_told(make_tiny, machine, tmp_path):
    bundle = make_tiny(target="jetpack6")
    result = bench(str(bundle.path), rounds=2, root=tmp_path)
    names = [row["name"].removeprefix("Edgesmith, tensorrt, fp32") for row in result["rows"]]
    assert names == ["", ", mapped memory", ", copied memory", ", launches not captured"]
    assert len(machine.built) == 1 and result["built"] == 1 and machine.cuda.nothing_is_left()
    machine.made, machine.contexts = 0, 2
    fewer = bench(str(bundle.path), rounds=2, root=tmp_path)
    assert len(fewer["rows"]) == 2 and len(fewer["skipped"]) == 2
    assert "could not start tiny" in next(iter(fewer["skipped"].values()))


def test_fast_and_wrong_is_not_measured(tiny, tmp_path):
    golden = golden_bytes({"images": np.ones((1, 3, 8, 8), np.float32)}, {"logits": np.full((1, 4), 9, np.float32)})
    update_bundle(tiny, {"golden.npz": golden})
    with pytest.raises(UserMistake, match="does not hold its self-test, and is not measured"):
        bench(str(tiny.path), rounds=2, root=tmp_path)


@pytest.mark.parametrize("rounds", [0, 1, 10**6])
def test_rounds_that_are_none_are_refused(tiny, rounds):
    with pytest.raises(UserMistake, match="rounds"):
        bench(str(tiny.path), rounds=rounds)


def test_the_command_prints_the_document(tiny, capsys):
    with pytest.raises(SystemExit) as left:
        main(["bench", str(tiny.path), "--rounds", "2", "--json"])
    assert left.value.code == 0 and json.loads(capsys.readouterr().out)["kind"] == KIND
    with pytest.raises(SystemExit) as left:
        main(["bench", str(tiny.path), "--against", "eager"])
    assert left.value.code == 2 and "bench --against is an option of the workstation" in capsys.readouterr().err


@workstation
def test_the_workstation_takes_the_document_into_bundle_and_report(tiny, tmp_path):
    from edgesmith.exporter.commands.measure.device import add_device

    document = bench(str(tiny.path), rounds=2, energy_s=0.02, root=tree(tmp_path / "root"))
    file = tmp_path / "device.json"
    file.write_text(json.dumps(document))
    add_device(str(tiny.path), str(file))
    add_device(str(tiny.path), str(file))
    found = open_bundle(tiny.path)
    assert len(found.manifest["device_benchmarks"]) == 1, "the newer takes the place of the older"
    page = (tiny.path / "report.html").read_text()
    assert "On devices" in page and "NVIDIA Jetson Orin Nano Developer Kit, number 2, onnxruntime" in page
    assert graphs_of(found) == document["graphs"]


@workstation
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"graphs": {"main": "0" * 64}}, "of another bundle"),
        ({"kind": "something"}, "no benchmark of a device"),
        ({"schema": 2}, "no benchmark of a device"),
        ({"rows": [{"name": "x", "median_ms": "fast", "p90_ms": 1.0}]}, r"rows\[0\].median_ms"),
        ({"rows": None}, "no benchmark of a device"),
    ],
)
def test_a_document_that_is_none_is_refused_and_the_bundle_stays(tiny, tmp_path, change, said):
    from edgesmith.exporter.commands.measure.device import add_device

    file = tmp_path / "device.json"
    document = bench(str(tiny.path), rounds=2, root=tmp_path / "none")
    before = (tiny.path / "manifest.json").read_bytes()
    file.write_text(json.dumps({**document, **change}))
    with pytest.raises(UserMistake, match=said):
        add_device(str(tiny.path), str(file))
    for content in ("[]", "no json", ""):
        file.write_text(content)
        with pytest.raises(UserMistake):
            add_device(str(tiny.path), str(file))
    assert (tiny.path / "manifest.json").read_bytes() == before
