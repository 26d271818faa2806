"""A file newer than ONNX Runtime: its own words -> the release that reads it; what else it refuses stays what it is."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.backends.onnxruntime import NEWEST, too_old
from edgesmith.runtime.errors import BackendUnavailable, BundleRefused

# what release 1.19.0 said of small graphs
OPSET = (
    "[ONNXRuntimeError] : 1 : FAIL : Load model from m.onnx failed: ONNX Runtime only *guarantees* support for models "
    "stamped with official released onnx opset versions. Opset {0} is under development and support for this is limited. "
    "The operator schemas and or other functionality may change before next ONNX release and in this case ONNX Runtime will "
    "not guarantee backward compatibility. Current official support for domain ai.onnx is till opset 21."
)
IR = "[ONNXRuntimeError] : 1 : FAIL : Load model from m.onnx failed: Unsupported model IR version: {0}, max supported IR version: 10"


@pytest.mark.parametrize(
    ("said", "release"),
    [
        (OPSET.format(22), "1.21"),
        (OPSET.format(23), "1.23"),
        (OPSET.format(24), "1.24"),
        (OPSET.format(27), "1.32"),
        (IR.format(11), "1.23"),
        (IR.format(12), "1.24"),
        (IR.format(14), "1.32"),
    ],
)
def test_the_release_is_the_first_that_read_such_a_graph(said: str, release: str):
    found = too_old(said)
    assert found is not None and found[1] == f"onnxruntime {release} or newer" and "at most" in found[0]


def test_what_no_release_reads_yet_asks_for_a_newer_one():
    assert too_old(OPSET.format(99)) == (
        "a graph of opset 99, and this release reads 21 at most",
        "a newer onnxruntime",
    )


def test_another_reason_is_none_of_age():
    assert too_old("Fatal error: nobody:NoSuchOp(-1) is not a registered function/op") is None
    other = OPSET.format(6).replace("domain ai.onnx is till opset 21", "domain ai.onnx.ml is till opset 5")
    assert too_old(other) is None


def test_a_bundle_of_a_newer_ir_says_which_release_it_needs(tiny, make_tiny):
    """Whatever release is here: one IR version past what it reads."""
    known = max(ir for release, (_, ir) in NEWEST.items() if _key(release) <= _key(onnxruntime.__version__))
    model = onnx.load(tiny.graph)
    model.ir_version = known + 1
    bundle = make_tiny(files={"model.onnx": model.SerializeToString()})
    with pytest.raises(BackendUnavailable) as told:
        load(bundle)
    text = str(told.value)
    assert f"ONNX Runtime {onnxruntime.__version__} is too old" in text and f"IR version {known + 1}" in text
    assert "pip install -U onnxruntime" in text and "onnxruntime" in told.value.expected
    assert not isinstance(told.value, BundleRefused)


def _key(release: str) -> list[int]:
    return [int(part) for part in release.split(".")[:2]]
