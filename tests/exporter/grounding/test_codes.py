"""Weights in few bits: what the codes stand for, how far that is from the weight, and that a file holds each once."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesmith.exporter.grounding.few_bits.codes import int4_codes, int8_codes
from edgesmith.exporter.grounding.few_bits.store import PAGE_BYTES, Store, packed


def weight(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32)


def test_codes_of_four_bits_are_within_half_a_step_or_clipped():
    array = weight(70, 128)
    found = int4_codes(array, 32)
    steps = np.repeat(found.scale, 32, axis=1)
    inside = (found.codes > -8) & (found.codes < 7)
    assert found.codes.min() >= -8 and found.codes.max() <= 7
    assert (np.abs(found.codes * steps - array)[inside] <= steps[inside] / 2 * (1 + 1e-6)).all()
    error = np.square(found.codes * steps - array).sum()
    assert found.noise == pytest.approx(float(error), rel=1e-4)
    # of 15 levels over a normal block the best uniform scale leaves about 20 dB (Max 1960 for 4 bits: 20.2)
    assert found.sqnr_db > 19


def test_a_clipping_scale_is_taken_only_where_it_is_the_better_one():
    array = weight(8, 64)
    covering = np.abs(array.reshape(8, 2, 32)).max(axis=2) / 7
    found = int4_codes(array, 32)
    assert (found.scale <= covering * (1 + 2**-10)).all()
    assert (found.scale < covering * 0.99).any()


def test_scales_are_numbers_that_float16_holds():
    for found in (int4_codes(weight(16, 64), 64), int8_codes(weight(16, 64))):
        assert np.array_equal(found.scale, found.scale.astype(np.float16).astype(np.float32))


def test_a_zero_for_each_block_costs_nothing_and_gains_where_a_block_is_off_centre():
    array = weight(40, 128)
    plain, with_zero = int4_codes(array, 32), int4_codes(array, 32, zeros=True)
    assert with_zero.sqnr_db > plain.sqnr_db + 0.5
    shifted = int4_codes(np.abs(array), 32, zeros=True)
    assert shifted.sqnr_db > int4_codes(np.abs(array), 32).sqnr_db + 5  # 15 steps from 0 up instead of 7
    assert np.square(with_zero.values() - array).sum() == pytest.approx(with_zero.noise, rel=1e-4)
    assert with_zero.zero is not None and with_zero.zero.min() >= -8 and with_zero.zero.max() <= 7


def test_a_block_of_zeros_stays_zeros():
    assert not int4_codes(np.zeros((2, 64), np.float32), 32, zeros=True).values().any()


def test_a_row_of_eight_bits_covers_its_largest_value():
    array = weight(9, 50)
    array[3] = 0
    found = int8_codes(array)
    assert np.abs(found.codes).max() == 127
    assert (np.abs(found.codes * found.scale - array) <= found.scale / 2 * (1 + 2**-9)).all()
    assert not found.codes[3].any()


def test_codes_do_not_depend_on_how_many_rows_are_taken_at_once(monkeypatch):
    array = weight(40, 64)
    whole = int4_codes(array, 32)
    monkeypatch.setattr("edgesmith.exporter.grounding.few_bits.codes.AT_ONCE", 64 * 3)
    assert np.array_equal(int4_codes(array, 32).codes, whole.codes)


def test_two_codes_share_a_byte_the_first_in_the_low_half():
    assert packed(np.array([[1, -1, -8, 7]], np.int8)).tolist() == [[0xF1, 0x78]]


def test_a_tensor_is_made_and_written_once_and_begins_at_a_page(tmp_path):
    asked = []

    def make() -> np.ndarray:
        asked.append(1)
        return np.arange(6, dtype=np.float32)

    with Store(tmp_path / "some.data") as store:
        one = store.put("a", ir.DataType.FLOAT, (2, 3), make)
        store.put("b", ir.DataType.INT4, (3, 2), lambda: packed(np.array([[1, 2], [3, 4], [5, -6]], np.int8)))
        again = store.put("a", ir.DataType.FLOAT, (2, 3), make)
    assert len(asked) == 1 and again.offset == one.offset
    assert one.numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (tmp_path / "some.data").stat().st_size == PAGE_BYTES + 3


def test_bytes_that_do_not_fit_the_shape_are_a_bug(tmp_path):
    with Store(tmp_path / "some.data") as store, pytest.raises(ValueError, match="12 bytes, 16 expected"):
        store.put("a", ir.DataType.FLOAT, (4,), lambda: np.zeros(3, np.float32))
