"""kernels.zip: whole and as its table says, or refused in words."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import zipfile

import pytest
from floor import workstation

from edgesmith.exporter.plugins.declaration import Variant
from edgesmith.exporter.plugins.pack.compile import Compiled
from edgesmith.exporter.plugins.pack.pack import pack
from edgesmith.exporter.plugins.vision.ggem_pool import OP
from edgesmith.runtime.errors import EdgesmithError
from edgesmith.runtime.plugins.pack import LINES, MAX_BYTES, TABLE, read_pack
from edgesmith.runtime.plugins.schema import Launch

pytestmark = workstation  # triton compiles what a pack holds
PTX = ".version 8.0\n"


@pytest.fixture
def packed(tmp_path):
    launch = Launch("entry_1", "float16", "1", ("cdiv(C, 32)", "B", "1"), ("N", "eps"), 128, 512, "entry_1.ptx",
                    hashlib.sha256(PTX.encode()).hexdigest())  # fmt: skip
    path = tmp_path / "kernels.zip"
    path.write_bytes(pack([OP], [Compiled("GGeMPool", Variant("float16", {}), launch, PTX)]))
    return path


def rewritten(path, **members):
    """The same zip with other contents for some members; None leaves one out."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files.update(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(name, content)
    return path


def test_reads_what_was_packed(packed):
    found = read_pack(packed)
    assert found.ops["GGeMPool"].schema == OP.schema
    (launch,) = found.ops["GGeMPool"].launches
    assert launch.grid == ("cdiv(C, 32)", "B", "1") and launch.scalars == ("N", "eps")
    assert found.ptx == {"entry_1": PTX}
    assert found.about["target"] == "sm_80"


def test_the_lines_hold_the_same_in_postfix(packed):
    lines = read_pack(packed).lines.splitlines()
    assert lines[0] == "op GGeMPool" and lines[-1] == "end"
    assert "input x T B N C" in lines and "attribute eps float 1e-06" in lines
    assert "kernel entry_1 entry_1.ptx float16 128 512" in lines
    assert "grid C,32,cdiv B 1" in lines and "scalars N eps" in lines


def test_unpacks_for_the_cpp_plugin(packed, tmp_path):
    read_pack(packed).unpack(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["entry_1.ptx", LINES]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"entry_1.ptx": ".version 9.9\n"}, "entry_1.ptx with another hash"),
        ({LINES: "op Other\nend\n"}, "plugins.txt with another hash"),
        ({"entry_1.ptx": None}, "entry_1.ptx"),
        ({TABLE: "{"}, "JSONDecodeError"),
        ({TABLE: "[]"}, "TypeError"),
        ({TABLE: json.dumps({"format": 2})}, "format 2"),
        ({TABLE: None}, TABLE),
    ],
)
def test_a_changed_pack_is_refused(packed, members, words):
    with pytest.raises(EdgesmithError) as error:
        read_pack(rewritten(packed, **members))
    assert words in error.value.found and error.value.attempt


def test_no_pack_and_no_zip_are_refused(tmp_path):
    with pytest.raises(EdgesmithError, match="cannot be used"):
        read_pack(tmp_path / "kernels.zip")
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4 cut")
    with pytest.raises(EdgesmithError) as error:
        read_pack(tmp_path / "cut.zip")
    assert "no whole zip" in error.value.found


PARTS = [
    "..",
    ".",
    "",
    "x",
    "etc",
    "a.ptx",
    "C:",
    "~",
    "nul\x00",
    "a\nb",
    "\u202e",
    "é",
    "-",
    ".hidden",
    "x" * 300,
    "dev",
]


def hostile_names(seed: int, count: int):
    """Relative, absolute, with drives, back slashes, zero bytes, dots: whatever could lead out of a folder."""
    rng = random.Random(seed)
    for _ in range(count):
        parts = [rng.choice(PARTS) for _ in range(rng.randint(1, 4))]
        name = rng.choice(["", "/", "\\", "//", "C:\\"]) + rng.choice("/\\").join(parts) + rng.choice(["", ".ptx", "/"])
        if not re.fullmatch(r"\w[\w.+-]{0,199}", name, re.ASCII):
            yield name


def named(path, name, at: str):
    """The pack with its kernel under ``name``: in the zip, in the table, or in both."""
    with zipfile.ZipFile(path) as archive:
        files = {one: archive.read(one) for one in archive.namelist()}
    table = json.loads(files[TABLE])
    if at != "zip":
        table["ops"]["GGeMPool"]["launches"][0]["file"] = name
    if at != "table":
        files[name] = files["entry_1.ptx"]
    files[TABLE] = json.dumps(table).encode()
    out = path.with_name("hostile.zip")
    with zipfile.ZipFile(out, "w") as archive:
        for one, content in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = one
            archive.writestr(info, content)
    return out


@pytest.mark.parametrize("at", ["both", "zip", "table"])
def test_no_name_leads_out_of_the_folder(packed, tmp_path, at):
    """About 700 names each: refused before anything is written, in the folder or beside it."""
    home = tmp_path / "home"
    home.mkdir()
    before = sorted(tmp_path.iterdir())
    tried = 0
    for name in hostile_names(len(at), 800):
        pack_file = named(packed, name, at)
        with pytest.raises(EdgesmithError) as error:
            read_pack(pack_file).unpack(home / "out")
        assert error.value.what == "The kernel pack hostile.zip cannot be used", name
        pack_file.unlink()
        tried += 1
    assert tried > 600 and sorted(tmp_path.iterdir()) == before and not list(home.iterdir())


@pytest.mark.parametrize("name", [LINES, TABLE, "kernel.so", "entry_1.PTX", "entry_1"])
def test_a_kernel_is_no_other_file(packed, tmp_path, name):
    with pytest.raises(EdgesmithError) as error:
        read_pack(named(packed, name, "table"))
    assert f"a kernel in the file {name}" in error.value.found


def test_a_member_that_stands_there_twice_is_refused(packed):
    with zipfile.ZipFile(packed, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("entry_1.ptx", "other")
    with pytest.raises(EdgesmithError, match="entry_1.ptx stands there twice"):
        read_pack(packed)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_what_we_write_is_unpacked(packed, kind):
    with zipfile.ZipFile(packed, "a", kind) as archive:
        archive.writestr("more.ptx", "x")
    with pytest.raises(EdgesmithError, match="packed in a way that we do not write"):
        read_pack(packed)


def test_more_than_a_pack_can_be_is_not_unpacked(packed):
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("more.ptx", bytes(MAX_BYTES))
    with pytest.raises(EdgesmithError, match="bytes unpacked, at most"):
        read_pack(packed)


def test_a_damaged_member_is_refused_in_words(packed):
    """Every byte of the zip, changed one at a time: another exception would be a traceback."""
    data, told = packed.read_bytes(), 0
    for place in range(0, len(data), 7):
        packed.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            read_pack(packed)
        except EdgesmithError:
            told += 1
    assert told > len(data) // 14


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "kernels.zip")
    with pytest.raises(EdgesmithError, match="a pipe"):
        read_pack(tmp_path / "kernels.zip")
