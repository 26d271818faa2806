"""Names as long as the file system takes, and names whose bytes are no text: saved, replaced, given back, or refused in words."""

import os
from pathlib import Path

import cv2
import pytest
from clips import frames_of, write_clip
from command_line import edgesmith, on_device
from detection_bundle import paint, write_detection_bundle
from floor import workstation
from small_bundle import write_small_bundle

from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.ground.files import replace_file
from edgesmith.runtime.ground.places import spelled
from edgesmith.runtime.ground.scratch import OLD, short, sweep, work_folder
from edgesmith.runtime.pictures.save import _names
from edgesmith.runtime.pictures.video.capture import open_video
from edgesmith.runtime.pictures.video_file import VideoFile

LONG = ["n" * 250, "漢" * 83, "é" * 124 + "x"]  # 249 to 250 bytes
ODD = os.fsdecode(b"caf\xe9")  # no UTF-8


@pytest.mark.parametrize("name", LONG)
def test_a_file_of_a_long_name_is_replaced_whole(tmp_path, name):
    replace_file(tmp_path / f"{name}.x", b"one")
    replace_file(tmp_path / f"{name}.x", b"two")
    assert (tmp_path / f"{name}.x").read_bytes() == b"two" and len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("name", ["short.edge", *LONG, "x" * 255])
def test_scratch_names_fit_wherever_names_of_143_bytes_do(tmp_path, name):
    with work_folder(tmp_path / name) as folder:
        assert len(os.fsencode(folder.name)) <= 143 and folder.is_dir()
    assert len({short(name), short(name + "y")}) == 2 and os.listdir(tmp_path) == []


@pytest.mark.parametrize("command", [edgesmith, on_device])
@pytest.mark.parametrize("name", LONG)
def test_long_names_with_save(tmp_path, monkeypatch, command, name):
    monkeypatch.chdir(tmp_path)
    write_detection_bundle(tmp_path / "d.edge")
    cv2.imwrite("a.png", paint((0, 0, 8, 8, "red"))[:, :, ::-1])
    write_clip(tmp_path / "clip.mp4", frames=3)
    for source, place in (
        (["a.png"], name + ".png"),
        (["--source", "clip.mp4"], name + ".mp4"),
        (["a.png"], name + "/"),
    ):
        answer = command("run", "d.edge", *source, "--save", place)
        assert answer.code == 0, answer.err
    assert cv2.imread(name + ".png") is not None and len(frames_of(Path(name + ".mp4"))) == 3
    os.rename("clip.mp4", name + ".avi")
    assert command("run", "d.edge", "--source", name + ".avi", "--save", "frames").code == 0
    assert len(os.listdir("frames")) == 3
    assert not [one for one in os.listdir(".") if one.startswith(".")]


def test_drawn_pictures_have_names_that_fit():
    paths = ["a/" + "p" * 250 + ".jp2", "b/" + "p" * 250 + ".jp2", "a/" + "q" * 251 + ".jfif"]
    names = _names(paths)
    assert len(set(names)) == 3 and all(len(os.fsencode(name)) <= 255 and name.endswith(".png") for name in names)


@pytest.mark.parametrize("name", LONG)
def test_a_bundle_of_a_long_name_is_replaced_and_given_back(tmp_path, name):
    bundle = write_small_bundle(tmp_path / f"{name}.edge"[-255:])
    update_bundle(open_bundle(bundle), {"labels.json": b'["a", "b", "c"]'})
    assert open_bundle(bundle).labels == ["a", "b", "c"]
    left = tmp_path / f".{short(bundle.name)}.abcdefgh.work"  # of a killed process that had taken the bundle away
    left.mkdir()
    (left / "lock").touch()
    bundle.rename(left / OLD)
    assert open_bundle(bundle).labels == ["a", "b", "c"]
    left.mkdir(exist_ok=True)
    (left / OLD).mkdir()  # and of one that had put the new one there
    (left / "lock").touch()
    sweep(tmp_path)
    assert os.listdir(tmp_path) == [bundle.name]


def test_a_name_that_is_no_text_is_refused_before_a_library_sees_it(tmp_path):
    """OpenCV and engines take paths as UTF-8 and open them by themselves."""
    clip = write_clip(tmp_path / "clip.mp4", frames=2)
    bundle = write_detection_bundle(tmp_path / "d.edge")
    os.rename(clip, tmp_path / (ODD + ".mp4"))
    os.rename(bundle, tmp_path / (ODD + ".edge"))
    for use in (lambda: open_video(tmp_path / (ODD + ".mp4")), lambda: VideoFile(tmp_path / (ODD + ".mp4"), 10)):
        with pytest.raises(UserMistake, match=r"(?s)no UTF-8 text.*caf\\xe9.*rename"):
            use()
    for command in (edgesmith, on_device):
        answer = command("test", str(tmp_path / (ODD + ".edge")))
        assert (
            answer.code == 2
            and "no UTF-8 text" in answer.err
            and "rename" in answer.err
            and "object at" not in answer.err
        )


def test_pictures_of_such_names_are_read_and_drawn(tmp_path):
    bundle = write_detection_bundle(tmp_path / "d.edge")
    (tmp_path / (ODD + ".png")).write_bytes(cv2.imencode(".png", paint((0, 0, 8, 8, "red"))[:, :, ::-1])[1].tobytes())
    answer = edgesmith("run", str(bundle), str(tmp_path / (ODD + ".png")), "--save", str(tmp_path / (ODD + "-out.png")))
    assert answer.code == 0 and "caf\\udce9.png" in answer.out and (tmp_path / (ODD + "-out.png")).stat().st_size


def test_a_locale_without_letters_spells_names_for_libraries(monkeypatch):
    """LANG=C: Python holds the bytes of "ü" as two halves, and the library is given the letter."""
    monkeypatch.setattr(os, "fsencode", lambda path: path.encode("ascii", "surrogateescape"))
    assert spelled("\udcc3\udcbc.mp4") == "ü.mp4"


@workstation
def test_the_plan_of_an_export_takes_255_bytes_and_no_more(tmp_path):
    from edgesmith.exporter.plan.plan import make_plan

    assert make_plan("smt", out=tmp_path / ("n" * 250 + ".edge")).out.name.startswith("nnn")
    with pytest.raises(UserMistake, match="too long"):
        make_plan("smt", out=tmp_path / ("n" * 251 + ".edge"))
