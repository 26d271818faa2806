"""First and last layers stay high by default, unless measured better: this is the measurement.

On the trained fixtures the int8 of the stem costs 0.0 to 1.1 dB of output SQNR and brings 4 to 8 % of the MACs; on other
networks it is the worst node of all.  So each such layer is quantised beside the others once, and the better graph stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..judge.accuracy import sqnr_db
from ..judge.evaluation import Distance, Pictures, any_batch
from ..judge.sensitivity import PICTURES
from ..nouns import Decision, QuantisedGraph, Recipe
from .within import first_pictures

KINDS = ("stem", "head")  # depthwise layers stay: they have no arithmetic to save
WORTH = 0.01  # share of the MACs below which a layer is not worth its risk
FLOOR_DB = 36.0  # 33 dB is what a quantised graph should reach; 3 dB are left to the types around it
GROWTH_DB = 3.0  # one layer may bring as much noise as all others together


def promote(
    graph: QuantisedGraph,
    remake: Callable[[Recipe], QuantisedGraph],
    pictures: Pictures,
    *,
    count: int = PICTURES[0],
    distance: Distance = sqnr_db,
) -> QuantisedGraph:
    """``graph`` with its stem and head quantised too, where ``count`` pictures show that this costs little.

    ``remake(recipe)`` quantises the same float32 graph by another recipe.  The decision of each layer tried says what was
    measured; a node that ``recipe.keep`` names is never tried.  ``distance`` compares two graphs' answers: a View's ``sqnr_db``.
    """
    tried = [
        site
        for site in graph.sites
        if site.kind in KINDS
        and site.share >= WORTH
        and not graph.decisions[site.node].quantise
        and site.node not in graph.recipe.keep
    ]
    if not tried or graph.base is None:
        return graph
    images = first_pictures(pictures, min(count, len(pictures)))
    reference = any_batch(graph.base)(images)
    now = distance(reference, any_batch(graph.model)(images))
    words: dict[str, str] = {}
    for site in sorted(tried, key=lambda site: -site.share):
        trial = remake(replace(graph.recipe, also=(*graph.recipe.also, site.node)))
        if not trial.decisions[site.node].quantise:
            continue  # another rule keeps it high and says so
        found = distance(reference, any_batch(trial.model)(images))
        taken = found >= max(FLOOR_DB, now - GROWTH_DB)
        words[site.node] = (
            f"{site.kind}: measured, int8 {'brings' if taken else 'would bring'} {100 * site.share:.1f} % of the MACs and "
            f"{'takes' if taken else 'take'} the output from {now:.1f} to {found:.1f} dB"
        )
        if taken:
            graph, now = trial, found
    decisions = {
        node: Decision(decision.quantise, words.get(node, decision.why)) for node, decision in graph.decisions.items()
    }
    return replace(graph, decisions=decisions)
