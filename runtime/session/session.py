"""Bundle -> tensors: the rules that all backends share.

A backend says how to open its engine and how to run it; everything else is here: which inputs fit, pictures in and answers
out (tasks.py knows what they mean), timing, the self-test against the golden file, and the end.
"""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.graphs import GraphSpec
from ..bundle.kept import Held, changed
from ..errors import UserMistake
from ..pictures.pil import is_pil
from ..pictures.preprocess import Picture, pixels, preprocess
from ..tasks.known import task_of
from ..tasks.selftest import SelfTestRow
from ..tasks.task import Task, Times
from .checks import at_least, check_feeds, check_results
from .failures import InWords
from .selftest import self_test

if TYPE_CHECKING:
    from typing_extensions import Self


def _nobody(stage: str, share: float | None) -> None:
    """Who hears of the start where nobody asks."""


class Session(ABC):
    """An opened bundle on one backend. Use it in a ``with`` block, or call ``close``.

    Any number of threads may call one session: each gets the answer to its own question. ``close`` waits for the calls that
    are running and refuses those that come later.
    """

    backend: ClassVar[str]
    ways: ClassVar[dict[str, dict[str, Any]]] = {
        "": {}
    }  # options to measure beside each other, by what is said of them
    maps_weights: ClassVar[bool] = False  # the engine reads external weights from their file while it runs

    def __init__(self, bundle: Bundle, threads: int | None = None, graph: GraphSpec | None = None) -> None:
        if threads is not None and (type(threads) is not int or threads < 1):
            raise UserMistake("threads must be a whole number above 0", found=repr(threads))
        self.bundle, self.threads = bundle, threads
        self.spin = True  # threads of the engine wait awake between calls; said before ``start``
        self.tell: Callable[[str, float | None], None] = _nobody  # hears of what takes long while it opens
        self.builds = 0  # engines that were built for it, in place of ones that were there
        self.precision = bundle.precision  # what the self-test holds it to; a backend that rounds further says so here
        self.graph = graph or bundle.main
        self.inputs, self.outputs = self.graph.inputs, self.graph.outputs
        self._open = self._held = False  # held: there is an engine to free
        self._state = threading.Condition()  # of the two above and the calls
        self._calls: list[int] = []  # the thread of each call that is running
        self._opening = threading.Lock()  # another graph may take minutes; calls of this one go on meanwhile
        self._own = threading.local()
        self._weights: list[Held] = []
        self._task: Task = task_of(bundle.task)
        self._beside: dict[str, Session] = {}  # the other graphs that were asked for, by name
        self._screens: Any = None  # of a task whose pictures stay open; made when the first is
        self._pool_mb: float | None = None

    @abstractmethod
    def open_engine(self) -> None:
        """Load the library and the engine; raises BackendUnavailable when either cannot be had here."""

    @abstractmethod
    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run checked, contiguous inputs; the results by name, owned by the caller."""

    @abstractmethod
    def release(self) -> None:
        """Free the engine; called once, also when ``open_engine`` failed half-way."""

    def forget_engine(self) -> None:
        """What was built for this session and kept does not hold: the next start shall build anew."""

    @property
    def infer_ms(self) -> float:
        """Wall time of the last run of the thread that asks, waiting for its turn included; 0.0 before its first."""
        return float(getattr(self._own, "infer_ms", 0.0))

    def another(self, graph: GraphSpec) -> Session:
        """A session for another graph of the bundle, with the same settings; not open yet."""
        return type(self)(self.bundle, self.threads, graph=graph)

    def exactly(self) -> Session | None:
        """A session of the same bundle that rounds only where the graph says so, not open yet; None: this one is one."""
        return None

    def start(self) -> Session:
        """Open the engine; nothing stays behind when that fails.

        All that is needed later is read or held now: a bundle may be replaced, and the working directory change.
        """
        self.bundle.keep()
        graph, weights = self.bundle.files_of(self.graph)
        try:
            with self.bundle.reading(graph, *weights):
                self._weights = [Held(self.bundle.path / name) for name in weights] if self.maps_weights else []
                with InWords(self.backend, self.bundle.name, "load"):
                    self.open_engine()
        except BaseException:
            self.release()
            raise
        self._open = self._held = True
        return self

    def run(self, feeds: Mapping[str, np.ndarray], graph: str | None = None) -> dict[str, np.ndarray]:
        """{input name: array} -> {output name: array}; UserMistake says which input does not fit, and how.

        ``graph`` names one of several; the first is meant without a name, the others are opened when they are first run.
        """
        caller = self._begin()
        try:
            if graph is not None and graph != self.graph.name:
                other = self._other(graph)
                results = other.run(feeds)
                self._own.infer_ms = other.infer_ms
                return results
            feeds = check_feeds(feeds, self.inputs)
            started = time.perf_counter()
            with InWords(self.backend, self.bundle.name, "run"):
                results = self.infer(feeds)
            self._own.infer_ms = (time.perf_counter() - started) * 1e3
            for weights in self._weights:
                if not weights.is_untouched():
                    raise changed(self.bundle.path, weights.name_of.name)
        finally:
            self._end(caller)
        return check_results(results, self.outputs, self.backend, feeds, self.inputs)

    def _other(self, name: str) -> Session:
        graphs = self.bundle.graphs
        if not isinstance(name, str) or name not in graphs:
            raise UserMistake(f"{self.bundle.name} has no graph {name!r}", found=str(name), expected=", ".join(graphs))
        with self._opening:
            if name not in self._beside:
                other = self.another(graphs[name])
                other.spin, other.tell = self.spin, self.tell
                self._beside[name] = other.start()
            return self._beside[name]

    def _begin(self) -> int:
        """A call that ``close`` waits for, until ``_end`` of what is returned."""
        caller = threading.get_ident()
        with self._state:
            self._check_open()
            self._calls.append(caller)
        return caller

    def _end(self, caller: int) -> None:
        with self._state:
            self._calls.remove(caller)
            self._state.notify_all()

    def __call__(
        self,
        images: Picture | Sequence[Picture],
        score: float | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        agnostic_nms: bool | None = None,
        instruction: str | Sequence[str] | None = None,
        zoom: int | None = None,
    ) -> Any:
        """A picture (path, uint8 RGB array or PIL picture) -> its answer; a list or (N, H, W, 3) array -> a list of answers.

        The answer is a Classification, Detections or Clicks, by the task of the bundle. The thresholds are for detectors
        and take the place of the bundle's own, as far as its graph has not applied them already (UserMistake).
        ``agnostic_nms``: a box suppresses what overlaps it whatever the classes. ``instruction``, one or several, and
        ``zoom`` are for grounding.
        """
        self._check_open()
        choices: dict[str, Any] = {"score": score, "iou": iou, "max_detections": max_detections}
        more = {"agnostic_nms": agnostic_nms, "instruction": instruction, "zoom": zoom}
        choices |= {
            name: value for name, value in more.items() if value is not None
        }  # tasks of others may not know of it
        chosen = self._task.check(self.bundle, choices)
        if isinstance(images, np.ndarray) and images.ndim != 4:
            return self._answers(chosen, [images])[0]
        if isinstance(images, (str, os.PathLike)) or is_pil(images):
            return self._answers(chosen, [images])[0]
        if not isinstance(images, (Sequence, np.ndarray)):
            raise UserMistake(
                "this is not a picture",
                found=type(images).__name__,
                expected="a path, a uint8 array (height, width, 3) in RGB, a picture of PIL, or a list of them",
                attempt="np.asarray(image)",
            )
        return self._answers(chosen, list(images))

    def screens(self) -> Any:
        """What keeps pictures open, and its ``pool``; UserMistake where the task of the bundle opens none."""
        with self._opening:
            if self._screens is None:
                self._screens = self._task.screens(self, self._pool_mb)
            return self._screens

    def keeping(self, pool_mb: float) -> Self:
        """The same session with so many MB for what it keeps of open pictures; asked before the first is opened."""
        self._pool_mb = pool_mb
        self.screens()  # a task without, or a size that is none, is told now
        return self

    def open(self, picture: Picture) -> Any:
        """Look at a screenshot once; instructions are asked of the Screen that is returned (tasks/grounding/screens).

        Raises:
            UserMistake: the bundle opens no pictures, this one cannot be read or is no screen, the pool has no room.
        """
        self._check_open()
        return self.screens().open(picture)

    def click(self, pairs: Sequence[tuple[Any, str]], zoom: int | None = None) -> list[Any]:
        """(screen, instruction) pairs -> a click each, screens of one size in one batch."""
        self._check_open()
        found: list[Any] = self.screens().click(pairs, zoom)
        return found

    def _answers(self, chosen: Any, images: list[Picture]) -> list[Any]:
        if (looked := self._task.look(self.screens, images, chosen)) is not None:
            return looked
        contract = self.bundle.contract
        answers: list[Any] = []
        least, size = self.batch_sizes(len(images))
        for start in range(0, len(images), size):
            started = time.perf_counter()
            arrays = [pixels(image, contract.channels) for image in images[start : start + size]]
            batch = self._own.batch = preprocess(arrays, contract, getattr(self._own, "batch", None))
            preprocess_ms = (time.perf_counter() - started) * 1e3
            results = self.run({self.inputs[0].name: at_least(batch, least)})
            sizes = [(array.shape[0], array.shape[1]) for array in arrays]
            answers += self._task.answers(self.bundle, results, sizes, chosen, Times(preprocess_ms, self.infer_ms))
        return answers

    def batch_sizes(self, count: int) -> tuple[int, int]:
        """(fewest, most) pictures in one run when there are ``count`` of them."""
        least, most = self.inputs[0].limits(0)
        return least, most or max(least, count)

    def self_test(self) -> list[SelfTestRow]:
        """Run the golden inputs on this device and compare with what PyTorch made of them."""
        self._check_open()
        return self_test(self)

    def _check_open(self) -> None:
        if not self._open:
            raise UserMistake("this session is closed", attempt="edgesmith.load(bundle) opens a new one")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        own = threading.get_ident()
        with self._state:  # a call that Ctrl-C broke off before it began to count itself out
            self._calls = [caller for caller in self._calls if caller != own]
        self.close()

    def close(self) -> None:
        """Free the engine once the calls that are running have ended; further calls do nothing.

        Raises:
            UserMistake: the thread that asks is in the middle of a call itself (a signal handler), and would wait forever.
        """
        with self._state:
            if threading.get_ident() in self._calls:
                raise UserMistake("a session cannot be closed from inside its own call", attempt="close it afterwards")
            self._open = False
            self._state.wait_for(lambda: not self._calls)
            held, self._held = self._held, False
        if held:
            if self._screens is not None:
                self._screens.close()
            for other in self._beside.values():
                other.close()
            self.release()
