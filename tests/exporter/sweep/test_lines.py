"""Words and files -> lines, lines -> cells; a mistake is told with its line before anything runs."""

import pytest

from edgesmith.exporter.commands.measure.sweep.cells import matrix
from edgesmith.exporter.commands.measure.sweep.lines import read_lines
from edgesmith.runtime.errors import UserMistake

MODELS = """\
# what we ship
timm:resnet18 --image-size 96   # at the size of the camera

van_b0 num_classes=10 --skip A --skip B
--model smt --std 1 1 1
"""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_file_has_a_model_a_line_with_the_settings_of_export(tmp_path):
    (tmp_path / "models.txt").write_text(MODELS)
    first, second, third = read_lines(["models.txt"])
    assert (first.model, first.settings, first.where) == ("timm:resnet18", {"image_size": "96"}, "models.txt, line 2")
    assert (second.model, second.settings) == ("van_b0", {"num_classes": 10, "skip": ["A", "B"]})
    assert second.asked == "van_b0 num_classes=10 --skip A --skip B"
    assert (third.model, third.settings, third.words) == ("smt", {"std": "1,1,1"}, ("--std", "1", "1", "1"))


def test_names_and_lines_and_files_stand_beside_each_other(tmp_path):
    (tmp_path / "models.txt").write_text("\ufeffvan_b0\n", encoding="utf-8")
    (tmp_path / "net.onnx").write_bytes(b"")
    found = read_lines(["smt", "models.txt", "convit --seed 3", "net.onnx", "net.py:make"])
    assert [line.model for line in found] == ["smt", "van_b0", "convit", "net.onnx", "net.py:make"]
    assert [line.where for line in found] == ["", "models.txt, line 1", "", "", ""]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("van_b0 --image-sze 96", ("no flag --image-sze", "--image-size")),
        ("van_b0 --num-classes many", ("cannot read", "--num-classes")),
        ("van_b0 imagesize=96", ("imagesize", "--image-size")),
        ("van_b0 --image-size", ("--image-size",)),
        ("van_b0 smt", ("smt",)),
        ("--image-size 96", ("needs --model",)),
        ("van_b0 'open", ("quotes do not match",)),
        ("van_b0 --target cpu", ("--target of the whole sweep", "edgesmith sweep ... --target")),
        ("van_b0 --precision fp32", ("--precision of the whole sweep",)),
        ("van_b0 --half", ("--precision of the whole sweep",)),
        ("van_b0 --out here.edge", ("--out of the whole sweep",)),
        ("van_b0 --force", ("--again of the whole sweep",)),
        ("van_b0 --dry-run", ("each cell is exported",)),
        ("van_b0 --help", ("no flag --help",)),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path, line, words):
    (tmp_path / "models.txt").write_text(f"# models\nsmt\n{line}\nsmt_base\n")
    with pytest.raises(UserMistake, match="^models.txt, line 3: ") as caught:
        read_lines(["models.txt"])
    assert all(word in str(caught.value) for word in words), str(caught.value)
    with pytest.raises(UserMistake) as alone:
        read_lines([line])
    assert str(alone.value) == str(caught.value).removeprefix("models.txt, line 3: ")


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "nothing at that path"), (b"\xff\xfe\x00", "decode"), (b"a\0b", "no text"), (b"# none\n", "models.txt")],
    ids=["missing", "UTF-16", "zero bytes", "no line"],
)
def test_a_file_that_is_no_list_is_told(tmp_path, content, found):
    if content is not None:
        (tmp_path / "models.txt").write_bytes(content)
    with pytest.raises(UserMistake) as caught:
        read_lines(["models.txt"])
    assert found in caught.value.found


def test_a_folder_is_no_list(tmp_path):
    (tmp_path / "models.txt").mkdir()
    with pytest.raises(UserMistake, match="no file of models") as caught:
        read_lines(["models.txt"])
    assert caught.value.found == "a folder"


def test_every_line_is_a_cell_for_each_target_in_each_precision():
    cells = matrix(read_lines(["van_b0", "smt --image-size 96"]), "cpu, rtx", "fp32,half")
    assert [(cell.line.model, cell.target, cell.precision) for cell in cells] == [
        (model, target, precision)
        for model in ("van_b0", "smt")
        for target in ("cpu", "rtx")
        for precision in ("fp32", "fp16")
    ]
    assert cells[4].choices == {"image_size": "96", "target": "cpu", "precision": "fp32"}


def test_without_a_precision_each_target_has_its_own():
    cells = matrix(read_lines(["van_b0"]), "cpu,rtx", None)
    assert [(cell.target, cell.precision) for cell in cells] == [("cpu", "fp32"), ("rtx", "fp16")]


def test_a_cell_that_is_asked_for_twice_is_one_and_two_settings_are_two():
    lines = read_lines(["van_b0", "smt", "van_b0", "van_b0 --seed 1", "van_b0 seed=1"])
    names = [cell.name for cell in matrix(lines, "cpu,cpu", "fp32,float32,fp32")]
    assert len(names) == len(set(names)) == 3
    assert all(name.endswith(tuple("0123456789abcdef")) and "/" not in name for name in names)


def test_names_of_files_are_short_and_hold_no_path():
    (cell,) = matrix(read_lines([f"../{'x' * 300}/net.py:make"]), "cpu", "fp32")
    assert len(cell.name) < 100 and cell.name.startswith("x") and "net.py_make-cpu-fp32-" in cell.name


@pytest.mark.parametrize(
    ("target", "precision", "word"),
    [
        ("cpu,jetpak6", "fp32", "jetpak6"),
        ("cpu", "fp61", "fp61"),
        ("cpu,", "fp32", "--target"),
        ("cpu", ",", "--precision"),
    ],
)
def test_words_that_name_nothing_are_mistakes(target, precision, word):
    with pytest.raises(UserMistake, match=word):
        matrix(read_lines(["van_b0"]), target, precision)
