"""One run at a time on one stream: an execution context, its buffers, and after the first run the captured launches.

A run of a small network is dozens of launches, each a call from the CPU. Where shapes are fixed, one plain run is followed by one
that is only written down (a CUDA graph); from then on a run is one call. Whatever cannot be captured is told once and runs plainly.
Any other shape or address needs another capture, so nothing that was captured outlives one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ...errors import EdgesmithError
from .buffers import Buffers
from .cuda import Cuda

log = logging.getLogger("edgesmith")
Place = tuple[tuple[int, ...], int]  # shape, address


class Lane:
    """``dtypes`` of all tensors, ``outputs`` in the order of the answer; ``capture``: whether a graph may be made."""

    def __init__(
        self, cuda: Cuda, context: Any, buffers: Buffers, dtypes: Mapping[str, np.dtype[Any]], outputs: Sequence[str],
        capture: bool, library: str,
    ) -> None:  # fmt: skip
        self._cuda, self._context, self._buffers, self._library = cuda, context, buffers, library
        self._dtypes, self._outputs = dtypes, outputs
        self._may_capture = capture
        self._places: dict[str, Place] = {}  # as the context was told
        self._ready = 0  # the captured launches
        self._stream = cuda.stream()

    @property
    def captured(self) -> bool:
        """Whether the next run of the same shapes is one launch."""
        return bool(self._ready)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Contiguous inputs by name -> outputs by name, which are the caller's own."""
        try:
            return self._run(feeds)
        except BaseException:
            self._places.clear()  # the context may have kept a part of it
            self._forget()
            raise

    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, array in feeds.items():
            self._place(name, tuple(array.shape), self._buffers.put(name, array, self._stream), of_input=True)
        results = {}
        for name in self._outputs:
            shape = tuple(self._context.get_tensor_shape(name))
            results[name] = np.empty(shape, self._dtypes[name])
            self._place(name, shape, self._buffers.room(name, results[name].nbytes), of_input=False)
        if self._ready:
            self._cuda.launch(self._ready, self._stream)
        else:
            self._accept(self._context.execute_async_v3(self._stream), "the run")
        self._buffers.fetch(results, self._stream)
        if self._may_capture and not self._ready:
            self._capture()
        return results

    def _place(self, name: str, shape: tuple[int, ...], address: int, of_input: bool) -> None:
        """Tell the context where a tensor lies and how large it is, where that is news."""
        before = self._places.get(name)
        if before == (shape, address):
            return
        self._forget()
        if of_input and (before is None or before[0] != shape):
            self._accept(self._context.set_input_shape(name, shape), f"shape {shape} of {name}")
        if before is None or before[1] != address:
            self._accept(self._context.set_tensor_address(name, address), f"the address of {name}")
        self._places[name] = (shape, address)

    def _capture(self) -> None:
        """Write one run down; where that is refused, none will be tried again."""
        graph = 0
        try:
            self._cuda.begin_capture(self._stream)
            try:
                accepted = self._context.execute_async_v3(self._stream)
            finally:
                graph = self._cuda.end_capture(self._stream)
            self._accept(accepted, "to be captured")
            self._ready = self._cuda.instantiate(graph)
        except (EdgesmithError, RuntimeError) as error:
            self._may_capture = False
            self._cuda.forget_error()
            log.warning("%s: runs are not captured as a CUDA graph, each launch is made anew: %s", self._library, error)
        finally:
            if graph:
                self._cuda.drop_graph(graph)

    def _forget(self) -> None:
        ready, self._ready = self._ready, 0
        if ready:
            self._cuda.drop_ready(ready)

    def _accept(self, answer: bool, what: str) -> None:
        if not answer:
            raise EdgesmithError(f"{self._library} refused {what}", attempt="edgesmith inspect shows the engine")

    def close(self) -> None:
        """Give back memory, stream and context, all of them whatever one of them says."""
        with suppress(EdgesmithError):
            self._forget()
        with suppress(EdgesmithError):
            self._buffers.free()
        with suppress(EdgesmithError):
            self._cuda.drop_stream(self._stream)
        self._context = None
