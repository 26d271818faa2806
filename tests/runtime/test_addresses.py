"""No part of a password leaves the program: not in words, not in JSON, not in the names of files, not through OpenCV."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from clips import stream
from detection_bundle import write_detection_bundle

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.errors.addresses import shown, shown_in
from edgesmith.runtime.pictures.save import PictureFiles
from edgesmith.runtime.pictures.video import frames


@pytest.mark.parametrize(
    ("address", "as_shown"),
    [
        ("rtsp://user:secret@127.0.0.1:9/live", "rtsp://127.0.0.1:9/live"),
        ("rtsp://user:se@cr/et@camera:554/live", "rtsp://camera:554/live"),
        ("rtsp://user:se?c#ret@camera/live", "rtsp://camera/live"),
        ("RTSP://user:se:cret@[::1]:554/live", "RTSP://[::1]:554/live"),
        ("http://token@camera/live", "http://camera/live"),
        ("rtsp://camera/live?user=admin&password=se&cret", "rtsp://camera/live?user=***&password=***&***"),
        ("rtsp://camera/live?pwd=se/cr?et", "rtsp://camera/live?pwd=***/***?***"),
        ("http://camera/v.cgi?loginuse=me&loginpas=secret", "http://camera/v.cgi?loginuse=***&loginpas=***"),
        ("rtsp://camera/user=me&password=secret&channel=1&stream=0.sdp?", "rtsp://camera/user=***&password=***&channel=1&stream=0.sdp?"),
        ("rtsp://camera/user=me_password=secret_channel=1.sdp", "rtsp://camera/user=***"),
        ("rtsp://camera:554/live?user=me&password=se@cr/et", "rtsp://camera:554/live?user=***&password=***/***"),
        ("rtsp://me:secret@camera/live?u=me&p=se@cr/et", "rtsp://***"),
        ("rtsp://me:se@cr/e=t@camera/live", "rtsp://***"),
        ("rtsp:/user:secret@camera/live", "rtsp:/camera/live"),
        ("//user:secret@camera/live", "//camera/live"),
        ("rtsp//user:secret@camera/live", "rtsp//camera/live"),
        ("http:\\\\user:secret@camera/live", "http:\\\\camera/live"),
        ("rtsp://user%3Asecret%40camera/live", "rtsp://camera/live"),
        ("me:secret@camera/x", "camera/x"),
        ("me:/secret@camera/x", "camera/x"),
        ("me:se@cr:et@camera:554/x", "camera:554/x"),
        ("me%3Asecret%40camera/x", "camera/x"),
        ("me:secret%40camera/x", "camera/x"),
        ("m:secret@camera/x", "camera/x"),
        ("rtsp:me:secret@camera/x", "rtsp:camera/x"),
        ("camera/live?user=me&pwd=secret", "camera/live?user=***&pwd=***"),
    ],
)  # fmt: skip
def test_what_may_be_a_secret_is_not_shown(address: str, as_shown: str):
    assert shown(address) == as_shown
    assert shown(as_shown) == as_shown


@pytest.mark.parametrize(
    "word",
    ["0", "clip.mp4", "a b/me@home.mp4", "x=1;y.png", "what?.mp4", "http://cdn/img@2x/a.mjpg", "rtsp://camera:554/live",
     "http://camera/v?channel=1&subtype=0", "C:/clips/a.mp4", "C:/clips/me@home.mp4", "me@camera/x", "udp://239.0.0.1:1234"],
)  # fmt: skip
def test_what_is_none_stays(word: str):
    assert shown(word) == word


def test_a_text_keeps_all_but_the_secrets():
    text = "cannot open rtsp://me:secret@camera/live, nor http://camera/a?pwd=secret now"
    assert shown_in(text) == "cannot open rtsp://camera/live, nor http://camera/a?pwd=*** now"


@pytest.mark.parametrize(
    ("address", "as_shown"),
    [("me:secret@camera:554/live", "camera:554/live"), ("rtsp//me:secret@camera/live", "rtsp//camera/live"),
     ("http:\\\\me:se@cret@camera", "http:\\\\camera"), ("rtsp:me:secret@camera", "rtsp:camera"),
     ("rtsp://me%3Asecret%40camera", "rtsp://camera")],
)  # fmt: skip
def test_a_mistyped_address_in_a_text(address: str, as_shown: str):
    assert shown_in(f"cannot open '{address} now") == f"cannot open '{as_shown} now"


def test_a_text_without_an_address_stays():
    text = "s.edge: golden@home, a/b:c d@e, N:1, 12:30 and C:/clips/a.mp4"
    assert shown_in(text) == text


@pytest.mark.parametrize("address", ["rtsp://me:se cret@camera/live", "http://camera/live?user=me&pwd=se cret"])
def test_a_password_with_a_blank_given_as_a_picture(address: str):
    with pytest.raises(UserMistake) as caught:
        next(iter(frames([address])))
    assert "cret" not in str(caught.value) and "camera/live" in str(caught.value)


def test_every_error_passes_through():
    error = UserMistake(*["rtsp://me:secret@c/w"], found="x rtsp://me:secret@c/f", expected="http://c?pwd=secret",
                        because="rtsp://me:secret@c/b", attempt="--source rtsp://me:secret@c/a")  # fmt: skip
    for text in (str(error), *vars(error).values()):
        assert "secret" not in text and "c" in text


WRONG = [
    "run d.edge --source rtsp://me:se@cr/et@127.0.0.1:9/live",
    "run d.edge --source rtsp://127.0.0.1:9/live?user=me&password=se@cr/et --json",
    "run d.edge --source rtsp:/me:se@cr/et@camera/live",
    "run d.edge --source gopher://me:se@cr/et@camera/live --json-lines",
    "run d.edge a.png --source rtsp://me:se@cr/et@camera/live",
    "run d.edge rtsp://me:se@cr/et@camera/live",
    "run d.edge --sorce rtsp://me:se@cr/et@camera/live",
    "run --source rtsp://me:se@cr/et@camera/live",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("addresses")
    write_detection_bundle(made / "d.edge")
    return made


DEVICE = "import sys; from edgesmith.runtime.commands.cli import main; main(sys.argv[1:])"
HEARD = {
    "OPENCV_LOG_LEVEL": "DEBUG",
    "OPENCV_FFMPEG_DEBUG": "1",
    "OPENCV_VIDEOIO_DEBUG": "1",
    "OPENCV_FFMPEG_LOGLEVEL": "48",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_mistake_does_not_repeat_the_password(folder: Path, words: str, monkeypatch: pytest.MonkeyPatch):
    """Also where OpenCV and FFmpeg are asked to tell everything."""
    for name, value in HEARD.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", DEVICE, *words.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 2 and "Traceback" not in told
    for part in ("me:", "se@", "cr/et", "se@cr/et"):
        assert part not in told, told


def test_a_stream_that_runs_is_named_without_it(folder: Path):
    """Its name is in every line of JSON and in the names of saved pictures."""
    with stream(frames=5) as url:
        whole = url.replace("//", "//me:se@cret@") + "?pwd=s3cret"
        command = [sys.executable, "-c", DEVICE, "run", "d.edge", "--source", whole, "--save", "out/", "--json-lines"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr + " ".join(path.name for path in (folder / "out").iterdir())
    assert "cret" not in told and "me:" not in told and "?pwd=***" in json.loads(done.stdout.splitlines()[0])["source"]


@pytest.mark.parametrize(
    ("source", "name"),
    [("rtsp://camera/user=***", "user=_000003.jpg"), ("rtsp://***", "frame_000003.jpg"), ("my clip.mp4", "my_clip_000003.jpg")],
)  # fmt: skip
def test_a_saved_frame_has_a_name_that_a_memory_card_takes(tmp_path: Path, source: str, name: str):
    files = PictureFiles(SimpleNamespace(name=source), tmp_path)
    assert files.place(SimpleNamespace(index=3)).name == name


def test_python_does_not_tell_either(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(UserMistake) as told:
        frames("http://me:secret@127.0.0.1:9/a.mjpg?pwd=secret")
    assert "secret" not in str(told.value) + "".join(capfd.readouterr())
