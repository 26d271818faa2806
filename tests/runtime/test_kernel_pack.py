"""kernels.zip: whole and as its table says, or refused in words."""

from __future__ import annotations

import hashlib
import json
import zipfile

import pytest
from floor import workstation

from edgesmith.exporter.plugins.declaration import Variant
from edgesmith.exporter.plugins.pack.compile import Compiled
from edgesmith.exporter.plugins.pack.pack import pack
from edgesmith.exporter.plugins.vision.ggem_pool import OP
from edgesmith.runtime.errors import EdgesmithError
from edgesmith.runtime.plugins.pack import LINES, TABLE, read_pack
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
    assert "BadZipFile" in error.value.found
