"""Fourier transforms as products: every form that ONNX defines beside numpy's, and the chains that torch writes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from graph_asserts import assert_refuses, assert_told, op_types, parse, run
from torch import Tensor, nn

from edgesmith.exporter.patterns.fourier.transforms_as_products import TransformsAsProducts
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.trace.trace import trace

ONE = """
<ir_version: 10, opset_import: ["" : 20]>
one (float[BATCH, 5, 6, 3, PARTS] x) => (float[a, b, c, d, e] y)
<int64 length = {LENGTH}, int64 axis = {AXIS}>
{
  y = DFT<inverse = INVERSE, onesided = ONESIDED>(x, length, axis)
}
"""
INTO_FFT = {
    (1, 0, 0): lambda x, n, axis: np.fft.fft(x[..., 0], n, axis),
    (2, 0, 0): lambda x, n, axis: np.fft.fft(x[..., 0] + 1j * x[..., 1], n, axis),
    (1, 0, 1): lambda x, n, axis: np.fft.rfft(x[..., 0], n, axis),
    (1, 1, 0): lambda x, n, axis: np.fft.ifft(x[..., 0], n, axis),
    (2, 1, 0): lambda x, n, axis: np.fft.ifft(x[..., 0] + 1j * x[..., 1], n, axis),
    (2, 1, 1): lambda x, n, axis: np.fft.irfft(x[..., 0] + 1j * x[..., 1], n, axis),
}


def one(text: str = ONE, **words: object) -> str:
    for word, value in {"BATCH": 2, "PARTS": 1, "LENGTH": 6, "AXIS": 2, "INVERSE": 0, "ONESIDED": 0, **words}.items():
        text = text.replace(word, str(value))
    return text


@pytest.mark.parametrize("form", INTO_FFT, ids=lambda form: "parts{}-inverse{}-onesided{}".format(*form))
@pytest.mark.parametrize(
    ("axis", "length"), [(1, 8), (1, 9), (-3, 10), (3, 5), (-2, 4), (2, 11)], ids=lambda number: str(number)
)
def test_every_transform_is_that_of_numpy(form: tuple[int, int, int], axis: int, length: int):
    parts, inverse, onesided = form
    model = parse(one(PARTS=parts, INVERSE=inverse, ONESIDED=onesided, AXIS=axis, LENGTH=length))
    assert TransformsAsProducts().run(model).count == 1
    assert "DFT" not in op_types(model)
    onnx.checker.check_model(ir.to_proto(model))
    assert_told(model)
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 3, parts)).astype(np.float32)  # as run feeds it
    place = axis % 5
    expected = INTO_FFT[form](x.astype(np.float64), length, place)
    expected = np.stack([expected.real, expected.imag], axis=-1) if np.iscomplexobj(expected) else expected[..., None]
    # a sum of at most 12 products in float32, each of numbers of size 1
    np.testing.assert_allclose(run(model)[0], expected, rtol=0, atol=2e-6 * max(1.0, np.abs(expected).max()))


def test_an_open_batch_stays_open():
    model = parse(one(BATCH="batch", LENGTH=6, ONESIDED=1))
    assert TransformsAsProducts().run(model).count == 1
    assert run(model, batch=3)[0].shape == (3, 5, 4, 3, 2)


def test_the_axis_of_opset_17_is_an_attribute_and_1_by_default():
    text = one().replace('"" : 20', '"" : 17').replace("(x, length, axis)", "(x)")
    model = parse(text)
    assert TransformsAsProducts().run(model).count == 1
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 3, 1)).astype(np.float32)
    np.testing.assert_allclose(run(model)[0][..., 1], np.fft.fft(x[..., 0], axis=1).imag, atol=1e-5)


class Gate(nn.Module):
    """SpectFormer's spectral gate on (B, C, H, W), the parts of its filter beside each other."""

    def __init__(self, dims: tuple[int, int], norm: str) -> None:
        super().__init__()
        self.dims, self.norm = dims, norm
        self.weight = nn.Parameter(torch.randn(3, 6, 4, 2) if dims == (2, 3) else torch.randn(2, 8, 7, 2))

    def forward(self, images: Tensor) -> Tensor:
        frequencies = torch.fft.rfft2(images, dim=self.dims, norm=self.norm) * torch.view_as_complex(self.weight)
        size = [images.shape[dim] for dim in self.dims]
        return torch.fft.irfft2(frequencies, s=size, dim=self.dims, norm=self.norm)


@pytest.mark.parametrize("opset", [18, 20])
@pytest.mark.parametrize(
    ("dims", "norm", "size"), [((2, 3), "ortho", (6, 7)), ((1, 2), "backward", (8, 7))], ids=["ortho", "backward"]
)
def test_a_gate_of_torch_holds_its_parts_apart(dims: tuple[int, int], norm: str, size: tuple[int, int], opset: int):
    torch.manual_seed(0)
    gate = Gate(dims, norm)
    if dims == (1, 2):
        gate.weight = nn.Parameter(torch.randn(3, size[0] // 2 + 1, size[1], 2))
    shape = (2, 3, *size)
    graph = trace(gate, Shapes(shape, shape, shape), opset=opset, outputs=("y",)).model
    assert op_types(graph).count("DFT") == 4
    assert TransformsAsProducts().run(graph).count == 4
    found = op_types(graph)
    assert found.count("MatMul") == 7 and not {"DFT", "Slice", "Gather", "Div"} & set(found)
    assert found.count("Concat") == 3  # before each product of complex values; the parts are never joined on their axis
    assert_told(graph)
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with torch.no_grad():
        expected = gate.double()(torch.from_numpy(images).double()).numpy()
    np.testing.assert_allclose(run(graph)[0], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_reals_that_were_made_complex_are_reals_again():
    class Spectrum(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.fft.fft2(images).real

    shape = (2, 3, 4, 5)
    graph = trace(Spectrum(), Shapes(shape, shape, shape), outputs=("y",)).model
    assert TransformsAsProducts().run(graph).count == 2
    assert sorted(op_types(graph)) == ["Concat", "MatMul", "MatMul", "MatMul"]
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(run(graph)[0], np.fft.fft2(images).real, atol=2e-5)  # sums of 20


def test_who_reads_the_spectrum_as_it_was_still_does():
    tapped = """
<ir_version: 10, opset_import: ["" : 20]>
tapped (float[2, 5, 6] x) => (float[2, 5, 4, 2] spectrum, float[2, 5, 4, 2] half, float[2, 5, 4] power)
<int64 length = {6}, int64 axis = {2}, int64[1] last = {-1}, float two = {2.0}>
{
  c = Unsqueeze(x, last)
  spectrum = DFT<onesided = 1>(c, length, axis)
  half = Div(spectrum, two)
  power = ReduceSumSquare<keepdims = 0>(spectrum, last)
}
"""
    model = parse(tapped)
    before = run(model)
    assert TransformsAsProducts().run(model).count == 1
    for old, new in zip(before, run(model), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-5)
    assert TransformsAsProducts().run(model).count == 0


@pytest.mark.parametrize(
    ("words", "because"),
    [
        ({"AXIS": 0, "BATCH": "batch"}, "the length of axis 0 is batch"),
        ({"PARTS": "parts"}, "last axis is 1 (real) or 2 (complex)"),
        ({"PARTS": 2, "ONESIDED": 1}, "half a spectrum"),
        ({"INVERSE": 1, "ONESIDED": 1}, "half a spectrum"),
        ({"LENGTH": 4}, "cuts off"),
        ({"PARTS": 2, "INVERSE": 1, "ONESIDED": 1, "LENGTH": 8}, "cuts off"),
    ],
)
def test_refuses(words: dict[str, object], because: str):
    assert_refuses(TransformsAsProducts, one(**words), because=because)


def test_refuses_two_open_sizes():
    text = one(BATCH="batch").replace("[batch, 5,", "[batch, rows,")
    assert_refuses(TransformsAsProducts, text, because="at most one open size")


def test_refuses_an_axis_that_is_computed():
    text = one().replace("PARTS", "1").replace("1] x)", "1] x, int64 given)").replace("length, axis)", "length, given)")
    assert_refuses(TransformsAsProducts, text, because="computed in the graph")
