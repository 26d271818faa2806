"""What users of ``edgesmith run`` get wrong, as data: one screen that says what to try, exit code 2, nothing left behind."""

from __future__ import annotations

import cv2
import pytest
from clips import write_clip
from detection_bundle import paint, write_detection_bundle
from one_screen import Case, assert_told
from small_bundle import write_small_bundle

D, C = "run d.edge ", "run c.edge "
CASES = [
    Case("nothing to look at", "run d.edge", ("no picture and no --source", "--source 0")),
    Case("two sources", D + "a.png --source clip.mp4", ("two sources", "--source clip.mp4")),
    Case("video that is not there", D + "--source gone.mp4", ("gone.mp4", "no such file")),
    Case("video of 0 bytes", D + "--source zero.mp4", ("zero.mp4", "0 bytes")),
    Case("text called mp4", D + "--source text.mp4", ("text.mp4", "b'no video", "no video")),
    Case("video whose copy stopped", D + "--source cut.mp4", ("cut.mp4", "cut off")),
    Case("container without frames", D + "--source hollow.avi", ("hollow.avi",)),
    Case("camera that is not there", D + "--source 97", ("camera 97", "--source with another number")),
    Case("camera of a number that is none", D + "--source 99999999999", ("camera 99999999999",)),
    Case("stream that nobody sends", D + "--source rtsp://127.0.0.1:9/live", ("rtsp://127.0.0.1:9/live", "a player")),
    Case("web page that is not there", D + "--source http://127.0.0.1:9/a.mp4", ("127.0.0.1:9", "a player")),
    Case("protocol that there is not", D + "--source gopher://x/y", ("gopher://x/y", "rtsp://")),
    Case("folder without pictures", D + "--source empty", ("no pictures in empty", ".jpg")),
    Case("folder of something else", D + "docs", ("no pictures in docs", ".txt")),
    Case("pattern that fits nothing", D + "*.tiff", ("*.tiff", ".jpg")),
    Case("video among the pictures", D + "a.png clip.mp4", ("clip.mp4", "--source clip.mp4")),
    Case("save as something unknown", D + "a.png --save out.xyz", (".xyz", ".mp4", "--save out.jpg")),
    Case("save several as one picture", D + "a.png b.png --save out.jpg", ("2 frames", "--save out/")),
    Case("save a video as one picture", D + "--source clip.mp4 --save out.png", ("6 frames", "--save out.mp4")),
    Case("save over the source", D + "a.png --save a.png --force", ("replace its own source",)),
    Case("save a video over its source", D + "--source clip.mp4 --save ./clip.mp4 --force", ("its own source",)),
    Case("save into the folder of the sources", D + "a.png b.png --save . --force", ("its own source",)),
    Case("save over something", D + "a.png --save b.png", ("b.png", "--force")),
    Case("save in the place of a folder", D + "a.png b.png --save holds --force", ("holds", "a folder")),
    Case("save where nobody may write", D + "a.png --save /proc/out.png", ("/proc", "permissions")),
    Case("save below a file", D + "--source clip.mp4 --save docs/notes.txt/out.mp4", ("docs/notes.txt",)),
    Case("score that is no number", D + "a.png --score nan", ("--score", "nan", "0.3")),
    Case("score in percent", D + "a.png --score 30", ("--score", "from 0 to 1")),
    Case("negative score", D + "a.png --score -0.1", ("--score", "-0.1")),
    Case("score that is a word", D + "a.png --score high", ("--score", "valid number")),
    Case("overlap above 1", D + "a.png --iou 1.5", ("--iou", "1.5")),
    Case("no detections", D + "a.png --max-detections 0", ("--max-detections", "0")),
    Case("no frames", D + "--source clip.mp4 --max-frames 0", ("--max-frames", "0")),
    Case("classes of a detector", D + "a.png --top 3", ("--top", "--max-detections 3")),
    Case("no classes", C + "a.png --top 0", ("--top", "1 or more")),
    Case("threshold of a classifier", C + "a.png --score 0.5", ("--score", "classifies")),
    Case("overlap of a classifier", C + "a.png --iou 0.5", ("--iou", "classifies")),
    Case("boxes of a classifier", C + "a.png --max-detections 5", ("--max-detections", "classifies")),
    Case("overlap where nothing is suppressed", "run n.edge a.png --iou 0.5", ("does not suppress", "--nms runtime")),
    Case("score below that of the graph", "run g.edge a.png --score 0.1", ("in the graph", "--nms runtime")),
    Case("bundle of another task", "run s.edge a.png", ("posing",)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("run-bad-input")
    write_detection_bundle(made / "d.edge")
    write_detection_bundle(made / "n.edge", nms="none")
    write_detection_bundle(made / "g.edge", nms="graph")
    write_small_bundle(made / "c.edge")
    write_small_bundle(made / "s.edge", task="posing")
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(made / name), paint((0, 0, 8, 8, "red")))
    clip = write_clip(made / "clip.mp4", frames=6)
    (made / "zero.mp4").touch()
    (made / "text.mp4").write_text("no video at all\n" * 50)
    (made / "cut.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    whole = write_clip(made / "whole.avi", frames=6).read_bytes()
    (made / "hollow.avi").write_bytes(whole[: whole.index(b"movi") + 4])
    (made / "empty").mkdir()
    (made / "holds" / "a.png").mkdir(parents=True)
    (made / "docs").mkdir()
    (made / "docs" / "notes.txt").write_text("notes")
    return made


def test_there_are_more_than_twenty():
    assert len(CASES) >= 20 and len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_told_in_one_screen(case, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert_told(case, folder)
