"""The cache of statistics: what is part of the key, damaged files, folders that cannot be used, and what is thrown away."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from observed_graph import TENSORS, TEXT, RandomImages, small_net

from edgesmith.calibration.statistics import cache as caching
from edgesmith.calibration.statistics import fingerprint as printing
from edgesmith.calibration.statistics.cache import Cache, read
from edgesmith.calibration.statistics.collect import collect
from edgesmith.calibration.statistics.fingerprint import fingerprint, graph_sha256
from edgesmith.calibration.statistics.observers import FIELDS
from edgesmith.runtime.ground import files
from edgesmith.runtime.pictures.preprocess import ImageContract


def key(model=None, tensors=None, images=None) -> str:
    return fingerprint("statistics", model or small_net(), tensors or TENSORS, images or RandomImages(8)).key


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def with_contract(contract: ImageContract) -> RandomImages:
    images = RandomImages(8)
    images.contract = contract
    return images


# the key


def test_the_key_is_the_same_in_another_process():
    script = (
        "from observed_graph import *; from edgesmith.calibration.statistics.fingerprint import fingerprint\n"
        "print(fingerprint('statistics', small_net(), TENSORS, RandomImages(8)).key)"
    )
    tests = str(Path(__file__).parents[1] / "helpers")
    environment = {**os.environ, "PYTHONPATH": tests, "PYTHONHASHSEED": "7"}
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert found.stdout.strip() == key()


def test_words_and_storage_are_not_part_of_the_key(tmp_path):
    model = small_net()
    model.metadata_props["date"] = "today"
    model.producer_name, model.doc_string, model.graph.doc_string = "else", "doc", "doc"
    for number, node in enumerate(model.graph):
        node.name, node.doc_string = f"renamed_{number}", "doc"
        node.metadata_props["source"] = "a file"
    assert key(model) == key()
    ir.save(model, tmp_path / "model.onnx", external_data="model.data", size_threshold_bytes=0)
    assert key(ir.load(tmp_path / "model.onnx")) == key()
    assert key(ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model)))) == key()
    assert key(tensors=dict(reversed(TENSORS.items()))) == key()


@pytest.mark.parametrize(
    "old, new",
    [
        ("Relu(", "Sigmoid("),
        ("pads = [1, 1, 1, 1]", "pads = [1, 1, 1, 1], group = 1"),
        ("pads = [1, 1, 1, 1]", 'auto_pad = "SAME_UPPER"'),
        ('"" : 18', '"" : 19'),
        ("Mul(wide, gate)", "Mul(gate, wide)"),
        ("[batch, 3", "[2, 3"),
    ],
)
def test_what_the_graph_computes_is_part_of_the_key(old, new):
    assert old in TEXT
    assert key(small_net(TEXT.replace(old, new))) != key()


def test_the_weights_are_part_of_the_key_bit_for_bit():
    model = small_net()
    value = model.graph.initializers["fc1"]
    array = value.const_value.numpy().copy()
    array[0, 0] = np.nextafter(array[0, 0], np.float32(9))
    value.const_value = ir.tensor(array, name="fc1")
    assert key(model) != key()


def test_branches_and_functions_are_part_of_the_key():
    text = """
    <ir_version: 10, opset_import: ["" : 18, "own" : 1]>
    branched (float[2] x, bool c) => (float[2] y)
    <float[2] w = {1, 2}> {
      y = If(c) <then_branch = one () => (a) { a = own.twice(x) }, else_branch = two () => (b) { b = Mul(x, w) }>
    }
    <domain: "own", opset_import: ["" : 18]>
    twice (t) => (u) { u = Add(t, t) }
    """
    found = graph_sha256(ir.from_proto(onnx.parser.parse_model(text)))
    for old, new in (("Mul(x, w)", "Sub(x, w)"), ("Add(t, t)", "Mul(t, t)"), ("{1, 2}", "{1, 3}")):
        assert graph_sha256(ir.from_proto(onnx.parser.parse_model(text.replace(old, new)))) != found
    assert graph_sha256(ir.from_proto(onnx.parser.parse_model(text))) == found


def test_images_preprocessing_tensors_and_version_are_part_of_the_key(monkeypatch):
    contract = ImageContract(size=(16, 16))
    keys = [
        key(),
        key(images=RandomImages(9)),
        key(images=RandomImages(8, seed=1)),
        key(tensors={**TENSORS, "conved": 1}),
        key(tensors={**TENSORS, "tokens": 1}),
        key(images=with_contract(contract)),
        key(images=with_contract(replace(contract, crop_fraction=0.9))),
        key(images=with_contract(replace(contract, mean=(0.5, 0.5, 0.5)))),
        fingerprint("moments", small_net(), TENSORS, RandomImages(8)).key,
    ]
    monkeypatch.setattr(printing, "__version__", "99.0")
    keys.append(key())
    monkeypatch.setattr(printing, "FORMAT", 99)
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_a_changed_graph_is_counted_anew_and_says_so(tmp_path):
    collect(small_net(), TENSORS, RandomImages(4), cache=tmp_path)
    changed = small_net(TEXT.replace("Relu(", "Sigmoid("))
    found = collect(changed, TENSORS, RandomImages(4), cache=tmp_path)
    assert not found.from_cache
    assert found.notes == ("the graph has changed since statistics of these images were kept: counted anew",)
    assert len(list(tmp_path.iterdir())) == 2
    assert collect(small_net(), TENSORS, RandomImages(4), cache=tmp_path).from_cache
    assert collect(small_net(), TENSORS, RandomImages(5), cache=tmp_path).notes == ()  # other images: nothing to say


# damaged files


def test_a_damaged_file_is_counted_again_with_a_note(tmp_path):
    first = collect(small_net(), TENSORS, RandomImages(4), cache=tmp_path)
    path = only_file(tmp_path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [b"", b"PK", b"not a zip file" * 9, good[:-1], good[: len(good) // 2], good[100:]]
    for _ in range(60):
        wrong = bytearray(good)
        wrong[rng.integers(len(good))] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(wrong))
    noticed = 0
    for content in damaged:
        path.write_bytes(content)
        found = collect(small_net(), TENSORS, RandomImages(4), cache=tmp_path)
        if not found.from_cache:  # else the damage was in a part of the zip that carries nothing
            assert len(found.notes) == 1 and "cannot be used and is counted again" in found.notes[0]
            noticed += 1
        for name, stats in first.tensors.items():
            for field in FIELDS:
                np.testing.assert_array_equal(getattr(found.tensors[name], field), getattr(stats, field))
    assert noticed > len(damaged) / 2


def test_a_file_under_the_wrong_name_is_not_trusted(tmp_path):
    collect(small_net(), TENSORS, RandomImages(4, seed=1), cache=tmp_path)
    path = only_file(tmp_path)
    facts = fingerprint("statistics", small_net(), TENSORS, RandomImages(4))
    path.rename(tmp_path / f"statistics-{facts.key[:32]}.npz")
    found = collect(small_net(), TENSORS, RandomImages(4), cache=tmp_path)
    assert not found.from_cache and "belongs to another key" in found.notes[0]


def test_no_pickle_is_ever_opened(tmp_path):
    collect(small_net(), TENSORS, RandomImages(4), cache=tmp_path)
    path = only_file(tmp_path)
    meta, arrays = read(path)
    evil = np.array([print], dtype=object)
    with path.open("wb") as file:
        np.savez(file, meta=evil, allow_pickle=True)
    assert "allow_pickle=False" in collect(small_net(), TENSORS, RandomImages(4), cache=tmp_path).notes[0]
    assert meta["done"] == 4 and set(arrays) == set(TENSORS)


def test_numpy_reads_the_file_and_the_same_run_writes_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        collect(small_net(), TENSORS, RandomImages(4), cache=tmp_path / folder)
    one, other = only_file(tmp_path / "a"), only_file(tmp_path / "b")
    assert one.read_bytes() == other.read_bytes()
    with np.load(one, allow_pickle=False) as archive:
        assert {"meta", "0/counts", "3/zeros"} <= set(archive.files)


# folders


def test_a_folder_that_cannot_be_made_is_a_note(tmp_path):
    (tmp_path / "file").write_text("in the way")
    found = collect(small_net(), TENSORS, RandomImages(40), cache=tmp_path / "file" / "cache", batch=4, save_every=1)
    assert len(found.notes) == 1 and "statistics are not kept in" in found.notes[0]
    assert found.tensors["tokens"].images == 40


def test_a_full_disk_is_a_note_and_leaves_no_part_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching, "_write_array", full)
    found = collect(small_net(), TENSORS, RandomImages(8), cache=tmp_path, batch=2, save_every=1)
    assert found.notes == (f"statistics are not kept in {tmp_path}: [Errno 28] No space left on device",)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_is_really_full(tmp_path, monkeypatch):
    monkeypatch.setattr(
        files, "hold", lambda handle, name: True
    )  # the device is at no name, and is not to be waited for
    monkeypatch.setattr(tempfile, "mkstemp", lambda **_: (os.open("/dev/full", os.O_WRONLY), str(tmp_path / "x")))
    found = collect(small_net(), TENSORS, RandomImages(4), cache=tmp_path)
    assert "No space left" in found.notes[0] and list(tmp_path.iterdir()) == []


def test_the_folder_of_the_account(tmp_path, monkeypatch):
    facts = fingerprint("statistics", small_net(), TENSORS, RandomImages(4))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("EDGESMITH_CACHE", raising=False)
    assert Cache(facts).folder == tmp_path / "xdg" / "edgesmith" / "statistics"
    monkeypatch.setenv("EDGESMITH_CACHE", str(tmp_path / "own"))
    assert Cache(facts).folder == tmp_path / "own" / "statistics"
    collect(small_net(), TENSORS, RandomImages(4))
    assert len(list((tmp_path / "own" / "statistics").iterdir())) == 1


def test_an_account_without_a_home_goes_without_a_cache(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(caching, "user_cache", nowhere)
    assert collect(small_net(), TENSORS, RandomImages(2)).images == 2


def test_the_files_unused_for_longest_go(tmp_path, monkeypatch):
    monkeypatch.setattr(caching, "KEEP_FILES", 3)
    for seed in range(3):
        collect(small_net(), TENSORS, RandomImages(2, seed=seed), cache=tmp_path)
        for path in tmp_path.iterdir():  # a minute passes
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 60))
    collect(small_net(), TENSORS, RandomImages(2, seed=0), cache=tmp_path)  # the oldest is used again
    collect(small_net(), TENSORS, RandomImages(2, seed=3), cache=tmp_path)
    kept = [
        seed
        for seed in range(4)
        if (tmp_path / f"statistics-{key(images=RandomImages(2, seed=seed))[:32]}.npz").exists()
    ]
    assert kept == [0, 2, 3]


def test_the_cache_has_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr(caching, "KEEP_BYTES", 1)
    for seed in range(3):
        collect(small_net(), TENSORS, RandomImages(2, seed=seed), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_what_killed_runs_left_goes_and_other_files_stay(tmp_path):
    for name in ("statistics-a1.part", "statistics-b2.part", "notes.txt", "mine.npz"):
        (tmp_path / name).write_text("x")
    os.utime(tmp_path / "statistics-a1.part", (0, time.time() - 2 * caching.STALE_SECONDS))
    collect(small_net(), TENSORS, RandomImages(2), cache=tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert {"statistics-b2.part", "notes.txt", "mine.npz"} < left and "statistics-a1.part" not in left
