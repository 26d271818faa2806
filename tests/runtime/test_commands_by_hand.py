"""A run from first frame to exit code with a session and a source that are made up here; videos frame by frame; classes."""

from __future__ import annotations

import io
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.commands.run import Asked, _Document, _rounded, _Run
from edgesmith.runtime.errors import EdgesmithError, UserMistake
from edgesmith.runtime.pictures import video_file
from edgesmith.runtime.pictures.video import live as live_module
from edgesmith.runtime.pictures.video.frame import Frame, unread
from edgesmith.runtime.pictures.video.live import Live
from edgesmith.runtime.pictures.video_file import VideoFile
from edgesmith.runtime.tasks.classification import Classification, ClassificationTask, softmax, top_k
from edgesmith.runtime.tasks.task import Task, Times

LABELS = ("red", "green", "blue")
PICTURE = np.zeros((2, 2, 3), np.uint8)


class Source:
    """Frames that are given, of pictures or of a video."""

    def __init__(self, frames, kind="pictures", notes=()):
        self.frames, self.kind, self.notes, self.count = frames, kind, list(notes), len(frames)

    def done(self, _):
        pass

    def __iter__(self):
        yield from self.frames


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(frames, kind="pictures", out=None, notes=(), answer=None, **asked):
    """(exit code, stdout, stderr) of a run over these frames."""
    session = SimpleNamespace(bundle=SimpleNamespace(task="classification"))
    asked = Asked("a.edge", ("a.png",), **asked)
    found = answer or (lambda image, **_: Classification(np.array([0.0, math.log(2), 0.0]), LABELS, 1.0, 2.0))
    session = type(
        "S", (), {"bundle": session.bundle, "__call__": lambda self, image, **choices: found(image, **choices)}
    )()
    import contextlib

    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        outs = [(out, lambda image, answer: image)] if out else []
        code = _Run(asked, {}, session, Source(frames, kind, notes), outs).to_the_end()
    return code, stdout.getvalue(), stderr.getvalue()


def good(index=0, time_s=None, name="a.png"):
    return Frame(index, name, time_s, PICTURE, None, 3.0)


def bad(index=0, name="bad.png"):
    return Frame(index, name, None, None, UserMistake(f"cannot read {name}", found="nothing"), 0.0)


def test_pictures_are_told_for_people():
    code, out, err = told([good(), good(name="b.png")], top=1)
    assert (code, out) == (0, "a.png\n   50.00%  green\nb.png\n   50.00%  green\n")
    assert err.startswith("2 pictures in ") and "; median ms: read 3.0, preprocess 1.0, infer 2.0" in err
    assert told([good()])[2].startswith("1 picture in ")


def test_frames_are_told_in_a_line_each():
    code, out, err = told([good(0, 0.0), good(1, 0.04), good(2)], "video")
    assert (code, out) == (0, "frame 0  0.00 s  50.00% green\nframe 1  0.04 s  50.00% green\nframe 2  50.00% green\n")
    assert err.startswith("3 frames in ")


def test_one_document_of_pictures_and_of_frames():
    code, out, _ = told([good(), good(name="b.png")], as_json=True, top=1)
    top = [{"label": "green", "index": 1, "probability": pytest.approx(0.5)}]
    assert code == 0 and json.loads(out) == [{"image": "a.png", "top": top}, {"image": "b.png", "top": top}]
    assert out == json.dumps(json.loads(out), indent=2) + "\n"
    _, out, _ = told([good(4, 0.5, "v")], "video", as_json=True, top=1)
    assert json.loads(out) == [{"source": "v", "frame": 4, "time_s": 0.5, "top": top}]
    assert told([], as_json=True)[:2] == (0, "[]\n")


def test_lines_of_json_have_times():
    code, out, _ = told([good(4, 0.123456, "v"), bad(5, "v")], "video", json_lines=True, top=1)
    first, second = map(json.loads, out.splitlines())
    assert first == {"source": "v", "frame": 4, "time_s": 0.1235, "top": [{"label": "green", "index": 1, "probability": 0.5}],
                     "latency_ms": {"read": 3.0, "preprocess": 1.0, "infer": 2.0}}  # fmt: skip
    assert second == {"source": "v", "error": {"what": "cannot read v", "found": "nothing"}, "frame": 5} and code == 2


def test_a_picture_that_cannot_be_read_does_not_stop_the_others():
    code, out, err = told([bad(), good(), bad(2, "c.png")], as_json=True, top=1)
    assert code == 2 and [one.get("image") for one in json.loads(out)] == ["bad.png", "a.png", "c.png"]
    assert err.count("edgesmith: cannot read") == 2 and "2 of 3 pictures could not be read: cannot read bad.png" in err
    with pytest.raises(UserMistake, match=r"cannot read bad\.png"):
        told([bad()])
    assert told([good()], as_json=True)[0] == 0


def test_the_one_picture_that_cannot_be_read_is_told_once(capsys):
    """By whoever prints the error that comes out, and not on the way."""
    session = type("S", (), {"bundle": SimpleNamespace(task="classification")})()
    with pytest.raises(UserMistake, match=r"cannot read bad\.png"):
        _Run(Asked("a.edge", ("bad.png",)), {}, session, Source([bad()]), []).to_the_end()
    assert capsys.readouterr().err == ""
    with pytest.raises(UserMistake):
        _Run(Asked("a.edge", ("bad.png", "b.png")), {}, session, Source([bad(), bad(1, "b.png")]), []).to_the_end()
    assert capsys.readouterr().err.count("edgesmith: cannot read") == 2


def test_lost_frames_are_counted_and_told_once():
    frames = [good(0, 0.0, "v"), unread("v", 1, 3), good(4, 0.4, "v"), unread("v", 5, 1)]
    code, out, err = told(frames, "video", as_json=True, top=1)
    lost = [one for one in json.loads(out) if "lost" in one]
    assert [(one["frame"], one["lost"]) for one in lost] == [(1, 3), (5, 1)] and code == 2
    assert "1 frame of v" not in err and "4 of 6 frames could not be read" in err


def test_no_more_frames_than_asked_for():
    frames = [good(index, 0.0, "v") for index in range(5)]
    assert told(frames, "video", max_frames=2)[1].count("frame ") == 2
    assert told([bad(0, "v"), *frames], "video", max_frames=2, as_json=True)[1].count('"source"') == 2
    assert told([unread("v", 0, 9), *frames], "video", max_frames=2)[1].count("frame ") == 2, (
        "what is lost was no frame"
    )


class Out:
    def __init__(self):
        self.added, self.finished = [], 0

    def add(self, frame, drawn):
        self.added.append((frame.index, drawn.shape))

    def finish(self):
        self.finished += 1
        return "out.avi"


def test_what_is_saved_is_finished_once_and_told():
    out = Out()
    code, _, err = told([good(0, 0.0), good(1, 0.1)], "video", out=out, notes=["a note"])
    assert code == 0 and [index for index, _ in out.added] == [0, 1] and out.finished == 1
    assert "saved out.avi\n" in err and "edgesmith: a note\n" in err and "draw" in err and "save" in err


def test_an_error_on_the_way_ends_the_document():
    def answer(image, **_):
        if answered:
            raise EdgesmithError("it broke", found="x")
        answered.append(1)
        return Classification(np.array([0.0, 1.0, 0.0]), LABELS, 1.0, 2.0)

    answered: list[int] = []
    out = Out()
    code, text, err = told([good(), good()], out=out, answer=answer, as_json=True)
    assert code == 1 and json.loads(text)[-1] == {"error": {"what": "it broke", "found": "x"}} and out.finished == 1
    assert "stopped early after 1 pictures; kept out.avi" in err and "edgesmith: it broke" in err
    answered.clear()
    with pytest.raises(EdgesmithError, match="it broke"):
        told([good(), good()], answer=answer)


def test_ctrl_c_keeps_what_there_is():
    def answer(image, **_):
        raise KeyboardInterrupt

    out = Out()
    code, _, err = told([good()], "video", out=out, answer=answer)
    assert code == 130 and "interrupted after 0 frames; kept out.avi" in err


def test_the_count_is_shown_where_nobody_reads_the_lines(monkeypatch):
    from edgesmith.runtime.commands import run as module

    now = [0.0]
    monkeypatch.setattr(
        module, "time", SimpleNamespace(perf_counter=lambda: now.__setitem__(0, now[0] + 0.4) or now[0])
    )
    for terminal, asked, shown in ((False, {}, True), (True, {}, False), (True, {"json_lines": True}, True)):
        out, err = (Terminal() if terminal else io.StringIO()), Terminal()
        monkeypatch.setattr(module.sys, "stdout", out)
        monkeypatch.setattr(module.sys, "stderr", err)
        session = type(
            "S",
            (),
            {
                "bundle": SimpleNamespace(task="classification"),
                "__call__": lambda self, image: Classification(np.zeros(3), LABELS, 1, 2),
            },
        )()
        _Run(
            Asked("a", ("a",), **asked), {}, session, Source([good(index, 0.0) for index in range(9)], "video"), []
        ).to_the_end()
        monkeypatch.undo()
        monkeypatch.setattr(
            module, "time", SimpleNamespace(perf_counter=lambda: now.__setitem__(0, now[0] + 0.4) or now[0])
        )
        assert ("\rframe " in err.getvalue() and " of 9 " in err.getvalue()) is shown


def test_numbers_of_a_line_have_four_digits():
    assert _rounded({"a": [1.23456, 7, "x"], "b": True}) == {"a": [1.2346, 7, "x"], "b": True}
    assert not _Document().begun


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"images": ()}, "nothing to look at"), ({"as_json": True, "json_lines": True}, "two forms"), ({"score": 1.01}, "--score is a share"),
     ({"iou": -0.01}, "--iou is a share"), ({"score": math.nan}, "--score"), ({"top": 0}, "--top counts from 1"), ({"max_frames": 0}, "--max-frames counts"),
     ({"max_detections": -1}, "--max-detections")],
)  # fmt: skip
def test_what_cannot_be_asked_for(asked, said):
    with pytest.raises(UserMistake, match=said):
        Asked(**{"bundle": "a", "images": ("a",), **asked}).check()
    Asked("a", ("a",), score=0.0, iou=1.0, top=1, max_frames=1, max_detections=1).check()
    Asked("a", source="0").check()


class Writer:
    """What is written to a video: the grey of each frame."""

    def __init__(self, *_):
        self.written = []
        Writer.last = self

    def isOpened(self):
        return True

    def write(self, picture):
        self.written.append((int(picture[0, 0, 0]), picture.shape[:2]))

    def release(self):
        pass


@pytest.mark.parametrize(
    ("timed", "times", "frames"),
    [(True, [0.0, 0.1, 0.2], [0, 1, 2]), (True, [0.0, 0.3, 0.4], [0, 0, 0, 1, 2]), (False, [0.0, 0.3, 0.4], [0, 1, 2]), (True, [None, 0.5, None], [0, 0, 0, 0, 0, 1, 2]),
     (True, [0.0, 0.04, 0.1], [0, 1, 2]), (True, [0.2, 0.1], [0, 0, 0, 1])],
)  # fmt: skip
def test_a_frame_stays_until_the_time_of_the_next(tmp_path, monkeypatch, timed, times, frames):
    monkeypatch.setattr(
        video_file.cv2, "VideoWriter", type("W", (Writer,), {"fourcc": staticmethod(lambda *letters: 0)})
    )
    file = VideoFile(tmp_path / "a.avi", 10.0, timed)
    for index, time_s in enumerate(times):
        file.add(np.full((4, 6, 3), index, np.uint8), time_s)
    assert [grey for grey, _ in Writer.last.written] == frames and file.frames == len(frames)
    assert {shape for _, shape in Writer.last.written} == {(4, 6)}
    file._writer = None
    assert file.finish() is False


class Camera:
    """Reads that are given: a number is a frame of that grey, None a read that fails; at the end it fails on."""

    def __init__(self, reads):
        self.reads, self.released = list(reads), False

    def get(self, _):
        return 0.0

    def read(self, *_):
        if not self.reads:
            return False, None
        grey = self.reads.pop(0)
        return (False, None) if grey is None else (True, np.full((2, 2, 3), grey, np.uint8))

    def release(self):
        self.released = True


def test_a_stream_that_ends(monkeypatch):
    monkeypatch.setattr(live_module, "MOST_IN_A_ROW", 3)
    camera = Camera([7])
    source = Live("cam", camera, stall_s=5.0)
    found = list(source)
    source.close()
    assert (
        [(one.index, int(one.image[0, 0, 0])) for one in found] == [(0, 7)]
        and source.notes == ["cam ended after 1 frames"]
        and camera.released
    )
    unread_camera = Camera([7])
    Live("cam", unread_camera).close()
    assert unread_camera.released, "one that was never read is let go as well"
    with pytest.raises(UserMistake, match="cam gives no frames"):
        list(Live("cam", Camera([]), stall_s=5.0))


def test_classes_in_their_order():
    found = top_k(np.array([[1.0, 3.0, 3.0], [0.0, 0.0, -1.0]]), LABELS, 2)
    assert [[one.index for one in row] for row in found] == [[1, 2], [0, 1]], "equal ones in the order of their number"
    powers = np.exp([1.0, 3.0, 3.0])
    assert [one.probability for one in found[0]] == pytest.approx([powers[1] / powers.sum()] * 2)
    assert softmax(np.array([[1000.0, 1000.0]])).tolist() == [[0.5, 0.5]]
    (sign,) = top_k(np.array([[2.0]]), ("no", "yes"), 5)
    assert [(one.label, one.index) for one in sign] == [("yes", 1), ("no", 0)] and sign[0].probability == pytest.approx(
        1 / (1 + math.exp(-2))
    )
    for logits, k in (
        (np.zeros((1, 4)), 5),
        (np.zeros((1, 3)), 0),
        (np.array([[np.nan, 0, 0]]), 1),
        (np.zeros((1, 3, 1)), 1),
    ):
        with pytest.raises(UserMistake):
            top_k(logits, LABELS, k)
    task, bundle = (
        ClassificationTask(),
        SimpleNamespace(name="n", labels=LABELS, outputs=[SimpleNamespace(name="logits")], manifest={}),
    )
    answers = task.answers(bundle, {"logits": np.arange(9.0).reshape(3, 3, 1, 1)}, [(1, 1)] * 2, None, Times(1.0, 2.0))
    assert (
        [one.best.label for one in answers] == ["blue", "blue"]
        and answers[0].logits.shape == (3,)
        and answers[1].infer_ms == 2.0
    )
    assert (
        task.in_short(answers[0]) == f"{answers[0].best.probability:.2%} blue"
        and len(task.to_json(answers[0], None)["top"]) == 3
    )
    assert task.choices(bundle, {"top": 3, "score": None}) == {}
    with pytest.raises(UserMistake, match="--max-detections belongs to detectors"):
        task.choices(bundle, {"max_detections": 3})


def test_a_task_says_what_it_cannot_do():
    one = type("One", (Task,), {"name": "one", "outputs": ("a",), "answers": None})()
    two = type("Two", (Task,), {"name": "two", "outputs": ("a", "b"), "finished": ("c",), "answers": None})()
    assert (
        one.gives({"a", "z"})
        and not one.gives({"z"})
        and two.gives({"c"})
        and not two.gives({"a"})
        and one == type(one)()
        and one != two
    )
    assert one.joined({"a": np.array([1, 2])}).dtype == np.float32 and list(one.separated(np.zeros(2))) == ["a"]
    for call in (lambda: two.joined({"a": 1, "b": 2}), lambda: two.separated(np.zeros(2))):
        with pytest.raises(UserMistake, match="does not say how its outputs are"):
            call()
    bundle = SimpleNamespace(name="n")
    assert one.choices(bundle, {"score": None}) == {} and one.check(bundle, {"score": None}) is None
    with pytest.raises(UserMistake, match="n takes no --max-detections"):
        one.choices(bundle, {"max_detections": 0})
    with pytest.raises(UserMistake, match="n takes no iou"):
        one.check(bundle, {"score": None, "iou": 0.0})
    assert (
        one.lines("x\ny", None) == "  x\n  y"
        and one.in_short("x\ny") == "x; y"
        and one.to_json(3, None) == {"answer": "3"}
    )


def test_options_of_a_backend(tiny, monkeypatch):
    with pytest.raises(UserMistake, match="this is no bundle"):
        load(3)
    with pytest.raises(UserMistake, match=r"has no such option(.|\n)*speed"):
        load(tiny, backend="onnxruntime", speed=3)
    from edgesmith.runtime.backends import onnxruntime as module

    def broken(self, *words, **more):
        raise TypeError("of our own")

    monkeypatch.setattr(module.OnnxRuntimeSession, "__init__", broken)
    with pytest.raises(TypeError, match="of our own"):
        load(tiny, backend="onnxruntime")
