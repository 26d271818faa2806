"""What few bits of a stored screen cost in clicks: the trained small GUI-AIMA, both schemes, with the key bias and without.

    python benchmarks/grounding_kv.py [--screens 100] [--asks 2] [--plant 0 600]      writes benchmarks/grounding_kv.{json,md}

A run replaces the sections of the biases that it planted; the other ones of an earlier run stay.
Held-out synthetic screens and instructions (tools/screens), each instruction over a screen that was stored once. The parts of an
export compute here (exporter/grounding/parts), in PyTorch and float32, so that nothing but the storage differs between two rows;
the yardstick is the full path, transformers' model over the whole sequence, by the same checkpoint.

    left out, kept   of the key's bias in what is stored. A bundle leaves it out; "kept" exists for this table alone
    planted          a bias of this length on the slowest pair of channels of every key, in a direction of its own, added to the
                     checkpoint: what it learned is small, Qwen2.5 has |b| of several hundred. RoPE hardly turns these channels
                     within a screen, so the answers stay what they are, and what is seen is the storage
    exact sinks      RotateKV's 20 kept tokens in float32; a bundle keeps them in float16, with their bias

"same patch" is the share of instructions whose largest score is at the patch of the full path; "pixels away" is the distance between
the clicks, middle and 95 % quantile; a click is right where it falls into the box of the thing that is meant.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from edgesmith.exporter.grounding.parts.instruction import TABLES, Instruction
from edgesmith.exporter.grounding.parts.prefix import Prefix
from edgesmith.exporter.grounding.parts.rotary import prefix_tables
from edgesmith.exporter.grounding.parts.sizes import Sizes
from edgesmith.exporter.grounding.parts.stored import Storage
from edgesmith.exporter.grounding.parts.vision import Vision
from edgesmith.exporter.grounding.parts.weighting import Weighting
from edgesmith.exporter.grounding.parts.weights import load
from edgesmith.models.families.gui_aima import picture
from edgesmith.models.families.gui_aima.network import configuration
from edgesmith.models.folders.folder import open_folder
from edgesmith.runtime.session.benchmark import machine
from edgesmith.runtime.tasks.grounding.regions import regions
from edgesmith.runtime.tasks.grounding.screens.kv_bytes import KIVI, ROTATEKV

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tools" / "screens"))

from accuracy import FOLDER, Found, figures, torch_found
from learn.cases import Case, held_out

LIBRARIES = ("torch", "transformers", "numpy")
Grid = tuple[int, int]


class ExactSinks(Storage):
    """RotateKV whose kept tokens are stored in float32."""

    def write(
        self, keys: Sequence[torch.Tensor], value: torch.Tensor, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        stored = dict(zip(self.names, super().write(keys, value, hidden), strict=True))
        kept = (stored["key_slot"][0] >= 0).nonzero()[:, 0]
        return tuple((stored | {"key_sinks": keys[1][:, :, kept]}).values())


@dataclass(frozen=True)
class Row:
    storage: Storage

    @property
    def name(self) -> str:
        kind = self.storage.scheme if self.storage.bits < 16 else "floats"
        exact = ", exact sinks" if isinstance(self.storage, ExactSinks) else ""
        return f"{self.storage.bits} | {kind}{exact} | {'left out' if self.storage.bias_left_out else 'kept'}"


def rows(biased: bool) -> list[Row]:
    kinds = [(32, KIVI), (16, KIVI), *((bits, scheme) for bits in (8, 4, 2) for scheme in (KIVI, ROTATEKV))]
    found = [Storage(bits, left_out, scheme) for bits, scheme in kinds for left_out in (True, False)]
    exact = [ExactSinks(bits, True, ROTATEKV) for bits in (8, 4)] if biased else []  # float16 of small keys is as good
    return [Row(one) for one in (*found, *exact)]


class Parts:
    """The parts of a checkpoint over cases whose visual tokens are computed once."""

    def __init__(self, folder: Path, cases: Sequence[Case]) -> None:
        self.folder, self.cases = open_folder(folder), cases
        self.sizes = Sizes.of(configuration(self.folder.shape))
        self.embeds: list[torch.Tensor] = []
        self.grids: list[Grid] = []
        towers: dict[Grid, Any] = {}
        seen: dict[int, tuple[torch.Tensor, Grid]] = {}  # a screen has several instructions
        for case in cases:
            if id(case.picture) not in seen:
                pixels = picture.prepared(case.picture)
                grid = picture.grid_of((pixels.shape[1], pixels.shape[2]))
                if grid not in towers:
                    towers[grid] = load(Vision(self.sizes.vision, grid), self._read)
                seen[id(case.picture)] = towers[grid](torch.from_numpy(pixels[None])), grid
            self.embeds.append(seen[id(case.picture)][0])
            self.grids.append(seen[id(case.picture)][1])

    def _read(self, name: str) -> np.ndarray:
        array: np.ndarray = self.folder.tensors[name].read().float().numpy()
        return array

    def found(self, storage: Storage) -> tuple[Found, int]:
        """Clicks and best patches of all cases, and the bytes of the largest screen."""
        before, text = self.folder.prompt.before, self.sizes.text
        weighting = Weighting.named(self.folder.weighting.name)
        instruction = load(Instruction(text, len(before), storage, weighting), self._read)
        prefixes: dict[Grid, Any] = {}
        found, largest = Found([], []), 0
        stored: tuple[torch.Tensor, ...] = ()
        last = None
        for case, embeds, grid in zip(self.cases, self.embeds, self.grids, strict=True):
            if grid not in prefixes:
                prefixes[grid] = load(Prefix(text, before, grid, storage), self._read)
            if last is not embeds:
                stored, last = prefixes[grid](embeds), embeds
                largest = max(largest, sum(one.nbytes for one in stored))
            ids = self.folder.prompt.tail(self.folder.prompt.instruction(case.instruction, self.folder.tokenizer))
            tables = [
                torch.from_numpy(np.concatenate([one, one], axis=1)) for one in prefix_tables(text, len(before), grid)
            ]
            start = len(before) + max(grid)
            asked = [torch.tensor([ids]), torch.tensor([len(ids)]), torch.tensor([start])]
            given = [*asked, *(tables if TABLES[0] in instruction.inputs else ()), *stored]
            scores = instruction(*given)[0].numpy()
            found.points.append(regions(scores.reshape(grid).astype(np.float64))[0].point)
            found.patches.append(int(scores.argmax()))
        return found, largest


def planted(folder: Path, length: float, out: Path) -> Path:
    """A copy of a checkpoint whose keys have a bias of this length in their slowest pair of channels."""
    out.mkdir()
    for file in folder.iterdir():
        if file.suffix == ".json":
            (out / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    shape, rng = open_folder(folder).shape, np.random.default_rng(0)
    for name in sorted(tensors):
        if name.endswith("k_proj.bias"):
            wide = tensors[name].float()
            angle = torch.from_numpy(rng.uniform(-np.pi, np.pi, shape.kv_heads))  # no head's is another's
            wide.view(shape.kv_heads, 2, -1)[:, :, -1] += (
                length * torch.stack([angle.cos(), angle.sin()], dim=1).float()
            )
            tensors[name] = wide
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out


def biases(folder: Path) -> list[float]:
    """The longest key bias of a head, layer by layer."""
    opened = open_folder(folder)
    names = [name for name in opened.tensors if name.endswith("k_proj.bias")]
    heads = [opened.tensors[name].read().float().view(opened.shape.kv_heads, -1) for name in names]
    return [float(one.norm(dim=-1).max()) for one in heads]


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    cases = held_out(options.screens, options.asks)
    for length in options.plant:
        with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
            folder = planted(options.folder, length, Path(scratch) / "planted") if length else options.folder
            judge = torch_found(folder, cases)
            told = {"planted": length, "longest_bias": biases(folder)}
            yield {**told, **figures("the full path", cases, judge, judge)}
            parts = Parts(folder, cases)
            for row in rows(biased=length > 0):
                found, size = parts.found(row.storage)
                yield {**told, **figures(row.name, cases, found, judge, size)}


def share(row: dict[str, Any]) -> str:
    return f"{100 * row['right'] / row['clicks']:.1f} %"


def line(row: dict[str, Any]) -> str:
    low, high = row["bounds"]
    clicks = f"{share(row)} ({100 * low:.1f} to {100 * high:.1f})"
    if row["bytes"] is None:
        return f"| | {row['row']} | | {clicks} | | | |"
    apart = f"{row['pixels_median']:.2f}, {row['pixels_95']:.2f}"
    return f"| {row['row']} | {clicks} | {100 * row['same_patch']:.1f} % | {apart} | {row['bytes'] / 1e3:,.0f} |"


def reading(found: Sequence[dict[str, Any]]) -> list[str]:
    """What the table says, with its own figures."""
    first = {row["row"]: row for row in found if row["planted"] == found[0]["planted"]}
    last = {row["row"]: row for row in found if row["planted"] == found[-1]["planted"]}

    def every(table: dict[str, Any], scheme: str, bias: str, tell: Callable[[dict[str, Any]], str]) -> str:
        return ", ".join(f"{tell(table[f'{bits} | {scheme} | {bias}'])} at {bits} bits" for bits in (8, 4, 2))

    def patch(row: dict[str, Any]) -> str:
        return f"{100 * row['same_patch']:.1f} %"

    lines = [
        f"- The same patch as the full path, bias left out, {scheme}: {every(first, scheme, 'left out', patch)}; "
        f"right clicks {every(first, scheme, 'left out', share)}, of {share(first['the full path'])}."
        for scheme in (KIVI, ROTATEKV)
    ]
    if last["the full path"]["planted"]:
        lines += [
            f"- With a bias of {last['the full path']['planted']:g} that is kept, {scheme}: {every(last, scheme, 'kept', patch)}; "
            f"left out: {every(last, scheme, 'left out', patch)}."
            for scheme in (KIVI, ROTATEKV)
        ]
    for bits in (8, 4) if last["the full path"]["planted"] else ():
        exact, ours = (last[f"{bits} | {ROTATEKV}{kind} | left out"] for kind in (", exact sinks", ""))
        lines.append(
            f"- RotateKV's kept tokens in float16 at {bits} bits, a bias of {exact['planted']:g}: {patch(ours)} the same patch, "
            f"{ours['pixels_median']:.2f} pixels away; in float32: {patch(exact)}, {exact['pixels_median']:.2f} pixels."
        )
    return lines


def page(sections: Sequence[dict[str, Any]]) -> str:
    lines = [
        "# What few bits of a stored screen cost in clicks",
        "",
        "How to read it: the head of [grounding_kv.py](grounding_kv.py).",
        "",
        *reading([row for section in sections for row in section["rows"]]),
    ]
    for section in sections:
        facts, some = section["machine"], section["rows"]
        length = some[0]["planted"]
        versions = ", ".join(f"{name} {version}" for name, version in section["versions"].items())
        longest = ", ".join(f"{one:.3g}" for one in some[0]["longest_bias"])
        where = f"{section['date']}, {facts['cpu']}, {facts['cores']} cores, {versions}"
        told = f"{some[0]['clicks']} instructions on {section['screens']} screens"
        lines += [
            "",
            f"## A bias of {length:g} planted" if length else "## The checkpoint as it is",
            "",
            f"`{section['command']}`, {where}; {told}.",
            "",
            f"Longest key bias of a head, layer by layer: {longest}.",
            "",
            "| bits | scheme | bias | right clicks (95 %) | same patch | pixels away: median, 95 % | kB a screen, the largest |",
            "|---|---|---|---|---|---|---|",
            *map(line, some),
        ]
    return "\n".join([*lines, ""])


def together(found: Sequence[dict[str, Any]], options: argparse.Namespace, earlier: Path) -> list[dict[str, Any]]:
    """A section for each bias: those measured now, and of an earlier run those that were not."""
    facts = {
        "command": " ".join(["python benchmarks/grounding_kv.py", *sys.argv[1:]]),
        "date": str(date.today()),
        "machine": machine(),
        "screens": options.screens,
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }
    sections = {one["rows"][0]["planted"]: one for one in (json.loads(earlier.read_text()) if earlier.exists() else ())}
    for length in options.plant:
        sections[length] = {**facts, "rows": [row for row in found if row["planted"] == length]}
    return [sections[length] for length in sorted(sections)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--screens", type=int, default=100)
    parser.add_argument("--asks", type=int, default=2, help="instructions a screen")
    parser.add_argument(
        "--plant", type=float, nargs="+", default=[0.0, 600.0], help="lengths of a bias to plant; 0: none"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the checkpoint")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    found = []
    for row in measured(options):
        print(json.dumps(row), flush=True)
        found.append(row)
    sections = together(found, options, options.out / "grounding_kv.json")
    (options.out / "grounding_kv.json").write_text(json.dumps(sections, indent=1) + "\n")
    (options.out / "grounding_kv.md").write_text(page(sections))


if __name__ == "__main__":
    main()
