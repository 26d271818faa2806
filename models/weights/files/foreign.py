"""What is given as weights and is none: told by the first bytes, with the way to a file that can be read.

bytes -> UserMistake("this is an ONNX graph", try: ...), or nothing where it may be a checkpoint
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ....runtime.errors import UserMistake

STATE = "torch.save(model.state_dict(), FILE)"
EXPECTED = "a state dict in a file of torch.save or safetensors"
# first bytes -> what it is, and what to do
MARKS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras and TensorFlow save weights", f"the PyTorch checkpoint, or convert: {STATE}"),
    (b"\x93NUMPY", "a single numpy array (.npy)", f"all tensors by name: {STATE}"),
    (b"GGUF", "a GGUF file of llama.cpp, with quantised weights", "the floating-point checkpoint that it was made from"),
    (b"ftrt", "a TensorRT engine", "the PyTorch checkpoint that it was built from"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "git lfs pull, or download the file by its address"),
    (b"<!DOCTYPE", "a web page", "the address of the file itself (on the Hub: /resolve/, not /blob/)"),
    (b"<!doctype", "a web page", "the address of the file itself (on the Hub: /resolve/, not /blob/)"),
    (b"<html", "a web page", "the address of the file itself (on the Hub: /resolve/, not /blob/)"),
    (b"<?xml", "XML: a web page, or a graph of OpenVINO", "the address of the file itself, or the checkpoint of the graph"),
    (b"\x1f\x8b", "a file packed by gzip", "unpack it first: gzip -d, or tar -xzf"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"\xfd7zXZ", "a file packed by xz", "unpack it first: xz -d, or tar -xJf"),
    (b"(\xb5/\xfd", "a file packed by zstd", "unpack it first: zstd -d"),
    (b"BZh", "a file packed by bzip2", "unpack it first: bzip2 -d, or tar -xjf"),
    (b"\x7fELF", "a program or library", f"the checkpoint: {STATE}"),
    (b"SQLite format", "a database", f"the checkpoint: {STATE}"),
    (b"%PDF", "a PDF document", f"the checkpoint: {STATE}"),
)  # fmt: skip
TRACED = "m = torch.jit.load(FILE); torch.save(m.state_dict(), 'weights.pth')"
EXPORTED = "p = torch.export.load(FILE); torch.save(dict(p.state_dict), 'weights.pth')"
ONNX_TRY = (
    "the PyTorch checkpoint that it was exported from; `edgesmith inspect` and `edgesmith compare` read ONNX files"
)


def refuse_foreign(file: Path, source: str) -> None:
    """UserMistake for a file of a kind that is known and is no checkpoint; zip archives are looked at by their members."""
    with file.open("rb") as stream:
        head = stream.read(512)
    for mark, kind, attempt in MARKS:
        if head.startswith(mark):
            raise _named(source, kind, attempt)
    if head[4:8] == b"TFL3":
        raise _named(source, "a TensorFlow Lite graph", "the PyTorch checkpoint of the model")
    if head[257:262] == b"ustar":
        raise _named(source, "a tar archive", f"unpack it first: tar -xf {source}")
    if _onnx(head):
        raise _named(source, "an ONNX graph", ONNX_TRY)
    if file.suffix in (".index", ".pb") or re.search(r"\.data-\d{5}-of-\d{5}$", file.name):
        raise _named(
            source, "a part of a TensorFlow checkpoint or graph", f"the PyTorch checkpoint, or convert: {STATE}"
        )
    if file.suffix in (".msgpack", ".distcp"):
        kind = "weights of Flax" if file.suffix == ".msgpack" else "a part of a distributed checkpoint"
        attempt = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pth"
        raise _named(source, kind, attempt if file.suffix == ".distcp" else f"convert: {STATE}")


def refuse_archive(names: Sequence[str], source: str) -> None:
    """UserMistake for a zip archive that ``torch.save`` did not write, told by the names of its members."""
    leaves = {name.split("/", 1)[-1] for name in names}
    if any(leaf == "constants.pkl" or leaf.startswith("code/") for leaf in leaves):
        raise _named(source, "a TorchScript archive: a program with its weights", TRACED)
    formats = ("archive_format", "serialized_exported_program.json", "serialized_state_dict.pt")
    if any(leaf in formats or leaf.startswith("models/") for leaf in leaves):
        raise _named(source, "an ExportedProgram of torch.export (.pt2)", EXPORTED)
    if names and all(name.endswith(".npy") for name in names):
        raise _named(source, "numpy arrays (.npz)", f"the PyTorch checkpoint, or convert: {STATE}")
    if "model.weights.h5" in names:
        raise _named(source, "a Keras model", f"the PyTorch checkpoint, or convert: {STATE}")
    if not any(name.split("/")[-1] == "data.pkl" for name in names):
        inner = [name for name in names if name.endswith((".pth", ".pt", ".bin", ".safetensors", ".tar"))]
        attempt = f"unpack it, then --weights {inner[0].split('/')[-1]}" if inner else f"the checkpoint: {STATE}"
        kind = "a zip archive without a checkpoint's members: " + (", ".join(names[:3]) or "none at all")
        raise _named(source, kind[:160], attempt[:160])


def _named(source: str, kind: str, attempt: str) -> UserMistake:
    return UserMistake(f"{source}: not a PyTorch checkpoint", found=kind, expected=EXPECTED, attempt=attempt)


def _onnx(head: bytes) -> bool:
    """A protobuf message that begins as ONNX does: field 1, the IR version, as a small number, then a text or the graph."""
    if len(head) < 4 or head[0] != 0x08 or not 1 <= head[1] <= 32 or head[8:9] == b"{":  # the last: safetensors
        return False
    return head[2] in (
        0x12,
        0x1A,
        0x22,
        0x28,
        0x32,
        0x3A,
        0x42,
    )  # producer, its version, domain, number, doc, graph, opset
