"""GGeM against the float64 golden values of the formula, and what half precision does to it."""

import numpy as np
import pytest
import torch
from reference_weights import facts, golden

from edgesmith.models.families.vit_ggem.network import GGeMPool

CASES = {case["case"]: case for case in facts("ggem")["cases"]}


def pool_of(case, layout):
    pool = GGeMPool(case["groups"], layout)
    with torch.no_grad():
        pool.p.copy_(torch.from_numpy(golden("ggem")[f"{case['case']}/p"])[:, None])
    return pool


def tokens_of(case):
    tokens = torch.from_numpy(golden("ggem")[f"{case['case']}/tokens"])
    return tokens[:, 1:] if case["first_token_is_class_token_and_is_dropped"] else tokens


@pytest.mark.parametrize("layout", ["contiguous", "interleaved"])
@pytest.mark.parametrize("name", CASES)
def test_pooling_is_the_formula(name, layout):
    case = CASES[name]
    expected = golden("ggem")[f"{name}/pooled_{layout}"]
    with torch.no_grad():
        double = pool_of(case, layout).double()(tokens_of(case).double()).numpy()
        single = pool_of(case, layout)(tokens_of(case)).numpy()
    np.testing.assert_allclose(double, expected, rtol=1e-12)
    if name != "large_p":  # 1e-6**64 is zero in float32; the large exponent is for float64 only
        np.testing.assert_allclose(single, expected, rtol=2e-5)


def test_half_precision_tokens_are_pooled_in_float32():
    tokens = torch.full((1, 3, 4), 60.0, dtype=torch.float16)  # 60**3 overflows float16
    with torch.no_grad():
        pooled = GGeMPool(2).half()(tokens)
    assert pooled.dtype == torch.float16
    assert torch.equal(pooled, torch.full((1, 4), 60.0, dtype=torch.float16))


def test_the_first_exponents_are_three_one_a_group():
    assert torch.equal(GGeMPool(6).p, torch.full((6, 1), 3.0))


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="contiguous or interleaved"):
        GGeMPool(2, layout="mixed")
