"""What ``edgesmith serve`` is asked: its words, and where it may listen."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UserMistake
from ...errors.addresses import shown
from ...ground.regular import read_regular

if TYPE_CHECKING:
    import socket  # where it is used: the words of all commands are read with these

SERVE_HELP = "Serve bundles over HTTP: the Open Inference Protocol for programs, a page for people."
SERVE_OPTIONS: dict[str, tuple[type, str]] = {  # of both commands
    "--host": (str, "Address to listen at (default 127.0.0.1, this machine alone); any other needs --token-file."),
    "--port": (int, "Port (default 8000); 0 takes one that is free and tells it."),
    "--token-file": (str, "A file with a secret word that every request has to bring."),
    "--queue": (int, "At most so many requests of a bundle wait; more are refused with 503 (default 64)."),
    "--workers": (int, "So many threads run each bundle (default 1)."),
    "--batch": (int, "Run up to so many waiting inputs together, where the graph takes any number (default 1)."),
    "--max-mb": (float, "Largest request in MB (default 32)."),
    "--timeout-s": (float, "Refuse what has no answer after so many seconds (default 30)."),
    "--keyring": (
        str,
        "Serve only bundles that a key of this folder (NAME.pub) signed, none older than one taken before.",
    ),
    "--pool-mb": (float, "Grounding: at most so many MB for what is kept of open screens (default 512)."),
}
LOOPBACK = "127.0.0.1"
PROTOCOL = "/v2"  # where an error is one text, as the protocol has it; elsewhere it has the fields of our commands
MOST = 100_000  # requests that wait, threads, rows of a run
LEAST_TOKEN, MOST_TOKEN_BYTES = 16, 4096
TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Asked:
    """The words of the command."""

    bundles: tuple[str, ...]
    host: str = LOOPBACK
    port: int = 8000
    token_file: str | None = None
    queue: int = 64
    workers: int = 1
    batch: int = 1
    max_mb: float = 32.0
    timeout_s: float = 30.0
    pool_mb: float | None = None
    backend: str | None = None
    threads: int | None = None
    as_json: bool = False
    keyring: str | None = None

    def check(self) -> None:
        """UserMistake for a number that cannot be."""
        counts = {"--queue": self.queue, "--workers": self.workers, "--batch": self.batch}
        for flag, count in counts.items():
            if not 1 <= count <= MOST:
                raise UserMistake(
                    f"{flag} counts from 1", found=str(count), expected=f"1 to {MOST:,}", attempt=f"{flag} 4"
                )
        if not 0 <= self.port < 65536:
            raise UserMistake(
                "--port is no port", found=str(self.port), expected="0 to 65535", attempt="--port 0 for a free one"
            )
        for flag, number, most in (("--max-mb", self.max_mb, 2048.0), ("--timeout-s", self.timeout_s, 86_400.0)):
            if not 0 < number <= most:  # NaN fails too
                raise UserMistake(
                    f"{flag} is out of range",
                    found=f"{number:g}",
                    expected=f"above 0, at most {most:,g}",
                    attempt=f"{flag} 30",
                )

    @property
    def most_bytes(self) -> int:
        return int(self.max_mb * 2**20)


def listen_at(asked: Asked) -> socket.socket:
    """A socket that is bound and does not listen yet.

    Raises:
        UserMistake: no such address, one that others reach and no token, or a port that is taken or not allowed.
    """
    import socket

    try:
        found = socket.getaddrinfo(asked.host, asked.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UserMistake(
            f"--host {shown(asked.host)} is no address of this machine",
            found=getattr(error, "strerror", None) or str(error),
            expected="an IP address or a name of this machine",
            attempt=f"--host {LOOPBACK}",
        ) from None
    family, kind, protocol, _, address = found[0]
    if not is_loopback(str(address[0])) and asked.token_file is None:
        raise UserMistake(
            f"--host {shown(asked.host)} can be reached from other machines",
            found="no --token-file",
            expected="a secret that every request has to bring",
            because="whoever reaches the port could use the bundles, and read their labels",
            attempt="--token-file FILE with a word of 16 letters or more, or leave --host out",
        )
    made = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # a server that was just stopped leaves its port waiting
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise UserMistake(
            f"cannot listen at {shown(asked.host)}, port {asked.port}",
            found=error.strerror or str(error),
            expected="an address of this machine, and a port that nobody else has",
            attempt="--port 0 takes a free one",
        ) from None
    return made


def is_loopback(address: str) -> bool:
    """Whether an IP address is reached from this machine alone; a name is not."""
    import ipaddress

    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def read_token(path: str | None) -> bytes | None:
    """The secret in the file; None where none is asked for. No message shows it.

    Raises:
        UserMistake: the file cannot be read, or holds no word of 16 letters or more.
    """
    if path is None:
        return None
    try:
        text = read_regular(path, MOST_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserMistake(
            f"cannot read the token in {shown(path)}",
            found=getattr(error, "strerror", None) or "bytes that are no ASCII",
            expected="a text file with one word",
            attempt="check the path; python -c 'import secrets; print(secrets.token_urlsafe())' makes such a word",
        ) from None
    if len(text) < LEAST_TOKEN or not TOKEN.fullmatch(text):
        raise UserMistake(
            f"the token in {shown(path)} is too short or no word",
            found=f"{len(text)} characters",
            expected=f"one word of {LEAST_TOKEN} or more letters, digits and signs, without blanks",
            because="a short one can be guessed",
            attempt="python -c 'import secrets; print(secrets.token_urlsafe())' makes one",
        )
    return text.encode()
