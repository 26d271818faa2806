"""What a builder, a CUDA library and a plugin registry are asked for, noted by ones that only answer; no GPU, no TensorRT."""

from __future__ import annotations

import ctypes
import io
import json
import signal
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest

from edgesmith.runtime.backends import engine_child
from edgesmith.runtime.backends.gpu.cuda import Cuda, Device
from edgesmith.runtime.commands.cli import RUN_OPTIONS
from edgesmith.runtime.commands.words import plain_run
from edgesmith.runtime.errors import BackendUnavailable, UserMistake, refuse_unknown
from edgesmith.runtime.ground import exchange, registry, signals
from edgesmith.runtime.plugins import library
from edgesmith.runtime.tasks.known import check_task, find_task, joined, task_of
from edgesmith.runtime.tasks.task import Task


class FakeTensorRT:
    """The parts of the library that are used; ``asked`` is what was set, in order."""

    __version__ = "10.9.0"

    def __init__(self, typed=True, errors=(), outputs=1, shapes=((1, 3),), engine=b"engine", says=()):
        self.asked, self.errors, self.outputs, self.shapes, self.engine, self.says = (
            [],
            errors,
            outputs,
            shapes,
            engine,
            says,
        )
        flags = {"STRONGLY_TYPED": 3} if typed else {"EXPLICIT_BATCH": 0}
        self.NetworkDefinitionCreationFlag = SimpleNamespace(**flags)
        self.BuilderFlag, self.MemoryPoolType = SimpleNamespace(FP16="fp16"), SimpleNamespace(WORKSPACE="workspace")
        self.ComputeCapability, self.ProfilingVerbosity = (
            SimpleNamespace(SM89="SM89"),
            SimpleNamespace(DETAILED="detailed"),
        )
        self.ILogger = type(
            "ILogger",
            (),
            {"__init__": lambda self: None, "Severity": SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3)},
        )
        self.IProgressMonitor = type("IProgressMonitor", (), {"__init__": lambda self: None})

    def init_libnvinfer_plugins(self, log, namespace):
        self.asked.append(("plugins", namespace))

    def Builder(self, log):
        self.log = log
        return self

    def create_network(self, flags):
        self.asked.append(("network", flags))
        inputs = [SimpleNamespace(name=f"x{index}", shape=shape) for index, shape in enumerate(self.shapes)]
        return SimpleNamespace(
            num_outputs=self.outputs, num_layers=7, num_inputs=len(inputs), get_input=inputs.__getitem__
        )

    def OnnxParser(self, network, log):
        answer = not self.errors
        return SimpleNamespace(
            parse_from_file=lambda path: answer, num_errors=len(self.errors), get_error=self.errors.__getitem__
        )

    def create_builder_config(self):
        note = self.asked.append
        self.config = SimpleNamespace(
            progress_monitor=None,
            set_flag=lambda flag: note(("flag", flag)), set_memory_pool_limit=lambda *pool: note(("pool", *pool)),
            set_compute_capability=lambda *chip: note(("chip", *chip)), add_optimization_profile=lambda profile: note(("profile", profile)),
        )  # fmt: skip
        return self.config

    def create_optimization_profile(self):
        profile = {}
        return SimpleNamespace(set_shape=lambda name, *sizes: profile.__setitem__(name, sizes), told=profile)

    def build_serialized_network(self, network, config):
        for severity, text in self.says:
            self.log.log(severity, text)
        return self.engine


@pytest.fixture
def events(monkeypatch):
    """The events that the child tells, as they come."""
    stream = io.StringIO()
    monkeypatch.setattr(engine_child, "_events", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def request(tmp_path, **changes):
    return {"model": "m.onnx", "engine": str(tmp_path / "engine"), "half": False, "workspace_bytes": 0, "arch": "", "progress": False, "log": "", "shapes": {}, **changes}  # fmt: skip


def test_a_built_engine_is_written_and_told(tmp_path, events):
    trt = FakeTensorRT(says=[(1, "bad"), (2, "look"), (3, "so")])
    assert engine_child._build(trt, request(tmp_path)) == 0
    assert (tmp_path / "engine").read_bytes() == b"engine"
    assert trt.asked == [("plugins", ""), ("network", 1 << 3)], "nothing that was not asked for"
    warned, done = events()
    assert warned == {"event": "warning", "text": "look"}
    assert done.pop("parse_seconds") >= 0 and done.pop("build_seconds") >= 0
    assert done == {"event": "done", "version": "10.9.0", "layers": 7}


def test_what_is_asked_of_the_builder(tmp_path, events):
    asked = request(tmp_path, half=True, workspace_bytes=5 << 20, arch="sm89", log=str(tmp_path / "log"), progress=True)
    trt = FakeTensorRT(typed=False, says=[(3, "a"), (1, "b")])
    assert engine_child._build(trt, asked) == 0
    assert trt.asked[1:] == [("network", 1 << 0), ("flag", "fp16"), ("pool", "workspace", 5 << 20), ("chip", "SM89", 0)]
    assert trt.config.num_compute_capabilities == 1 and trt.config.profiling_verbosity == "detailed"
    assert (tmp_path / "log").read_text() == "a\nb" and trt.config.progress_monitor.phases.share is None
    typed = FakeTensorRT(typed=True)
    assert engine_child._build(typed, request(tmp_path, half=True)) == 0 and ("flag", "fp16") not in typed.asked


def test_only_parsed_where_no_engine_is_asked_for(tmp_path, events):
    trt = FakeTensorRT(engine=None)
    assert engine_child._build(trt, request(tmp_path, engine=None)) == 0
    assert events()[-1]["build_seconds"] == 0 and not hasattr(trt, "config")


def refusal(words, node="n", op="Add"):
    return SimpleNamespace(desc=lambda: f" {words} ", node_name=lambda: node, node_operator=lambda: op)


@pytest.mark.parametrize(
    ("trt", "stage", "errors"),
    [
        (FakeTensorRT(errors=[refusal("no"), refusal("why", "", "Mul"), refusal("so", "", "")]), "parse", ["node n (Add): no", "node (no name) (Mul): why", "so"]),
        (FakeTensorRT(errors=[SimpleNamespace(desc=lambda: "old")]), "parse", ["old"]), (FakeTensorRT(outputs=0), "parse", ["no outputs: this is not an ONNX model"]),
        (FakeTensorRT(engine=None, says=[(0, "worse"), (1, "bad"), (2, "w")]), "build", ["worse", "bad"]),
        (FakeTensorRT(engine=None), "build", ["the builder gave no reason"]),
    ],
    ids=["refused", "of an old parser", "no outputs", "not built", "without a word"],
)  # fmt: skip
def test_what_was_refused_is_told(tmp_path, events, trt, stage, errors):
    assert engine_child._build(trt, request(tmp_path)) == 1 and not (tmp_path / "engine").exists()
    assert events()[-1] == {"event": "failed", "stage": stage, "errors": errors}


def test_open_sizes_get_their_bounds(tmp_path, events):
    trt = FakeTensorRT(shapes=((-1, 3), (1, 3), (2, -1)))
    shapes = {"x0": [[1, 3], [2, 3], [4, 3]], "*": [[2, 1], [2, 2], [2, 9]]}
    assert engine_child._build(trt, request(tmp_path, shapes=shapes)) == 0
    (told,) = [profile.told for kind, profile in trt.asked[2:] if kind == "profile"]
    assert told == {"x0": ((1, 3), (2, 3), (4, 3)), "x2": ((2, 1), (2, 2), (2, 9))}
    fixed = FakeTensorRT()
    assert engine_child._build(fixed, request(tmp_path, shapes=shapes)) == 0 and len(fixed.asked) == 2
    with pytest.raises(UserMistake, match="input x2 has shape"):
        engine_child._build(trt, request(tmp_path, shapes={"x0": shapes["x0"]}))


def test_steps_of_a_phase_are_told_ten_times_a_second(events, monkeypatch):
    monitor = engine_child._monitor(FakeTensorRT())
    now = [100.0]
    monkeypatch.setattr(engine_child.time, "monotonic", lambda: now[0])
    monitor.phase_start("tactics", "", 9)
    for step in range(3):
        assert monitor.step_complete("tactics", step) is True
        now[0] += 0.06
    monitor.phase_finish("tactics")
    assert [(one["phase"], one["step"], one["steps"]) for one in events()] == [
        ("tactics", 0, 9),
        ("tactics", 1, 9),
        ("tactics", 3, 9),
        ("tactics", 9, 9),
    ]


@pytest.mark.parametrize(("library_", "code"), [("no_such_library", 3), ("json", 1)])
def test_the_end_of_the_child(monkeypatch, events, tmp_path, library_, code):
    monkeypatch.setattr(engine_child, "own_stdout", lambda: None)
    monkeypatch.setattr(engine_child, "end_with_parent", lambda: None)
    monkeypatch.setattr(engine_child.sys, "stdin", io.StringIO(json.dumps(request(tmp_path, library=library_))))
    monkeypatch.setattr(json, "OnnxParser", None, raising=False)
    if code == 1:
        monkeypatch.setattr(engine_child, "_build", lambda trt, asked: int(trt is json and asked["library"] == "json"))
    assert engine_child.main() == code
    assert code == 1 or events()[-1]["errors"] == ["ModuleNotFoundError: No module named 'no_such_library'"]


@pytest.mark.parametrize(("error", "code"), [(UserMistake("a", found="b"), 2), (BackendUnavailable("a"), 3)])
def test_errors_of_ours_travel_in_parts(monkeypatch, events, tmp_path, error, code):
    def refuse(*_):
        raise error

    monkeypatch.setattr(engine_child, "own_stdout", lambda: None)
    monkeypatch.setattr(engine_child, "end_with_parent", lambda: None)
    monkeypatch.setattr(engine_child, "_build", refuse)
    monkeypatch.setattr(engine_child.sys, "stdin", io.StringIO(json.dumps(request(tmp_path, library="json"))))
    assert engine_child.main() == code
    told = events()[-1]
    assert told["stage"] == "build" and str(type(error)(**told["refused"])) == str(error)


class FakeCuda:
    """libcudart in memory: every call noted, pointers filled, ``fail`` the code that one of them answers with."""

    def __init__(self, fail=""):
        self.calls, self.fail = [], fail
        self.cudaGetErrorString = lambda code: b"out of memory"
        self.cudaGetErrorString = type("F", (), {"restype": None, "__call__": lambda self, code: b"out of memory"})()

    def __getattr__(self, name):
        def call(*arguments):
            plain = [getattr(one, "value", one) for one in arguments if not hasattr(one, "_obj")]
            self.calls.append((name, *plain))
            answers = {
                "cudaMemGetInfo": (11, 22), "cudaDriverGetVersion": (13020,), "cudaRuntimeGetVersion": (12060,), "cudaMalloc": (4096,), "cudaStreamCreate": (77,),
                "cudaHostAlloc": (8192,), "cudaHostGetDevicePointer": (12288,), "cudaStreamEndCapture": (55,), "cudaGraphInstantiateWithFlags": (66,),
                "cudaDeviceGetAttribute": ({16: 14, 18: 1, 19: 1, 75: 8, 76: 7}.get(plain[0]) if plain else 0,),
            }  # fmt: skip
            for pointer, value in zip(
                [one._obj for one in arguments if hasattr(one, "_obj")], answers.get(name, ()), strict=False
            ):
                pointer.value = value
            return 2 if name == self.fail else 0

        return call


def test_calls_of_cuda():
    fake = FakeCuda()
    cuda = Cuda(fake)
    assert cuda.device() == Device("sm87", 14, 22, 11, 13020, 12060, integrated=True)
    fake.calls.clear()
    array = np.arange(6, dtype=np.float32)
    assert cuda.allocate(24) == 4096 and cuda.allocate(0) == 4096 and cuda.stream() == 77
    cuda.upload(4096, array, 77)
    cuda.download(array, 4096, 77)
    cuda.wait(77)
    cuda.free(4096)
    cuda.drop_stream(77)
    here = array.ctypes.data
    assert fake.calls == [
        ("cudaMalloc", 24), ("cudaMalloc", 1), ("cudaStreamCreate",), ("cudaMemcpyAsync", 4096, here, 24, 1, 77),
        ("cudaMemcpyAsync", here, 4096, 24, 2, 77), ("cudaStreamSynchronize", 77), ("cudaFree", 4096), ("cudaStreamDestroy", 77),
    ]  # fmt: skip
    assert fake.cudaGetErrorString.restype is ctypes.c_char_p
    assert cuda.can_map()
    fake.calls.clear()
    assert cuda.allocate_mapped(24) == (8192, 12288)
    cuda.free_mapped(8192)
    cuda.begin_capture(77)
    assert cuda.end_capture(77) == 55 and cuda.instantiate(55) == 66
    cuda.launch(66, 77)
    cuda.drop_graph(55)
    cuda.drop_ready(66)
    cuda.forget_error()
    assert fake.calls == [
        ("cudaHostAlloc", 24, 2), ("cudaHostGetDevicePointer", 8192, 0), ("cudaFreeHost", 8192), ("cudaStreamBeginCapture", 77, 1),
        ("cudaStreamEndCapture", 77), ("cudaGraphInstantiateWithFlags", 55, 0), ("cudaGraphLaunch", 66, 77), ("cudaGraphDestroy", 55),
        ("cudaGraphExecDestroy", 66), ("cudaGetLastError",),
    ]  # fmt: skip
    with pytest.raises(Exception, match="cudaHostGetDevicePointer failed"):
        Cuda(unmapped := FakeCuda("cudaHostGetDevicePointer")).allocate_mapped(24)
    assert ("cudaFreeHost", 8192) in unmapped.calls, "what was allocated is given back"
    with pytest.raises(Exception, match=r"cudaMalloc failed(.|\n)*error 2: out of memory(.|\n)*smaller batch"):
        Cuda(FakeCuda("cudaMalloc")).allocate(1)


class FakeRegistry:
    def __init__(self, ops=(), handle=1, error=None):
        self.ops, self.handle, self.error, self.loaded, self.looked = ops, handle, error, [], []

    def load_library(self, path):
        self.loaded.append(path)
        if self.error:
            raise self.error
        return self.handle

    def get_creator(self, name, version, domain):
        self.looked.append((name, version, domain))
        return object() if name in self.ops else None


@pytest.mark.parametrize(
    ("registry_", "version", "said"),
    [
        (FakeRegistry(["A", "B"]), "10.0.1", ""), (FakeRegistry(["A"]), "10.3.0", "no plugin for B"), (FakeRegistry(handle=None), "10.3.0", "gave no reason"),
        (FakeRegistry(error=RuntimeError("boom")), "10.3.0", "boom"), (FakeRegistry(["A", "B"]), "9.3.0", "no IPluginV3"),
    ],
    ids=["loads", "lacks one", "no handle", "raises", "too old"],
)  # fmt: skip
def test_the_native_plugin(tmp_path, monkeypatch, registry_, version, said):
    file, unpacked = tmp_path / "lib.so", []
    file.write_bytes(b"")
    monkeypatch.setenv(library.LIBRARY, str(file))
    monkeypatch.delenv(library.KERNELS, raising=False)
    trt = SimpleNamespace(__version__=version, get_plugin_registry=lambda: registry_)
    pack = SimpleNamespace(unpack=unpacked.append)
    if not said:
        library.load_plugin_library(trt, pack, ["A", "B"], tmp_path)
        assert (
            registry_.loaded == [str(file)]
            and unpacked == [tmp_path]
            and library.os.environ[library.KERNELS] == str(tmp_path)
        )
        assert registry_.looked == [(name, library.VERSION, library.DOMAIN) for name in "AB"]
        return
    with pytest.raises(BackendUnavailable, match=said):
        library.load_plugin_library(trt, pack, ["A", "B"], tmp_path)
    assert bool(unpacked) is (version != "9.3.0")


@pytest.mark.parametrize("named", [None, "", "gone.so", "."])
def test_a_library_that_is_not_there(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(library.LIBRARY, raising=False)
    if named is not None:
        monkeypatch.setenv(library.LIBRARY, named)
    with pytest.raises(BackendUnavailable, match=f"names {named}, which is no file" if named else "is not set"):
        library.plugin_library()
    (tmp_path / "here.so").write_bytes(b"")
    monkeypatch.setenv(library.LIBRARY, "here.so")
    assert library.plugin_library() == tmp_path / "here.so"


def test_a_signal_is_an_interrupt_once(monkeypatch, capsys):
    monkeypatch.setattr(signals, "_received", [])
    before = {number: signal.getsignal(number) for number in signals.STOPPED}
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert (signals.exit_code(), signals.told(), signals.stopped()) == (130, "interrupted", False)
        with signals.stopping_like_interrupt():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, "as nohup asked for"
            with pytest.raises(signals.Stopped):
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # the second time what cleans up goes on
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert (signals.exit_code(), signals.told(), signals.stopped()) == (143, "stopped by SIGTERM", True)
        assert signals.tell(" here") == 143 and capsys.readouterr().err == "edgesmith: stopped by SIGTERM here\n"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_plain_lines_of_run():
    found = plain_run(["a.edge", "b.jpg", "--top", "3", "--json", "--backend", "cpu", "c.jpg"])
    assert (found.bundle, found.images, found.top, found.as_json, found.backend) == (
        "a.edge",
        ("b.jpg", "c.jpg"),
        3,
        True,
        "cpu",
    )
    for flag, (kind, _) in RUN_OPTIONS.items():
        value = {str: ["x"], int: ["7"], float: ["0.5"], bool: [], list: ["x"]}[kind]
        asked = plain_run(["a.edge", flag, *value])
        assert (
            getattr(asked, flag[2:].replace("-", "_"))
            == ({str: "x", int: 7, float: 0.5, bool: True, list: ("x",)}[kind])
        )
    for line in (
        [], ["--json"], ["a.edge", "--what"], ["a.edge", "--top"], ["a.edge", "--top", "x"], ["a.edge", "--top", "1234567890"], ["a.edge", "--top", "-1"],
        ["a.edge", "--score", ".5"], ["a.edge", "--score", "1e3"], ["a.edge", "--json", "--json"], ["a.edge", "k=v"], ["a.edge", ""], ["a.edge", "--backend", "a=b"],
        ["a.edge", "--backend", ""],
    ):  # fmt: skip
        assert plain_run(line) is None, line


def test_tables_that_others_add_to(monkeypatch):
    monkeypatch.setattr(registry, "_called", [True])
    table = registry.Registry("thing", {"a": 1})
    assert (
        table.add("b", 2) == 2
        and table.add("b", 2) == 2
        and list(table) == ["a", "b"]
        and len(table) == 2
        and table["b"] == 2
    )
    with pytest.raises(UserMistake, match="There is a thing b already"):
        table.add("b", 3)
    with pytest.raises(KeyError):
        table["c"]
    assert registry.named(SimpleNamespace(name="a_1.b"), SimpleNamespace, "call") == "a_1.b"
    for name in ("A", "", "_a", None, "a b"):
        with pytest.raises(UserMistake, match="can be called"):
            registry.named(SimpleNamespace(name=name), SimpleNamespace, "call")
    with pytest.raises(UserMistake, match="the class int(.|\n)*not the class itself"):
        registry.check_type(int, SimpleNamespace, "call")
    with pytest.raises(UserMistake, match=r"int 3(.|\n)*help\("):
        registry.check_type(3, SimpleNamespace, "call")


def test_packages_that_bring_things_are_asked_once(monkeypatch):
    import importlib.metadata

    called = []

    def entry(name, load):
        return SimpleNamespace(name=name, value=f"{name}:add", load=load)

    def broken():
        raise ImportError("gone")

    found = [
        entry("good", lambda: lambda: called.append("good")),
        entry("bad", broken),
        entry("late", lambda: lambda: called.append("late")),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found if group == "edgesmith" else [])
    monkeypatch.setattr(registry, "_called", [])
    with pytest.warns(RuntimeWarning, match=r"bad \(bad:add\) was left out: ImportError: gone"):
        registry.call_entry_points()
    registry.call_entry_points()
    assert called == ["good", "late"]


def test_tasks_by_name_and_by_what_a_graph_gives():
    assert find_task("detection").name == "detection" and task_of("nobody").outputs == ()
    with pytest.raises(UserMistake, match="there is no task 'nobody'"):
        find_task("nobody")
    assert joined({"any": np.array([[1, 2]])}).dtype == np.float32
    assert joined({"boxes": np.zeros((1, 2, 4)), "scores": np.ones((1, 2, 3))}).shape == (1, 2, 7)
    with pytest.raises(UserMistake, match="those of no task"):
        joined({"a": np.zeros(1), "b": np.zeros(1)})
    with pytest.raises(UserMistake, match="does not classify or detect"):
        task_of("nobody").check(SimpleNamespace(name="n", task="nobody"), {})
    for outputs in ((), ["a"], ("a", ""), "a", None):
        task = type("Mine", (Task,), {"name": "mine", "outputs": outputs, "answers": None})()
        with pytest.raises(UserMistake, match="does not say what its outputs are"):
            check_task(task)
    check_task(type("Mine", (Task,), {"name": "mine", "outputs": ("a",), "answers": None})())


def test_two_folders_change_places(tmp_path, monkeypatch):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.write_text("file")
    assert exchange.exchange(one, other) is True and one.read_text() == "file" and other.is_dir()
    with pytest.raises(FileNotFoundError):
        exchange.exchange(one, tmp_path / "gone")

    def answering(code):
        def rename(*_):
            ctypes.set_errno(code)
            return -1

        return lambda *_, **__: SimpleNamespace(renameat2=rename)

    for code in exchange.NOT_HERE:
        monkeypatch.setattr(exchange.ctypes, "CDLL", answering(code))
        assert exchange.exchange(one, other) is False
    monkeypatch.setattr(exchange.ctypes, "CDLL", lambda *_, **__: SimpleNamespace())
    assert exchange.exchange(one, other) is False


def test_options_that_nobody_knows():
    def load(bundle, *, threads=1, device="cpu", **unknown):
        refuse_unknown(load, unknown)

    load("a", threads=2)
    with pytest.raises(
        UserMistake,
        match=r"no option 'thread'(.|\n)*thread=3(.|\n)*one of bundle, threads, device(.|\n)*did you mean threads\?",
    ):
        load("a", thread=3)
    with pytest.raises(UserMistake, match=r"help\(edgesmith\.load\)"):
        load("a", zzz=3)


@pytest.mark.parametrize("route", ["aot", "native"])
def test_each_route_registers_in_its_own_way(route: str, monkeypatch: pytest.MonkeyPatch):
    from edgesmith.runtime.plugins import routes

    done: list[tuple[object, ...]] = []
    monkeypatch.setattr(routes, "read_pack", lambda path: f"pack of {path.name}")
    monkeypatch.setattr(routes, "check_pack", lambda pack: done.append(("checked", pack)))
    monkeypatch.setattr(routes, "register_plugins", lambda *given: done.append(("aot", *given)))
    monkeypatch.setattr(routes, "load_plugin_library", lambda *given: done.append(("native", *given[:3])))
    with ExitStack() as stack:
        routes.add_plugins("trt", {"route": route, "ops": ["A"], "pack": "b.edge/kernels.zip"}, stack)
    assert done == [("checked", "pack of kernels.zip"), (route, "trt", "pack of kernels.zip", ["A"])]


def test_nothing_is_registered_where_nothing_is_asked_for():
    from edgesmith.runtime.plugins.routes import add_plugins, only_there, plugins_of

    with ExitStack() as stack:
        assert add_plugins(None, None, stack) is None
    error = BackendUnavailable("a", found="b", attempt="try the CPU")
    for plugins in (None, {"route": "aot"}, "native"):
        assert only_there(SimpleNamespace(manifest={"plugins": plugins}), error) is error
    told = only_there(SimpleNamespace(manifest={"plugins": {"route": "native"}}), error)
    assert (
        "the CPU" not in told.attempt.replace("a CPU", "")
        and "without --native-plugins" in told.attempt
        and told.found == "b"
    )
    assert plugins_of(SimpleNamespace(manifest={}), "tensorrt") is None
    assert plugins_of(SimpleNamespace(manifest={"plugins": {"route": "odd"}}), "tensorrt_rtx") is None
