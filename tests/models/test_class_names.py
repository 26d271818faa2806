"""--labels in each form of the table in docs/checkpoints.md; what is wrong with a file is told without advising its own form."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import edgesmith

from edgesmith.calibration.pictures.labels import class_number, folder_classes
from edgesmith.models.weights.files.class_names import names_in
from edgesmith.runtime.errors import UserMistake

DOCS = Path(__file__).parents[2] / "docs" / "checkpoints.md"
NAMES = ["tench, Tinca tinca", "dog", "Größe"]
NUMBERED = {str(index): name for index, name in enumerate(NAMES)}
INDEXES = {name: index for index, name in reversed(list(enumerate(NAMES)))}

# the row of the table -> files of that form: name, content
FORMS: dict[str, list[tuple[str, str | bytes]]] = {
    "text, one name a line": [
        ("x.txt", "\n".join(NAMES)),
        ("x.txt", "\ufeff" + "\r\n".join(NAMES) + "\r\n\r\n"),
        ("x", "\n".join(NAMES) + "\n \n\n"),
        ("x.names", "\r".join(NAMES)),
        ("x.txt", "\n".join(NAMES).encode("utf-16")),
    ],
    "JSON, a list": [("x.json", json.dumps(NAMES)), ("x.txt", json.dumps(NAMES)), ("x.json", "\ufeff" + json.dumps(NAMES))],
    "JSON, a dict by index": [("x.json", json.dumps(NUMBERED)), ("x.json", json.dumps(dict(reversed(NUMBERED.items()))))],
    "JSON, a dict of indexes (`class_to_idx`)": [
        ("x.json", json.dumps(INDEXES)),
        ("x.json", json.dumps({"class_to_idx": INDEXES, "epoch": 3})),
    ],
    "ImageNet's dict": [("imagenet_class_index.json", json.dumps({k: ["n0144", v] for k, v in NUMBERED.items()}))],
    "transformers' `config.json`": [
        ("config.json", json.dumps({"architectures": ["x"], "id2label": NUMBERED, "label2id": INDEXES})),
        ("config.json", json.dumps({"label2id": INDEXES})),
    ],
    "`data.yaml`, a list": [
        ("data.yaml", "train: a\nnc: 3\nnames: ['tench, Tinca tinca', dog, Größe]\n"),
        ("data.yml", "names:\n- tench, Tinca tinca\n- dog\n- Größe\n"),
    ],
    "`data.yaml`, by index": [("data.yaml", "path: ../a\nnames:\n  0: tench, Tinca tinca\n  2: Größe\n  1: dog\n")],
    "CSV with a header, either order": [
        ("x.csv", 'index,name\n0,"tench, Tinca tinca"\n1,dog\n2,Größe\n'),
        ("x.csv", '\ufeffName,ID\r\ndog,1\r\n"tench, Tinca tinca",0\r\nGröße,2\r\n\r\n'),
        ("x.csv", '2,Größe\n1,dog\n0,"tench, Tinca tinca"\n'),
        ("x.tsv", "class\ttimes seen\ntench, Tinca tinca\t3\ndog\t4\nGröße\t5\n"),
    ],
    "COCO's `categories`": [
        ("x.json", json.dumps({"images": [], "categories": [{"id": 9, "name": NAMES[2]}, {"id": 1, "name": NAMES[0]}, {"id": 3, "name": NAMES[1]}]})),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "content"), [file for files in FORMS.values() for file in files])
def test_every_form_gives_the_same_names(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert names_in(path.read_bytes(), path) == NAMES


def test_the_table_of_the_docs_has_these_rows():
    table = DOCS.read_text(encoding="utf-8").split("## Names of classes")[1]
    rows = re.findall(r"^\| (?!file|---)(.+?) \| `", table, re.MULTILINE)
    assert rows == list(FORMS) and len(rows) >= 8


# what is wrong -> file, content, a word of the error
WRONG: dict[str, tuple[str, bytes, str]] = {
    "deep JSON": ("x.json", b"[" * 100_000, "recursion"),
    "deep JSON that ends": ("x.json", b"[" * 900 + b"]" * 900, "no name"),
    "half of a character": ("x.json", b'["a", "\\ud800"]', "half of a character in the name of class 1"),
    "not UTF-8": ("x.txt", b"caf\xe9\n", "utf-8"),
    "an empty line": ("x.txt", b"a\n\nb\n", "line 2"),
    "nothing": ("x.txt", b"\n\n", "no names"),
    "an empty dict": ("x.json", b"{}", "no names"),
    "a number for a name": ("x.json", b'["a", 3]', "3 (int), no name, for class 1"),
    "a number alone": ("x.json", b"3", "int in place of names"),
    "yes and no in YAML": ("x.yaml", b"names: [yes, no]", "put it in quotes"),
    "a hole": ("x.json", b'{"0": "a", "2": "b"}', "no name for class 1"),
    "from 1 on": ("x.json", b'{"1": "a", "2": "b"}', "no name for class 0"),
    "two names of a class": ("x.json", b'{"a": 0, "b": 0}', "several names for class 0"),
    "keys of words": ("x.json", b'{"a": "b"}', "no class numbers: 'a'"),
    "a number of many digits": ("x.json", b'{"' + b"9" * 5000 + b'": "b"}', "no class numbers"),
    "a value of many digits": ("x.json", b'{"a": ' + b"9" * 5000 + b"}", "digits"),
    "nc of another count": ("x.yaml", b"nc: 3\nnames: [a, b]", "2 names, and nc says 3"),
    "YAML that is none": ("x.yaml", b"names: [a, b", "no YAML"),
    "a list in a list": ("x.json", b'[["a"], ["b"]]', "no name"),
    "CSV of three columns": ("x.csv", b"a,b,c\n1,2,3\n", "3 columns without a header"),
    "CSV with a short row": ("x.csv", b"index,name\n0,a\n1\n", "row 2"),
    "CSV with words as numbers": ("x.csv", b"index,name\na,b\n", "'a' as a class number"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_said(tmp_path, kind):
    name, content, word = WRONG[kind]
    with pytest.raises(UserMistake) as caught:
        names_in(content, tmp_path / name)
    assert word in str(caught.value) and len(str(caught.value)) < 1200


def test_the_command_takes_them(tmp_path):
    (tmp_path / "data.yaml").write_text("names: {0: a, 1: b}\n")
    line = [
        "export",
        "--model",
        "van_mnist",
        "--weights",
        "random",
        "--labels",
        str(tmp_path / "data.yaml"),
        "--dry-run",
        "--json",
    ]
    answer = edgesmith(*line)
    assert answer.code == 0 and json.loads(answer.out)["plan"]["num_classes"] == 2


def test_no_advice_leads_back(tmp_path):
    """Names and --num-classes that differ: neither error advises what the other refuses."""
    (tmp_path / "x.txt").write_text("a\nb\nc\n")
    line = ["export", "--model", "van_mnist", "--weights", "random", "--labels", str(tmp_path / "x.txt")]
    answer = edgesmith(*line, "--num-classes", "5", "--dry-run")
    assert answer.code == 2 and "leave --num-classes out" not in answer.err and "a file with 5 names" in answer.err


def test_a_label_of_thousands_of_digits_is_no_class():
    with pytest.raises(UserMistake):
        class_number("9" * 5000, ("a", "b"), "labels.csv")
    assert folder_classes(["9" * 200, "a"], ("x", "y", "z"))[0] is None
