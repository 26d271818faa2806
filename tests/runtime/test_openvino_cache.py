"""No model of ours comes out of OpenVINO's cache: with weights beside the graph it would answer with those it was cached with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from openvino_here import openvino_or_skip
from small_bundle import write_small_bundle

from edgesmith.runtime.backends import openvino as backend
from edgesmith.runtime.backends.load import load


@pytest.mark.parametrize("threads", [None, 1])
def test_a_cache_that_somebody_set_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int | None):
    """A core with a cache folder, as a plug-in or a configuration of the process would make it."""
    library, cache = openvino_or_skip(), tmp_path / "cache"

    core = library.Core()
    core.set_property({"CACHE_DIR": str(cache)})
    monkeypatch.setattr(backend, "openvino_core", lambda: core)
    bundle = write_small_bundle(tmp_path / "small.edge", target="openvino")
    with load(bundle, backend="openvino", threads=threads) as session:
        found = session.run({"images": np.ones((1, 3, 8, 8), np.float32)})
    np.testing.assert_array_equal(found["logits"], np.ones((1, 3), np.float32))
    assert not cache.is_dir() or list(cache.iterdir()) == []
