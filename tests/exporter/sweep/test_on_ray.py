"""On a Ray cluster of two workers on this machine: the table and the figures of one process, and a worker that is killed.

Slow: a cluster takes seconds to start, and cells are real exports.
"""

import json
import os
from pathlib import Path

import pytest
from coco_patches import write_patches
from colour_folders import write_colours
from detection_bundle import write_detection_bundle
from own_networks import FILE
from small_bundle import write_small_bundle

from edgesmith.exporter.commands.measure.evaluate import Asked as EvalAsked
from edgesmith.exporter.commands.measure.evaluate import evaluate
from edgesmith.exporter.commands.measure.sweep import flow, limits
from edgesmith.exporter.commands.measure.sweep.flow import Asked, sweep
from edgesmith.exporter.run.several.cluster import Lost, connected
from edgesmith.runtime.errors import UserMistake

pytestmark = [
    pytest.mark.slow,
    # Ray leaves the log of the processes that it starts open, and says so of itself when it is collected
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
MODELS = "net.py:make --image-size 32\nnet.py:fixed --image-size 32 --seed 3\n"


@pytest.fixture(scope="module")
def crew():
    """Two workers; what connects again inside gets this one."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), *os.sys.path))))
        with connected("local", cpus=2) as found:
            yield found


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(FILE)
    (tmp_path / "models.txt").write_text(MODELS)


def without_times(told: dict) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "timing"} for row in told["rows"]]


ASKED = {"models": ["models.txt"], "target": "cpu,rtx,openvino", "precision": "fp32", "rounds": 0, "limit_mb": 2000}


def test_six_cells_on_two_workers_are_the_table_of_one_process(tmp_path, crew):
    alone = sweep(Asked(**ASKED, out="alone"))
    shared = sweep(Asked(**ASKED, out="shared", ray="local"))
    assert len(alone["rows"]) == 6 and without_times(shared) == without_times(alone)
    assert json.loads(Path("shared/sweep.json").read_text()) == shared
    good = [row for row in alone["rows"] if not row["exit_code"]]
    assert len(good) >= 4 and all((tmp_path / "shared/bundles" / f"{row['name']}.edge").is_dir() for row in good)


def test_a_worker_that_is_killed_in_the_middle_loses_no_cell(tmp_path, crew, monkeypatch):
    """Once its cell has a process of its own, the first worker kills itself; that process ends with it."""
    mark = str(tmp_path / "killed")
    real = flow.run_cell

    def run(cell, place):  # goes to the workers as it is, not by name
        start = limits.subprocess.Popen

        class Dying(start):
            def __init__(self, *words, **more):
                super().__init__(*words, **more)
                try:
                    handle = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                except FileExistsError:
                    return
                os.write(handle, str(self.pid).encode())
                os.kill(os.getpid(), 9)

        limits.subprocess.Popen = Dying
        try:
            return real(cell, place)
        finally:
            limits.subprocess.Popen = start

    monkeypatch.setattr(flow, "run_cell", run)
    asked = {**ASKED, "target": "cpu", "precision": "fp32,fp16,bf16"}
    told = sweep(Asked(**asked, ray="local"))
    assert Path(mark).exists() and len(told["rows"]) == 6
    assert [row["exit_code"] for row in told["rows"]] == [0, 0, 2] * 2
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path(mark).read_text()), 0)


def test_a_job_that_kills_every_worker_is_given_up(crew):
    def die(number):
        if number == 1:
            os.kill(os.getpid(), 9)
        return number

    found = dict(crew.each(die, [(0,), (1,), (2,)]))
    assert (found[0], found[2]) == (0, 2) and isinstance(found[1], Lost) and "4 times" in found[1].why


def test_a_mistake_on_a_worker_is_one_here(crew):
    def refuse():
        raise UserMistake("it cannot be", found="this", attempt="that")

    with pytest.raises(UserMistake, match="it cannot be") as caught:
        list(crew.each(refuse, [()]))
    assert (caught.value.found, caught.value.attempt) == ("this", "that")


def test_ray_reports_to_nobody(crew):
    """No usage statistics, by Ray's own account of it, here and on a worker; no dashboard."""

    def told():
        import os

        return os.environ.get("RAY_USAGE_STATS_ENABLED")

    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()
    assert [answer for _, answer in crew.each(told, [(), ()])] == ["0", "0"]
    node = crew.ray._private.worker._global_node
    assert not node.webui_url
    assert not list(Path(node.get_session_dir_path()).glob("usage_stats*"))


def test_an_evaluation_is_that_of_one_process_digit_for_digit(tmp_path, crew):
    write_detection_bundle(tmp_path / "colours.edge", batch="batch")
    coco = str(write_patches(tmp_path, count=37, missed=5, scale=2))
    asked = EvalAsked(threads=1)
    alone = evaluate(["colours.edge"], coco, asked, save="alone.json")
    shared = evaluate(["colours.edge"], coco, asked, save="shared.json", ray="local")
    assert shared == alone and alone["rows"][0]["found"] == 74
    assert Path("shared.json").read_bytes() == Path("alone.json").read_bytes()


def test_an_evaluation_of_a_classifier_is_too(tmp_path, crew):
    write_small_bundle(tmp_path / "small.edge")
    write_colours(tmp_path / "photos", wrong=3)
    alone = evaluate(["small.edge"], "photos", EvalAsked(threads=1))
    assert evaluate(["small.edge"], "photos", EvalAsked(threads=1), ray="local") == alone
    assert alone["rows"][0]["top1"] == 90.0
