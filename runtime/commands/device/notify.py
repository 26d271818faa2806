"""Words for systemd, where it has started us: ready, what we do, and that we are alive. One datagram each, no library.

The protocol is that of sd_notify(3): ``$NOTIFY_SOCKET`` names a socket, ``$WATCHDOG_USEC`` how often it wants to hear of us. Without
them nothing is sent. A socket that does not take it is no reason to stop.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

STARTING_S = 90.0  # of more time to start, asked for while an engine is built


class Notify:
    """``environment`` is what the process was started with."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = ("\0" + name[1:] if name.startswith("@") else name) if name[:1] in ("/", "@") else ""
        self.watchdog_s = self._watchdog(environment) if self._address else None

    @staticmethod
    def _watchdog(environment: Mapping[str, str]) -> float | None:
        """Seconds between two signs of life that are asked of this process; None where nobody asks."""
        told, whose = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        if not told.isdecimal() or int(told) == 0 or (whose and whose != str(os.getpid())):
            return None
        return int(told) / 1e6

    @property
    def listens(self) -> bool:
        return bool(self._address)

    def ready(self) -> None:
        self._send("READY=1")

    def status(self, text: str) -> None:
        self._send("STATUS=" + " ".join(text.split()))

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def more_time(self) -> None:
        """While it starts: an engine takes minutes to build."""
        self._send(f"EXTEND_TIMEOUT_USEC={STARTING_S * 1e6:.0f}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        import socket

        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(1.0)
            out.connect(self._address)
            out.sendall(text.encode(errors="replace"))
