"""The child that builds an engine has the bundle's plugins before it parses; a stand-in for TensorRT tells what it was asked."""

from __future__ import annotations

import json
import sys

import pytest
from floor import workstation

from edgesmith.exporter.plugins.pack.compile import Compiled
from edgesmith.exporter.plugins.pack.pack import pack
from edgesmith.exporter.plugins.vision.ggem_pool import OP
from edgesmith.runtime.backends import engine_build
from edgesmith.runtime.backends.engine_build import build_engine
from edgesmith.runtime.errors import BackendUnavailable, BundleRefused, EdgesmithError, UserMistake
from edgesmith.runtime.plugins.library import plugin_library
from edgesmith.runtime.plugins.routes import plugins_of
from edgesmith.runtime.plugins.schema import Launch

pytestmark = workstation  # triton compiles what a pack holds
PTX = "// no kernel, but text of one\n"
ASKED = {"route": "aot", "ops": ["GGeMPool"]}
TENSORRT = '''
import json, os
from pathlib import Path

__version__ = os.environ["STAND_IN_VERSION"]
calls = []
QuickPluginCreationRequest = object

class ILogger:
    class Severity:
        ERROR = 1

class NetworkDefinitionCreationFlag:
    STRONGLY_TYPED = 1

class OnnxParser:
    def __init__(self, network, log):
        pass

    def parse_from_file(self, path):
        calls.append("parse")
        return True

class Everything:
    """Builder, network and configuration."""
    num_outputs = 1
    num_inputs = num_layers = 0

    def __init__(self, log=None):
        pass

    def create_network(self, flags):
        return self

    def create_builder_config(self):
        return self

    def build_serialized_network(self, network, config):
        kernels = os.environ.get("EDGESMITH_KERNELS")
        files = sorted(path.name for path in Path(kernels).iterdir()) if kernels else None
        return json.dumps({"calls": calls, "kernels": kernels, "files": files}).encode()

class Registry:
    def load_library(self, path):
        calls.append("load " + path)
        if "broken" in path:
            raise RuntimeError("undefined symbol: _Z3foo")
        return None if "silent" in path else object()

    def get_creator(self, name, version, namespace):
        return object() if (name, version, namespace) == ("GGeMPool", "1", "edgesmith") else None

Builder, get_plugin_registry = Everything, Registry
'''
PLUGIN = """
from types import SimpleNamespace
from tensorrt import calls

class Any:
    pass

TensorDesc = AutoTuneCombination = KernelLaunchParams = SymIntExprs = Any
cdiv = min = max = None
op = SimpleNamespace()

def keep(what):
    return lambda identity: lambda function: calls.append(f"{what} {identity}")

register, autotune, aot_impl = map(keep, ("register", "autotune", "aot_impl"))
"""


@pytest.fixture(scope="module")
def kernels() -> bytes:
    import hashlib

    assert OP.kernel is not None
    launches = [
        Launch(f"kernel_{v.type}", v.type, v.when, ("1", "1", "1"), (), 128, 0, f"kernel_{v.type}.ptx",
               hashlib.sha256(PTX.encode()).hexdigest())
        for v in OP.kernel.variants
    ]  # fmt: skip
    return pack(
        [OP], [Compiled(OP.name, v, launch, PTX) for v, launch in zip(OP.kernel.variants, launches, strict=True)]
    )


@pytest.fixture
def tensorrt(tmp_path, monkeypatch):
    """``tensorrt(version)`` is what the child imports from then on."""
    folder = tmp_path / "stand_in" / "tensorrt"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(TENSORRT)
    (folder / "plugin.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))
    monkeypatch.delenv("EDGESMITH_PLUGIN_LIBRARY", raising=False)
    monkeypatch.delenv("EDGESMITH_KERNELS", raising=False)
    return lambda version: monkeypatch.setenv("STAND_IN_VERSION", version)


@pytest.fixture
def bundle(make_tiny, kernels):
    return lambda plugins=ASKED, pack=kernels: make_tiny(files={"kernels.zip": pack}, plugins=plugins)


def test_plugins_are_registered_before_the_graph_is_parsed(bundle, tensorrt):
    tensorrt("10.13.3")
    engine = json.loads(build_engine(bundle(), "tensorrt"))
    kinds = ["register", "autotune", "aot_impl"]
    assert engine["calls"] == [*(f"{kind} edgesmith::GGeMPool" for kind in kinds), "parse"]
    assert engine["kernels"] is None


def test_a_bundle_without_plugins_registers_none(tiny, tensorrt):
    tensorrt("8.6.2")
    assert json.loads(build_engine(tiny, "tensorrt"))["calls"] == ["parse"]


def test_an_old_tensorrt_is_told_in_our_words(bundle, tensorrt):
    tensorrt("10.3.0")
    with pytest.raises(BackendUnavailable, match="cannot take the bundle's plugins\n  found     tensorrt 10.3.0\n"):
        build_engine(bundle(), "tensorrt")


def test_an_op_without_a_kernel_is_told_in_our_words(bundle, tensorrt):
    tensorrt("10.13.3")
    with pytest.raises(UserMistake, match="no kernel for an op of the graph\n  found     NoSuch\n"):
        build_engine(bundle({"route": "aot", "ops": ["NoSuch"]}), "tensorrt")


def test_a_damaged_pack_is_refused(bundle, tensorrt, kernels):
    tensorrt("10.13.3")
    with pytest.raises(EdgesmithError, match="kernel pack kernels.zip cannot be used") as caught:
        build_engine(bundle(pack=kernels.replace(b"kernel_float16", b"kernel_float61")), "tensorrt")
    assert not isinstance(caught.value, BackendUnavailable)


def test_the_library_of_the_environment_is_loaded_with_the_kernels_beside_it(bundle, tensorrt, tmp_path, monkeypatch):
    tensorrt("10.3.0")
    library = tmp_path / "libedgesmith_plugins.so"
    library.touch()
    monkeypatch.setenv("EDGESMITH_PLUGIN_LIBRARY", str(library))
    engine = json.loads(build_engine(bundle({"route": "native", "ops": ["GGeMPool"]}), "tensorrt"))
    assert engine["calls"] == [f"load {library}", "parse"]
    kernels = ["kernel_bfloat16.ptx", "kernel_float16.ptx", "kernel_float32.ptx"]
    assert engine["files"] == [*kernels, "lock", "plugins.txt"]
    assert not engine_build.Path(engine["kernels"]).exists()  # it lived as long as the build


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("older.so", "10.3.0", "could not be loaded(.|\n)*no plugin for Newer(.|\n)*older"),
        ("broken.so", "10.3.0", "could not be loaded(.|\n)*undefined symbol: _Z3foo"),
        ("silent.so", "10.3.0", "could not be loaded(.|\n)*gave no reason"),
        ("plugin.so", "8.6.2", "could not be loaded(.|\n)*tensorrt 8.6.2(.|\n)*no IPluginV3"),
    ],
)
def test_a_library_that_does_not_load_is_told_in_words(bundle, tensorrt, tmp_path, monkeypatch, name, version, said):
    tensorrt(version)
    (tmp_path / name).touch()
    monkeypatch.setenv("EDGESMITH_PLUGIN_LIBRARY", str(tmp_path / name))
    ops = ["GGeMPool", "Newer"] if name == "older.so" else ["GGeMPool"]
    with pytest.raises(BackendUnavailable, match=said):
        build_engine(bundle({"route": "native", "ops": ops}), "tensorrt")


def test_without_a_library_it_is_said_how_to_build_one_and_no_child_starts(bundle, tensorrt, monkeypatch):
    monkeypatch.setattr(engine_build, "COMMAND", [sys.executable, "-c", "raise SystemExit('started')"])
    asked = bundle({"route": "native", "ops": ["GGeMPool"]})
    with pytest.raises(
        BackendUnavailable, match="EDGESMITH_PLUGIN_LIBRARY is not set(.|\n)*cmake -S .*native -B build"
    ):
        build_engine(asked, "tensorrt")
    monkeypatch.setenv("EDGESMITH_PLUGIN_LIBRARY", "/no/such/library.so")
    with pytest.raises(BackendUnavailable, match="names /no/such/library.so, which is no file"):
        plugin_library()


def test_only_tensorrt_takes_plugins(bundle):
    assert plugins_of(bundle(), "tensorrt_rtx") is None
    made = bundle()
    assert plugins_of(made, "tensorrt") == {**ASKED, "pack": str(made.path / "kernels.zip")}


@pytest.mark.parametrize(
    "plugins", [{"route": "other", "ops": []}, {"route": "aot"}, {"route": "aot", "ops": "GGeMPool"}, ["GGeMPool"], 1]
)
def test_plugins_of_another_kind_are_refused(bundle, plugins):
    with pytest.raises(BundleRefused, match="in a way this version does not know"):
        plugins_of(bundle(plugins), "tensorrt")


def test_plugins_without_a_pack_are_refused(make_tiny):
    with pytest.raises(BundleRefused, match="has no kernels"):
        plugins_of(make_tiny(plugins=ASKED), "tensorrt")
