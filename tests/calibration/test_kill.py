"""kill -9 in the middle of a pass: the next run continues and ends with the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from observed_graph import TENSORS, RandomImages, small_net

from edgesmith.calibration.statistics.cache import read
from edgesmith.calibration.statistics.collect import collect
from edgesmith.calibration.statistics.moments import collect_moments
from edgesmith.calibration.statistics.observers import FIELDS

COUNT, BATCH = 60, 2

CHILD = """
import signal, sys
from pathlib import Path
from observed_graph import TENSORS, RandomImages, small_net
from edgesmith.calibration.statistics.collect import collect
from edgesmith.calibration.statistics.moments import collect_moments

def slowly(note, done, total):
    print(done, flush=True)
    if done > int(sys.argv[5]):
        signal.pause()  # far enough: the end must not come before the kill

run = {"statistics": collect, "moments": collect_moments}[sys.argv[1]]
run(small_net(), TENSORS, RandomImages(int(sys.argv[3])), cache=Path(sys.argv[2]), batch=int(sys.argv[4]), save_every=1, progress=slowly)
"""


def kill_after(images: int, what: str, folder: Path) -> None:
    """Start a pass in another process and kill it, with no chance to clean up, once it has counted ``images``."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "helpers")}
    command = [sys.executable, "-c", CHILD, what, str(folder), str(COUNT), str(BATCH), str(images)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= images:
            time.sleep(np.random.default_rng(images).uniform(0, 0.02))  # anywhere in the next batch or its save
            break
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL


def test_statistics_continue_after_being_killed_three_times(tmp_path):
    whole = collect(small_net(), TENSORS, RandomImages(COUNT), cache=tmp_path / "whole", batch=BATCH)
    done = []
    for images in (6, 20, 44):
        kill_after(images, "statistics", tmp_path / "killed")
        (path,) = (tmp_path / "killed").glob("*.npz")
        done.append(read(path)[0]["done"])
    assert 0 < done[0] < done[1] < done[2] < COUNT
    images = RandomImages(COUNT)
    again = collect(small_net(), TENSORS, images, cache=tmp_path / "killed", batch=BATCH)
    assert images.fed == COUNT - done[2]
    assert again.notes == (f"continued after {done[2]} of {COUNT} images, which an earlier run had counted",)
    assert again.key == whole.key
    for name, stats in whole.tensors.items():
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(again.tensors[name], field), getattr(stats, field))
    name = f"statistics-{whole.key[:32]}.npz"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_moments_continue_after_being_killed(tmp_path):
    whole = collect_moments(small_net(), TENSORS, RandomImages(COUNT), cache=tmp_path / "whole", batch=BATCH)
    kill_after(30, "moments", tmp_path / "killed")
    images = RandomImages(COUNT)
    again = collect_moments(small_net(), TENSORS, images, cache=tmp_path / "killed", batch=BATCH)
    assert 0 < images.fed < COUNT
    for name, moments in whole.items():
        np.testing.assert_array_equal(again[name], moments)
