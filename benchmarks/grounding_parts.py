"""The parts of the grounding benchmark: each asks flows in turns and gives a row of plain data for each of them.

judged     the first answer of every flow beside that of the repository's judge; the official ones must give its scores
table      first and further instruction, memory, on 1 and 2 threads
sizes      a first and a further instruction against the size of the screen
screens    a further instruction and the memory against the number of screens that are open
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from grounding_models import INSTRUCTIONS
from grounding_runs import AGAIN, MOST_OF_MEMORY, OFFICIAL, OFFICIAL_BF16, FlowFailed, Worker, Workers, available_bytes

from edgesmith.models.families.gui_aima.picture import grid_of, resized
from edgesmith.models.families.gui_aima.shape import MERGE, Shape

Flows = Mapping[str, Mapping[str, Any]]
Rows = dict[str, dict[str, Any]]
SAME = 1e-4  # of the largest score: float32 rounds in another order, another method is far from it
COMPARED = (OFFICIAL, OFFICIAL_BF16)  # every round, as ours; the other peers one
FURTHER = 3  # further instructions a round: they are short
AROUND = 32  # tokens behind the screen, with air
TEXT_BEFORE = 99


def judge_scores(folder: str, screen: tuple[int, int], threads: int) -> list[float]:
    """(V,) of the first instruction on this screen, by models/families/gui_aima/judge.py in a process of its own."""
    worker = Worker({"kind": "judge", "folder": folder, "threads": threads})
    try:
        found: list[float] = worker.ask(do="first", screen=screen, text=INSTRUCTIONS[0])["scores"]
    finally:
        worker.close()
    return found


def checked(name: str, answer: Mapping[str, Any], judge: Sequence[float]) -> float | None:
    """How far a flow's scores are off, of the largest; FlowFailed where an official flow in float32 is no official one."""
    if answer["scores"] is None:
        return None
    off = float(np.abs(np.array(answer["scores"]) - judge).max() / max(judge))
    if name in (OFFICIAL, AGAIN) and not off <= SAME:
        raise FlowFailed(f"its scores are {off:.1e} of the largest off the judge's: this is not the method")
    return off


def table(
    flows: Flows, judge: Sequence[float], threads: int, rounds: int, screen: tuple[int, int]
) -> tuple[Rows, dict[str, str]]:
    """Rows, and the flows that failed. The first order of a fresh process, before the rounds, warms it up."""
    with closing(Workers(flows, threads)) as workers:
        rows: Rows = {}
        for name in list(workers.open):
            cold = workers.ask(name, do="first", screen=screen, text=INSTRUCTIONS[0])
            if cold is None:
                continue
            try:
                off = checked(name, cold, judge)
            except FlowFailed as error:
                workers.drop(name, str(error))
                continue
            rows[name] = {
                "threads": threads, "off": off, "point": cold["point"], "cold_wall_s": cold["wall_s"],
                "life_bytes": cold["life_bytes"], "growth": [],
                "samples": {"first": [], "further": []},
            }  # fmt: skip
        names = list(rows)
        for turn in range(rounds):
            for step in range(len(names)):
                name = names[(turn + step) % len(names)]
                if turn and name not in COMPARED and not name.startswith("ours"):
                    continue
                first = workers.ask(name, do="first", screen=screen, text=INSTRUCTIONS[0])
                further = _further(workers, name, turn) if first and name.startswith("ours") else first
                if first and further:
                    rows[name]["growth"].append(first["growth_bytes"])
                    for kind, found in (("first", first), ("further", further)):
                        rows[name]["samples"][kind].append([found["wall_s"], found["cpu_s"]])
            print(f"threads {threads}, round {turn + 1} of {rounds}: {_seconds(rows)}", flush=True)
        failed = dict(workers.failed)
    rows = {name: row for name, row in rows.items() if name not in failed}
    for row in rows.values():
        row |= figures(
            row["samples"], {peer: rows[peer]["samples"] for peer in (OFFICIAL, OFFICIAL_BF16) if peer in rows}
        )
        row |= {"rounds": len(row["samples"]["first"]), "growth_bytes": float(np.median(row.pop("growth")))}
    return rows, failed


def _further(workers: Workers, name: str, turn: int) -> dict[str, Any] | None:
    """The middle one of some further instructions; of all flows but ours a further one is the first over again."""
    texts = [INSTRUCTIONS[1 + (turn + at) % (len(INSTRUCTIONS) - 1)] for at in range(FURTHER)]
    found = [workers.ask(name, do="further", text=text) for text in texts]
    told = sorted((one for one in found if one), key=lambda one: float(one["wall_s"]))
    return told[len(told) // 2] if told else None


def figures(samples: Mapping[str, Any], peers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Medians, and quartiles of the ratios within a round to the peers' first instruction and to the flow's own."""
    own = {kind: np.array(one) for kind, one in samples.items()}  # (rounds, wall or CPU)
    found: dict[str, Any] = {
        f"{kind}_{clock}_s": float(np.median(one[:, at]))
        for kind, one in own.items()
        for at, clock in enumerate(("wall", "cpu"))
    }
    for peer, theirs in peers.items():
        first = np.array(theirs["first"])[:, 0]
        found |= {f"{kind} of {peer}": quartiles(one[:, 0] / first[: len(one)]) for kind, one in own.items()}
    return found | {"further of own first": quartiles(own["further"][:, 0] / own["first"][:, 0])}


def quartiles(ratios: np.ndarray) -> list[float]:
    """[lower quartile, median, upper quartile]"""
    return [float(one) for one in np.percentile(ratios, [25, 50, 75])]


def official_bytes(shape: Shape, screen: tuple[int, int]) -> int:
    """What eager attention in float32 holds at once: all maps of the decoder, or three of a block that sees the whole picture.

    Scores, their softmax and its copy in the type of the values live together (transformers, eager_attention_forward).
    """
    rows, columns = grid_of(resized(screen[1], screen[0]))
    tokens = TEXT_BEFORE + rows * columns + AROUND
    patches = rows * columns * MERGE**2
    kept = shape.layers * shape.heads * tokens**2
    return 4 * max(kept + 2 * shape.heads * tokens**2, 3 * shape.vision_heads * patches**2)


def sizes(
    flows: Flows, shape: Shape, screens: Mapping[str, tuple[int, int]], threads: int, rounds: int
) -> tuple[Rows, dict[str, str]]:
    """Flow -> name of a size -> medians, or why it was not run."""
    with closing(Workers(flows, threads)) as workers:
        rows: Rows = {name: {"threads": threads, "rounds": rounds, "sizes": {}} for name in workers.open}
        for word, screen in screens.items():
            for name, row in rows.items():
                row["sizes"][word] = _at_size(workers, name, shape, screen, rounds)
                print(f"{word}, {name}: {row['sizes'][word]}", flush=True)
        return {name: row for name, row in rows.items() if name not in workers.failed}, dict(workers.failed)


def _at_size(workers: Workers, name: str, shape: Shape, screen: tuple[int, int], rounds: int) -> dict[str, Any]:
    need, free = official_bytes(shape, screen), available_bytes()
    if name == OFFICIAL and need > MOST_OF_MEMORY * free:
        return {"why": f"its maps take {need / 1e9:.1f} GB at once, {free / 1e9:.1f} GB were free"}
    ours = name.startswith("ours")
    found = []
    for turn in range(rounds + ours):  # of ours the first one opens the graphs of this size
        first = workers.ask(name, do="first", screen=screen, text=INSTRUCTIONS[0])
        further = _further(workers, name, turn) if first and ours else first
        if first is None or further is None:
            return {"why": workers.failed[name]}
        if turn >= ours:
            found.append([first["wall_s"], further["wall_s"], first["growth_bytes"]])
    medians = [float(one) for one in np.median(np.array(found), axis=0)]
    return dict(zip(("first_wall_s", "further_wall_s", "growth_bytes"), medians, strict=True))


def screens(
    settings: Mapping[str, Any], screen: tuple[int, int], counts: Sequence[int], threads: int
) -> dict[str, Any]:
    """``counts`` screens open: a further instruction on each in turn, one batch over all of them, the pool's bytes."""
    worker = Worker({**settings, "threads": threads})
    try:
        rows = []
        for seed in range(max(counts)):
            opened = worker.ask(do="keep", screen=screen, seed=seed)
            if seed + 1 not in counts:
                continue
            turns = [worker.ask(do="any", at=at % (seed + 1), text=INSTRUCTIONS[1]) for at in range(max(seed + 1, 4))]
            turns = turns[-max(seed + 1, 3) :]  # the first click of all opens its graph
            batch = worker.ask(do="all", text=INSTRUCTIONS[2])
            row = {
                "screens": seed + 1, "further_wall_s": float(np.median([one["wall_s"] for one in turns])),
                "batch_wall_s": batch["wall_s"] / (seed + 1), "pool_bytes": opened["pool_bytes"],
                "kept": opened["kept"], "resident_bytes": opened["resident_bytes"],
            }  # fmt: skip
            rows.append(row)
            print(row, flush=True)
    finally:
        worker.close()
    return {"threads": threads, "rows": rows}


def _seconds(rows: Rows) -> str:
    return ", ".join(
        f"{name} {row['samples']['first'][-1][0]:.2f} s" for name, row in rows.items() if row["samples"]["first"]
    )
