"""Outliers x64 behind every LayerNormalization: the float32 answer stays, int8 without smoothing falls, ours does not."""

import numpy as np
import pytest
from outliers import inject
from trained import trained

from edgesmith.calibration.nouns import Recipe
from edgesmith.calibration.quantise import quantise

SEED = 6  # of seeds 0 to 39 the one that hurts ViT most: 12.7 points; their mean is 4.0 (ConViT: 15.4, mean 8.1)
NAIVE = Recipe(rules="minmax", smooth=0, equalise=False)


def test_injection_reaches_every_normalisation_and_the_answer_stays():
    fixture = trained("vit_ggem_mnist")
    model, count = inject(fixture.model, seed=SEED)
    assert count == 8, "four blocks of two; the ninth feeds the pooling, which is not linear"
    sqnr, lost, equal = fixture.judge(model)
    assert sqnr > 120 and lost == 0 and equal == 100
    spread = [np.sort(one.absmax)[[-4, -1]] for one in fixture.statistics(model).tensors.values() if one.channels > 3]
    assert sum(largest > 10 * fourth for fourth, largest in spread) >= count


@pytest.mark.slow
@pytest.mark.parametrize(("name", "norms", "fall"), [("vit_ggem_mnist", 8, 10.0), ("convit_mnist", 9, 5.0)])
def test_smoothing_repairs_what_min_max_loses(name, norms, fall):
    fixture = trained(name)
    model, count = inject(fixture.model, seed=SEED)
    assert count == norms
    sqnr, lost, equal = fixture.judge(model)
    assert sqnr > 120 and lost == 0 and equal == 100
    statistics = fixture.statistics(model)
    _, naive, _ = fixture.judge(quantise(model, statistics, NAIVE, fixture.sites))
    sqnr, ours, _ = fixture.judge(quantise(model, statistics, Recipe(), fixture.sites))
    assert naive >= fall, f"min-max without smoothing lost only {naive:.1f} points"
    assert ours <= 0.2 and sqnr >= 33, (ours, sqnr)
