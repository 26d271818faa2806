"""Times are taken of contestants that compute the same: every peer and chain on a CPU, with the references as our kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gpu import timing
from gpu.case import Case
from gpu.cases import CASES
from gpu.chains import CHAINS
from gpu.contest import OURS, PackLauncher, Track, empty_outputs, hold, tensors_of
from gpu.driver import Driver
from gpu.fake_cuda import FakeCuda
from gpu.kv_cases import attention_attributes, partial_build
from gpu.peers import PEERS
from gpu.races import RACES, Race
from gpu.stand_in import stand_in_pack
from gpu.timing import summary

from edgesmith.exporter.plugins import OPS

WITH_KERNEL = [name for name, op in OPS.items() if op.kernel is not None]


class ReferenceLauncher:
    """The references where the kernels would be."""

    def tactics(self, op, tensors, attributes):
        return 1

    def prepare(self, op, tensors, attributes, tactic=0):
        schema = OPS[op].schema
        names = schema.bind([tuple(tensor.shape) for tensor in tensors], attributes)
        outputs = empty_outputs(schema, names, tensors[0].device)

        def run():
            results = OPS[op].reference(*(tensor.numpy() for tensor in tensors), **attributes)
            for output, result in zip(outputs, results if isinstance(results, tuple) else [results], strict=True):
                output.copy_(torch.from_numpy(np.ascontiguousarray(result)))
            return outputs[0]

        return outputs, run


def without_clock(contestants):
    """Run everyone once on its last arguments; no times."""
    for timed in contestants.values():
        timed.run(*timed.states[-1])
    return {name: {} for name in contestants}


TRACK = Track(ReferenceLauncher(), "cpu", l2_bytes=4096, wait=lambda: None, clock=without_clock)


# one length for all sequences, as the peers want it
DECODE = Case(
    "small", partial_build(2, 4, 2, 150, 64, (4, 4), [140, 140]), attention_attributes(64, (4, 4)) | {"splits": 3}
)


def small_races(name):
    """Small cases of the op in place of its races, in the same chains."""
    cases = [DECODE] if name == "KVAttentionPartial" else [case for case in CASES[name] if not case.real]
    for whole, extra in {race.whole: race.extra for race in RACES[name]()}.items():
        for case in cases:
            if whole != "channel attention" or case.attributes["version"] == extra["version"]:
                yield Race(case, cold=True, compiled=False, whole=whole, extra=extra)


@pytest.mark.parametrize("name", [name for name in WITH_KERNEL if name != "KVAttentionCombine" and list(RACES[name]())])
def test_contestants_compute_the_same(name):
    held = 0
    for race in small_races(name):
        row = hold(TRACK, OPS[name], race, lambda: True)
        peers = {peer: found for peer, found in row["contestants"].items() if "compiled for this chip" not in peer}
        assert len(peers) > 1, race.case.label
        for peer, found in peers.items():
            assert found.get("agrees", "copy" in peer), (race.case.label, peer, found)
        held += 1
    assert held


def test_every_op_with_a_kernel_is_timed():
    assert not set(WITH_KERNEL) - set(RACES)


def test_every_chain_is_raced():
    assert {race.whole for races in RACES.values() for race in races()} == {"", *CHAINS}


def test_ratios_are_paired_round_by_round():
    times = {OURS: [1.0, 2.0, 4.0], "peer": [2.0, 4.0, 8.0]}
    found = summary(times, {OURS: 3, "peer": 1}, OURS)
    assert found["peer"]["ratio"] == 2.0
    assert "ratio" not in found[OURS]
    assert found[OURS]["median_us"] == 2.0


def test_a_peer_that_breaks_is_a_row_and_not_the_end(monkeypatch):
    def broken(tensors, attributes):
        raise RuntimeError("no such operator")

    monkeypatch.setitem(PEERS, "GGeMPool", {"eager": broken})
    race = next(small_races("GGeMPool"))
    row = hold(TRACK, OPS["GGeMPool"], race, lambda: True)
    assert row["contestants"]["eager"] == {"why": "RuntimeError: no such operator"}
    assert row["contestants"][OURS] == {"agrees": True}


def test_a_peer_that_computes_something_else_is_marked(monkeypatch):
    monkeypatch.setitem(
        PEERS, "GGeMPool", {"mean": lambda tensors, attributes: (lambda x: x.mean(dim=1), (tensors[0],))}
    )
    row = hold(TRACK, OPS["GGeMPool"], next(small_races("GGeMPool")), lambda: True)
    assert row["contestants"]["mean"]["agrees"] is False


def test_rounds_take_turns_and_a_contestant_that_cannot_be_captured_is_a_row(monkeypatch):
    ran = []

    def graph_of(contestant):
        if contestant.run is None:
            raise RuntimeError("operation not permitted when stream is capturing")
        return lambda: ran.append(contestant.run), 2

    def elapsed(work):
        work()
        return {"a": 4.0, "b": 8.0}[ran[-1]]

    monkeypatch.setattr(timing, "graph_of", graph_of)
    monkeypatch.setattr(timing, "_elapsed_us", elapsed)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    found = timing.race({name: timing.Timed(run, [()]) for name, run in ((OURS, "a"), ("b", "b"), ("c", None))})
    assert ran[2:6] == ["a", "b", "b", "a"]  # after one of each, to see how many rounds there is time for
    assert (found[OURS]["median_us"], found["b"]["median_us"], found["b"]["ratio"]) == (2.0, 4.0, 2.0)
    assert found["c"] == {"why": "RuntimeError: operation not permitted when stream is capturing"}


@pytest.mark.parametrize("name", ["GGeMPool", "QuantizeV"])
def test_kernels_are_launched_on_tensors_as_the_pack_says(name):
    case = next(case for case in CASES[name] if not case.real)
    pack, op = stand_in_pack(OPS.values()), OPS[name]
    library = FakeCuda(pack, dict(OPS), run=False)
    launcher = PackLauncher(Driver(library), pack, stream=lambda: 7)
    tensors = tensors_of(op.schema, Race(case), "cpu")
    outputs, run = launcher.prepare(name, tensors, case.attributes)
    for tensor in (*tensors, *outputs):
        library.adopt(tensor.data_ptr(), tensor.nbytes)
    assert run() is outputs[0]
    (seen,) = library.launched
    assert list(seen.values[: len(tensors)]) == [tensor.data_ptr() for tensor in tensors]
    assert list(seen.values[-len(outputs) :]) == [output.data_ptr() for output in outputs]


def test_layers_repeat_the_batch():
    race = next(race for race in RACES["DequantizeK"]())
    codes, meta, like = tensors_of(OPS["DequantizeK"].schema, race, "cpu")
    assert codes.shape[0] == meta.shape[0] == race.layers > 1
    assert like.shape == (1,)
    assert torch.equal(codes[0], codes[-1])
