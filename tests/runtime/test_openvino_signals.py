"""A signal is heard after sessions on OpenVINO have ended, whichever thread ended them and in whatever order.

OpenVINO hands a thread that compiles a stack for its signals. One that is freed while the thread still has its address
ends the process at the next signal, so nothing that we load may free it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from openvino_here import openvino_or_skip

BUNDLE = Path(__file__).parents[1] / "data" / "bundles" / "classifier_fp32"
ENDED = """
import gc, signal, sys, threading
from edgesmith import load
signal.signal(signal.SIGTERM, lambda *_: print("heard"))
sessions = [load(sys.argv[1], backend="openvino", threads=1) for _ in range(2)]
def end():
    while sessions:
        sessions.pop(0).close()
        gc.collect()
if sys.argv[2] == "another":
    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
else:
    end()
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.parametrize("thread", ["this", "another"])
def test_a_signal_is_heard_after_sessions_have_ended(thread):
    openvino_or_skip()
    words = [sys.executable, "-c", ENDED, str(BUNDLE), thread]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
