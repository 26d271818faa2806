"""Streams that cannot spell a word, that are closed, full, or whose reader has left: no traceback, a fitting code, no work lost."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import frames_of, write_clip
from command_line import BASE_ONLY, edgesmith
from detection_bundle import paint, write_detection_bundle
from small_bundle import write_small_bundle

from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle
from edgesmith.runtime.commands.cli import main
from edgesmith.runtime.commands.mistakes import mistake_of
from edgesmith.runtime.commands.streams import NOT_WRITTEN, READER_LEFT, Shown, closing, lost, shown_streams

LABELS = ["rot é", "grün 漢字", "blau 😀"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("streams")
    update_bundle(
        open_bundle(write_small_bundle(made / "s.edge", name="Käse")), {"labels.json": json.dumps(LABELS).encode()}
    )
    write_detection_bundle(made / "d.edge")
    data = cv2.imencode(".png", paint((0, 0, 8, 8, "red"))[:, :, ::-1])[1].tobytes()
    (made / "ü漢.png").write_bytes(data)
    Path(os.fsdecode(os.fsencode(made) + b"/caf\xe9.png")).write_bytes(data)
    write_clip(made / "clip.mp4", frames=6)
    return made


def spelt(encoding, command, *words):
    """What reaches a stream of that encoding."""
    raw = io.BytesIO(), io.BytesIO()
    before = sys.stdout, sys.stderr
    ours = sys.stdout, sys.stderr = tuple(io.TextIOWrapper(one, encoding=encoding) for one in raw)
    try:
        with pytest.raises(SystemExit) as leave:
            command(list(words))
    finally:
        sys.stdout, sys.stderr = before
    [one.flush() for one in ours]
    return leave.value.code, *(one.getvalue().decode(encoding) for one in raw)


def full(words):
    from edgesmith.exporter.commands.cli import main as of_workstation

    of_workstation(words)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("command", [full, main])
def test_what_a_stream_cannot_spell_is_shown_as_its_number(folder, monkeypatch, command, encoding):
    monkeypatch.chdir(folder)
    names = sorted(os.listdir("."))
    pictures = [name for name in names if name.endswith(".png")]
    code, out, err = spelt(encoding, command, "run", "s.edge", *pictures)
    assert code == 0 and "Traceback" not in err
    assert ("rot é" if encoding != "ascii" else "rot \\xe9") in out and "caf\\udce9.png" in out
    assert ("漢.png" if encoding == "utf-8" else "\\u6f22.png") in out
    code, out, err = spelt(encoding, command, "run", "s.edge", *pictures, "--json")
    assert {row["top"][0]["label"] for row in json.loads(out)} <= set(LABELS) and "Traceback" not in err
    code, out, err = spelt(encoding, command, "run", "s.edge", "fehlt漢.png")
    assert code == 2 and ("fehlt漢" if encoding == "utf-8" else "fehlt\\u6f22") in err
    assert spelt(encoding, command, "wörter漢")[0] == 2


class Broken(io.StringIO):
    """Takes some pieces and then nothing more."""

    def __init__(self, number, after=0):
        super().__init__()
        self.number, self.after = number, after

    def write(self, text):
        if self.after <= 0:
            raise OSError(self.number, os.strerror(self.number))
        self.after -= 1
        return super().write(text)


@pytest.mark.parametrize(
    ("number", "code", "words"), [(errno.EPIPE, READER_LEFT, ""), (errno.ENOSPC, NOT_WRITTEN, "No space left")]
)
def test_a_lost_stream_ends_nothing_and_is_told_at_the_end(capsys, monkeypatch, number, code, words):
    monkeypatch.setattr(sys, "stdout", Broken(number, after=1))
    with shown_streams():
        assert lost() is None
        for _ in range(3):
            print("a line", flush=True)
        assert lost() is not None and lost().errno == number
        assert closing(0) == code and closing(1) == 1, "what did not hold stays what it is"
    assert words in capsys.readouterr().err


def test_a_lost_standard_error_changes_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Broken(errno.ENOSPC))
    with shown_streams():
        print("a line", file=sys.stderr)
        assert isinstance(sys.stderr, Shown) and closing(0) == 0


def test_the_rule_of_the_streams_is_given_back(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with shown_streams():
        assert stream.errors == "backslashreplace"
    assert stream.errors == "strict"


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
@pytest.mark.parametrize("form", [[], ["--json"], ["--json-lines"]])
def test_what_is_asked_to_be_saved_is_saved_to_the_end(folder, tmp_path, monkeypatch, number, form):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdout", Broken(number, after=1))
    place = tmp_path / "out.mp4"
    with pytest.raises(SystemExit) as leave:
        main(["run", "d.edge", "--source", "clip.mp4", "--save", str(place), *form])
    assert leave.value.code == (0 if number == errno.EPIPE else NOT_WRITTEN)
    # a reader that leaves ends a video, which is kept as far as it came
    assert len(frames_of(place)) == 6 if number == errno.ENOSPC else 0 < len(frames_of(place)) < 6
    monkeypatch.setattr(sys, "stdout", Broken(number, after=1))
    with pytest.raises(SystemExit):
        main(["run", "d.edge", "ü漢.png", "ü漢.png", "ü漢.png", "--save", str(tmp_path / "drawn"), *form])
    assert len(os.listdir(tmp_path / "drawn")) == 3


def test_without_save_it_stops_where_nobody_reads(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdout", Broken(errno.EPIPE, after=1))
    with pytest.raises(SystemExit) as leave:
        main(["run", "d.edge", "--source", "clip.mp4", "--json-lines"])
    assert leave.value.code == 0 and "6 frames" not in capsys.readouterr().err


def test_results_of_eval_are_saved_before_they_are_shown(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 12, 12], "area": 144, "iscrowd": 0}
    categories = [{"id": n + 1, "name": label} for n, label in enumerate(("red", "green", "blue"))]
    images = [{"id": 1, "file_name": "ü漢.png", "width": 32, "height": 32}]
    data = folder / "x.json"
    data.write_text(json.dumps({"images": images, "annotations": [annotation], "categories": categories}))
    for command, name in ((full, "w.json"), (main, "d.json")):
        monkeypatch.setattr(sys, "stdout", Broken(errno.ENOSPC))
        with pytest.raises(SystemExit) as leave:
            command(["eval", "d.edge", "--data", str(data), "--save", str(tmp_path / name), "--json"])
        assert leave.value.code == NOT_WRITTEN and len(json.loads((tmp_path / name).read_bytes())) == 1


DEVICE = ("-c", BASE_ONLY)
WORKSTATION = ("-m", "edgesmith")


def shell(folder, line, command, *words):
    """The command in a real shell; ``line`` holds the redirection."""
    said = " ".join(f"'{word}'" for word in (sys.executable, *command, *words))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {said} {line}"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert not any(words in done.stderr for words in ("Traceback", "Exception ignored", "bug of ours")), done.stderr
    return done


@pytest.mark.parametrize("command", [WORKSTATION, DEVICE], ids=["workstation", "device"])
def test_closed_full_and_left(folder, command):
    words = ("test", "d.edge") if command is DEVICE else ("kv-bytes",)
    assert shell(folder, ">&- 2>&- <&-", command, *words).returncode == 0
    assert shell(folder, "| true", command, *words).returncode in (0, READER_LEFT)
    done = shell(folder, ">/dev/full", command, *words)
    assert done.returncode == NOT_WRITTEN and "the output could not be written" in done.stderr


def test_a_closed_stream_is_not_the_next_file_that_is_opened(folder, tmp_path):
    """Without a descriptor 1 the picture itself would be it, and what OpenCV prints would stand in it."""
    done = shell(folder, ">&-", WORKSTATION, "run", "d.edge", "ü漢.png", "--save", str(tmp_path / "out.png"))
    assert done.returncode == 0 and cv2.imread(str(tmp_path / "out.png")).shape == (32, 32, 3)


INTERRUPTED = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == MODULE:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
"""
FULL = """
import sys
import edgesmith.__main__ as command
sys.argv = ["edgesmith", *sys.argv[1:]]
command.main()
"""


@pytest.mark.parametrize(
    ("program", "module"),
    [
        (FULL, "edgesmith.runtime.commands.streams"), (FULL, "edgesmith.exporter.commands.cli"), (FULL, "numpy"), (FULL, "cv2"),
        (FULL, "onnxruntime"), (BASE_ONLY, "edgesmith.runtime.commands.cli"), (BASE_ONLY, "numpy"), (BASE_ONLY, "cv2"),
    ],
)  # fmt: skip
def test_an_interrupt_while_it_still_imports(folder, interrupts_heard, program, module):
    verb = "list" if module.endswith("commands.cli") and program is FULL else "run"
    words = (verb, "d.edge", "ü漢.png", "--bad-flag")[: 4 if verb == "list" else 3]
    code = INTERRUPTED.replace("MODULE", repr(module)) + program
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr and done.stdout == "", done.stderr
    assert done.returncode in (130, -signal.SIGINT), done.stderr  # a shell shows both as 130
    assert done.returncode == -signal.SIGINT or "edgesmith: interrupted" in done.stderr


def test_an_error_in_an_import_that_was_interrupted_is_the_interrupt(monkeypatch):
    from edgesmith.exporter.commands import usage
    from edgesmith.runtime.ground import signals

    monkeypatch.setattr(signals, "_received", [signal.SIGINT])
    assert usage.other(ImportError("numpy.core.multiarray failed to import"), None, []) == 130
    assert signals.told() == "interrupted" and signals.exit_code() == 130
    signals._received.append(signal.SIGTERM)
    assert signals.exit_code() == 143 and signals.told() == "stopped by SIGTERM"


def test_what_the_system_says_of_a_file_is_a_mistake_on_the_device_too(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for words in (["run", "d.edge", "m" * 300 + ".png"], ["test", "m" * 300], ["run", "d.edge", "--source", "m" * 300]):
        code, out, err = spelt("utf-8", main, *words)
        assert code == 2 and "a shorter name" in err and out == ""
        answer = edgesmith(*words)
        assert answer.code == 2 and "a shorter name" in answer.err
    assert mistake_of(OSError(errno.EDQUOT, "quota")).what == "The disk is full"
    assert mistake_of(PermissionError(errno.EACCES, "no")) is not None
    assert mistake_of(OSError(errno.EIO, "x")) is None and mistake_of(ValueError("x")) is None


def test_no_picture_is_lost_by_the_way(folder):
    assert np.array_equal(cv2.imread(str(folder / "ü漢.png"))[:, :, ::-1], paint((0, 0, 8, 8, "red")))
