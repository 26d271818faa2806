"""Times on a GPU: each contestant a CUDA graph of some calls, replayed in turn, between events; medians and paired ratios.

A graph leaves out what Python and the launches cost on the CPU, for us and for the peers alike, which is also how TensorRT
runs in production.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

WARM_CALLS = 3
GRAPH_US = 200.0  # a graph is as many calls as fill this: events resolve half a microsecond
MOST_CALLS = 64
RACE_S = 0.5
FEWEST_ROUNDS, MOST_ROUNDS = 9, 60


@dataclass(frozen=True)
class Timed:
    """One contestant: a function, and the argument sets that its calls go through in turn."""

    run: Callable[..., Any]
    states: Sequence[tuple[Any, ...]]


def race(contestants: Mapping[str, Timed]) -> dict[str, dict[str, Any]]:
    """Results by name; the first contestant is the one that ratios refer to. One that fails has ``why`` instead of times."""
    results: dict[str, dict[str, Any]] = {}
    replays: dict[str, tuple[Callable[[], None], int]] = {}
    for name, contestant in contestants.items():
        try:
            replays[name] = graph_of(contestant)
        except Exception as error:  # noqa: BLE001 a peer that cannot be captured or compiled is a result too
            torch.cuda.synchronize()
            results[name] = {"why": f"{type(error).__name__}: {str(error)[:300]}"}
    times: dict[str, list[float]] = {name: [] for name in replays}
    once = sum(_elapsed_us(replay) for replay, _ in replays.values()) / 1e6
    rounds = max(FEWEST_ROUNDS, min(MOST_ROUNDS, int(RACE_S / max(once, 1e-6))))
    order = list(replays)
    for turn in range(rounds):
        shift = turn % max(1, len(order))
        for name in order[shift:] + order[:shift]:
            replay, calls = replays[name]
            times[name].append(_elapsed_us(replay) / calls)
    return results | summary(times, {name: calls for name, (_, calls) in replays.items()}, next(iter(contestants)))


def summary(times: Mapping[str, Sequence[float]], calls: Mapping[str, int], first: str) -> dict[str, dict[str, Any]]:
    """Median, spread and the median of the ratios to the first contestant, round by round."""
    found: dict[str, dict[str, Any]] = {}
    for name, mine in times.items():
        ordered = sorted(mine)
        found[name] = {
            "median_us": round(statistics.median(mine), 3),
            "p10_us": round(ordered[len(mine) // 10], 3),
            "p90_us": round(ordered[-1 - len(mine) // 10], 3),
            "rounds": len(mine),
            "calls": calls[name],
        }
        if first in times and name != first:
            ratios = [one / ours for one, ours in zip(mine, times[first], strict=True)]
            found[name]["ratio"] = round(statistics.median(ratios), 3)
    return found


def graph_of(contestant: Timed) -> tuple[Callable[[], None], int]:
    """(replay, calls in it) of a warm contestant."""
    run, states = contestant.run, contestant.states
    for _ in range(WARM_CALLS):
        run(*states[0])
    torch.cuda.synchronize()
    calls = len(states)
    if calls == 1:
        replay = _captured(contestant, 1)
        one = min(_elapsed_us(replay) for _ in range(WARM_CALLS))
        calls = max(1, min(MOST_CALLS, int(GRAPH_US / max(one, 0.5))))
    replay = _captured(contestant, calls)
    _elapsed_us(replay)
    return replay, calls


def _captured(contestant: Timed, calls: int) -> Callable[[], None]:
    """The calls as a graph. Not by ``torch.cuda.graph``, which collects garbage each time, a tenth of a second."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        graph.capture_begin()
        try:
            for index in range(calls):
                contestant.run(*contestant.states[index % len(contestant.states)])
        finally:
            graph.capture_end()
    torch.cuda.current_stream().wait_stream(stream)
    return graph.replay


def _elapsed_us(work: Callable[[], Any]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) * 1e3
