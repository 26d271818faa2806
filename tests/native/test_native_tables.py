"""plugins.txt in C++: expressions are worth what they are in Python, and a table that is not right is refused by its line."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable

import numpy as np
import pytest
from native.conftest import NODE, PROBE, write_table

from edgesmith.exporter.plugins.pack.pack import postfix
from edgesmith.runtime.plugins.expressions import INTEGERS, parse
from edgesmith.runtime.plugins.schema import float_bits

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="this machine has no g++")


# ---- expressions
def random_expression(rng: np.random.Generator, depth: int) -> str:
    if depth == 0 or rng.random() < 0.2:
        return str(rng.choice(["B", "N", "bits", "scale", "0", "1", "2", "7", "64"]))
    left, right = (random_expression(rng, depth - 1) for _ in range(2))
    sign = str(rng.choice(["+", "-", "*", "//", "==", "<", "cdiv", "min", "max"]))
    return f"{sign}({left}, {right})" if sign.isalpha() else f"({left} {sign} {right})"


def in_64_bits(apply: Callable[[int, int], int]) -> Callable[[int, int], int]:
    def checked(left: int, right: int) -> int:
        if abs(result := apply(left, right)) >= 2**63:
            raise OverflowError
        return result

    return checked


IN_64_BITS = {sign: in_64_bits(apply) for sign, apply in INTEGERS.items()}


def test_expressions_are_worth_what_they_are_in_python(native, tmp_path):
    rng = np.random.default_rng(0)
    names = {"B": 5, "N": 37, "bits": -3, "scale": float_bits(-1.5)}
    texts: list[str] = []
    while len(texts) < 600:
        text = random_expression(rng, 3)
        try:
            fits = -(2**31) <= parse(text).value(names, IN_64_BITS) < 2**31
        except (ZeroDivisionError, OverflowError):
            continue
        texts += [text] * fits
    groups = [texts[i : i + 60] for i in range(0, len(texts), 60)]  # a kernel takes 64 arguments
    lines: list[str] = []
    asked: list[str] = []
    for i, group in enumerate(groups):
        lines += [f"op Op{i}", *PROBE[1:3], "output y T B", *PROBE[4:6], f"kernel k{i} k{i}.ptx float16 32 0", "when 1", "grid 1 1 1",
                  " ".join(["scalars", *map(postfix, group)]), "end"]  # fmt: skip
        asked += [f"node Op{i}", "attribute bits int -3", "attribute scale float -1.5", "input float16 5 37",
                  "input float32 74", "run"]  # fmt: skip
    folder = write_table(tmp_path / "many", lines, {f"k{i}": len(group) for i, group in enumerate(groups)})
    for group, answer in zip(groups, native.ask([f"folder {folder}", *asked]), strict=True):
        assert answer["log"] == []
        found = dict(zip(group, answer["built"][0][0]["arguments"][2:-1], strict=True))
        assert found == {text: parse(text).value(names) for text in group}


@pytest.mark.parametrize(
    ("expression", "words"),
    [("N,0,//", "division by zero"), ("N,0,cdiv", "division by zero"), ("N,N,*,N,*,N,*,N,*,N,*,N,*,N,*,N,*,N,*,N,*,N,*,N,*",
      "a size does not fit 64 bits"), ("0,9223372036854775807,-,1,-,0,1,-,//", "a size does not fit 64 bits")],
)  # fmt: skip
def test_refuses_what_has_no_value(native, tmp_path, expression, words):
    lines = [line.replace("scalars N scale", f"scalars N {expression}") for line in PROBE]
    folder = write_table(tmp_path / "bad", lines, {"first": 2, "second": 2})
    sizes = ["input float16 2 99", "input float32 198"]
    (answer,) = native.ask([f"folder {folder}", *NODE[:2], *sizes, "run"])
    assert answer == {"failed": "enqueue", "log": [f"edgesmith: Probe: {words}"]}


# ---- tables that are not right
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("op Probe", "opp Probe", "line 1: 'opp' stands outside an op"),
        ("op Probe", "op", "line 1: 'op' has 0 words after it"),
        ("end", "", "line 14: Probe has no end"),
        ("end", "op Second", "line 15: an op begins before Probe ends"),
        ("end", "end now", "line 15: 'end' has 1 words after it"),
        ("end", "end\nop Probe\n" + "\n".join(PROBE[1:]), "line 16: Probe is there twice"),
        ("input x T B N", "", "line 3: 'N' is no number, operator, symbol or attribute"),
        ("input x T B N", "inputs x T B N", "line 2: 'inputs' is not expected here"),
        ("input x T B N", "input x double B N", "line 2: 'double' is no type"),
        ("input x T B N", "input x", "line 2: 'input' has 1 words after it"),
        ("input x T B N", "input x T 1 1 1 1 1 1 1 1 N", "line 2: 'input' has 11 words after it"),
        ("input x T B N", "input x float32 B N", "line 1: no input of Probe decides what T is"),
        ("input w float32 N,2,*", "input w float32 N,*", "line 3: 'N,*' runs out of operands"),
        ("input w float32 N,2,*", "input w float32 N,2", "line 3: 'N,2' leaves 2 values, not 1"),
        ("input w float32 N,2,*", "input w float32 N,2,%", "line 3: '%' is no number, operator, symbol or attribute"),
        ("input w float32 N,2,*", "input w float32 N,,*", "line 3: '' is no number, operator, symbol or attribute"),
        ("output y T B N,bits,*", "output y T B M", "line 4: 'M' is no number, operator, symbol or attribute"),
        ("output y T B N,bits,*", "end", "line 1: Probe has 2 inputs, 0 outputs and 0 kernels, each must be there"),
        ("attribute bits int 4", "attribute bits int", "line 5: 'attribute' has 2 words after it"),
        ("attribute bits int 4", "attribute bits int 4.5", "line 5: '4.5' is no number from -2147483648 to 2147483647"),
        ("attribute bits int 4", "attribute bits int 4294967296", "line 5: '4294967296' is no number from "),
        ("attribute bits int 4", "attribute bits text 4", "line 5: 'text' is neither int nor float"),
        ("attribute bits int 4", "attribute 4bits int 4", "line 5: '4bits' is no name"),
        ("attribute scale float -", "attribute scale float nan", "line 6: 'nan' is no number from "),
        ("attribute scale float -", "attribute scale float 1e39", "line 6: '1e39' is no number from "),
        ("attribute scale float -", "attribute bits float -", "line 6: 'bits' is there twice"),
        ("kernel first first.ptx float16 128 512", "kernel first first.ptx T 128 512", "line 7: a kernel is for one type, not for T"),
        ("kernel first first.ptx float16 128 512", "kernel first first.ptx float16 2048 512", "line 7: '2048' is no number from 1 to 1024"),
        ("kernel first first.ptx float16 128 512", "kernel first first.ptx float16 128 -1", "line 7: '-1' is no number from 0 to 49152"),
        ("kernel first first.ptx float16 128 512", "kernel first ../first.ptx float16 128 512", "line 7: '../first.ptx' is not in the folder"),
        ("kernel first first.ptx float16 128 512", "kernel first third.ptx float16 128 512", "line 7: cannot read "),
        ("kernel first first.ptx float16 128 512", "kernel firs first.ptx float16 128 512", "line 7: the PTX has no entry firs"),
        ("when bits,8,<", "", "line 9: when, grid and scalars follow a kernel, in this order"),
        ("when bits,8,<", "when", "line 8: 'when' has 0 words after it"),
        ("grid N,32,cdiv B 1", "grid N,32,cdiv B", "line 9: 'grid' has 2 words after it"),
        ("grid N,32,cdiv B 1", "grid cdiv B 1", "line 9: 'cdiv' runs out of operands"),
        ("scalars N scale", "scalars N", "line 10: first takes 5 arguments, inputs, scalars and outputs are 4"),
        ("scalars N scale", "scalars " + "N " * 70, "line 10: more than 64 arguments"),
        ("scalars N scale", "scalars N " + ",".join(["1"] * 20), "line 10: '1,1,1,1"),
        ("scalars B N", "scalars B N\nwhen 1", "line 15: 'when' is not expected here"),
    ],
)  # fmt: skip
def test_refuses_a_table_with_its_line(native, tmp_path, old, new, words):
    assert old in PROBE
    lines = [new if line == old else line for line in PROBE]
    folder = write_table(tmp_path / "bad", lines, {"first": 2, "second": 2})
    (answer,) = native.ask([f"folder {folder}", "creators"])
    assert answer["creators"] == []
    assert answer["log"][0].startswith(f"edgesmith: loading plugins: plugins.txt, {words}"), answer["log"]


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_refuses_a_table_without_ops(native, tmp_path, text):
    (tmp_path / "plugins.txt").write_text(text)
    (answer,) = native.ask([f"folder {tmp_path}", "creators"])
    assert answer == {"creators": [], "log": ["edgesmith: loading plugins: plugins.txt has no ops"]}


def test_broken_tables_are_refused_and_never_crash(native, tmp_path):
    rng = np.random.default_rng(1)
    words = re.findall(r"\S+|\n", "\n".join(PROBE))
    asked = []
    for i in range(150):
        broken = list(words)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(broken)))
            match rng.integers(4):
                case 0:
                    del broken[at]
                case 1:
                    broken.insert(at, str(rng.choice(words)))
                case 2:
                    broken[at] = broken[at][: int(rng.integers(len(broken[at]) + 1))]
                case 3:
                    broken[at] = "".join(map(chr, rng.integers(1, 127, 5)))
        folder = write_table(tmp_path / str(i), " ".join(broken).split("\n"), {"first": 2, "second": 2})
        asked += [f"folder {folder}", "creators"]
    answers = native.ask(asked)
    assert len(answers) == 150
    for answer in answers:
        assert bool(answer["creators"]) != bool(answer["log"])


def test_refuses_to_load_without_a_folder(native, tmp_path):
    unset, missing = native.ask(["folder", "creators", f"folder {tmp_path / 'none'}", "creators"])
    assert unset["creators"] == [] and "environment variable EDGESMITH_KERNELS names no folder" in unset["log"][0]
    assert missing["creators"] == [] and f"cannot read {tmp_path / 'none'}/plugins.txt" in missing["log"][0]
