"""The pictures of an evaluation on a Ray cluster: runs of whole batches as tasks, their answers joined in order.

The cluster is started or connected to when the first part is to run, so a mistake in the data is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ....runtime.errors import EdgesmithError
from ....runtime.tasks.evaluation import Progress
from .cluster import Crew, Lost, connected

PARTS = 4  # for each job that runs at once: a slow machine is waited for a quarter of its share at most


@contextmanager
def sharing_out(address: str, threads: int | None) -> Iterator[SharedOut]:
    """For one evaluation; a cluster of its own ends with the block."""
    with ExitStack() as stack:
        yield SharedOut(address, threads, stack)


class SharedOut:
    """A ``Spread`` (runtime/tasks/evaluation.py); ``parts`` is how many have run."""

    def __init__(self, address: str, threads: int | None, stack: ExitStack) -> None:
        self.address, self.threads, self.parts = address, threads, 0
        self._stack = stack
        self._crew: Crew | None = None

    def __call__(
        self, part: Callable[..., list[Any]], about: tuple[Any, ...], items: Sequence[Any], batch: int, name: str,
        progress: Progress | None,
    ) -> list[Any]:  # fmt: skip
        """See ``Spread``. EdgesmithError where a part is lost again and again."""
        crew = self._connected()
        cpus = self.threads or crew.cpus  # an engine that chooses takes all cores of its machine
        runs = cut(items, batch, PARTS * crew.check(cpus))
        answers: list[list[Any]] = [[]] * len(runs)
        done = 0
        for number, answer in crew.each(part, [(*about, run) for run in runs], cpus=cpus):
            if isinstance(answer, Lost):
                raise EdgesmithError(
                    "A part of the evaluation was lost",
                    found=answer.why,
                    expected=f"answers to {len(runs[number])} pictures of {name}",
                    attempt="a machine with more memory, or --threads with fewer at once",
                )
            answers[number] = answer
            self.parts += 1
            done += len(runs[number])
            if progress is not None:
                progress(name, done, len(items))
        return [one for answer in answers for one in answer]

    def _connected(self) -> Crew:
        if self._crew is None:
            self._crew = self._stack.enter_context(connected(self.address))
        return self._crew


def cut(items: Sequence[Any], batch: int, parts: int) -> list[Sequence[Any]]:
    """About so many runs of items in order, each but the last a multiple of ``batch``."""
    batches = -(-len(items) // batch)
    size = batch * max(1, -(-batches // parts))
    return [items[at : at + size] for at in range(0, len(items), size)]
