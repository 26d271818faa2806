"""Work on several processes and machines, by Ray: connect, share jobs out, take the results as they come.

    with connected("local") as crew:
        for index, result in crew.each(function, jobs, cpus=1): ...

``function`` is one of ours by name (an engine's session does not travel, so it is opened where the function runs), jobs and
results are plain data. A job whose worker is lost is tried again. Ray's usage statistics and dashboard stay off.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ....runtime.errors import EdgesmithError, UserMistake
from ....runtime.ground.scratch import temporary_folder
from ....runtime.ground.version import __version__

LOCAL = "local"
RETRIES = 3  # of a job whose worker or machine is lost
STARTS = 4  # times that a cluster of our own is tried
CONNECT_S = 5.0  # Ray itself asks for minutes whether somebody is there
HELP = "--ray local starts a cluster on this machine, for as long as the command runs"
QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}  # of a cluster that is here already its head node decides


@dataclass(frozen=True)
class Lost:
    """In the place of a result: the worker was lost, each time it was tried."""

    why: str


@dataclass(frozen=True)
class Crew:
    """The workers of a cluster."""

    ray: Any  # the module, connected

    @property
    def cpus(self) -> int:
        """Of the smallest machine."""
        return int(min(node.get("CPU", 0) for node in self._nodes()))

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]

    def check(self, cpus: int, memory_mb: float = 0) -> int:
        """How many jobs of that size run at once; UserMistake where no machine has room for one."""
        most = 0
        for node in self._nodes():
            at_once = [node["CPU"] // cpus]
            if memory_mb:
                at_once.append(node.get("memory", 0) // (memory_mb * 1e6))
            most += int(min(at_once))
        if not most:
            have = [
                f"{node['CPU']:.0f} CPUs and {node.get('memory', 0) / 1e6:.0f} MB for jobs" for node in self._nodes()
            ]
            raise UserMistake(
                "No machine of the cluster has room for one job",
                found="; ".join(have) or "no machine with a CPU",
                expected=f"{cpus} CPUs and {memory_mb:.0f} MB on one machine" if memory_mb else f"{cpus} CPUs",
                because="it would wait for ever",
                attempt="less with --threads and --limit-mb",
            )
        return most

    def each(
        self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], *, cpus: int = 1, memory_mb: float = 0
    ) -> Iterator[tuple[int, Any]]:
        """(number of the job, result or ``Lost``) as each ends. An error of ours is raised as it was there."""
        self.check(cpus, memory_mb)
        resources = {"memory": int(memory_mb * 1e6)} if memory_mb else {}
        task = self.ray.remote(num_cpus=cpus, max_retries=RETRIES, **resources)(_answer)
        waiting = {task.remote(function, job, __version__): number for number, job in enumerate(jobs)}
        try:
            while waiting:
                (done, *_), _ = self.ray.wait(list(waiting), num_returns=1)
                yield waiting.pop(done), self._result(done)
        finally:
            for reference in waiting:
                self.ray.cancel(reference, force=True)

    def _result(self, reference: Any) -> Any:
        errors = self.ray.exceptions
        try:
            result = self.ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, ModuleNotFoundError):
                raise _not_there(str(error.cause)) from error
            raise
        except errors.RaySystemError as error:
            if "No module named" in str(error):
                raise _not_there(str(error).strip().splitlines()[-1]) from error
            raise
        except errors.RayError as error:
            why = str(error).strip().splitlines()
            return Lost(f"its worker was lost {RETRIES + 1} times: {type(error).__name__}, {why[0] if why else ''}")
        if isinstance(result, EdgesmithError):
            raise result
        return result


def _answer(function: Callable[..., Any], job: tuple[Any, ...], version: str) -> Any:
    """On the worker: the result, or the error of ours as data, since Ray would wrap it in one of its own."""
    try:
        if version != __version__:
            raise UserMistake(
                "A worker of the cluster has another edgesmith",
                found=f"{__version__} on {socket.gethostname()}",
                expected=version,
                attempt="the same version on every machine",
            )
        return function(*job)
    except EdgesmithError as error:
        return error


def _not_there(said: str) -> UserMistake:
    return UserMistake(
        "The workers of the cluster have no edgesmith",
        found=said,
        expected="edgesmith[export,ray] with the same version on every machine",
        attempt="install it there, in the environment that Ray was started from",
    )


@contextmanager
def connected(address: str, cpus: int | None = None) -> Iterator[Crew]:
    """The crew at ``address``, or with ``local`` a cluster of this machine that ends with the block; ``cpus``: all of them.

    In a program that is connected already, that connection, which stays.

    Raises UserMistake where Ray is not installed or nothing is at the address.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserMistake(
            "--ray needs the extra named ray",
            found=f"no Python module {error.name}",
            expected="Ray, which shares work out to processes and machines",
            attempt="pip install 'edgesmith[ray]', or leave --ray out",
        ) from None
    if ray.is_initialized():
        yield Crew(ray)
        return
    local = address.strip().lower() == LOCAL
    # its ports are open to the network, so nobody without these words may give it work; Ray's own would stay in HOME
    token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)} if local and "RAY_AUTH_MODE" not in os.environ else {}
    with _environment({**QUIET, **token}), temporary_folder() as folder, _handlers_kept():
        quiet = {"include_dashboard": False, "_temp_dir": str(folder)}
        where = {"num_cpus": cpus or os.cpu_count(), **quiet} if local else {"address": _somebody_at(address)}
        _start(ray, address, where)
        try:
            yield Crew(ray)
        finally:
            ray.shutdown()


def _start(ray: Any, address: str, where: dict[str, Any]) -> None:
    """Connect, or start; a start is tried again, since Ray gives its processes 30 s, which a busy machine may need for one."""
    for left in reversed(range(STARTS)):
        try:
            with _handlers_kept():
                ray.init(log_to_driver=False, logging_level="ERROR", **where)
            return
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise _nobody(address, str(error).strip().splitlines()[0]) from error
        except Exception as error:
            if type(error) is not Exception:  # what Ray raises then is just that
                raise
            ray.shutdown()
            if not left:
                raise UserMistake(
                    "Ray did not start",
                    found=str(error).strip().splitlines()[0],
                    expected=f"its processes up within 30 s, in one of {STARTS} times",
                    because="this machine is busy, or has no room for them",
                    attempt="again when there is less to do, or without --ray",
                ) from error


def _somebody_at(address: str) -> str:
    """The address, once something answers there."""
    host, colon, port = address.strip().rpartition(":")
    if address.strip().lower() == "auto":
        return "auto"
    if not colon or not host or "/" in host or not port.isdecimal() or int(port) > 65535:
        raise UserMistake(
            "That is no address of a Ray cluster",
            found=f"--ray {address}",
            expected="HOST:PORT of its head node (6379 is usual), auto for the one that runs on this machine, or local",
            attempt=HELP,
        )
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except OSError as error:
        raise _nobody(address, str(error)) from None
    return address.strip()


def _nobody(address: str, said: str) -> UserMistake:
    return UserMistake(
        "No Ray cluster answers",
        found=f"--ray {address}: {said}",
        expected="a head node that was started with: ray start --head",
        attempt=HELP,
    )


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """What Ray reads when it starts, and what its processes get; as before afterwards."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray puts in a handler of SIGTERM; the command has its own, which cleans up."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is not before:
            signal.signal(signal.SIGTERM, before)
