"""Words of others are shown, not obeyed: no escape sequence of a label, a manifest or a file name reaches the terminal."""

import io
import json
import sys

import cv2
import numpy as np
import pytest
from command_line import edgesmith
from detection_bundle import LABELS, paint, write_detection_bundle
from floor import workstation
from small_bundle import write_small_bundle

from edgesmith.runtime.commands.streams import Shown, bare, shown_streams
from edgesmith.runtime.errors import UserMistake, one_line, shown

EVIL = {
    "colour": "\x1b[31mred", "title": "\x1b]0;mine\x07", "clear": "\x1b[2Jx", "bell": "\x07", "back": "good\x08\x08\x08\x08bad",
    "return": "good\rbad", "c1": "\x9b31mred", "nel": "a\x85b", "delete": "a\x7f", "nul": "a\x00", "bidi": "\u202etac",
    "isolate": "\u2066x", "mark": "\u200fx", "invisible": "c\u200bat", "bom": "\ufeffcat", "line": "a\u2028b",
    "tag": "\U000e0041", "half": "caf\udce9", "feed": "a\x0cb",
}  # fmt: skip
STEERING = {chr(code) for code in [*range(9), *range(11, 32), *range(127, 160)]} | set(
    "\u202e\u2066\u200f\u200b\ufeff\u2028"
)
FINE = ["cat", "Käse", "漢字　仮名", "עברית", "a\tb\nc", "\N{MAN}\u200d\N{WOMAN}", "[red]x[/red]", "\\u001b", "50 %"]


def steers(text: str) -> bool:
    return any(one in STEERING or 0xD800 <= ord(one) < 0xE000 or 0xE0000 <= ord(one) < 0xE0080 for one in text)


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)
def test_what_steers_a_terminal_is_shown_as_its_number(text):
    told = shown(f"a {text} b")
    assert steers(text) and not steers(told) and "\\u00" in told + "\\u00"
    assert told.startswith("a ") and told.endswith(" b")
    assert shown(told) == told and told.encode("utf-8")


@pytest.mark.parametrize("text", FINE)
def test_all_other_text_stays_as_it_is(text):
    assert shown(text) == text


def test_a_document_stays_one():
    """json.dumps leaves the delete character as it is; what is shown in its place means the same."""
    assert json.loads(shown(json.dumps({"a": "x\x7f\x1b"}, ensure_ascii=False))) == {"a": "x\x7f\x1b"}


def test_a_name_stays_in_its_line():
    assert one_line("cat\n99 % dog\tx") == "cat\\n99 % dog\\tx"


def test_errors_are_shown_too_and_keep_what_they_found():
    error = UserMistake("no \x1b[31mmodel", found="\x1b]0;x\x07")
    assert not steers(str(error)) and "\\u001b" in str(error) and error.found == "\x1b]0;x\x07"


def test_streams_are_guarded_within_the_block_only(capsys):
    before = sys.stdout
    with shown_streams():
        print("\x1b[31mred", flush=True)
        print("\rframe 3 \x1b", file=sys.stderr, end="")
        assert (
            isinstance(sys.stdout, Shown)
            and bare(sys.stdout).stream is before
            and sys.stdout.isatty() is before.isatty()
        )
        with shown_streams():
            print("\x07")
    assert sys.stdout is before
    told = capsys.readouterr()
    assert told.out == "\\u001b[31mred\n\\u0007\n" and told.err == "\rframe 3 \\u001b"


def device(*words):
    from edgesmith.runtime.commands.cli import main

    out, err = io.StringIO(), io.StringIO()
    before, sys.stdout, sys.stderr = (sys.stdout, sys.stderr), out, err
    try:
        with pytest.raises(SystemExit):
            main(list(words))
    finally:
        sys.stdout, sys.stderr = before
    return out.getvalue() + err.getvalue()


def full(*words):
    answer = edgesmith(*words)
    return answer.out + answer.err


@pytest.mark.parametrize("command", [device, full])
@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)
def test_labels_and_names_reach_the_terminal_as_text(tmp_path, command, text):
    name = "pict" + "".join(one for one in text if one != "\x00") + ".png"
    picture = tmp_path / name
    picture.write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    labels = json.dumps([text] * 3).encode()
    place = write_small_bundle(tmp_path / "s.edge", name=text, target=text)
    from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle

    update_bundle(open_bundle(place), {"labels.json": labels})
    told = command("run", str(place), str(picture), "--backend", "onnxruntime")
    assert "%" in told and not steers(told)
    assert not steers(command("run", str(place), str(picture)))  # no such target: its name is in the words
    assert not steers(command("test", str(tmp_path / name)))


def test_labels_of_boxes_too(tmp_path):
    place = write_detection_bundle(
        tmp_path / "d.edge", files={"labels.json": json.dumps([f"{label}\x1b[2J\nx" for label in LABELS]).encode()}
    )
    picture = np.ascontiguousarray(paint((0, 0, 8, 8, LABELS[0]))[:, :, ::-1])
    cv2.imwrite(str(tmp_path / "p.png"), picture)
    told = device("run", str(place), str(tmp_path / "p.png"))
    assert f"{LABELS[0]}\\u001b[2J\\nx" in told and not steers(told)


def test_a_console_shows_text_of_others_and_keeps_its_own_colours(monkeypatch):
    from rich.table import Table
    from rich.text import Text

    from edgesmith.exporter.commands import screen

    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with shown_streams():
        to = screen.console()
        to._force_terminal, to._color_system = True, screen_colours()
        to.print("plain \x1b[2J [red]no markup[/red]")
        to.print(Text("bold \x9b1m", style="bold"))
        table = Table()
        table.add_column("head\x07")
        table.add_row("cell\x1b]0;x\x07")
        table.add_row("[red]bare[/red]")
        to.print(table)
    told = out.getvalue()
    assert "\x1b[1mbold \\u009b1m" in told, "its own style is an escape sequence that it needs"
    assert "\x1b[2J" not in told and "\x1b]" not in told and "\x07" not in told and "\x9b" not in told
    assert "plain \\u001b[2J [red]no markup[/red]" in told and "[red]bare[/red]" in told


def screen_colours():
    from rich.console import ColorSystem

    return ColorSystem.STANDARD


@workstation
def test_inspect_shows_what_a_manifest_says(tmp_path):
    place = write_small_bundle(tmp_path / "s.edge", name="\x1b[31mred", notes=["\u202etac \x07"], model="[red]m[/red]")
    told = full("inspect", str(place))
    assert "\\u001b[31mred" in told and "[red]m[/red]" in told and "\\u202etac" in told and not steers(told)


def test_a_report_escapes_the_words_of_a_bundle(tmp_path):
    from edgesmith.runtime.bundle.report import write_report

    manifest = {"name": "<script>x</script>", "task": "classification", "target": '"><img src=x>', "precision": "fp32"}
    manifest |= {"notes": ["<b>\u202e"], "inputs": [], "outputs": [], "model": "<i>", "licence": {"code": "<u>"}}
    page = write_report(manifest)
    assert not any(tag in page for tag in ("<script", "<img src=x", "<b>\u202e", "<i>", "<u>"))


@pytest.mark.parametrize("place", ["javascript:alert(1)", "/etc/passwd", "../x.png", "data:text/html,x"])
def test_a_picture_of_a_report_is_one_of_the_bundle(place):
    from edgesmith.runtime.report.page import image, text

    assert "href" not in image(place, "words") and "words" in image(place, "words")
    assert 'href="pictures/a.jpg"' in image("pictures/a.jpg", "words")
    assert text("a\u202eb<") == "a\\u202eb&lt;"
