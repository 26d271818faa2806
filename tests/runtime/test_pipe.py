"""``ffmpeg ... | edgesmith run bundle.edge -``: JPEG and PNG pictures through a pipe, in order, in little memory."""

import io
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from clips import picture
from command_line import edgesmith, on_device
from detection_bundle import paint, write_detection_bundle

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.file import decode_image
from edgesmith.runtime.pictures.video import frames, pipe
from edgesmith.runtime.pictures.video.pipe import Pipe


def jpeg(image: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(".jpg", image[:, :, ::-1], options)[1].tobytes()


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()


class Dribble(io.RawIOBase):
    """A pipe that gives a few bytes at a time, so that every marker is cut somewhere."""

    def __init__(self, data: bytes, most: int) -> None:
        self.data, self.most, self.at = data, most, 0

    def read1(self, count: int) -> bytes:
        block = self.data[self.at : self.at + min(count, self.most)]
        self.at += len(block)
        return block


PICTURES = [picture(index, (40, 48)) for index in range(5)]
PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)
WITH_A_THUMBNAIL = lambda data: (
    data[:2] + b"\xff\xe1" + (len(data) + 8).to_bytes(2, "big") + b"Exif\0\0" + data + data[2:]
)
WRITERS = {
    "jpeg": jpeg,
    "png": png,
    "progressive": lambda image: jpeg(image, *PROGRESSIVE),
    "restart markers": lambda image: jpeg(image, *RESTARTS),
    "a thumbnail inside": lambda image: WITH_A_THUMBNAIL(jpeg(image)),
    "fill bytes": lambda image: jpeg(image)[:2] + b"\xff\xff" + jpeg(image)[2:],
}


@pytest.mark.parametrize("most", [1, 7, 1 << 16])
@pytest.mark.parametrize("writer", WRITERS)
def test_every_picture_in_order(writer, most):
    files = [WRITERS[writer](image) for image in PICTURES]
    found = list(Pipe(Dribble(b"".join(files), most)))
    assert [frame.index for frame in found] == [0, 1, 2, 3, 4] and all(frame.error is None for frame in found)
    for frame, data in zip(found, files, strict=True):
        np.testing.assert_array_equal(frame.image, decode_image(data))


@pytest.mark.parametrize("most", [3, 1 << 16])
@pytest.mark.parametrize(
    "damage",
    [
        lambda one: one[:-40],  # a writer that was cut short: the next one begins among its coded pixels
        lambda one: one + b"\x00\x01 not a picture",
        lambda one: one[:20] + bytes(len(one) - 22) + one[-2:],
    ],
)
def test_a_damaged_picture_is_one_lost_frame_and_the_others_get_their_turn(damage, most):
    files = [jpeg(image) for image in PICTURES]
    files[2] = damage(files[2])
    found = list(Pipe(Dribble(b"".join(files), most)))
    assert sum(frame.lost for frame in found) == 1
    whole = [frame.image for frame in found if frame.image is not None]
    for data in (files[0], files[1], files[3], files[4]):
        assert any(np.array_equal(image, decode_image(data)) for image in whole)


def test_the_last_picture_may_be_cut_off():
    found = list(Pipe(io.BytesIO(png(PICTURES[0]) + png(PICTURES[1])[:-20])))
    assert [frame.lost for frame in found] == [0, 1] and "1 frame of standard input could not be read" in str(
        found[1].error
    )


@pytest.mark.parametrize("data", [b"", b"YUV4MPEG2 W2 H2 F25:1\nFRAME\n" + bytes(6), b"\0\0\0 ftypisom" + bytes(99)])
def test_what_is_no_stream_of_pictures_is_refused_with_the_command_that_makes_one(data):
    with pytest.raises(UserMistake, match=r"(?s)standard input br.*ffmpeg -i VIDEO -f image2pipe -c:v mjpeg"):
        list(Pipe(io.BytesIO(data)))


def test_a_picture_without_an_end_is_not_held_for_ever(monkeypatch):
    monkeypatch.setattr(pipe, "MOST_BYTES", 1 << 20)
    endless = jpeg(PICTURES[0])[:-2] + b"\x55" * (3 << 20)
    with pytest.raises(UserMistake, match=r"(?s)too large.*1,048,576 bytes"):
        list(Pipe(io.BytesIO(endless)))
    source = Pipe(Dribble(jpeg(PICTURES[0]) * 3000, 1 << 16))  # 3 MB of pictures, each small
    most = 0
    for _ in source:
        most = max(most, len(source.bytes.held))
    assert most < 1 << 18


@pytest.fixture
def bundle(tmp_path):
    return str(write_detection_bundle(tmp_path / "d.edge"))


SEEN = [paint((0, 0, 8, 8, "red")), paint(), paint((8, 8, 16, 16, "green"), (24, 24, 32, 32, "blue"))]


def given(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize("command", [edgesmith, on_device])
@pytest.mark.parametrize("words", [["-"], ["--source", "-"]])
def test_the_commands_take_a_pipe(tmp_path, bundle, monkeypatch, command, words):
    given(monkeypatch, b"".join(map(png, SEEN)))
    answer = command("run", bundle, *words, "--json", "--save", str(tmp_path / "out.mp4"))
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert [(one["frame"], len(one["detections"])) for one in told] == [(0, 1), (1, 0), (2, 2)]
    assert "3 frames" in answer.err and (tmp_path / "out.mp4").stat().st_size > 0


def test_a_lost_frame_of_a_pipe_is_an_exit_code(bundle, monkeypatch):
    given(monkeypatch, png(SEEN[0]) + b"rubbish" + png(SEEN[1]))
    answer = edgesmith("run", bundle, "-", "--json-lines")
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert answer.code == 2 and [row.get("lost", 0) for row in rows] == [0, 1, 0] and rows[2]["frame"] == 2


def test_words_about_a_pipe_that_is_none(bundle, monkeypatch):
    given(monkeypatch, b"")
    assert "its end, and nothing before it" in edgesmith("run", bundle, "-").err
    given(monkeypatch, b"")
    assert "- alone, or pictures" in edgesmith("run", bundle, "-", "a.png").err
    monkeypatch.setattr(sys, "stdin", None)
    answer = edgesmith("run", bundle, "-")
    assert answer.code == 2 and "no standard input" in answer.err
    with pytest.raises(UserMistake, match="no standard input"):
        frames("-")


def test_through_a_real_pipe(tmp_path, bundle):
    (tmp_path / "all").write_bytes(b"".join(map(jpeg, SEEN)))
    command = f'cat "{tmp_path / "all"}" | "{sys.executable}" -m edgesmith run "{bundle}" - --json-lines --max-frames 2'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2, done.stderr
