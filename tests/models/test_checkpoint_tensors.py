"""Tensors of every kind that PyTorch writes: plain ones come out as they went in, the others are refused by name, and none costs memory."""

from __future__ import annotations

import pickle
import resource
import struct
import sys
import warnings
import zipfile

import pytest
import torch
from reference_weights import reference_state

from edgesmith.models import prepare
from edgesmith.models.weights.checkpoint import read_checkpoint
from edgesmith.models.weights.light_pickle import TorchFile, beside_tensors
from edgesmith.runtime.errors import UserMistake

NAME = "block1.0.mlp.fc1.weight"
BASE = torch.arange(120.0).reshape(10, 12)

PLAIN = {
    "contiguous": lambda: torch.randn(3, 4),
    "transposed": lambda: BASE.t(),
    "a piece of another": lambda: BASE[2:5, 3::2],
    "a parameter": lambda: torch.nn.Parameter(BASE[1]),
    "half": lambda: torch.randn(5).half(),
    "bfloat16": lambda: torch.randn(5).bfloat16(),
    "double": lambda: torch.randn(5).double(),
    "int64": lambda: torch.arange(5),
    "uint16": lambda: torch.arange(5).to(torch.uint16),
    "bool": lambda: torch.tensor([True, False]),
    "a number": lambda: torch.tensor(3.5),
    "of no values": lambda: torch.zeros(3, 0, 7),
    "one value repeated": lambda: torch.ones(1).expand(4, 5),
    "overlapping steps": lambda: BASE.as_strided((3, 3), (1, 2), 4),
    "a negative view": lambda: torch._neg_view(torch.randn(5)),
    "channels last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
}


def quiet(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch has deprecated some kinds, and calls others a prototype
        return make()


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
def test_plain_tensors_come_out_as_they_went_in(tmp_path, old):
    content = {name: make() for name, make in PLAIN.items()}
    content |= {f"{name} again": value for name, value in content.items()}  # the same storages
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=not old)
    read = TorchFile(tmp_path / "x.pth").content
    assert list(read) == list(content)
    for name, value in content.items():
        found = read[name].values()
        assert (found.dtype, found.shape) == (value.dtype, value.shape) and torch.equal(found, value.detach()), name


def test_without_check_sums_in_the_archive(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": BASE, "args": {"mean": [0.5] * 3}}, tmp_path / "x.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_checkpoint(tmp_path / "x.pth").tensors["a"], BASE)
    assert beside_tensors(tmp_path / "x.pth")["args"] == {"mean": [0.5] * 3}


def test_packed_again_by_another_tool(tmp_path):
    torch.save({"a": BASE}, tmp_path / "x.pth")
    with (
        zipfile.ZipFile(tmp_path / "x.pth") as first,
        zipfile.ZipFile(tmp_path / "y.pth", "w", zipfile.ZIP_DEFLATED) as second,
    ):
        for one in first.infolist():
            second.writestr(one.filename, first.read(one))
    assert torch.equal(read_checkpoint(tmp_path / "y.pth").tensors["a"], BASE)


ODD = {
    "meta": (lambda v: v.to("meta"), "a shape without values (device meta)"),
    "sparse": (lambda v: v.to_sparse(), "sparse_coo"),
    "sparse rows": (lambda v: torch.eye(4).to_sparse_csr(), "sparse_csr"),
    "sparse blocks": (lambda v: torch.eye(4).to_sparse_bsr((2, 2)), "sparse_bsr"),
    "nested": (lambda v: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested"),
    "nested, jagged": (lambda v: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged), "nested"),
    "quantised": (lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8), "quantised, qint8"),
    "quantised by channel": (
        lambda v: torch.quantize_per_channel(v.flatten(1), torch.ones(len(v)), torch.zeros(len(v)), 0, torch.quint8), "quantised, quint8"),
    "conjugate": (lambda v: v.to(torch.complex64).conj(), "complex64"),
    "repeated without end": (lambda v: torch.zeros(1).expand(10**9, 100), "mis-shaped"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_what_holds_no_plain_numbers_is_named(tmp_path, kind):
    make, word = ODD[kind]
    state = reference_state("van_mnist")
    quiet(lambda: torch.save({**state, NAME: make(state[NAME])}, tmp_path / "x.pth"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserMistake) as caught:
        prepare("van_mnist", tmp_path / "x.pth")
    text = str(caught.value)
    assert word in text or "far larger than the file" in text
    assert NAME in text
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 500_000_000


def test_a_view_of_one_value_in_the_right_shape_loads(tmp_path):
    state = reference_state("van_mnist")
    torch.save({**state, NAME: torch.zeros(1).expand(state[NAME].shape)}, tmp_path / "x.pth")
    assert not prepare("van_mnist", tmp_path / "x.pth").module.state_dict()[NAME].any()


# ---- pickles that are no pickles ---------------------------------------------------------------------------------------

REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def tensor(offset=b"K\x00", size=b"K\x04\x85", stride=b"K\x01\x85"):
    inner = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    return b"}X\x01\x00\x00\x00a" + REBUILD + b"(" + inner + offset + size + stride + b"\x89}tRs."


def archive(path, data, **more):
    members = {"data.pkl": b"\x80\x02" + data, "byteorder": b"little", "data/0": struct.pack("<4f", 1, 2, 3, 4), **more}
    with zipfile.ZipFile(path, "w") as made:
        for name, content in members.items():
            if content is not None:
                made.writestr(f"x/{name}", content)
    return path


BROKEN = {
    "a tuple nested 20,000 deep": b"K\x01" + b"\x85" * 20_000 + b".",
    "that as a key": b"}K\x01" + b"\x85" * 20_000 + b"K\x02s.",
    "lists nested 20,000 deep": b"]" * 20_000 + b"a" * 19_999 + b".",
    "a name that was never given": b"h\x07.",
    "an instruction that is none": b"\xff.",
    "nothing to take": b"0.",
    "no mark": b"t.",
    "a call of a number": b"K\x01)R.",
    "a state for a number": b"K\x01}b.",
    "a text longer than the file": b"\x8d" + struct.pack("<Q", 2**60) + b"x.",
    "bytes of 16 GB": b"\x96" + struct.pack("<Q", 2**34) + b".",
    "a frame of a terabyte": b"\x95" + struct.pack("<Q", 2**40) + b".",
    "a persistent name of text": b"Pabc\n.",
    "a persistent name that is a number": b"K\x03Q.",
    "a persistent name of nothing": b")Q.",
    "no end": b"K\x01",
    "an extension": b"\x82\x01.",
    "a storage of another kind": b"(X\x07\x00\x00\x00storageK\x01K\x01K\x01K\x01tQ.",
    "an offset past the end": tensor(offset=b"K\x05"),
    "more values than there are": tensor(size=b"K\x05\x85"),
    "steps past the end": tensor(stride=b"K\x02\x85"),
    "a negative size": tensor(size=b"J\xff\xff\xff\xff\x85"),
    "a negative step": tensor(stride=b"J\xff\xff\xff\xff\x85"),
    "a size of a text": tensor(size=b"X\x01\x00\x00\x00a\x85"),
    "a size of two and a step of one": tensor(size=b"K\x02K\x02\x86"),
    "a shape of 2**62": tensor(size=b"\x8a\x08" + struct.pack("<q", 2**62) + b"\x85"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_pickle_that_makes_no_sense_is_refused(tmp_path, kind):
    path = archive(tmp_path / "x.pth", BROKEN[kind])
    with pytest.raises(UserMistake):
        read_checkpoint(path)
    beside_tensors(path)
    (tmp_path / "y.pth").write_bytes(b"\x80\x02" + BROKEN[kind])
    with pytest.raises(UserMistake):
        read_checkpoint(tmp_path / "y.pth")


def test_the_same_pickle_with_nothing_wrong_loads(tmp_path):
    assert read_checkpoint(archive(tmp_path / "x.pth", tensor())).tensors["a"].tolist() == [1, 2, 3, 4]


ARCHIVES = {
    "no values": {"data/0": None},
    "too few values": {"data/0": b"\x00" * 8},
    "another byte order": {"byteorder": b"big"},
    "two pickles": {"y/data.pkl": b"\x80\x02}."},
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_is_not_whole_is_refused(tmp_path, kind):
    with pytest.raises(UserMistake, match="not a PyTorch checkpoint, or not a whole one"):
        read_checkpoint(archive(tmp_path / "x.pth", tensor(), **ARCHIVES[kind]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path):
    path = archive(tmp_path / "x.pth", tensor())
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("x/data/0", struct.pack("<4f", 9, 9, 9, 9))
    with pytest.raises(UserMistake, match="two members of one name"):
        read_checkpoint(path)


def test_fewer_values_behind_an_old_pickle_than_it_says(tmp_path):
    torch.save({"a": torch.arange(64.0)}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "x.pth").read_bytes()
    count = data.rindex(struct.pack("<q", 64))
    (tmp_path / "x.pth").write_bytes(data[:count] + struct.pack("<q", 32) + data[count + 8 :])
    with pytest.raises(UserMistake, match="cannot be read"):
        read_checkpoint(tmp_path / "x.pth").tensors  # noqa: B018  reading is what raises


def test_a_dict_that_holds_itself_and_dicts_without_end(tmp_path):
    ring = {"a": torch.ones(2)}
    ring["again"] = ring
    wide = {"a": torch.ones(2)}
    for _ in range(40):  # 2**40 paths
        wide = {"x": wide, "y": wide}
    for content in (ring, {"model": wide}):
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(UserMistake):
            prepare("van_mnist", tmp_path / "x.pth")


def test_a_plain_pickle_without_torch_in_it_runs_nothing(tmp_path):
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"args": {"mean": [0.5] * 3}}))
    assert beside_tensors(tmp_path / "x.pth") == {"args": {"mean": [0.5] * 3}}
