"""One contract for all backends: the same answers, the same refusals; where one cannot run, it says what is missing."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
from any_backend import BACKENDS, open_or_skip
from floor import workstation

from edgesmith.runtime.backends import default_backend, find_backend
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.errors import BackendUnavailable, BundleRefused, UserMistake

WEIGHT = np.array([[4, -2, -2, 0], [-2, 4, -2, 0], [-2, -2, 4, 0]], np.float32)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("batch", [1, "batch"])
def test_every_backend_keeps_the_contract_of_a_session(make_tiny, name, batch):
    bundle = make_tiny(batch)
    with open_or_skip(bundle, name, threads=1) as session:
        assert session.backend == name and session.precision == "fp32"
        kept = []
        for count in (1, 2, 4, 1) if batch == "batch" else (1, 1):
            images = np.random.default_rng(count).standard_normal((count, 3, 8, 8), dtype=np.float32)
            given = images.copy()
            (logits,) = session.run({"images": images}).values()
            assert logits.shape == (count, 4) and logits.dtype == np.float32
            np.testing.assert_array_equal(images, given)  # inputs are not written to
            np.testing.assert_allclose(logits, images.mean(axis=(2, 3)) @ WEIGHT, atol=1e-5)
            kept.append((logits, logits.copy()))
        for logits, copy in kept:
            np.testing.assert_array_equal(logits, copy)  # results are the caller's own, not overwritten by the next run
        assert all(row.passed for row in session.self_test())
        with pytest.raises(UserMistake, match="wrong type"):
            session.run({"images": np.zeros((1, 3, 8, 8))})
        assert session.infer_ms > 0
    with pytest.raises(UserMistake, match="closed"):
        session.run({"images": np.zeros((1, 3, 8, 8), np.float32)})


@pytest.mark.parametrize("name", BACKENDS)
def test_a_graph_that_the_engine_cannot_load_is_refused(make_tiny, name):
    from onnx import TensorProto, helper

    unknown = helper.make_model(
        helper.make_graph(
            [helper.make_node("NoSuchOp", ["images"], ["logits"], domain="nobody")],
            "g",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4])],
        ),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("nobody", 1)],
        ir_version=10,
    )
    bundle = make_tiny(files={"model.onnx": unknown.SerializeToString()})
    with pytest.raises((BundleRefused, BackendUnavailable)) as caught:
        load(bundle, backend=name)
    assert "NoSuchOp" in str(caught.value) or name.startswith("tensorrt")


@pytest.mark.parametrize("name", BACKENDS)
def test_a_missing_library_is_named_with_the_way_to_get_it(tiny, name, monkeypatch):
    real_import = importlib.import_module

    def without(module, *args, **kwargs):
        if module == name:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return real_import(module, *args, **kwargs)

    find_backend(name)
    monkeypatch.setattr("edgesmith.runtime.backends.importlib.import_module", without)
    with pytest.raises(BackendUnavailable) as caught:
        load(tiny, backend=name)
    assert caught.value.attempt


def test_a_library_that_is_there_but_broken_is_told_apart(tiny, monkeypatch):
    def broken(module, *args):
        raise OSError("libfoo.so.3: cannot open shared object file")

    find_backend("onnxruntime")
    monkeypatch.setattr("edgesmith.runtime.backends.importlib.import_module", broken)
    with pytest.raises(BackendUnavailable, match="cannot be imported.*\n.*libfoo.so.3"):
        load(tiny)


@pytest.mark.parametrize(
    ("target", "backend"),
    [
        ("cpu", "onnxruntime"),
        ("openvino", "openvino"),
        ("rtx", "tensorrt_rtx"),
        ("jetpack7.0", "tensorrt"),
        ("tensorrt", "tensorrt"),
    ],
)
def test_a_target_has_its_backend(target, backend):
    assert default_backend(target) == backend


@workstation
def test_openvino_takes_bf16_only_when_asked(make_tiny):
    with load(make_tiny(), backend="openvino", threads=1) as session:
        assert session.precision == "fp32"
        assert str(session._usual.alone.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"
        assert session._usual.alone.get_property("INFERENCE_NUM_THREADS") == 1
    with load(make_tiny(precision="fp16"), backend="openvino") as session:
        assert session.computes == "fp32" and session.self_test()[0].limit == "cosine >= 0.9999"
    with load(make_tiny(precision="bf16"), backend="openvino") as session:
        assert session.precision == "bf16" and session.self_test()[0].limit == "cosine >= 0.999"
    with load(make_tiny(), backend="openvino", precision="bf16") as session:
        able = "BF16" in session._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")  # else it computes in float32
        hint = str(session._usual.alone.get_property("INFERENCE_PRECISION_HINT"))
        assert hint == ("<Type: 'bfloat16'>" if able else "<Type: 'float32'>")
        assert session.precision == "bf16" and session.self_test()[0].passed


def test_the_runtime_imports_and_runs_without_torch_and_onnx(make_tiny):
    """What a device has: numpy, OpenCV, one engine. Anything else that gets imported would fail there."""
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "onnx", "onnx_ir", "onnxscript", "timm", "PIL", "scipy", "rich", "typer", "skimage"}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
import edgesmith, numpy, pkgutil, importlib.util, edgesmith.runtime as runtime
serves = importlib.util.find_spec("starlette") is not None  # the extra of the server, which not every device has
for module in pkgutil.walk_packages(runtime.__path__, "edgesmith.runtime."):
    if serves or ".commands.serve." not in module.name:
        importlib.import_module(module.name)
assert not {"onnxruntime", "openvino", "tensorrt", "tensorrt_rtx"} & set(sys.modules), "engines are imported on use"
with edgesmith.load(sys.argv[1]) as session:
    print(session(numpy.full((9, 9, 3), (0, 255, 0), numpy.uint8)).best.label)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(make_tiny().path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "green"


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "tensorrt_rtx"])
def test_a_graph_that_only_the_cpp_plugin_runs_is_refused_in_words(make_tiny, name):
    bundle = make_tiny(files={"kernels.zip": b"a pack"}, plugins={"route": "native", "ops": ["GGeMPool"]})
    with pytest.raises(
        BundleRefused, match="C\\+\\+ plugin runs it, and nothing else does(.|\n)*without --native-plugins"
    ):
        load(bundle, backend=name)


def test_without_a_gpu_that_graph_gets_no_advice_to_try_the_cpu(make_tiny, monkeypatch):
    monkeypatch.setattr("edgesmith.runtime.backends.gpu.cuda.DRIVER", "no_such_driver.so")
    native = make_tiny(files={"kernels.zip": b"a pack"}, plugins={"route": "native", "ops": ["GGeMPool"]})
    with pytest.raises(BackendUnavailable, match="only TensorRT with the C\\+\\+ plugin") as refused:
        load(native, backend="tensorrt")
    assert "onnxruntime" not in str(refused.value)
    with pytest.raises(BackendUnavailable, match="or with backend='onnxruntime'"):
        load(make_tiny(), backend="tensorrt")


@pytest.mark.parametrize("route", ["function", "aot"])
def test_openvino_takes_no_fused_ops(make_tiny, route):
    bundle = make_tiny(rewrite={"fused": {"route": route, "ops": {"GGeMPool": 1}}})
    with pytest.raises(BundleRefused, match="OpenVINO reads neither(.|\n)*--target openvino"):
        load(bundle, backend="openvino")
    with load(bundle, backend="onnxruntime"):
        pass
