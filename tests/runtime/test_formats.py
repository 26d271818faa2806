"""Every picture that the decoder at hand reads is read, right, and of the others it is told how many there are and why."""

import json

import cv2
import numpy as np
import pytest
from command_line import edgesmith, on_device
from floor import ON_THE_FLOOR, workstation
from PIL import Image
from small_bundle import write_small_bundle

from edgesmith.calibration.pictures.files import open_folder
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.file import MAX_PIXELS, check_image, decode_image
from edgesmith.runtime.pictures.formats import suffixes
from edgesmith.runtime.pictures.formats.headers import header
from edgesmith.runtime.pictures.formats.suffixes import left_out, readable
from edgesmith.runtime.pictures.video import frames, pictures

BLUE = np.full((64, 64, 3), (0, 0, 255), np.uint8)  # RGB
GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


def encoded(suffix: str, rgb: np.ndarray = BLUE) -> bytes:
    like = {".jfif": ".jpg", ".pnm": ".ppm"}.get(suffix, suffix)
    pixels = rgb[:, :, 2] if suffix in (".pgm", ".pbm") else rgb[:, :, ::-1]
    done, data = cv2.imencode(like, np.ascontiguousarray(pixels))
    assert done
    return data.tobytes()


@pytest.mark.parametrize("suffix", readable())
def test_a_folder_of_any_suffix_is_read(tmp_path, suffix):
    (tmp_path / "photos" / "blue").mkdir(parents=True)
    for name in (f"a{suffix}", f"B{suffix.upper()}", f"blue/c{suffix}"):
        (tmp_path / "photos" / name).write_bytes(encoded(suffix))
    source = pictures([str(tmp_path / "photos")])
    assert len(source.paths) == 2 and source.notes == []
    for frame in source:
        assert frame.error is None and frame.image.shape == (64, 64, 3)
        assert suffix in (".pgm", ".pbm") or abs(frame.image.astype(int) - BLUE).max() < 4
    opened = open_folder(tmp_path / "photos", ())
    assert len(opened.pool.names) == 3 and not any("left out" in note for note in opened.notes)


def test_the_decoders_of_this_build_are_known(monkeypatch):
    newer = set() if ON_THE_FLOOR else {".gif", ".avif"}  # OpenCV 4.8 has neither
    assert {".jpe", ".jfif", ".pgm", ".ppm", ".pnm", ".jp2", *newer} <= set(readable())
    readable.cache_clear()
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "\n    AVIF:       NO\n    JPEG 2000:  build (ver 2.5)\n")
    assert ".jp2" in readable() and ".gif" not in readable() and ".avif" not in readable()
    readable.cache_clear()


@pytest.fixture
def mixed(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.JFIF", "c.heic", "d.HEIC", "e.dng", "clip.mp4", "notes.txt", ".hidden.png", "._a.png"):
        (tmp_path / "photos" / name).write_bytes(encoded(".jpg") if name == "b.JFIF" else encoded(".png"))
    write_small_bundle(tmp_path / "s.edge")
    return tmp_path


TOLD = "3 pictures left out, 1 .dng, 2 .heic: OpenCV has no decoder for them here"


@pytest.mark.parametrize("command", [edgesmith, on_device])
@pytest.mark.parametrize("words", [["photos"], ["--source", "photos"]])
def test_what_a_folder_leaves_out_is_told(mixed, monkeypatch, command, words):
    monkeypatch.chdir(mixed)
    answer = command("run", "s.edge", *words, "--json")
    assert answer.code == 0, answer.err
    assert [one["image"] for one in json.loads(answer.out)] == ["photos/a.png", "photos/b.JFIF"]
    assert TOLD in answer.err and "1 video left out, 1 .mp4" in answer.err and "txt" not in answer.err


def test_calibration_and_classes_tell_it_too(mixed):
    opened = open_folder(mixed / "photos", ())
    assert opened.pool.names == ["a.png", "b.JFIF"] and any(TOLD in note for note in opened.notes)
    (mixed / "only").mkdir()
    (mixed / "only" / "x.heic").write_bytes(b"x")
    for read in (lambda: pictures([str(mixed / "only")]), lambda: open_folder(mixed / "only", ())):
        with pytest.raises(UserMistake, match=r"(?s)no pictures.*1 picture left out, 1 \.heic: .*decoder for it here"):
            read()


def test_words_of_what_is_left_out():
    assert left_out({}) == "" == left_out([".txt", "", ".json"])
    assert left_out([".MP4", ".heic"]).count(";") == 1


def test_an_old_opencv_tells_of_gif(mixed, monkeypatch):
    (mixed / "photos" / "x.gif").write_bytes(b"GIF89a")
    monkeypatch.setattr(suffixes, "readable", lambda: suffixes.EVERYWHERE)
    monkeypatch.setattr("edgesmith.runtime.pictures.video.frame.readable", lambda: suffixes.EVERYWHERE)
    assert "1 .dng, 1 .gif, 2 .heic" in pictures([str(mixed / "photos")]).notes[0]


@pytest.mark.skipif(ON_THE_FLOOR, reason="OpenCV 4.8 reads no GIF as a picture")
def test_a_gif_is_its_first_picture_in_a_folder_and_a_video_as_a_source(tmp_path):
    moving = [
        Image.fromarray(np.full((32, 32, 3), colour, np.uint8)) for colour in ((0, 0, 255), (255, 0, 0), (0, 255, 0))
    ]
    moving[0].save(tmp_path / "a.gif", save_all=True, append_images=moving[1:], duration=100)
    (frame,) = pictures([str(tmp_path)])
    assert abs(frame.image[16, 16].astype(int) - (0, 0, 255)).max() < 8
    with frames(tmp_path / "a.gif") as source:
        assert source.kind == "video" and len([one for one in source if one.image is not None]) == 3


@pytest.mark.parametrize("white", [1, 7, 15, 100, 128, 254, 255, 1000, 1023, 4095, 65534])
@pytest.mark.parametrize("form", ["P2", "P3", "P5", "P6", "P7"])
def test_white_is_255_whatever_the_header_calls_it(form, white):
    """Pillow is the judge, up to the level by which rounding differs from a shift."""
    channels = 3 if form in ("P3", "P6") else 1
    samples = np.linspace(0, white, 8 * 8 * channels).round().astype(np.int64).reshape(8, 8, channels)
    samples[0, 0] = white
    head = f"{form}\n# made by hand\n8 8\n{white}\n".encode()
    if form == "P7":
        head = f"P7\nWIDTH 8\nHEIGHT 8\nDEPTH 1\nMAXVAL {white}\nTUPLTYPE GRAYSCALE\nENDHDR\n".encode()
    if form in ("P2", "P3"):
        body = " ".join(map(str, samples.ravel())).encode() + b"\n"
    else:
        body = samples.astype(">u2" if white > 255 else "u1").tobytes()
    if (form, white) == ("P7", 1):
        with pytest.raises(UserMistake, match=r"(?s)cannot be read.*PNG"):
            decode_image(head + body)
        return
    image = decode_image(head + body)
    check_image(head + body)
    expected = np.broadcast_to(samples * 255 / white, (8, 8, 3))
    assert image.dtype == np.uint8 and image[0, 0].tolist() == [255, 255, 255]
    assert abs(image - expected).max() <= (0.5 if white < 256 or white & (white + 1) else 1)


def test_netpbm_headers_that_lie():
    assert decode_image(b"P5\n2 1\n100\n" + bytes([250, 50]))[0, :, 0].tolist() == [255, 128]  # above white is white
    with pytest.raises(UserMistake, match=r"(?s)cut off.*Netpbm"):
        decode_image(b"P5\n40 40\n100\n" + bytes(99))
    with pytest.raises(UserMistake, match="cannot (be )?read"):
        decode_image(b"P2\n2 2\n100\n1 2 x 4\n")
    with pytest.raises(UserMistake, match="cannot read"):
        decode_image(b"P5\n2 1\n0\n" + bytes(2))
    assert header(b"P5 99999999999 1 255\n").size is None


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a" + (40_000).to_bytes(2, "little") * 2 + bytes(40),
        b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x16ihdr" + (40_000).to_bytes(4, "big") * 2 + bytes(20),
        b"\0\0\0 ftypavif" + bytes(16) + b"ispe" + bytes(4) + (40_000).to_bytes(4, "big") * 2 + bytes(20),
    ],
)
def test_a_size_that_nobody_can_hold_is_refused_before_it_is_decoded(data):
    assert header(data).size == (40_000, 40_000) and 40_000**2 > MAX_PIXELS
    with pytest.raises(UserMistake, match="too large"):
        decode_image(data)


@workstation
def test_an_export_in_floating_point_tells_it_too(mixed):
    from edgesmith.exporter.plan.plan import make_plan
    from edgesmith.exporter.run.pictures import pictures as to_judge

    assert [one.name for one in to_judge(mixed / "photos")] == ["a.png", "b.JFIF"], "hidden ones are passed over"
    notes = make_plan("smt", data=str(mixed / "photos"), out=str(mixed / "x.edge")).notes
    assert any(TOLD in note for note in notes)
