"""Whatever an engine raises while it is loaded or runs becomes an error in words, exit code 2; bugs of ours stay what they are."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest
from floor import workstation
from openvino_here import openvino_or_skip
from sealed import edit_manifest

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.backends.onnxruntime import OnnxRuntimeSession
from edgesmith.runtime.backends.openvino import OpenVinoSession
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import BundleRefused, EngineFailed
from edgesmith.runtime.session.failures import InWords

GREEDY = """
<ir_version: 10, opset_import: ["" : 20]>
greedy (float[1, 3, 8, 8] images) => (float[1, N] logits)
<int64[2] wanted = {1, 400000000000}>
{
  mean = ReduceMean<keepdims = 0>(images)
  logits = Expand(mean, wanted)
}
"""


def forged_batch(bundle) -> None:
    """A manifest that promises another batch than the graph takes, sealed again."""

    def change(manifest):
        for spec in (*manifest["inputs"], *manifest["outputs"]):
            spec["shape"][0] = 2

    edit_manifest(bundle.path, change)


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("openvino", marks=workstation)])
def test_a_forged_batch_is_told_by_us_and_not_by_the_engine(make_tiny, backend):
    if backend == "openvino":
        openvino_or_skip()
    bundle = make_tiny()
    forged_batch(bundle)
    with load(bundle.path, backend=backend) as session, pytest.raises(EngineFailed) as error:
        session.run({"images": np.zeros((2, 3, 8, 8), np.float32)})
    assert error.value.exit_code == 2
    assert error.value.what == f"{backend} cannot run tiny"
    assert "2" in error.value.found and "manifest" in error.value.because and error.value.attempt


def test_an_allocation_that_fails_is_said_to_be_one_and_nothing_is_printed_beside(make_tiny, capfd):
    bundle = make_tiny(
        files={"model.onnx": onnx.parser.parse_model(GREEDY).SerializeToString()},
        outputs=[{"name": "logits", "dtype": "float32", "shape": [1, "n"]}],
    )
    with load(bundle) as session, pytest.raises(EngineFailed, match="has not enough memory to run tiny") as error:
        session.run({"images": np.zeros((1, 3, 8, 8), np.float32)})
    assert "1600000000000" in error.value.found and "smaller batch" in error.value.attempt
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("raised", [MemoryError("std::bad_alloc"), RuntimeError("no kernel image"), ValueError("x")])
@pytest.mark.parametrize("session", [OnnxRuntimeSession, OpenVinoSession])
def test_what_comes_out_of_cpp_is_told(session, raised, tiny, monkeypatch):
    opened = session(tiny)
    monkeypatch.setattr(opened, "open_engine", lambda: None)
    monkeypatch.setattr(opened, "infer", lambda feeds: raise_(raised))
    opened.start()
    with pytest.raises(EngineFailed) as error:
        opened.run({"images": np.zeros((1, 3, 8, 8), np.float32)})
    assert str(raised) in error.value.found
    assert ("memory" in error.value.what) == isinstance(raised, MemoryError)


@pytest.mark.parametrize("raised", [MemoryError(), RuntimeError("no device")])
def test_the_same_while_it_is_loaded(raised, tiny, monkeypatch):
    monkeypatch.setattr(OnnxRuntimeSession, "open_engine", lambda self: raise_(raised))
    with pytest.raises(EngineFailed, match=r"(cannot|memory to) load tiny") as error:
        load(tiny)
    assert error.value.found in ("MemoryError", "no device")


@pytest.mark.parametrize("bug", [AttributeError("x"), KeyError("x"), TypeError("x"), KeyboardInterrupt()])
def test_a_bug_of_ours_stays_one(bug):
    with pytest.raises(type(bug)), InWords("onnxruntime", "tiny", "run"):
        raise bug


def test_a_size_of_another_graph_is_refused(make_tiny):
    """(1, 5) is promised and (1, 4) comes: what reads it later would take the wrong columns."""
    bundle = make_tiny(outputs=[{"name": "logits", "dtype": "float32", "shape": [1, 5]}])
    with load(bundle) as session, pytest.raises(EngineFailed, match="did not return 'logits'") as error:
        session.run({"images": np.zeros((1, 3, 8, 8), np.float32)})
    assert "(1, 4)" in error.value.found and "(1, 5)" in error.value.expected


def test_an_open_batch_is_that_of_the_input(make_tiny):
    """The graph drops all but one picture of the batch that the manifest calls "batch" on both sides."""
    model = onnx.parser.parse_model(
        """
        <ir_version: 10, opset_import: ["" : 20]>
        first (float[batch, 3, 8, 8] images) => (float[1, 3] logits)
        <int64[1] zero = {0}>
        {
          one = Gather<axis = 0>(images, zero)
          logits = ReduceMean<keepdims = 0>(one, axes)
        }
        """.replace("<int64[1] zero = {0}>", "<int64[1] zero = {0}, int64[2] axes = {2, 3}>")
    )
    bundle = make_tiny(
        batch="batch",
        files={"model.onnx": model.SerializeToString()},
        outputs=[{"name": "logits", "dtype": "float32", "shape": ["batch", 3]}],
    )
    with load(bundle) as session, pytest.raises(EngineFailed, match="did not return 'logits'"):
        session.run({"images": np.zeros((3, 3, 8, 8), np.float32)})


def test_a_type_that_numpy_does_not_have_is_refused_in_words(make_tiny):
    bundle = make_tiny()
    edit_manifest(bundle.path, lambda manifest: manifest["inputs"][0].update(dtype="bfloat16"))
    with pytest.raises(BundleRefused, match="input images bfloat16") as error:
        open_bundle(bundle.path)
    assert error.value.exit_code == 2


def raise_(error: BaseException) -> None:
    raise error
