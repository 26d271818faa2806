"""What the tests of whole exports share: each graph traced once in a process, and digits in a file as a user has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from digit_pictures import traced_once, write_npz


@pytest.fixture(scope="module")
def each_graph_traced_once() -> Iterator[None]:
    """Exports of the trained fixtures inside share their traces, with those of other modules too."""
    with traced_once():
        yield


@pytest.fixture(scope="module")
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits to calibrate with and others to judge by, as many of each as the module's ``DIGITS`` says."""
    return write_npz(tmp_path_factory.mktemp("digits") / "digits.npz", *request.module.DIGITS)
