"""edgesmith run with instructions, in both commands: text, JSON, lines, pictures, a list from a file, and what is refused."""

from __future__ import annotations

import json
import zlib

import cv2
import numpy as np
import pytest
from command_line import edgesmith, on_device
from grounding_bundle import TALL, WIDE, encode, screenshot, write_grounding_bundle
from small_bundle import write_small_bundle

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.detection.draw import class_colour
from edgesmith.runtime.tasks.grounding import words
from edgesmith.runtime.tasks.grounding.draw import draw, heat_map

BOTH = pytest.mark.parametrize("command", [edgesmith, on_device])
PICTURE = screenshot(WIDE, red=(5, 1), green=(0, 4), blue=(7, 0))


@pytest.fixture(autouse=True)
def _words(monkeypatch):
    monkeypatch.setattr(words, "encoder", lambda data: (encode, ()))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return str(write_grounding_bundle(tmp_path_factory.mktemp("grounding") / "colours.edge"))


@pytest.fixture(scope="module")
def shot(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "shot.png"
    cv2.imwrite(str(path), PICTURE[:, :, ::-1])
    return str(path)


@BOTH
def test_a_click_is_printed_as_agents_run_it(command, place, shot):
    told = command("run", place, shot, "--instruction", "click the red button", "--instruction", "blue")
    assert told.code == 0 and shot in told.out
    assert "click the red button" in told.out and "pyautogui.click(154, 42)" in told.out
    assert "pyautogui.click(210, 14)" in told.out and "element 196,0 to 224,28" in told.out
    assert "infer" in told.err


@BOTH
def test_json_has_shares_pixels_code_and_element(command, place, shot):
    told = command("run", place, shot, "--instruction", "red", "--json", "--top", "1")
    (answer,) = json.loads(told.out)
    (click,) = answer["clicks"]
    assert answer["size"] == [140, 224] and answer["looked_at"] == [140, 224] and answer["notes"] == []
    assert click["pixels"] == [154, 42] and click["code"] == "pyautogui.click(154, 42)"
    assert click["point"] == pytest.approx([154 / 224, 42 / 140], abs=1e-3) and click["box"] == [140, 28, 168, 56]
    assert len(click["regions"]) == 1 and click["regions"][0]["patches"] == 1 and click["zoomed"] is None


@BOTH
@pytest.mark.parametrize("text", ["red=1", "instruction=red", "red, <b> & \u00fc\u4e2d"])
def test_an_instruction_is_taken_as_it_is(command, place, shot, text):
    told = command("run", place, shot, "--instruction", text, "--json")
    assert told.code == 0 and json.loads(told.out)[0]["clicks"][0]["instruction"] == text


@BOTH
def test_instructions_come_from_a_file_too(command, place, shot, tmp_path):
    listed = tmp_path / "asked.txt"
    listed.write_text("\ufeffthe green button\n\n  blue \r\n", encoding="utf-8")
    told = command("run", place, shot, "--instruction", "red", "--instructions", str(listed), "--json-lines")
    entry = json.loads(told.out)
    assert [click["instruction"] for click in entry["clicks"]] == ["red", "the green button", "blue"]
    assert {"read", "preprocess", "infer", "postprocess"} <= set(entry["latency_ms"])


@BOTH
def test_several_pictures_and_a_second_look(command, place, shot, tmp_path):
    other = tmp_path / "tall.png"
    cv2.imwrite(str(other), screenshot(TALL, red=(2, 5))[:, :, ::-1])
    told = command("run", place, shot, str(other), "--instruction", "red", "--zoom", "4", "--json", "--pool-mb", "1")
    first, second = json.loads(told.out)
    assert first["clicks"][0]["zoomed"] == [140, 28, 168, 56] and second["size"] == [168, 84]


def test_the_overlay_is_saved(place, shot, tmp_path):
    out = tmp_path / "out.png"
    assert edgesmith("run", place, shot, "--instruction", "red", "--instruction", "blue", "--save", str(out)).code == 0
    drawn = cv2.imread(str(out))[:, :, ::-1]
    assert drawn.shape == PICTURE.shape and (drawn != PICTURE).any(axis=2).mean() > 0.02
    assert np.array_equal(drawn[60:110, 60:120], PICTURE[60:110, 60:120])  # nothing is seen there


def test_no_name_lies_over_a_point_or_over_another_name(place):
    """Two instructions that point to one place: both names can be read, and the ring is whole."""
    with load(place) as session:
        both = session(PICTURE, instruction=["red", "the red button"])
        alone = session(PICTURE, instruction="red")
    x, y = alone[0].pixels
    drawn = draw(PICTURE, both)
    ring = [tuple(drawn[y + dy, x + dx]) for dy, dx in ((0, 6), (0, -6), (6, 0), (-6, 0))]
    assert len(set(ring)) == 1 and np.abs(np.subtract(ring[0], class_colour(1), dtype=int)).max() < 64  # drawn last
    names = [(drawn == class_colour(number)).all(axis=2).sum() for number in (0, 1)]
    assert min(names) > 60  # a field each


def test_the_map_covers_what_was_looked_at(place):
    with load(place) as session, session.open(np.repeat(np.repeat(PICTURE, 2, 0), 2, 1)) as screen:
        heat = heat_map(screen.click("red"))
        assert heat.shape == (280, 448) and heat.max() == 1.0 and heat[84, 308] == 1.0 and heat[250, 20] < 0.01
        zoomed = screen.click("red", zoom=2)
        left, top, right, bottom = zoomed.seen
        outside = heat_map(zoomed)
        outside[top:bottom, left:right] = 0
        assert not outside.any()


def test_a_picture_of_another_size_is_not_drawn_on(place):
    with load(place) as session:
        clicks = session(PICTURE, instruction="red")
    with pytest.raises(UserMistake, match="not of this picture"):
        draw(PICTURE[:-1], clicks)


@BOTH
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "needs an instruction"),
        (["--instruction", ""], "instruction is empty"),
        (["--instruction", "red", "--zoom", "3"], "no such zoom"),
        (["--instruction", "red", "--score", "0.5"], "takes no --score"),
        (["--instruction", "red", "--pool-mb", "0"], "needs a size"),
        (["--instruction", "red", "--pool-mb", "0.00001"], "no room for even the smallest screen"),
        (["--instructions", "nothing.txt"], "cannot read the instructions"),
    ],
)
def test_what_cannot_be_asked_is_told(command, place, shot, options, told):
    answer = command("run", place, shot, *options)
    assert answer.code == 2 and told in answer.err and not answer.out


@pytest.mark.parametrize("content", [b"", b"\n  \n", b"\xff\xfe\x00"])
def test_a_file_without_instructions_is_told(place, shot, tmp_path, content):
    listed = tmp_path / "asked.txt"
    listed.write_bytes(content)
    answer = edgesmith("run", place, shot, "--instructions", str(listed))
    assert answer.code == 2 and "instructions" in answer.err


@BOTH
@pytest.mark.parametrize(
    ("shape", "told"), [((1, 1), "no screenshot"), ((20, 2000), "no screenshot"), ((60, 2000), "shape of no screen")]
)
def test_a_picture_that_is_no_screen_is_told(command, place, tmp_path, shape, told):
    path = tmp_path / "strip.png"
    cv2.imwrite(str(path), np.zeros((*shape, 3), np.uint8))
    answer = command("run", place, str(path), "--instruction", "red")
    assert answer.code == 2 and told in answer.err and not answer.out


@BOTH
@pytest.mark.parametrize("option", [["--instruction", "red"], ["--zoom", "2"]])
def test_other_tasks_take_none_of_it(command, shot, tmp_path, option):
    place = str(write_small_bundle(tmp_path / "small.edge"))
    answer = command("run", place, shot, *option)
    assert answer.code == 2 and f"takes no {option[0]}" in answer.err
    answer = command("run", place, shot, "--pool-mb", "5")
    assert answer.code == 2 and "keeps no pictures open" in answer.err


@BOTH
def test_the_self_test_covers_the_whole_way(command, place):
    answer = command("test", place)
    assert answer.code == 0 and "scores: holds" in answer.out and "preprocessing: holds" in answer.out


def test_an_8k_screenshot_is_looked_at_smaller_and_that_is_told(place, tmp_path):
    path = tmp_path / "8k.png"
    large = np.full((4320, 7680, 3), 90, np.uint8)
    large[864:1728, 4800:5760] = (0, 0, 255)  # red, as OpenCV writes it
    cv2.imwrite(str(path), large)
    told = on_device("run", place, str(path), "--instruction", "red")
    assert told.code == 0 and "note: 7680 x 4320 pixels are looked at as 224 x 140" in told.out
    x, y = map(int, told.out.split("pyautogui.click(")[1].split(")")[0].split(","))
    assert 4800 <= x < 5760 and 864 <= y < 1728


def test_a_picture_above_the_limit_of_the_reader_is_refused(place, shot, tmp_path):
    with open(shot, "rb") as file:
        data = bytearray(file.read())
    data[16:24] = (20_000).to_bytes(4, "big") * 2  # width and height of the header, and its checksum
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path = tmp_path / "huge.png"
    path.write_bytes(data)
    told = on_device("run", place, str(path), "--instruction", "red")
    assert told.code == 2 and "20000 x 20000 pixels" in told.err and "at most 200,000,000" in told.err
