"""The search for the budget on tables of answers: a node that is quantised flips the pictures that are its own."""

import math

import numpy as np
import pytest
from numbered_pictures import CLASSES, Numbered, answers, one_hot

from edgesmith.calibration.budget.choose import Candidate, Latency, choose
from edgesmith.calibration.budget.search import meet
from edgesmith.calibration.judge.accuracy import Metric
from edgesmith.calibration.judge.classification import judge_logits
from edgesmith.calibration.judge.evaluation import Evaluation
from edgesmith.calibration.judge.sensitivity import Sensitivity
from edgesmith.runtime.errors import EdgesmithError

PICTURES = 1000
LABELS = np.arange(PICTURES) % CLASSES
NODES = tuple(f"node_{index}" for index in range(12))
SHARE = 1 / len(NODES)


def flipped(counts, pictures: int = PICTURES) -> np.ndarray:
    """Reference logits in which node i makes ``counts[i]`` pictures of its own wrong, other than those of all others."""
    table, start = one_hot(np.arange(pictures) % CLASSES), 0
    for count in counts:
        table[start : start + count] = table[start : start + count, ::-1]
        start += count
    return table


class Net:
    """Twelve nodes; ``wrong[i]`` pictures are lost while node i is quantised, ``always`` whatever is quantised."""

    def __init__(self, wrong, always: int = 0, pictures: int = PICTURES) -> None:
        self.wrong, self.always, self.pictures = dict(zip(NODES, wrong, strict=True)), always, pictures
        self.made: list[frozenset[str]] = []

    def make(self, keep):
        self.made.append(frozenset(keep))
        return frozenset(NODES) - frozenset(keep)

    def run(self, quantised):
        return answers(
            flipped([self.always, *(self.wrong[node] * (node in quantised) for node in NODES)], self.pictures)
        )

    def scanned(self):
        """SQNR as the flips give it: a flipped one-hot picture has error energy 2."""
        rows = [
            Sensitivity(n, "MatMul", "linear", -10 * math.log10(2 * w / self.pictures) if w else math.inf, SHARE)
            for n, w in self.wrong.items()
        ]
        return sorted(rows, key=lambda row: row.sqnr_db)

    def meet(self, max_drop, labels=LABELS, metric=None):
        labels = None if labels is None else labels[: self.pictures]
        evaluation = judge_logits(
            Numbered(self.pictures), answers(one_hot(LABELS[: self.pictures])), labels, metric, batch=300
        )
        return meet(
            self.make,
            lambda quantised: len(quantised) * SHARE,
            self.run,
            evaluation,
            max_drop,
            self.scanned,
        )


def test_a_budget_that_holds_at_once_scans_nothing():
    net = Net([0, 1] + [0] * 10)
    net.scanned = lambda: pytest.fail("the scan is not needed")
    found = net.meet(0.3)
    assert found.met and found.row.high == 0 and found.keep == {} and len(found.rows) == 1 and not found.sensitivities
    assert found.row.figures.drop.points == pytest.approx(0.1)


def test_three_of_a_thousand_are_within_three_tenths():
    assert Net([3] + [0] * 11).meet(0.3).row.high == 0
    assert Net([4] + [0] * 11).meet(0.3).row.high == 1


@pytest.mark.parametrize("needed", range(1, 12))
def test_no_more_nodes_than_needed(needed):
    """Losses 10 + i for the first ``needed`` nodes, none behind: exactly these go back, and one less was tried."""
    net = Net([10 + needed - i if i < needed else 0 for i in range(12)])
    found = net.meet(0.5)
    assert found.met and found.row.high == needed and set(found.keep) == set(NODES[:needed])
    failing = next(row for row in found.rows if row.high == needed - 1)
    assert not failing.holds
    assert len(net.made) <= 9, "doubling and bisection, not one by one"
    assert len(net.made) == len(set(net.made)), "nothing is built twice"


def test_the_curve_is_monotone_and_says_what_each_step_brought():
    found = Net([40, 20, 10, 5, 2, 1] + [0] * 6).meet(0.2)
    drops = [row.figures.drop.points for row in found.rows]
    assert drops == sorted(drops, reverse=True) and [row.high for row in found.rows] == sorted(
        {row.high for row in found.rows}
    )
    assert [row.share for row in found.rows] == sorted((row.share for row in found.rows), reverse=True)
    assert found.rows[0].figures.drop.points == pytest.approx(7.8)
    assert found.row.high == 5 and found.row.figures.drop.points == pytest.approx(0.1)
    assert found.keep["node_0"] == "one-node SQNR 11.0 dB at 8.33 % of the MACs; int8 here cost 4.00 points"
    assert [row.node for row in found.sensitivities] == list(NODES)
    assert found.keep["node_2"].endswith("int8 here cost 1.50 points together with 1 more")
    told = found.to_json()
    assert told["high"] == 5 and [one["high"] for one in told["curve"]] == [row.high for row in found.rows]


def test_a_budget_that_only_the_float_graph_holds_is_missed():
    found = Net([5] * 12).meet(0.1)
    assert not found.met and found.row.high == 12 and found.row.share == 0
    assert "only the graph without a quantised node holds" in found.notes[-1]


def test_a_loss_that_is_not_the_roundings_is_said_so():
    found = Net([5] * 12, always=20).meet(0.3)
    assert not found.met and found.row.high == 12
    assert "loses 2.00 points itself: the loss is not that of the rounding" in found.notes[-1]


def test_a_graph_of_one_node_goes_back_whole():
    names, whole = ["only"], judge_logits(Numbered(PICTURES), answers(one_hot(LABELS)), LABELS)
    found = meet(
        lambda keep: len(keep),
        lambda high: 1.0 - high,
        lambda high: answers(flipped([20 * (1 - high)])),
        whole,
        0.3,
        lambda: [Sensitivity(names[0], "Gemm", "head", 14.0, 1.0)],
    )
    assert not found.met and [row.high for row in found.rows] == [0, 1] and list(found.keep) == names


def test_ties_go_back_in_the_order_of_the_scan():
    found = Net([6] * 12).meet(3.0)
    assert found.met and found.row.high == 7 and list(found.keep) == list(NODES[:7])


def test_without_labels_a_point_is_a_point_of_disagreement():
    found = Net([30, 1] + [0] * 10).meet(0.2, labels=None)
    assert found.met and list(found.keep) == ["node_0"] and found.row.figures.score.metric == "agreement"
    assert "no labels" in found.notes[0]


def test_few_pictures_are_said_to_be_few():
    found = Net([1] + [0] * 11, pictures=128).meet(0.3)
    assert found.row.high == 1 and "128 pictures move in steps of 0.78 points" in found.notes[0]
    assert "more than 0.3 points is not excluded" in found.notes[1]
    assert Net([0] * 12).meet(0.5).notes == (), "a thousand pictures without a change exclude half a point"


def test_what_the_last_pictures_cost_is_said():
    """Eight lost of a thousand (0.41 to 1.57) are not told from half a point; a quarter of the MACs went back for three of them."""
    found = Net([1] * 12).meet(0.5)
    assert found.met and found.row.high == 7
    assert found.notes[-2] == "chosen among 7 graphs by the pictures that judge it: other pictures may show more loss"
    assert found.notes[-1].startswith("67 % of the MACs in place of 42 % could be quantised at a drop of 0.80")


def test_nan_is_lost_and_its_node_goes_back():
    net = Net([0] * 12)
    clean = net.run

    def run(quantised):
        table = np.where("node_7" in quantised, np.nan, one_hot(LABELS)).astype(np.float32)
        return answers(table) if "node_7" in quantised else clean(quantised)

    net.run = run
    net.scanned = lambda: sorted(
        (Sensitivity(n, "MatMul", "linear", -math.inf if n == "node_7" else 50.0, SHARE) for n in NODES),
        key=lambda row: row.sqnr_db,
    )
    found = net.meet(0.3)
    assert found.met and list(found.keep) == ["node_7"]
    assert found.rows[0].figures.score.value == 0 and "int8 here cost 100.00 points" in found.keep["node_7"]


def test_the_budget_is_in_the_points_of_any_metric():
    """A metric of the whole set, as mAP is: mean of the winning logit, which the flips leave, minus 100 x its misses / n."""
    metric = Metric("mAP", value=lambda outputs, truth: 50 + 50 * float((outputs.argmax(1) == truth).mean()))
    found = Net([12, 8] + [0] * 10).meet(0.5, metric=metric)
    assert found.met and found.row.high == 1 and found.row.figures.score.metric == "mAP"
    assert found.row.figures.drop.points == pytest.approx(0.4)


# --- auto ---------------------------------------------------------------------------------------------------------------


def candidate(precision: str, wrong: int, latency_ms: float | None = None, error: str = "") -> Candidate[int]:
    def make() -> int:
        if error:
            raise EdgesmithError(error, because="a test")
        return wrong

    timed = None if latency_ms is None else (lambda graph: Latency(latency_ms, latency_ms * 0.95, latency_ms * 1.05))
    return Candidate(precision, make, lambda lost: answers(flipped([lost])), timed)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return judge_logits(Numbered(PICTURES), answers(one_hot(LABELS)), LABELS)


def test_the_fastest_within_the_budget(evaluation):
    found = choose([candidate("fp32", 0, 10.0), candidate("bf16", 1, 6.0), candidate("int8", 9, 4.0)], evaluation, 0.3)
    assert found.precision == "bf16" and found.graph == 1
    assert (
        found.why
        == "bf16 is the fastest within the budget (time ratio 0.60 to fp32), timed here, and loses 0.10 of 0.3 points"
    )
    assert [(row.precision, row.holds, row.latency.ms) for row in found.rows] == [
        ("fp32", True, 10.0), ("bf16", True, 6.0), ("int8", False, 4.0),
    ]  # fmt: skip


def test_what_is_no_faster_within_the_spread_gives_way_to_what_loses_less(evaluation):
    """9.7 lies within 5 % of 10.0: int8 would be chosen for nothing, and 2 of 1000 answers would be lost."""
    found = choose([candidate("int8", 2, 9.7), candidate("fp32", 0, 10.0), candidate("bf16", 1, 14.0)], evaluation, 0.3)
    assert found.precision == "fp32"
    assert found.why.startswith(
        "fp32 loses least, int8 no faster within the spread (time ratio 1.03 to int8, time ratio 0.71"
    )


def test_int8_that_is_slower_loses(evaluation):
    assert choose([candidate("int8", 0, 12.0), candidate("fp32", 0, 10.0)], evaluation, 0.3).precision == "fp32"


def test_without_a_clock_the_order_decides(evaluation):
    found = choose([candidate("fp8", 5), candidate("fp16", 0), candidate("int8", 0, 1.0)], evaluation, 0.3)
    assert found.precision == "fp16" and "not timed here: compare with fp8 and int8 on the device" in found.why
    assert found.rows[2].why_not == "not tried: fp16 comes first and holds" and found.rows[2].latency is None


def test_a_candidate_that_cannot_be_made_is_a_row(evaluation):
    found = choose([candidate("fp8", 0, error="Orin has no fp8"), candidate("fp16", 0)], evaluation, 0.3)
    assert found.precision == "fp16" and found.rows[0].why_not == "Orin has no fp8"


def test_no_precision_is_chosen_where_none_holds_the_budget(evaluation):
    found = choose([candidate("fp16", 9), candidate("int8", 99)], evaluation, 0.3)
    assert (found.precision, found.graph) == ("", None) and "no precision holds the budget of 0.3" in found.why
    assert found.to_json()["tried"][1]["figures"]["drop"]["points"] == 9.9
