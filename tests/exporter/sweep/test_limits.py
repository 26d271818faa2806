"""A process that takes too long, or too much, is ended with all that it has started; nothing here waits for a clock."""

import os
import select
import sys

import pytest

from edgesmith.exporter.commands.measure.sweep.limits import Limits, run_limited

ENOUGH = Limits(600, 6000)
START_ANOTHER = (
    "import subprocess, sys; one = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); "
)


def run(tmp_path, code: str, limits: Limits = ENOUGH, words: str = ""):
    command = [sys.executable, "-c", code]
    return run_limited(command, words, tmp_path / "log.txt", limits, dict(os.environ), str(tmp_path))


def test_it_runs_in_its_folder_reads_its_words_and_leaves_its_code(tmp_path):
    code = (
        "import os, sys; print(sys.stdin.read(), os.getcwd(), flush=True); print('wrong', file=sys.stderr); sys.exit(3)"
    )
    ended = run(tmp_path, code, words="hello")
    assert (ended.code, ended.passed) == (3, "")
    assert (tmp_path / "log.txt").read_text().split("\n")[:-1] == [f"hello {tmp_path}", "wrong"]


def test_one_that_does_not_read_its_words_is_no_error(tmp_path):
    assert run(tmp_path, "import os; os.close(0)", words="x" * 1_000_000).code == 0


def test_one_that_never_ends_passes_the_limit_of_time(tmp_path):
    ended = run(tmp_path, "import signal; signal.pause()", Limits(0.2, 6000))
    assert (ended.code, ended.passed) == (124, "time")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is limited on Linux only")
@pytest.mark.parametrize("more", ["", "by a process that it started"], ids=["itself", "its child"])
def test_one_that_holds_too_much_passes_the_limit_of_memory(tmp_path, more):
    holds = "held = b'x' * 300_000_000; import signal; signal.pause()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {holds!r}])" if more else holds
    ended = run(tmp_path, code, Limits(600, 200))
    assert (ended.code, ended.passed) == (137, "memory")
    assert ended.peak_mb > 200


def test_what_it_started_ends_with_it(tmp_path):
    ended = run(tmp_path, START_ANOTHER + "print(one.pid, flush=True); one.wait()", Limits(3, 6000))
    assert ended.passed == "time"
    assert_gone(int((tmp_path / "log.txt").read_text()))


def test_what_it_left_behind_ends_too(tmp_path):
    assert run(tmp_path, START_ANOTHER + "print(one.pid, flush=True); import os; os._exit(0)").code == 0
    assert_gone(int((tmp_path / "log.txt").read_text()))


def test_an_interrupt_ends_it(tmp_path, monkeypatch):
    from edgesmith.exporter.commands.measure.sweep import limits

    def interrupted(process):
        (tmp_path / "pid").write_text(str(process.pid))
        raise KeyboardInterrupt

    monkeypatch.setattr(limits, "_over", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "import signal; signal.pause()")
    assert_gone(int((tmp_path / "pid").read_text()))


def assert_gone(pid: int) -> None:
    """It was ended, so the system tells its end, however busy the machine is."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], 600)[0], f"{pid} lives"
    finally:
        os.close(handle)
