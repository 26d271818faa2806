"""``edgesmith run``: what it prints, what it saves, where it stops; of both tasks and both commands."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import frames_of, stream, write_clip
from command_line import edgesmith
from detection_bundle import RULES, paint, write_detection_bundle
from small_bundle import write_small_bundle

from edgesmith.runtime.commands.cli import main as device_main
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.file import read_image
from edgesmith.runtime.tasks.detection.draw import class_colour


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two bundles, two pictures, a clip in which the red square is always somewhere."""
    monkeypatch.chdir(tmp_path)
    write_detection_bundle(tmp_path / "d.edge", detection={**RULES["runtime"], "score": 0.05})
    write_small_bundle(tmp_path / "c.edge")
    for name, image in (
        ("two.png", paint((0, 0, 16, 24, "red"), (48, 48, 64, 72, "blue"), size=(96, 64))),
        ("none.png", paint()),
    ):
        cv2.imwrite(name, image[:, :, ::-1])
    write_clip(tmp_path / "clip.mp4", frames=12)
    return tmp_path


def device(*words):
    """The device's command in this process: its exit code."""
    with pytest.raises(SystemExit) as left:
        device_main(list(words))
    return left.value.code


def test_each_detection_is_printed_on_a_line_of_its_own(folder):
    answer = edgesmith("run", "d.edge", "two.png", "none.png")
    assert answer.code == 0, answer.err
    name, red, blue, other, nothing = answer.out.splitlines()
    assert (name, other, nothing.strip()) == ("two.png", "none.png", "nothing found")
    assert red.split() == ["1.000", "red", "0.0", "0.0", "24.0", "36.0"]
    assert blue.split() == ["1.000", "blue", "40.0", "36.0", "64.0", "84.0"]
    assert answer.err.startswith("2 pictures in ") and "infer" in answer.err and "postprocess" in answer.err


def test_both_commands_answer_the_same(folder, capsys):
    for words in (["two.png"], ["two.png", "--json"], ["--source", "clip.mp4", "--json", "--max-frames", "3"]):
        full = edgesmith("run", "d.edge", *words)
        capsys.readouterr()
        assert device("run", "d.edge", *words) == full.code == 0
        assert capsys.readouterr().out == full.out
    full_help = edgesmith("run", "--help").out
    assert device("run", "--help") == 0
    flags = [set(re.findall(r"--[a-z-]+", text)) for text in (full_help, capsys.readouterr().out)]
    assert flags[0] - {"--overwrite"} == flags[1] and "--json-lines" in flags[1]


def test_two_forms_of_json_at_once_are_a_mistake(folder):
    told = edgesmith("run", "d.edge", "two.png", "--json", "--json-lines")
    assert told.code == 2 and "only --json-lines" in json.loads(told.out)["error"]["try"]


def test_json_has_one_entry_for_each_picture(folder):
    two, none = json.loads(edgesmith("run", "d.edge", "two.png", "none.png", "--json").out)
    assert two["image"] == "two.png" and two["size"] == [96, 64] and none["detections"] == []
    assert two["detections"][0] == {"label": "red", "class": 0, "score": 1.0, "box": [0.0, 0.0, 24.0, 36.0]}


def test_the_document_of_a_classifier_is_what_it_was(folder):
    (only,) = json.loads(edgesmith("run", "c.edge", "two.png", "--json", "--top", "2").out)
    assert set(only) == {"image", "top"} and len(only["top"]) == 2
    assert set(only["top"][0]) == {"label", "index", "probability"}


def test_one_line_of_json_a_frame(folder):
    answer = edgesmith("run", "d.edge", "--source", "clip.mp4", "--json-lines")
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert [line["frame"] for line in lines] == list(range(12))
    assert [line["time_s"] for line in lines] == pytest.approx([index / 10 for index in range(12)])
    assert all(line["source"] == "clip.mp4" and line["size"] == [64, 96] for line in lines)
    assert any(line["detections"] for line in lines)
    assert set(lines[0]["latency_ms"]) == {"read", "preprocess", "infer", "postprocess"}
    assert answer.err.startswith("12 frames in ")


def test_weak_detections_are_shown_when_they_are_asked_for(folder):
    cv2.imwrite("weak.png", (paint((0, 0, 8, 8, "green")) * 0.2).astype(np.uint8)[:, :, ::-1])  # a score of 0.2
    counts = []
    for words in ([], ["--score", "0.1"], ["--score", "0"]):
        (only,) = json.loads(edgesmith("run", "d.edge", "weak.png", "--json", *words).out)
        counts.append(len(only["detections"]))
    assert counts == [0, 1, 1]


def test_a_bundle_that_is_stricter_than_the_display_stays_so(folder):
    write_detection_bundle(folder / "g.edge", nms="graph")  # its graph keeps what scores above 0.5
    assert edgesmith("run", "g.edge", "two.png").code == 0
    told = edgesmith("run", "g.edge", "two.png", "--score", "0.3", "--save", "x.png")
    assert told.code == 2 and "thresholds are in the graph" in told.err and not Path("x.png").exists()


def test_thresholds_decide_how_many_boxes_are_left(folder):
    cv2.imwrite("wide.png", paint((0, 0, 16, 8, "red"))[:, :, ::-1])  # two cells, whose boxes share a third

    def count(*words):
        return len(json.loads(edgesmith("run", "d.edge", "wide.png", "--json", *words).out)[0]["detections"])

    assert (count(), count("--iou", "0.9"), count("--iou", "0.9", "--max-detections", "1")) == (1, 2, 1)


@pytest.mark.parametrize("place", ["out.png", "new/folder/out.webp"])
def test_one_picture_is_saved_as_a_file(folder, place):
    answer = edgesmith("run", "d.edge", "two.png", "--save", place)
    assert answer.code == 0 and f"saved {place}" in answer.err
    drawn = read_image(place)
    assert drawn.shape == (96, 64, 3) and [entry.name for entry in Path(place).parent.glob(".*")] == []
    if place.endswith(".png"):
        assert (drawn == class_colour(0)).all(axis=2).any() and (drawn == class_colour(2)).all(axis=2).any()


def test_several_pictures_are_saved_in_a_folder(folder):
    Path("other").mkdir()
    cv2.imwrite("other/two.png", paint()[:, :, ::-1])
    answer = edgesmith("run", "d.edge", "two.png", "none.png", "other/two.png", "--save", "drawn", "--json")
    assert answer.code == 0 and len(json.loads(answer.out)) == 3
    assert sorted(entry.name for entry in Path("drawn").iterdir()) == ["none.png", "two-2.png", "two.png"]
    assert read_image("drawn/two.png").shape == (96, 64, 3) and read_image("drawn/two-2.png").shape == (32, 32, 3)
    np.testing.assert_array_equal(read_image("drawn/none.png"), read_image("none.png"))
    again = edgesmith("run", "d.edge", "two.png", "none.png", "--save", "drawn")
    assert again.code == 2 and "--force" in again.err
    assert edgesmith("run", "d.edge", "two.png", "none.png", "--save", "drawn", "--force").code == 0


@pytest.mark.parametrize("bundle", ["d.edge", "c.edge"])
@pytest.mark.parametrize("place", ["out.mp4", "out.avi"])
def test_a_video_is_saved_frame_by_frame(folder, bundle, place):
    answer = edgesmith("run", bundle, "--source", "clip.mp4", "--save", place, "--json-lines")
    assert answer.code == 0 and f"saved {place}: 12 frames at 10 fps" in answer.err
    before, after = frames_of(Path("clip.mp4")), frames_of(Path(place))
    assert len(before) == len(after) == 12 and after[0].shape == (64, 96, 3)
    assert all(np.abs(a.astype(int) - b).max() > 100 for a, b in zip(before, after, strict=True))  # drawn upon
    assert set(json.loads(answer.out.splitlines()[0])["latency_ms"]) >= {"draw", "save"}


def test_frames_as_pictures_and_pictures_as_a_video(folder):
    assert edgesmith("run", "d.edge", "--source", "clip.mp4", "--save", "frames/", "--max-frames", "2").code == 0
    assert sorted(entry.name for entry in Path("frames").iterdir()) == ["clip_000000.jpg", "clip_000001.jpg"]
    assert edgesmith("run", "d.edge", "--source", "frames", "--save", "again.mp4").code == 0
    assert len(frames_of(Path("again.mp4"))) == 2


def test_a_stream_is_read_until_it_ends(folder):
    with stream(frames=20) as url:
        answer = edgesmith("run", "d.edge", "--source", url, "--json-lines", "--save", "live.mp4")
    assert answer.code == 0 and "ended after 20 frames" in answer.err, answer.err
    numbers = [json.loads(line)["frame"] for line in answer.out.splitlines()]
    assert numbers[-1] == 19 and numbers == sorted(set(numbers))
    assert len(frames_of(Path("live.mp4"))) >= 1


def test_a_stream_that_hangs_keeps_what_was_written(folder, monkeypatch):
    monkeypatch.setattr("edgesmith.runtime.pictures.video.live.STALL_S", 0.5)
    with stream(frames=5, hang_s=10) as url:
        answer = edgesmith("run", "d.edge", "--source", url, "--save", "live.mp4")
    assert answer.code == 2 and "stopped giving frames" in answer.err and "kept live.mp4" in answer.err
    assert len(frames_of(Path("live.mp4"))) >= 1


def test_a_broken_picture_is_told_and_the_others_are_answered(folder):
    Path("bad.png").write_bytes(b"no picture")
    answer = edgesmith("run", "d.edge", "two.png", "bad.png", "none.png", "--save", "drawn")
    assert answer.code == 2 and answer.out.splitlines()[0] == "two.png" and "none.png" in answer.out
    assert "cannot read the picture bad.png" in answer.err and "1 of 3 pictures could not be read" in answer.err
    assert sorted(entry.name for entry in Path("drawn").iterdir()) == ["none.png", "two.png"]
    answer = edgesmith("run", "d.edge", "two.png", "bad.png", "--json")
    good, bad = json.loads(answer.out)
    assert answer.code == 2 and good["detections"] and "bad.png" in bad["error"]["what"]


def test_nothing_but_broken_pictures_is_an_error(folder):
    Path("bad.png").write_bytes(b"no picture")
    answer = edgesmith("run", "d.edge", "bad.png", "--json", "--save", "x.png")
    assert answer.code == 2 and "bad.png" in json.loads(answer.out)["error"]["what"] and not Path("x.png").exists()


def test_a_missing_picture_is_told_before_the_first_is_answered(folder):
    answer = edgesmith("run", "d.edge", "two.png", "gone.png", "--save", "drawn")
    assert (answer.code, answer.out) == (2, "") and "gone.png" in answer.err and not Path("drawn").exists()


def long_run(folder, *words):
    """The command in a process of its own, after its first line of output. It cannot end unread: a pipe holds 64 kB."""
    write_clip(folder / "long.mp4", frames=4000, fps=25)
    command = [sys.executable, "-m", "edgesmith", "run", "d.edge", "--source", "long.mp4", *words]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline()
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_finishes_the_video(folder, interrupts_heard, number):
    process = long_run(folder, "--save", "out.mp4", "--json-lines")
    with process:
        process.send_signal(number)
        # not communicate, which reads beside the stream and loses what came with the first line
        out, err = process.stdout.read(), process.stderr.read()
    assert process.returncode == 128 + number and "Traceback" not in err, err
    written = len(frames_of(folder / "out.mp4"))
    assert 0 < written < 4000 and f"kept out.mp4: {written} frame" in err
    assert abs(written - 1 - len(out.splitlines())) <= 1  # the interrupt may fall between writing and printing
    assert list(folder.glob(".*")) == []


def test_what_a_killed_run_leaves_goes_with_the_next_one_and_not_with_one_meanwhile(folder):
    with long_run(folder, "--save", "out.mp4", "--json-lines") as process:
        (folder / ".two.abcdefgh.edgesmith.part").write_bytes(b"half a picture")  # of another that was killed
        assert edgesmith("run", "d.edge", "two.png", "--save", "one.png").code == 0
        assert len(list(folder.glob(".*"))) == 1, "the living one's stays"
        process.kill()
    assert len(list(folder.glob(".*"))) == 1 and not (folder / "out.mp4").exists()
    assert edgesmith("run", "d.edge", "two.png", "--save", "out.mp4").code == 0
    assert list(folder.glob(".*")) == [] and len(frames_of(folder / "out.mp4")) == 1


def test_a_reader_that_leaves_ends_the_run_quietly(folder):
    process = long_run(folder, "--save", "out.mp4", "--json-lines")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in err and "saved out.mp4" in err, err
    assert 0 < len(frames_of(folder / "out.mp4")) < 4000


def test_nothing_is_saved_inside_a_bundle(folder):
    """Told before the work: a bundle with a file that it does not list could not be opened again."""
    before = sorted(path.name for path in (folder / "d.edge").iterdir())
    (folder / "link").symlink_to("d.edge")
    for place in (
        "d.edge/out.png",
        "d.edge",
        "d.edge/drawn/",
        "c.edge/new/out.png",
        "link/out.png",
        "./x/../d.edge/out.png",
    ):
        answer = edgesmith("run", "d.edge", "two.png", "--save", place, "--force")
        assert answer.code == 2 and "inside the bundle" in answer.err and not answer.out, place
    for place in ("d.edge/out.mp4", "d.edge/frames"):
        assert edgesmith("run", "d.edge", "--source", "clip.mp4", "--save", place).code == 2
    assert sorted(path.name for path in (folder / "d.edge").iterdir()) == before
    assert edgesmith("run", "d.edge", "two.png", "--save", "d.edge.png").code == 0


def test_json_is_written_as_the_answers_come(folder, monkeypatch):
    """One document all the same, and as it was when it was put together at the end; an error is its last entry."""
    from edgesmith.runtime.pictures.video import film

    answer = edgesmith("run", "d.edge", "--source", "clip.mp4", "--json")
    document = json.loads(answer.out)
    assert len(document) == 12 and answer.out == json.dumps(document, indent=2) + "\n"
    kept = film.to_rgb

    def breaks(pixels, *rest, calls=[]):  # noqa: B006 counts over the frames
        calls.append(1)
        if len(calls) > 4:
            raise UserMistake("the disk went away", found="nothing")
        return kept(pixels, *rest)

    monkeypatch.setattr(film, "to_rgb", breaks)
    answer = edgesmith("run", "d.edge", "--source", "clip.mp4", "--json")
    *answers, error = json.loads(answer.out)
    assert answer.code == 2 and "the disk went away" in answer.err
    assert answers == document[:4] and error == {"error": {"what": "the disk went away", "found": "nothing"}}


def test_medians_stay_those_of_all_frames(folder):
    """The summary names each step once, with or without --save."""
    told = edgesmith("run", "d.edge", "--source", "clip.mp4", "--save", "out.mp4").err
    steps = told.split("median ms: ")[1].splitlines()[0]
    assert [part.split()[0] for part in steps.split(", ")] == [
        "read",
        "preprocess",
        "infer",
        "postprocess",
        "draw",
        "save",
    ]
    assert all(float(part.split()[1]) >= 0 for part in steps.split(", "))
