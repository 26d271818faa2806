"""Numbers on their way to the device and back, judged by torch and by the packing of the ops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gpu.formats import codes, equal_share, for_device, from_device, relative_error, rounded, to_bits
from gpu.interpreted import bfloat16

from edgesmith.exporter.plugins.kv.packing import pack

NUMBERS = np.array([0, -0.0, 1, 1 + 2**-8, 1 + 3 * 2**-9, -3.14159, 1e-40, 3e38, np.inf, -np.inf], np.float32)


def test_bfloat16_rounds_as_torch_does():
    rng = np.random.default_rng(0)
    for array in (NUMBERS, rng.standard_normal(1000).astype(np.float32) * 1e3):
        wanted = torch.from_numpy(array).bfloat16()
        assert np.array_equal(to_bits(array), wanted.view(torch.int16).numpy().view(np.uint16))
        assert np.array_equal(rounded(array, "bfloat16"), wanted.float().numpy())


def test_a_bfloat16_constant_in_the_interpreter_is_rounded_and_the_builder_left_as_it_was():
    from triton.runtime import interpreter

    before = dict(vars(interpreter.InterpreterBuilder))
    with bfloat16():
        found = [interpreter.interpreter_builder.get_bf16(float(number)).data.item() for number in NUMBERS]
    assert found == to_bits(NUMBERS).tolist()
    assert dict(vars(interpreter.InterpreterBuilder)) == before


@pytest.mark.parametrize("type_", ["float32", "float16", "bfloat16", "int32"])
def test_what_goes_to_the_device_comes_back(type_):
    array = np.arange(-7, 7).reshape(2, 7)
    held = rounded(array, type_)
    assert np.array_equal(from_device(for_device(held, type_), type_), held)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_codes_of_words_are_the_codes(bits):
    wanted = np.random.default_rng(bits).integers(0, 2**bits, (3, 32))
    found = codes(pack(wanted, bits), bits)
    assert np.array_equal(np.sort(found.reshape(3, -1)), np.sort(wanted))  # planar: another order
    wanted[0, 0] ^= 1
    assert equal_share(codes(pack(wanted, bits), bits), found) == 1 - 1 / 96


def test_an_error_is_relative_to_the_largest_output_and_infinite_for_nan():
    wanted = np.array([100.0, 1.0], np.float32)
    assert relative_error(np.array([100.0, 2.0], np.float32), wanted) == pytest.approx(0.01)
    assert relative_error(np.array([100.0, np.nan], np.float32), wanted) == np.inf
