"""``edgesmith eval --report``: what the page of classifiers and of features shows, and that its numbers are those of ``--json``."""

import json
import re
from pathlib import Path

import pytest
import small_bundle
from colour_folders import write_colours
from command_line import edgesmith
from small_bundle import write_small_bundle

import edgesmith as package
from edgesmith.exporter.tasks.classification.figures import Judged, Rows


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A bundle that is right in 27 of 30 pictures, and one that takes every picture for what it is least."""
    write_small_bundle(tmp_path / "good.edge")
    turned = small_bundle.GRAPH.replace("mean = GlobalAveragePool", "over = GlobalAveragePool")
    monkeypatch.setattr(small_bundle, "GRAPH", turned.replace("  logits", "  mean = Neg(over)\n  logits"))
    write_small_bundle(tmp_path / "bad.edge", precision="int8")
    write_colours(tmp_path / "photos", wrong=3)
    return ["good.edge", "bad.edge", "--data", "photos"]


def test_the_figures_of_classes_by_hand(pair):
    first, second = json.loads(edgesmith("eval", *pair, "--json").out)["rows"]
    assert first["confusion"]["counts"] == [[7, 0, 3], [0, 10, 0], [0, 0, 10]]
    assert first["per_class"]["blue"] == {
        "precision": pytest.approx(1000 / 13), "recall": 100, "f1": pytest.approx(2000 / 23), "support": 10,
    }  # fmt: skip
    assert first["per_class"]["red"]["recall"] == 70
    assert [one["found"] for one in first["worst"]] == ["blue"] * 3 and "changed" not in first
    assert {Path(one["picture"]).parent.name for one in first["worst"]} == {"red"}
    told = second["changed"]
    assert (told["against"], told["pictures"], told["lost"], told["won"]) == ("good.edge", 30, 27, 3)
    assert len(told["some"]) == 12 and {one["before"] == one["truth"] for one in told["some"]} == {True}


def test_the_classes_as_text(pair):
    found = edgesmith("eval", *pair[:1], *pair[2:], "--per-class")
    head, *lines = [line.split() for line in found.out.splitlines()[3:7]]
    assert head == ["class,", "good.edge", "support", "precision", "recall", "F1"]
    assert lines[0] == ["red", "10", "100.0", "70.0", "82.4"] and lines[2] == ["blue", "10", "76.9", "100.0", "87.0"]


def test_the_page_is_one_file_that_has_these_numbers(pair):
    found = edgesmith("eval", *pair, "--report", "page.html", "--json")
    assert found.code == 0, found.err
    result, text = json.loads(found.out), Path("page.html").read_text()
    assert result["report"] == "page.html"
    first, second = result["rows"]
    for words in (f"{first['top1']:.2f}", f"ECE {first['ece']:.2f} %", f"{first['per_class']['blue']['f1']:.1f}"):
        assert words in text
    assert "30 of 30 answers differ from those of good.edge: 27 were right, 3 are right now." in text
    assert text.count("data:image/jpeg;base64,") == len(first["worst"] + second["worst"] + second["changed"]["some"])
    assert "red → blue: 3 of 10" in text and "<script" not in text
    assert not re.search(r"""(src|href)=["'](?!data:)""", text), "nothing from outside of the page"


def test_the_text_says_where_the_page_is(pair):
    found = edgesmith("eval", *pair, "--report", "page.html")
    assert found.code == 0 and found.out.splitlines()[-1] == "report: page.html"


def test_a_page_is_not_replaced_unless_that_is_asked_for(pair):
    Path("page.html").write_text("mine")
    found = edgesmith("eval", *pair, "--report", "page.html")
    assert found.code == 2 and "that place is taken" in found.err and "--overwrite" in found.err
    assert Path("page.html").read_text() == "mine"
    assert edgesmith("eval", *pair, "--report", "page.html", "--overwrite").code == 0
    assert "Evaluation" in Path("page.html").read_text()


@pytest.mark.parametrize(
    ("place", "said"),
    [("page.json", "one HTML file"), ("gone/page.html", "no folder"), ("good.edge/page.html", "inside the bundle")],
)
def test_a_place_that_cannot_be_is_told_before_the_first_picture(pair, monkeypatch, place, said):
    monkeypatch.setattr("edgesmith.exporter.tasks.classification.evaluate._judged", lambda *_: pytest.fail("it ran"))
    found = edgesmith("eval", *pair, "--report", place)
    assert found.code == 2 and said in found.err, found.err


def test_a_page_that_cannot_be_written_after_all_does_not_lose_the_figures(pair, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgesmith.runtime.commands.evaluation.page.replacing", full)
    found = edgesmith("eval", *pair, "--report", "page.html")
    assert found.code == 1 and "90.00" in found.out and "NOT written: [Errno 28]" in found.out


def test_rows_of_other_classes_are_not_laid_beside():
    notes: list[str] = []
    rows, judged = Rows(notes), [Judged(0, 0, 0.9), Judged(3, -1, 0.0)]
    for name, labels in (("one", ["red", "green"]), ("two", []), ("three", ["red", "green"])):
        rows.add({"name": name}, judged, [("a.png", 0), ("b.png", 1)], labels)
    assert ["changed" in row for row in rows.rows] == [False, False, True]
    assert notes == ["two has other classes than one: no changed pictures"]
    assert list(rows.rows[1]["per_class"]) == ["class 0", "class 1"], "numbers where nobody named them"
    assert rows.rows[0]["worst"] == [{"picture": "b.png", "truth": "green", "found": "nothing", "confidence": 0.0}]


def test_python_has_the_same_options(pair):
    told = package.evaluate(pair[:2], "photos", report="page.html", limit=5)
    assert told["report"] == "page.html" and "5 of 30 pictures" in Path("page.html").read_text()
