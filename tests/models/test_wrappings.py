"""However a training wraps them, the same tensors make the same network; what is no checkpoint is called what it is.

The table in docs/checkpoints.md has one row for each case here, and none more.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch
from reference_weights import reference_state
from safetensors.torch import save_file
from wrappings import NAMED, VIT_WRAPPINGS, WRAPPINGS, transformers_vit, under, zeros

from edgesmith.models import prepare
from edgesmith.runtime.errors import UserMistake

DOCS = Path(__file__).parents[2] / "docs" / "checkpoints.md"


@pytest.fixture(scope="module")
def van():
    return reference_state("van_mnist")


@pytest.fixture(scope="module")
def vit():
    return {name: value for name, value in reference_state("vit_ggem_mnist").items() if name != "ggem.p"}


def same(made, state) -> bool:
    loaded = made.module.state_dict()
    return all(torch.equal(loaded[name], value) for name, value in state.items())


def refusal(name, path, **options):
    with pytest.raises(UserMistake) as caught:
        prepare(name, path, **options)
    text = str(caught.value)
    assert len(text.splitlines()) <= 24 and max(map(len, text.splitlines())) <= 200, "an error fits one screen"
    return text


@pytest.mark.parametrize("form", WRAPPINGS)
def test_the_tensors_are_those_of_the_plain_checkpoint(tmp_path, van, form):
    torch.save(WRAPPINGS[form](van), tmp_path / "x.pth")
    assert same(prepare("van_mnist", tmp_path / "x.pth"), van)


@pytest.mark.parametrize(
    "key", ["params", "network", "model_state_dict", "model_state", "net", "weights", "module", "generator"]
)
def test_under_any_key(tmp_path, van, key):
    torch.save({key: van, "epoch": 3}, tmp_path / "x.pth")
    assert same(prepare("van_mnist", tmp_path / "x.pth"), van)


@pytest.mark.parametrize("form", VIT_WRAPPINGS)
def test_a_vit_under_the_names_of_others(tmp_path, vit, form):
    torch.save(VIT_WRAPPINGS[form](vit), tmp_path / "x.pth")
    made = prepare("vit_ggem_mnist", tmp_path / "x.pth")
    assert same(made, vit) and torch.equal(made.module.ggem.p, torch.full((4, 1), 3.0))


def test_the_three_projections_stay_in_their_order(tmp_path, vit):
    theirs = transformers_vit(vit)
    torch.save(theirs, tmp_path / "x.pth")
    qkv = prepare("vit_ggem_mnist", tmp_path / "x.pth").module.blocks[1].attn.qkv.weight
    home = "vit.encoder.layer.1.attention.attention."
    assert torch.equal(qkv, torch.cat([theirs[f"{home}{part}.weight"] for part in ("query", "key", "value")]))


def test_a_layer_without_its_key_projection_is_told_not_guessed(tmp_path, vit):
    theirs = {
        k: v for k, v in transformers_vit(vit).items() if k != "vit.encoder.layer.1.attention.attention.key.weight"
    }
    torch.save(theirs, tmp_path / "x.pth")
    assert "blocks.1.attn.qkv.weight" in refusal("vit_ggem_mnist", tmp_path / "x.pth")


@pytest.mark.parametrize("form", NAMED)
def test_what_cannot_be_loaded_is_called_what_it_is(tmp_path, van, form):
    made, word = NAMED[form]
    torch.save(made(van), tmp_path / "x.pth")
    text = refusal("van_mnist", tmp_path / "x.pth")
    assert word in text and "  try " in text


def test_what_was_left_is_said(tmp_path, van):
    content = {**under("model.", van), "criterion.weight": torch.ones(3), "optimizer.state.0.exp_avg": torch.ones(1)}
    torch.save(content, tmp_path / "x.pth")
    assert prepare("van_mnist", tmp_path / "x.pth").notes == ("left what stands outside of 'model': criterion.weight",)
    torch.save(under("model.", van), tmp_path / "x.pth")
    assert prepare("van_mnist", tmp_path / "x.pth").notes == ()


def test_a_layer_beside_the_network_under_the_same_prefix_is_still_refused(tmp_path, van):
    torch.save(under("model.", {**van, "adapter.weight": torch.ones(2, 2)}), tmp_path / "x.pth")
    assert "1 unexpected:\n              adapter.weight" in refusal("van_mnist", tmp_path / "x.pth")


@pytest.mark.parametrize(("ema", "averaged"), [(None, True), (True, True), (False, False)])
def test_averages_by_any_of_their_names(tmp_path, van, ema, averaged):
    for plain, average in (
        ("online_model.", "ema_model."),
        ("params.", "params_ema."),
        ("student.", "teacher."),
        ("m.", "swa_m."),
    ):
        torch.save({**under(plain, zeros(van)), **under(average, van)}, tmp_path / "x.pth")
        made = prepare("van_mnist", tmp_path / "x.pth", ema=ema)
        assert made.averaged is averaged and same(made, van if averaged else zeros(van))
        assert any(repr(average[:-1]) in note for note in made.notes)


def test_a_classifier_is_taken_from_elsewhere_only_where_there_is_one(tmp_path, van):
    trunk = under("backbone.", {k: v for k, v in van.items() if not k.startswith("head.")})
    one = {"classifier.weight": van["head.weight"], "classifier.bias": van["head.bias"]}
    torch.save({**trunk, **one}, tmp_path / "x.pth")
    made = prepare("van_mnist", tmp_path / "x.pth")
    assert same(made, van) and any("classifier.weight as head.weight" in note for note in made.notes)
    torch.save({**trunk, **one, **{k.replace("classifier", "fc"): v for k, v in one.items()}}, tmp_path / "x.pth")
    text = refusal("van_mnist", tmp_path / "x.pth")
    assert "2 missing:\n              head.weight" in text and "may be classifier.weight, fc.weight" in text


def test_the_classifier_of_the_same_network_is_taken(tmp_path, van):
    def apart(state):
        trunk = under("backbone.", {k: v for k, v in state.items() if not k.startswith("head.")})
        return {**trunk, "head.fc.weight": state["head.weight"], "head.fc.bias": state["head.bias"]}

    torch.save({"student": apart(zeros(van)), "teacher": apart(van)}, tmp_path / "x.pth")
    assert same(prepare("van_mnist", tmp_path / "x.pth"), van)
    assert same(prepare("van_mnist", tmp_path / "x.pth", ema=False), zeros(van))


# ---- several files ---------------------------------------------------------------------------------------------------


def shards(folder, state, kind="safetensors", **changes):
    names = sorted(state)
    files = [f"x-0000{number}-of-00002.{kind}" for number in (1, 2)]
    for file, part in zip(files, (names[::2], names[1::2]), strict=True):
        content = {name: state[name] for name in part}
        save_file(content, folder / file) if kind == "safetensors" else torch.save(content, folder / file)
    where = {name: file for file, part in zip(files, (names[::2], names[1::2]), strict=True) for name in part}
    index = folder / ("model.safetensors.index.json" if kind == "safetensors" else "pytorch_model.bin.index.json")
    index.write_text(json.dumps({"metadata": {"total_size": 3}, "weight_map": {**where, **changes}}))
    return index


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_load_by_their_folder_and_by_their_list(tmp_path, van, kind):
    index = shards(tmp_path, van, kind)
    for path in (tmp_path, index):
        made = prepare("van_mnist", path)
        assert same(made, van) and made.source == index.name and re.fullmatch("[0-9a-f]{64}", made.sha256)


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "/tmp/x.safetensors",
        "a/x.safetensors",
        "C:\\x.bin",
        "..",
        "",
        "x\x00.bin",
        "passwd",
        3,
        None,
    ],
)
def test_a_shard_outside_of_the_folder_is_never_opened(tmp_path, van, name):
    folder = tmp_path / "shards"
    folder.mkdir()
    save_file(van, tmp_path / "x.safetensors")
    index = shards(folder, van, **{"norm1.weight": name})
    assert "this list of files cannot be used" in refusal("van_mnist", index)


def test_missing_shards_are_named_and_a_part_alone_is_one(tmp_path, van):
    index = shards(tmp_path, van)
    part = tmp_path / "x-00002-of-00002.safetensors"
    assert "one of 2 files that hold the tensors together" in refusal("van_mnist", part)
    part.unlink()
    assert "not there: x-00002-of-00002.safetensors" in refusal("van_mnist", index)


def test_a_tensor_that_the_list_promises_and_no_file_has(tmp_path, van):
    index = shards(tmp_path, van, **{"more.weight": "x-00001-of-00002.safetensors"})
    assert "more.weight" in refusal("van_mnist", index)


# ---- other kinds of files ---------------------------------------------------------------------------------------------


def _zip(*names):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")

    return write


FOREIGN = {
    "a TorchScript archive (`torch.jit.save`)": (
        lambda path: torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path)), "a TorchScript archive"),
    "an ExportedProgram (`.pt2`)": (
        lambda path: torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), str(path)),
        "an ExportedProgram"),
    "an ONNX graph": (lambda path: path.write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x052.9.0:\x10"), "an ONNX graph"),
    "Keras and TensorFlow, `.h5`": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"x" * 99), "an HDF5 file"),
    "numpy, `.npz`": (_zip("a.npy", "b.npy"), "numpy arrays (.npz)"),
    "TensorFlow Lite": (lambda path: path.write_bytes(b"\x1c\x00\x00\x00TFL3" + b"x" * 99), "a TensorFlow Lite graph"),
    "GGUF": (lambda path: path.write_bytes(b"GGUF\x03" + b"x" * 99), "a GGUF file"),
    "a TensorRT engine": (lambda path: path.write_bytes(b"ftrt" + b"x" * 99), "a TensorRT engine"),
    "a pointer of Git LFS": (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS"),
    "a web page": (lambda path: path.write_bytes(b"<!DOCTYPE html><html>"), "a web page"),
    "a packed file (gzip, xz, zstd, tar, 7-Zip)": (lambda path: path.write_bytes(b"\x1f\x8b\x08" + b"x" * 99), "packed by gzip"),
    "a zip with a checkpoint in it": (_zip("run/best.pth", "run/log.txt"), "--weights best.pth"),
    "a whole module (`torch.save(model)`)": (lambda path: torch.save(torch.nn.Linear(2, 2), path), "a whole module"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_another_kind_of_file_is_called_what_it_is(tmp_path, kind):
    write, word = FOREIGN[kind]
    path = tmp_path / ("x.pt2" if "pt2" in kind else "x.pth")
    write(path)
    text = refusal("van_mnist", path)
    assert word in text and "  try " in text


def test_a_plain_pickle_of_something_else_is_refused(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": [1, 2]}))
    assert "no named tensors" in refusal("van_mnist", tmp_path / "x.pkl")


# ---- the table --------------------------------------------------------------------------------------------------------


def test_the_table_of_the_docs_has_these_rows():
    text = DOCS.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (loads|named) \|", text.split("## Names of classes")[0], re.MULTILINE)
    loads = [*WRAPPINGS, *VIT_WRAPPINGS, "several files and their list (`*.index.json`), safetensors or bin"]
    assert sorted(rows) == sorted([*((row, "loads") for row in loads), *((row, "named") for row in (*NAMED, *FOREIGN))])
    assert len(rows) >= 20
