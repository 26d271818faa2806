"""The X-ray: what it counts is what the builder lists, and nothing that it is fed makes it raise."""

import re
from collections import Counter

import onnx_ir as ir
import pytest
from attention_graph import vit
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesmith.exporter.engine import rtx
from edgesmith.exporter.engine.xray import MAGIC, read_engine
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.run.nouns import Shapes

needs_rtx = pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed")
BATCHES = Shapes((1, 3, 32, 32), (1, 3, 32, 32), (8, 3, 32, 32))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(precision, batch) -> engine bytes and the builder's verbose log; each is built once."""
    engines = {}

    def build(precision, batch=1):
        if (precision, batch) not in engines:
            log = tmp_path_factory.mktemp("log") / "builder.log"
            shapes = BATCHES if batch == "batch" else None
            engine = rtx.build_rtx_engine(to_precision(vit(batch), precision).model, "sm89", shapes, log=log)
            engines[precision, batch] = engine, log.read_text()
        return engines[precision, batch]

    return build


@needs_rtx
@pytest.mark.parametrize(("precision", "batch"), [("fp32", 1), ("fp16", 1), ("bf16", 1), ("fp32", "batch")])
def test_counts_agree_with_the_builders_own_layer_list(built, precision, batch):
    engine, log = built(precision, batch)
    listed = Counter(re.findall(r"LayerType: (\w+)", log))
    on_host = {"shape_call", "signal", "wait", "reshape", "cast"}  # in the list of dynamic engines, no kernel
    seen = read_engine(engine)
    assert seen.recognised == 1.0 and not seen.notes
    assert seen.to_json()["kinds"] == {kind: count for kind, count in listed.items() if kind not in on_host}
    assert seen.device_memory_bytes == int(re.search(r"Total Activation Memory: (\d+)", log)[1])
    weights = int(re.search(r"Total Weights Memory: (\d+)", log)[1])
    # the log counts whole 128-byte blocks of each constant
    assert weights - 128 * 64 <= seen.constant_bytes <= weights


@needs_rtx
def test_half_precision_fuses_the_attention_block_and_names_it(built):
    seen = read_engine(built("fp16")[0])
    assert seen.fused_attention == 1 and seen.archs == ("sm89",)
    assert {"scores", "softmax", "mix"} <= set(seen.attention[0].layers)
    assert seen.fused_in("softmax") and not seen.fused_in("gelu")
    assert set(seen.attention[0].operands) == {"fp16"}
    data = seen.to_json(kernels=True)
    assert data["kernels"] == len(data["kernel_list"]) == seen.kernels
    assert f"{seen.kernels} kernels, 1 fused attention" in seen.summary()


@needs_rtx
def test_no_attention_is_fused_in_float32(built):
    seen = read_engine(built("fp32")[0])
    assert seen.fused_attention == 0 and not seen.fused_in("softmax")
    assert any(kernel.role == "gemm" and set(kernel.operands) == {"fp32"} for kernel in seen.kernel_list)


@needs_rtx
def test_a_dynamic_engine_keeps_host_work_apart(built):
    fixed, dynamic = read_engine(built("fp32")[0]), read_engine(built("fp32", "batch")[0])
    assert dynamic.host_steps > 0 and fixed.host_steps == 0
    assert dynamic.device_memory_bytes > fixed.device_memory_bytes


@needs_rtx
def test_reads_from_a_path(built, tmp_path):
    engine = built("fp16")[0]
    (tmp_path / "a.engine").write_bytes(engine)
    assert read_engine(tmp_path / "a.engine") == read_engine(engine)


@needs_rtx
@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2, 0.5, 0.9])
def test_a_truncated_engine_gives_what_is_left(built, share):
    engine = built("fp16")[0]
    seen = read_engine(engine[: int(len(engine) * share)])
    assert 0 <= seen.kernels <= read_engine(engine).kernels


@needs_rtx
def test_an_unknown_kind_of_step_is_counted_and_lowers_what_was_recognised(built):
    engine = built("fp16")[0].replace(b"  corrltn={", b"  newkind={")
    seen = read_engine(engine)
    assert seen.unknown == {"newkind": 1} and 0.5 < seen.recognised < 1
    assert seen.kernels == read_engine(built("fp16")[0]).kernels


@pytest.mark.parametrize("junk", [b"", b"vtrt", b"header {\n", b"x" * 10_000, b"header {\nNLYM\ndescriptors {\nmain {"])
def test_garbage_gives_a_note(junk):
    seen = read_engine(junk)
    assert seen.recognised == 0 and seen.kernels == 0 and seen.notes and "not readable" in seen.summary()


def test_a_tensorrt_engine_is_called_what_it_is():
    magic = next(magic for magic, name in MAGIC.items() if name == "TensorRT")
    assert "not TensorRT-RTX" in read_engine(magic + bytes(1000)).notes[0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([b"header {\n", b"NLYM", b"\nmain {", b"\ndescriptors {", b"\nshape_main {", b"={", b"}",
                                 b"function", b'name="a"', b"\0", b"region = { name=x size=9"]) | st.binary(max_size=9)))  # fmt: skip
def test_no_bytes_make_it_raise(pieces):
    assert 0 <= read_engine(b"".join(pieces)).recognised <= 1


@needs_rtx
def test_one_layer_alone_is_read_and_its_bytes_are_counted():
    """(64, 256) x (256, 512): casts of both inputs, the product, which writes float32 itself; no program for shapes."""
    model = ir.from_onnx_text("""<ir_version: 10, opset_import: ["" : 20]>
      g (float[64, 256] x, float[256, 512] w) => (float[64, 512] y) { [up] y = MatMul(x, w) }""")
    seen = read_engine(rtx.build_rtx_engine(to_precision(model, "fp16").model, "sm89"))
    assert seen.recognised == 1.0 and seen.kernels
    product = next(kernel for kernel in seen.kernel_list if kernel.role == "gemm")
    assert set(product.operands) == {"fp16"} and not product.quantised
    read, written = 2 * (64 * 256 + 256 * 512), 4 * 64 * 512
    # besides: the factors in front of the product and of what is added to it, one number each
    assert read + written <= product.moved_bytes <= read + written + 64
    assert seen.moved_bytes == sum(kernel.moved_bytes for kernel in seen.kernel_list) > product.moved_bytes
    assert seen.to_json()["moved_bytes"] == seen.moved_bytes
