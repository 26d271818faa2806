"""The flow of a sweep: rows on disk, going on, limits, what cannot be, the table and the page. Cells are made up, or export."""

import json
from pathlib import Path
from typing import ClassVar

import pytest
from command_line import edgesmith
from one_screen import Case, assert_told

from edgesmith.exporter.commands.measure.sweep import cell as cell_module
from edgesmith.exporter.commands.measure.sweep import flow
from edgesmith.exporter.commands.measure.sweep.flow import Asked, exit_code, sweep
from edgesmith.runtime.errors import UserMistake

GOOD = {
    "exit_code": 0, "checks": 3, "held": 3, "max_abs": 1.5e-06, "nodes_before": 251, "nodes_after": 199,
    "passes": {"FoldBatchNorm": 13, "RescaleTrunk": 2}, "left_out": [], "size_bytes": 15_500_000, "kernels": None,
    "fused_attention": None,
}  # fmt: skip
RATIO = {"cpu_ratio": 0.8, "cpu_ratio_low": 0.75, "cpu_ratio_high": 0.9, "against": "plain", "median_ms": 1.0}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ran(monkeypatch):
    """Names of the cells that ran; they take no time, and give what ``told`` says of their target, or a good row."""

    class Ran(list):
        told: ClassVar[dict] = {}

    found = Ran()

    def run(cell, place):
        found.append(f"{cell.line.model} {cell.target} {cell.precision}")
        row = {**cell.to_json(), "name": cell.name, **GOOD, "timing": {"seconds": 2.0, "peak_mb": 700, **RATIO}}
        return row | found.told.get(cell.target, {})

    monkeypatch.setattr(flow, "run_cell", run)
    return found


def table(folder="sweep"):
    return json.loads(Path(folder, "sweep.json").read_text())


def test_every_cell_runs_once_and_its_row_stays(ran):
    told = sweep(Asked(["van_b0", "van_b0 --seed 1"], "cpu,openvino", "fp32"))
    assert ran == ["van_b0 cpu fp32", "van_b0 openvino fp32"] * 2
    assert told == table() and [row["settings"] for row in told["rows"]] == ["", "", "--seed 1", "--seed 1"]
    assert sweep(Asked(["van_b0", "van_b0 --seed 1"], "openvino,cpu", "fp32"))["cells"] == 4
    assert len(ran) == 4
    assert [row["target"] for row in table()["rows"]] == ["openvino", "cpu"] * 2


def test_again_runs_them_again(ran):
    sweep(Asked(["van_b0"]))
    sweep(Asked(["van_b0"], again=True))
    assert len(ran) == 2


def test_a_sweep_that_was_stopped_goes_on(ran, monkeypatch):
    good = flow.run_cell

    def stopped(cell, place):
        if cell.target == "openvino":
            raise KeyboardInterrupt
        return good(cell, place)

    monkeypatch.setattr(flow, "run_cell", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep(Asked(["van_b0"], "cpu,openvino", "fp32"))
    assert [row["target"] for row in table()["rows"]] == ["cpu"] and table()["cells"] == 2
    monkeypatch.setattr(flow, "run_cell", good)
    sweep(Asked(["van_b0"], "cpu,openvino", "fp32"))
    assert ran == ["van_b0 cpu fp32", "van_b0 openvino fp32"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"model": "van_b0"}'], ids=str)
def test_a_row_that_cannot_be_read_is_made_again(ran, damage):
    sweep(Asked(["van_b0"]))
    (row,) = Path("sweep/rows").iterdir()
    row.write_bytes(damage)
    sweep(Asked(["van_b0"]))
    assert len(ran) == 2 and table()["rows"][0]["held"] == 3


@pytest.mark.parametrize(
    ("row", "more", "runs"),
    [
        ({"exit_code": 124, "why": "slow", "limit": "time"}, {"limit_s": 3600}, True),
        ({"exit_code": 124, "why": "slow", "limit": "time"}, {"limit_mb": 9000}, False),
        ({"exit_code": 137, "why": "large", "limit": "memory"}, {"limit_mb": 9000}, True),
        ({"exit_code": 2, "why": "it cannot be"}, {"limit_s": 3600, "limit_mb": 9000}, False),
        ({}, {"rounds": 0}, False),
        ({}, {"rounds": 20}, False),
    ],
)
def test_a_cell_that_a_limit_ended_runs_again_where_it_is_higher(ran, row, more, runs):
    ran.told = {"cpu": row}
    sweep(Asked(["van_b0"]))
    sweep(Asked(["van_b0"], **more))
    assert len(ran) == 1 + runs


def test_times_that_were_not_asked_for_are_measured_later(ran):
    sweep(Asked(["van_b0"], rounds=0))
    sweep(Asked(["van_b0"]))
    sweep(Asked(["van_b0"]))
    assert len(ran) == 2


@pytest.mark.parametrize(
    ("codes", "code"), [((0, 0), 0), ((0, 2), 0), ((2, 2), 0), ((0, 1), 1), ((70, 2), 1), ((124, 0), 1), ((137, 0), 1)]
)
def test_the_exit_code_tells_what_failed_from_what_cannot_be(codes, code):
    assert exit_code({"rows": [{"exit_code": one} for one in codes]}) == code


def test_a_mistake_in_a_line_ends_it_before_anything_runs(ran):
    Path("models.txt").write_text("van_b0\nvan_b0 --image-size 64\nvan_bO\n")
    with pytest.raises(UserMistake, match="^models.txt, line 3: ") as caught:
        sweep(Asked(["models.txt"], "cpu,rtx"))
    assert "van_b6" in caught.value.attempt and ran == []


def test_what_one_target_cannot_do_is_a_row_and_what_none_can_is_a_mistake(ran):
    sweep(Asked(["van_b0"], "cpu", "bf16"))  # right by itself, so the cell says why it is none
    sweep(Asked(["van_b0 --gpu-arch sm89"], "cpu,rtx", "fp16", out="arch"))  # right for rtx alone
    assert len(ran) == 3
    with pytest.raises(UserMistake, match="image size"):
        sweep(Asked(["van_b0 --image-size large"], "cpu,rtx", out="size"))


class Heard(flow.Progress):
    def __init__(self) -> None:
        self.told: list = []

    def begin(self, cells, kept):
        self.told.append((cells, kept))

    def cell(self, row, done, cells, left_s):
        self.told.append((row["target"], done, cells, left_s > 0))


def test_the_listener_hears_of_each_and_of_what_is_left(ran):
    sweep(Asked(["van_b0"], "cpu", "fp32"), heard := Heard())
    sweep(Asked(["van_b0"], "cpu,openvino,rtx", "fp32"), heard)
    assert heard.told == [(1, 0), ("cpu", 1, 1, False), (3, 1), ("openvino", 2, 3, True), ("rtx", 3, 3, False)]


def test_the_command_prints_lines_a_table_and_where_the_page_is(ran):
    cannot = {"exit_code": 2, "why": "jetpack5 does not compute bf16"}
    ran.told = {"rtx": {"kernels": 116, "fused_attention": 4, "left_out": ["FuseIt"]}, "jetpack5": cannot}
    shown = edgesmith("sweep", "van_b0", "--target", "cpu,rtx,jetpack5", "precision=fp16", "--out", "s")
    assert shown.code == 0 and shown.err == ""
    assert "1/3  van_b0  cpu  fp16  parity holds, 1.5e-06, 251 > 199 nodes, 15.5 MB, CPU ratio 0.80  2 s" in shown.out
    lines = shown.out.splitlines()
    head = next(at for at, line in enumerate(lines) if line.startswith("model "))
    assert lines[head].split()[:6] == ["model", "target", "precision", "parity", "nodes", "passes"]
    assert " ".join(lines[head + 1].split()) == "van_b0 cpu fp16 holds, 1.5e-06 251 > 199 2 15.5 MB 0.80 2"
    assert "116          4" in lines[head + 2] and lines[head + 2].endswith("left out: FuseIt")
    assert lines[head + 3].endswith("jetpack5 does not compute bf16 (exit code 2)")
    assert "s/sweep.html" in shown.out and "s/sweep.json" in shown.out
    again = edgesmith("sweep", "van_b0", "--target", "cpu,rtx,jetpack5", "--precision", "fp16", "--out", "s", "--json")
    assert json.loads(again.out) == table("s") and "3 of 3 rows are there from before" in again.err


def test_the_page_has_plots_and_nothing_of_a_name_is_markup(ran, monkeypatch):
    monkeypatch.setattr(flow, "check_lines", lambda *_: None)
    ran.told = {"openvino": {"exit_code": 70, "why": "a bug of ours: <b>"}}
    sweep(Asked(["van_b0", "van_b0 --weights '<script>'"], "cpu,openvino", "fp32"))
    page = Path("sweep/sweep.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page and "bug of ours: &lt;b&gt;" in page
    assert page.count("<svg") == 2 and "0.80 (0.75 to 0.90)" in page and "2 of 4" in page


BAD = [
    Case("no model", "sweep", ("MODELS",)),
    Case("a list that is not there", "sweep modells.txt", ("nothing at that path",)),
    Case("an unknown model", "sweep van_bO", ("van_bO", "van_b6")),
    Case("a bad line", "sweep bad.txt", ("bad.txt, line 2: ", "--image-sze", "--image-size")),
    Case("an unknown target", "sweep van_b0 --target jetpak6", ("jetpak6", "jetpack6")),
    Case("an unknown precision", "sweep van_b0 --precision fp23", ("fp23",)),
    Case("no seconds", "sweep van_b0 --limit-s 0", ("--limit-s 0", "1 or more")),
    Case("no memory", "sweep van_b0 --limit-mb -5", ("--limit-mb",)),
    Case("one round", "sweep van_b0 --rounds 1", ("--rounds 1",)),
    Case("no thread", "sweep van_b0 --threads 0", ("--threads 0",)),
    Case("a folder of something else", "sweep van_b0 --out other", ("it holds notes.md",)),
    Case("a file in its place", "sweep van_b0 --out bad.txt", ("a file",)),
    Case("an unknown flag", "sweep van_b0 --limit 3", ("--limit", "--limit-s")),
]


@pytest.mark.parametrize("case", BAD, ids=[case.name for case in BAD])
def test_bad_input_is_told_on_one_screen(case, tmp_path, ran):
    (tmp_path / "bad.txt").write_text("van_b0\nvan_b0 --image-sze 3\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.md").write_text("mine")
    assert_told(case, tmp_path)
    assert ran == []


# cells in processes of their own


def in_a_process(monkeypatch, code: str) -> None:
    """The process of a cell does this in the place of an export; ``asked`` is what it was told."""
    real = cell_module.run_limited

    def run(command, words, *rest):
        told = "import json, os, sys, signal; asked = json.load(sys.stdin)\n" + code
        return real([command[0], "-c", told], words, *rest)

    monkeypatch.setattr(cell_module, "run_limited", run)


def test_a_cell_that_takes_too_long_is_a_row_that_says_how_far_it_came(monkeypatch):
    in_a_process(monkeypatch, "print('stage trace: long', flush=True); signal.pause()")
    (row,) = sweep(Asked(["van_b0"], limit_s=5))["rows"]
    assert (row["exit_code"], row["limit"], row["why"]) == (124, "time", "more than 5 s, in stage trace")


def test_a_cell_that_takes_too_much_memory_is_a_row(monkeypatch):
    in_a_process(monkeypatch, "held = b'x' * 300_000_000; signal.pause()")
    (row,) = sweep(Asked(["van_b0"], limit_mb=200))["rows"]
    assert (row["exit_code"], row["limit"]) == (137, "memory")
    assert row["why"] == "more than 200 MB, before its first stage" and row["timing"]["peak_mb"] > 200


@pytest.mark.parametrize(
    ("end", "code"), [("os.kill(os.getpid(), signal.SIGSEGV)", 139), ("sys.exit(5)", 5), ("sys.exit(0)", 1)]
)
def test_a_process_that_ends_without_a_row_is_one(monkeypatch, end, code):
    in_a_process(monkeypatch, f"print('stage build: it', flush=True); {end}")
    (row,) = sweep(Asked(["van_b0"]))["rows"]
    assert row["exit_code"] == code and row["why"].endswith("in stage build")


def test_what_cannot_be_is_a_row_with_the_first_line_of_the_mistake_and_all_of_it_in_the_log():
    (row,) = sweep(Asked(["van_b0"], "cpu", "bf16"))["rows"]
    assert row["exit_code"] == 2 and "bf16" in row["why"] and "\n" not in row["why"]
    log = Path("sweep/logs", f"{row['name']}.txt").read_text()
    assert log.startswith("van_b0 for cpu in bf16") and "  try " in log


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path):
    from edgesmith.exporter.commands.measure.sweep.cells import matrix
    from edgesmith.exporter.commands.measure.sweep.limits import Limits
    from edgesmith.exporter.commands.measure.sweep.lines import read_lines

    (cell,) = matrix(read_lines(["van_b0"]), "cpu", None)
    place = cell_module.Place(tmp_path / "nowhere", str(tmp_path), Limits(60, 6000), 0, 1)
    with pytest.raises(UserMistake, match="does not see") as caught:
        cell_module.run_cell(cell, place)
    assert "nowhere" in caught.value.found


@pytest.mark.slow
def test_two_targets_and_two_precisions_of_a_network_of_ones_own(tmp_path):
    """Real exports: CPU ratio where the engine runs, kernels where it is built; int8 without pictures is a row."""
    from own_networks import FILE

    (tmp_path / "net.py").write_text(FILE)
    told = sweep(Asked(["net.py:make --image-size 32"], "cpu,rtx", "fp32,int8", rounds=2))
    cpu, cpu_int8, rtx, rtx_int8 = told["rows"]
    assert [row["exit_code"] for row in told["rows"]] == [0, 2, 0, 2] and exit_code(told) == 0
    assert all(row["held"] == row["checks"] > 0 and row["size_bytes"] > 1000 for row in (cpu, rtx))
    assert cpu["timing"]["cpu_ratio"] > 0 and "cpu_ratio" not in rtx["timing"]
    assert rtx["kernels"] > 0 and cpu["kernels"] is None
    assert cpu["nodes_before"] > 0 and cpu["nodes_after"] > 0
    assert all(row["why"].startswith("Precision int8 needs pictures") for row in (cpu_int8, rtx_int8))
    assert edgesmith("test", str(tmp_path / "sweep/bundles" / f"{cpu['name']}.edge")).code == 0
