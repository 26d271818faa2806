"""Threads of ONNX Runtime wait awake between calls, unless a camera, a stream or a server calls with pauses."""

from __future__ import annotations

import numpy as np
import pytest

import edgesmith
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.commands.run import Asked, run
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures import video

SWITCHES = ("session.intra_op.allow_spinning", "session.inter_op.allow_spinning")


def entries(session) -> list[str | None]:
    """What the real library holds; None where nothing was said, which means awake."""
    options = session._session.get_session_options()
    found = []
    for name in SWITCHES:
        try:
            found.append(options.get_session_config_entry(name))
        except RuntimeError:  # there is no such entry
            found.append(None)
    return found


@pytest.mark.parametrize(("said", "held"), [({}, [None, None]), ({"spin": True}, [None, None]), ({"spin": False}, ["0", "0"])])  # fmt: skip
def test_threads_sleep_between_calls_where_that_is_said(tiny, said, held):
    with load(tiny, **said) as session:
        assert entries(session) == held
        images = np.ones((1, 3, 8, 8), np.float32)
        np.testing.assert_allclose(session.run({"images": images})["logits"], [[0, 0, 0, 0]], atol=1e-6)
    with edgesmith.load(tiny, **said) as session:
        assert entries(session) == held


def test_the_other_graphs_of_a_bundle_keep_the_choice(tiny):
    with load(tiny, spin=False) as session:
        assert entries(session._other("main")) == ["0", "0"]


@pytest.mark.parametrize("spin", [0, None, "no"])
def test_what_is_neither_yes_nor_no_is_refused(tiny, spin):
    with pytest.raises(UserMistake, match="spin is yes or no"):
        load(tiny, spin=spin)


@pytest.mark.parametrize(("kind", "awake"), [("live", False), ("video", True), ("pictures", True)])
def test_run_lets_them_sleep_for_cameras_and_streams_alone(tiny, monkeypatch, kind, awake):
    seen = []

    class Source(video.Source):
        def __iter__(self):
            return iter(())

    source = Source("somewhere")
    source.kind = kind

    def note(*arguments, **options):
        seen.append(options["spin"])
        return load(*arguments, **options)

    monkeypatch.setattr(video, "frames", lambda place, reconnect: source)
    monkeypatch.setattr("edgesmith.runtime.commands.device.startup.load", note)
    assert run(Asked(str(tiny.path), source="0")) == 0 and seen == [awake]
