"""Tensors come out of a pickle full of other objects, and nothing in it ever runs."""

import builtins
import collections
import datetime
import enum
import functools
import os
import pathlib
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
import torch

from edgesmith.models.weights import inert_pickle
from edgesmith.models.weights.checkpoint import read_checkpoint
from edgesmith.runtime.errors import UserMistake

TENSORS = {"a.weight": torch.arange(4.0).reshape(2, 2), "a.bias": torch.ones(2)}
BUILT = []


class Trainer:
    """What a training script's own class may do when it is unpickled; every way leaves a mark."""

    def __new__(cls, *args):
        BUILT.append("new")
        return object.__new__(cls)

    def __init__(self, *args):
        self.rate, self.kept = 0.1, [1, torch.ones(2)]

    def __setstate__(self, state):
        BUILT.append("state")


class Config(dict):
    """As EasyDict, addict and mmengine have them."""

    def __init__(self, **entries):
        super().__init__(**entries)
        self.__dict__ = self

    def __setitem__(self, key, value):
        BUILT.append("item")
        super().__setitem__(key, value)


class Lines(list):
    def append(self, value):
        BUILT.append("append")
        super().append(value)


class Phase(enum.Enum):
    LAST = 3


class Call:
    """Pickled as a call; may itself be what another call calls."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __call__(self):
        raise AssertionError("only here so that a pickler takes it for a function")

    def __reduce__(self):
        return (self.function, self.args)


@pytest.fixture(params=["zip", "legacy"])
def written(request, tmp_path):
    def write(content):
        BUILT.clear()
        path = tmp_path / "net.pth"
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip")
        BUILT.clear()
        return path

    return write


def refusal(path):
    with pytest.raises(UserMistake) as caught:
        read_checkpoint(path)
    return str(caught.value)


BESIDE = {
    "an object": lambda: Trainer(),
    "a config of configs": lambda: Config(model=Config(depth=3, list=Lines([1, Config(a=2)]))),
    "a namespace": lambda: types.SimpleNamespace(lr=0.1),
    "an enum": lambda: Phase.LAST,
    "a date and a path": lambda: [datetime.datetime(2023, 3, 17), pathlib.Path("run")],
    "a defaultdict": lambda: collections.defaultdict(list, {"loss": [1.0]}),
    "numpy": lambda: {"map": np.float64(0.42), "curve": np.arange(3), "seed": np.random.PCG64(0).state},
    "an object twice": lambda: [one := Trainer(), one, {"again": one}],
    "a method": lambda: Trainer().__setstate__,
}


@pytest.mark.parametrize("kind", BESIDE)
@pytest.mark.filterwarnings("ignore")
def test_the_tensors_come_out_from_among_other_objects(written, kind):
    path = written({"epoch": 300, "before": BESIDE[kind](), "model": TENSORS, "after": BESIDE[kind]()})
    checkpoint = read_checkpoint(path)
    assert checkpoint.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(value, TENSORS[name]) for name, value in checkpoint.tensors.items())
    assert not BUILT


def test_a_module_beside_the_tensors(tmp_path):
    """Not in files of before PyTorch 1.6: these keep a module's source code, which the weights-only reader refuses."""
    torch.save({"model": TENSORS, "criterion": torch.nn.BatchNorm1d(2)}, tmp_path / "net.pth")
    assert read_checkpoint(tmp_path / "net.pth").tensors.keys() == TENSORS.keys()


def test_a_state_dict_in_a_class_of_its_own(written):
    for content in (Config(model=TENSORS), {"model": Config(**TENSORS)}, Config(state_dict=Config(**TENSORS))):
        assert read_checkpoint(written(content)).tensors.keys() == TENSORS.keys()
        assert not BUILT


def test_the_note_names_what_was_left_unread(written):
    (note,) = read_checkpoint(written({"model": TENSORS, "trainer": Trainer(), "phase": Phase.LAST})).notes
    assert "left unread" in note and f"{__name__}.Trainer" in note and f"{__name__}.Phase" in note
    assert read_checkpoint(written({"model": TENSORS})).notes == ()


def test_a_long_list_of_names_is_cut(written):
    classes = [type(f"Part{i}", (), {"__module__": __name__}) for i in range(9)]
    for one in classes:
        setattr(sys.modules[__name__], one.__name__, one)
    (note,) = read_checkpoint(written({"model": TENSORS, "parts": [one() for one in classes]})).notes
    assert note.endswith("and 5 more")


HOSTILE = {
    "os.system": lambda mark: Call(os.system, f"touch {mark}"),
    "os.mkdir": lambda mark: Call(os.mkdir, mark),
    "eval": lambda mark: Call(eval, f"open({mark!r}, 'w')"),
    "exec": lambda mark: Call(exec, f"open({mark!r}, 'w')"),
    "open": lambda mark: Call(open, mark, "w"),
    "import": lambda mark: Call(builtins.__import__, "antigravity"),
    "subprocess": lambda mark: Call(subprocess.check_call, ["touch", mark]),
    "nested": lambda mark: Call(getattr, Call(builtins.__import__, "os"), "system"),
    "partial of eval": lambda mark: functools.partial(eval, f"open({mark!r}, 'w')"),
    "call of a call": lambda mark: Call(Call(functools.partial, Trainer), 1),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("beside", [True, False], ids=["beside weights", "alone"])
def test_a_hostile_pickle_is_refused_and_nothing_runs(written, tmp_path, kind, beside):
    mark = tmp_path / "ran"
    hostile = HOSTILE[kind](str(mark))
    path = written({"model": TENSORS, "x": hostile} if beside else hostile)
    assert "pickled code, which is not run" in refusal(path)
    assert not mark.exists() and "antigravity" not in sys.modules and not BUILT


@pytest.mark.parametrize("kind", [name for name in HOSTILE if name != "call of a call"])
def test_without_the_list_of_names_nothing_runs_either(written, tmp_path, monkeypatch, kind):
    """The list is a courtesy: what keeps code from running is that no name of the file is ever looked up."""
    monkeypatch.setattr(inert_pickle, "NEVER", set())
    monkeypatch.setattr(inert_pickle, "OF_PYTHON", {name for name in dir(builtins)})
    mark = tmp_path / "ran"
    path = written({"x": HOSTILE[kind](str(mark)), "model": TENSORS})
    try:
        assert read_checkpoint(path).tensors.keys() == TENSORS.keys()
    except UserMistake as refused:  # PyTorch itself blocks os, posix, nt and sys
        assert "not run" in str(refused)
    assert not mark.exists() and "antigravity" not in sys.modules and not BUILT


def test_a_plain_pickle_of_a_call_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    for protocol in range(6):
        (tmp_path / "net.pth").write_bytes(pickle.dumps(Call(os.mkdir, str(mark)), protocol=protocol))
        refusal(tmp_path / "net.pth")
    assert not mark.exists()


@pytest.mark.parametrize("content", [Trainer(), {"model": Trainer()}, [Trainer()], {"model": Config(depth=3)}])
def test_without_a_state_dict_the_classes_are_told(written, content):
    text = refusal(written(content))
    assert "which is not run" in text and f"{__name__}." in text and "model.state_dict()" in text


def test_a_file_of_ever_new_names_comes_to_an_end(tmp_path, monkeypatch):
    """As text, because a name with a space can never be allowed: the reader asks for it again and again."""
    (tmp_path / "net.pth").write_bytes(b"\x80\x02cno such\nthing\n.")
    assert "not run" in refusal(tmp_path / "net.pth") or "not a PyTorch" in refusal(tmp_path / "net.pth")
    monkeypatch.setattr(inert_pickle, "MOST_NAMES", 3)
    names = b"".join(b"cmine.part%d\nThing\n0" % i for i in range(5))
    (tmp_path / "net.pth").write_bytes(b"\x80\x02" + names + b"N.")
    assert "mine.part0.Thing" in refusal(tmp_path / "net.pth")


def test_the_process_allows_no_more_than_before(written):
    before = torch.serialization.get_safe_globals()
    read_checkpoint(written({"model": TENSORS, "trainer": Trainer()}))
    assert torch.serialization.get_safe_globals() == before


WRAPPED = {
    "a loss beside": lambda s: {"loss": torch.tensor(0.3), "model": s, "epoch": 3},
    "a tensor before": lambda s: {"anchors": torch.ones(3, 2), "state_dict": s},
    "ema alone": lambda s: {"ema": s, "updates": 3},
    "ema of a module": lambda s: {"ema": {"module": s, "decay": 0.999}},
    "ema in a wrapper": lambda s: {"model": {"ema_state_dict": s}, "step": torch.tensor(3)},
    "a wrapper without tensors": lambda s: {"state_dict": {"depth": 3}, "model": s},
    "parallel": lambda s: {"model": {f"module.{k}": v for k, v in s.items()}, "best": torch.tensor(0.42)},
    "parameters": lambda s: {"model": {k: torch.nn.Parameter(v) for k, v in s.items()}},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_the_state_dict_is_found_under_its_wrapper(written, kind):
    tensors = read_checkpoint(written(WRAPPED[kind](TENSORS))).tensors
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(value, TENSORS[name]) for name, value in tensors.items())
