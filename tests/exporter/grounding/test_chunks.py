"""Attention in chunks of query rows is attention, where the last chunk is shorter than the others too."""

from __future__ import annotations

import pytest
import torch

from edgesmith.exporter.grounding.parts.attention import (
    attend_causal,
    attend_rows,
    causal_mask,
    causal_masks,
)


@pytest.mark.parametrize("tokens", [1, 8, 9, 15, 16, 17, 24])
def test_every_token_sees_those_before_it_whatever_the_chunks_leave_over(tokens: int):
    q, k, v = torch.randn(3, 2, 3, tokens, 4, generator=torch.Generator().manual_seed(tokens)).unbind()
    rows = min(8, tokens)
    masks = causal_masks(torch.from_numpy(causal_mask(rows, tokens)), tokens)
    assert [mask.shape[1] for mask in masks] == [min(tokens, end) for end in range(rows, tokens + rows, rows)]
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
    torch.testing.assert_close(attend_causal(q, k, v, masks), expected)


@pytest.mark.parametrize("tokens", [8, 11, 16])
def test_every_token_sees_all_others_whatever_the_chunks_leave_over(tokens: int):
    q, k, v = torch.randn(3, 2, 3, tokens, 4, generator=torch.Generator().manual_seed(tokens)).unbind()
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)
    torch.testing.assert_close(attend_rows(q, k, v, 8), expected)
