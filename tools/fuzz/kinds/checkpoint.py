"""Checkpoints: bytes, zip members, pickle opcodes, heads of safetensors, lists of shards, and what stands in the tensors' place.

Used as ``export`` does up to the filled network: what is recorded for the plan, then the weights into a network of one block.
"""

from __future__ import annotations

import argparse
import io
import json
import pickletools
import random as random_module
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

NAME = "checkpoint"
TINY = {"patch_size": 7, "embed_dim": 8, "depth": 1, "num_heads": 2}
HUGE = (0, 1, -1, 255, 65535, 2**31 - 1, -(2**31), 2**31, 2**40, 2**62)
Random = random_module.Random


def _spec() -> Any:
    from edgesmith.models.registry import find

    spec = find("vit_ggem_mnist")
    return replace(spec, config={**spec.config, **TINY}, num_classes=3)


def _state() -> dict[str, Any]:
    import torch

    torch.manual_seed(0)
    return dict(_spec().build(num_classes=3).state_dict())


def _content(state: dict[str, Any]) -> dict[str, Any]:
    said = argparse.Namespace(mean=[0.5, 0.5, 0.5], std=[0.2], img_size=28, num_classes=3, interpolation="bilinear")
    moments = {"state": {0: {"step": 3, "exp_avg": state["norm.weight"].clone()}}, "param_groups": [{"lr": 0.1}]}
    config = {"DATA": {"IMG_SIZE": 28, "MEAN": [0.5, 0.5, 0.5]}, "MODEL": {"NUM_CLASSES": 3}}
    content = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "optimizer": moments, "args": said}
    return {**content, "epoch": 3, "config": config, "class_to_idx": {"a": 0, "b": 1, "c": 2}}


def prepare(folder: Path) -> None:
    """One valid file of each form."""
    import pickle

    import torch
    from safetensors.torch import save_file

    state = _state()
    torch.save(_content(state), folder / "zip.pth")
    torch.save(_content(state), folder / "old.pth", _use_new_zipfile_serialization=False)
    (folder / "plain.pth").write_bytes(pickle.dumps({"args": {"mean": [0.5] * 3}, "epoch": 3}, protocol=4))
    save_file(state, folder / "x.safetensors")
    shards = folder / "shards"
    shards.mkdir(exist_ok=True)
    names = sorted(state)
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for file, part in zip(files, parts, strict=True):
        save_file({name: state[name] for name in part}, shards / file)
    where = {name: file for file, part in zip(files, parts, strict=True) for name in part}
    (shards / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (shards / "config.json").write_text(json.dumps({"num_classes": 3, "pretrained_cfg": {"mean": [0.5] * 3}}))


def mutant(random: Random, folder: Path, target: Path) -> Path:
    """One file or folder under ``target``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return random.choice(MUTATIONS)(random, folder, target)


def use(path: Path) -> None:
    """The plan's reading, then that of the export; UserMistake where the file is refused."""
    from edgesmith.models.loading import prepare as load
    from edgesmith.models.weights.recorded import recorded

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec = _spec()
        said = recorded(path)
        said.applied(spec)
        said.told(spec)
        load(spec, path)


def _bytes(random: Random, folder: Path, target: Path) -> Path:
    """A file with some bytes changed, cut out, put in or cut off."""
    name = random.choice(("zip.pth", "old.pth", "plain.pth", "x.safetensors"))
    (target / name).write_bytes(_changed(random, (folder / name).read_bytes()))
    return target / name


def _changed(random: Random, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        at = random.randrange(max(1, min(len(made), random.choice((64, 2000, 10**9)))))
        match random.randrange(5):
            case 0:
                made[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                del made[at : at + random.choice((1, 4, 100))]
            case 2:
                made[at:at] = random.randbytes(random.choice((1, 4, 100)))
            case 3:
                made[at : at + 8] = struct.pack("<q", random.choice(HUGE))
            case _:
                del made[max(at, random.randrange(max(1, len(made)))) :]
    return bytes(made)


def _opcodes(random: Random, folder: Path, target: Path) -> Path:
    """The pickle of a zip with single instructions changed."""
    with zipfile.ZipFile(folder / "zip.pth") as archive:
        members = {one.filename: archive.read(one) for one in archive.infolist()}
    name = next(one for one in members if one.endswith("data.pkl"))
    data = members[name]
    starts = [at for _, _, at in pickletools.genops(data) if at is not None]
    parts = [data[begin:end] for begin, end in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(random.choice((1, 1, 1, 3, 10))):
        at = random.randrange(len(parts))
        match random.randrange(6):
            case 0:
                del parts[at]
            case 1:
                parts.insert(at, parts[random.randrange(len(parts))])
            case 2:
                parts[at] = parts[random.randrange(len(parts))]
            case 3:
                number = random.choice(HUGE)
                parts[at] = b"\x8a" + bytes([9]) + number.to_bytes(9, "little", signed=True)
            case 4:
                parts[at] = random.choice(SNIPPETS)
            case _:
                parts[at] = _changed(random, parts[at])
        parts = parts or [b"."]
    members[name] = b"".join(parts)
    return _zip(target / "x.pth", members)


SNIPPETS = (
    b"(" * 50,
    b"\x85" * 20_000,
    b"]" * 2000 + b"a" * 1999,
    b"}" * 2000,
    b"\x96" + struct.pack("<Q", 2**34),
    b"\x8e" + struct.pack("<Q", 2**34),
    b"\x95" + struct.pack("<Q", 2**40),
    b"cbuiltins\nbytearray\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch.storage\n_load_from_bytes\n",
    b"\x8b" + struct.pack("<i", 5000) + b"\x01" * 5000,
    b"h\xff", b"j\xff\xff\xff\x7f", b"Q", b"Px\n", b"R", b"b", b"s", b"u", b"e", b"0", b"2", b"t", b"\x91", b"\x90",
)  # fmt: skip


def _zip(file: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", kind) as archive:
        warnings.simplefilter("ignore")
        for name, data in members.items():
            archive.writestr(name, data)
    return file


def _members(random: Random, folder: Path, target: Path) -> Path:
    """A zip with members left out, twice, renamed, cut, packed or of another archive."""
    with zipfile.ZipFile(folder / "zip.pth") as archive:
        members = {one.filename: archive.read(one) for one in archive.infolist()}
    name = random.choice(list(members))
    match random.randrange(7):
        case 0:
            del members[name]
        case 1:
            members[name] = members[name][: random.randrange(len(members[name]) + 1)]
        case 2:
            members[random.choice(("../x", "/x", "zip/code/a.py", "zip/data/0/1", "a/data.pkl", "zip/version"))] = (
                members.pop(name)
            )
        case 3:
            members[name] = _changed(random, members[name])
        case 4:
            members["zip/byteorder"] = random.choice((b"big", b"", b"little ", b"\xff"))
        case 5:
            return _zip(target / "x.pth", members, zipfile.ZIP_DEFLATED)
        case _:
            file = _zip(target / "x.pth", members)
            with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
                warnings.simplefilter("ignore")
                archive.writestr(name, b"\x80\x02}.")
            return file
    return _zip(target / "x.pth", members)


def _tensors(random: Random, folder: Path, target: Path) -> Path:
    """Other tensors, names and things beside them, written by PyTorch itself."""
    import torch

    state = _state()
    for _ in range(random.choice((1, 1, 2, 4))):
        name = random.choice(list(state))
        value = state[name]
        state[name] = random.choice(KINDS)(torch, value if _plain(value) else torch.ones(2))
    content: Any = {**_content(_state()), "state_dict": {f"module.{k}": v for k, v in state.items()}}
    for _ in range(random.choice((0, 1, 2))):
        content = random.choice(SHAPES)(random, content)
    if random.random() < 0.5:
        beside = content.setdefault("config" if random.random() < 0.3 else "args", {})
        if isinstance(beside, dict):
            keys = (
                "mean",
                "std",
                "img_size",
                "input_size",
                "crop_pct",
                "interpolation",
                "crop_mode",
                "num_classes",
                "DATA",
            )
            beside[random.choice(keys)] = random.choice(VALUES)()
        content[random.choice(("id2label", "class_to_idx", "classes", "num_classes", "mean"))] = random.choice(VALUES)()
    try:
        torch.save(content, target / "x.pth", _use_new_zipfile_serialization=random.random() < 0.7)
    except (
        RuntimeError,
        RecursionError,
        NotImplementedError,
        TypeError,
        AttributeError,
        ValueError,
    ):  # it writes not all
        torch.save({"state_dict": {"a": torch.ones(2)}}, target / "x.pth")
    return target / "x.pth"


def _plain(value: Any) -> bool:
    """Whether the value is still one that the kinds below can be made of."""
    return (
        type(value).__name__ in ("Tensor", "Parameter")
        and str(value.dtype) == "torch.float32"
        and (
            not value.is_nested
            and value.device.type == "cpu"
            and str(value.layout) == "torch.strided"
            and value.numel() < 10**6
        )
    )


KINDS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda t, v: v.to_sparse(),
    lambda t, v: t.eye(4).to_sparse_csr(),
    lambda t, v: v.to("meta"),
    lambda t, v: t.quantize_per_tensor(v.float(), 0.1, 0, t.qint8),
    lambda t, v: t.nested.nested_tensor([t.ones(2), t.ones(3)]),
    lambda t, v: t._neg_view(v.float()),
    lambda t, v: v.to(t.complex64).conj(),
    lambda t, v: v[..., :0],
    lambda t, v: t.zeros(1).expand(10**9, 10),
    lambda t, v: t.zeros(1).expand(v.shape),
    lambda t, v: t.zeros(3, 0, 7),
    lambda t, v: v.to(t.float8_e4m3fn),
    lambda t, v: v.to(t.int64),
    lambda t, v: v.double() * 1e300,
    lambda t, v: v * float("nan"),
    lambda t, v: t.tensor(3.0),
    lambda t, v: v.t() if v.ndim == 2 else v.flip(0),
    lambda t, v: t.arange(10.0).as_strided((3, 3), (1, 2)),
    lambda t, v: {"a": v},
    lambda t, v: None,
    lambda t, v: v.half(),
    lambda t, v: t.ones(*([1] * 40)),
)


def _deep(depth: int) -> Any:
    made: Any = 3
    for _ in range(depth):
        made = [made]
    return made


def _ring() -> Any:
    ring: dict[str, Any] = {}
    ring["again"] = ring
    return ring


VALUES: tuple[Callable[[], Any], ...] = (
    lambda: _deep(400), _ring, lambda: 10**400, lambda: -(10**5000), lambda: float("nan"), lambda: "9" * 5000, lambda: "\ud800",
    list, dict, lambda: [1, "a", None], lambda: {"0": "a", "1": 3}, lambda: {1e400: 2}, lambda: True, lambda: b"x",
    lambda: [1e308, 1e-320, 0.5], lambda: (0, 0, 0), lambda: 10**9, lambda: {"IMG_SIZE": 10**7, "MEAN": "a"}, lambda: "x" * 100_000,
    lambda: {"a": 999_999}, lambda: 0, lambda: -5, lambda: [28, 28.5], lambda: {(1, 2): 3},
)  # fmt: skip
SHAPES: tuple[Callable[[Random, dict[Any, Any]], dict[Any, Any]], ...] = (
    lambda r, c: {r.choice(("model", "net", "a.b", "ema", "", "params")): c},
    lambda r, c: {**c, "model_ema": c.get("state_dict")},
    lambda r, c: {**c, "other": c.get("state_dict"), "state_dict": 3},
    lambda r, c: {f"{r.choice(('x.', '.', '..', '_orig_mod.'))}{k}": v for k, v in c.items()},
    lambda r, c: {**c, "again": c},
    lambda r, c: {k: v for k, v in c.items() if r.random() < 0.5},
    lambda r, c: {
        **c,
        "state_dict": {3: 4, None: 5, **(c.get("state_dict") if isinstance(c.get("state_dict"), dict) else {})},
    },
)


def _header(random: Random, folder: Path, target: Path) -> Path:
    """A safetensors file whose head says something else."""
    data = (folder / "x.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    head, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    name = random.choice([one for one in head if one != "__metadata__"])
    match random.randrange(7):
        case 0:
            head[name]["dtype"] = random.choice(
                ("F64", "F16", "I64", "F8_E4M3", "F8_E8M0", "F4", "BOOL", "C64", "U16", "x", 3)
            )
        case 1:
            head[name]["shape"] = random.choice(([], [0], [2**62, 4], [-1], [2**40, 0], ["a"], [1] * 100, 3))
        case 2:
            head[name]["data_offsets"] = random.choice(([0, 0], [0, 2**60], [5, 1], [-1, 3], [0], "a"))
        case 3:
            head[random.choice(("", "\ud800", "a" * 5000, "x.\x00", "__metadata__"))] = head.pop(name)
        case 4:
            del head[name]
        case 5:
            return _written(target, b"{" + b'"a":[' * 5000, body, None)
        case _:
            return _written(target, json.dumps(head).encode(), body, random.choice(HUGE))
    return _written(target, json.dumps(head).encode(), body, None)


def _written(target: Path, head: bytes, body: bytes, size: int | None) -> Path:
    file = target / "x.safetensors"
    size = len(head) if size is None else size
    file.write_bytes(struct.pack("<Q", size % 2**64) + head + body)
    return file


def _index(random: Random, folder: Path, target: Path) -> Path:
    """A folder of shards whose list or files are changed."""
    home = target / "shards"
    shutil.copytree(folder / "shards", home)
    index = home / "model.safetensors.index.json"
    words = json.loads(index.read_text())
    name = random.choice(list(words["weight_map"]))
    match random.randrange(7):
        case 0:
            bad = (
                "../x.safetensors",
                "/etc/passwd",
                "a\x00.bin",
                "",
                ".",
                "missing.safetensors",
                "C:\\x.bin",
                3,
                None,
                ["a"],
            )
            words["weight_map"][name] = random.choice(bad)
        case 1:
            words["weight_map"] = random.choice(([], 3, None, {}, {"a": {}}, "x"))
        case 2:
            words["weight_map"][random.choice(("more.weight", "\ud800"))] = words["weight_map"][name]
        case 3:
            (home / words["weight_map"][name]).unlink()
        case 4:
            (home / words["weight_map"][name]).write_bytes(random.choice((b"", b"x", b"\x80\x02}.", b"PK\x03\x04")))
        case 5:
            index.write_bytes(
                random.choice((b"[" * 50_000, b"{}", b"", b"\xff\xfe", b"[1]", _changed(random, index.read_bytes())))
            )
            return random.choice((home, index))
        case _:
            text = (
                b"[" * 50_000,
                b"",
                b"3",
                b'{"num_classes": "x", "pretrained_cfg": 3}',
                b'{"model_args": {"img_size": [1e9]}}',
            )
            (home / "config.json").write_bytes(random.choice(text))
    index.write_text(json.dumps(words))
    return random.choice((home, index))


def _mark(random: Random, folder: Path, target: Path) -> Path:
    """Another kind of file under a checkpoint's name."""
    heads = (
        b"\x89HDF\r\n\x1a\n",
        b"\x93NUMPY",
        b"GGUF",
        b"\x08\x0a\x12\x07pytorch",
        b"\x1c\x00\x00\x00TFL3",
        b"<html>",
        b"\x1f\x8b",
    )
    file = target / random.choice(("x.pth", "x.safetensors", "x.bin", "x.pt2", "x.onnx"))
    file.write_bytes(random.choice(heads) + random.randbytes(random.choice((0, 3, 300))))
    return file


# bytes and opcodes are most of what goes wrong; the rest has fewer cases
MUTATIONS: tuple[Callable[[Random, Path, Path], Path], ...] = (
    *(_bytes, _bytes, _opcodes, _opcodes, _opcodes, _members, _tensors, _tensors, _tensors, _header, _index, _mark),
)
__all__ = ["NAME", "io", "mutant", "prepare", "use"]
