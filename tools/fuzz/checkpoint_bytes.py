"""Damage below what PyTorch would write: bytes, pickle instructions, members of zip archives, heads and lists of safetensors."""

from __future__ import annotations

import json
import pickletools
import random as random_module
import shutil
import struct
import warnings
import zipfile
from pathlib import Path

Random = random_module.Random
HUGE = (0, 1, -1, 255, 65535, 2**31 - 1, -(2**31), 2**31, 2**40, 2**62)


def damaged_bytes(random: Random, folder: Path, target: Path) -> Path:
    """A file with some bytes changed, cut out, put in or cut off."""
    name = random.choice(("zip.pth", "old.pth", "plain.pth", "x.safetensors"))
    (target / name).write_bytes(changed(random, (folder / name).read_bytes()))
    return target / name


def changed(random: Random, data: bytes) -> bytes:
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


def damaged_opcodes(random: Random, folder: Path, target: Path) -> Path:
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
                parts[at] = changed(random, parts[at])
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


def damaged_members(random: Random, folder: Path, target: Path) -> Path:
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
            members[name] = changed(random, members[name])
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


def damaged_header(random: Random, folder: Path, target: Path) -> Path:
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


def damaged_index(random: Random, folder: Path, target: Path) -> Path:
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
                random.choice((b"[" * 50_000, b"{}", b"", b"\xff\xfe", b"[1]", changed(random, index.read_bytes())))
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


def damaged_mark(random: Random, folder: Path, target: Path) -> Path:
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
