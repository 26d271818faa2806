"""Connections that do not say what they want: a head that never ends, one that never comes, and what they may ask besides."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytest.importorskip("httptools", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
from served import Server, served
from small_bundle import write_small_bundle

from edgesmith.runtime.commands.serve import command

LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"
WAIT_S = 60


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_small_bundle(tmp_path / "small.edge")


def said(server: Server, *parts: bytes, end: bool = False) -> bytes:
    """All that the server says until it closes the connection; ``end``: what is left to send after an early close is dropped."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S) as line:
        for part in parts:
            try:
                line.sendall(part)
            except OSError:
                assert end, "the server closed early"
                break
        found = b""
        try:
            while more := line.recv(65536):
                found += more
        except ConnectionResetError:  # it closed over what it had not read
            assert end
        return found


def test_a_head_that_does_not_begin_or_end_is_closed(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command, "HEAD_S", 0.3)
    with served(bundle) as server:
        assert said(server) == b""
        assert said(server, b"\r\n\r\n") == b""
        assert said(server, LIVE) == b""
        answered = said(server, LIVE + b"\r\n", LIVE[:9])  # the second of a connection that stays open
        assert answered.startswith(b"HTTP/1.1 200") and answered.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("endless", [b"x" * 200, b"X-More: " + b"x" * 190 + b"\r\n"], ids=["one line", "lines"])
@pytest.mark.parametrize("where", ["head", "after the body"])
def test_a_head_that_grows_without_end_is_refused(bundle: Path, where: str, endless: bytes):
    before = LIVE
    if where == "after the body":
        before = b"POST /v2/models/small/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    with served(bundle, timeout_s=WAIT_S) as server:
        many = [endless * 50] * (3 * command.MOST_HEAD // len(endless * 50))
        found = said(server, before, *many, end=True)
        assert found == b"" or found.startswith(b"HTTP/1.1 400")
        assert server.get("/v2/health/live").status == 200
        assert server.house.models["small"].inside == 0 or where == "head"


def test_many_small_pieces_of_a_body_are_one_request(bundle: Path):
    with served(bundle) as server:
        head = b"POST /v2/models/small/infer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        pieces = b"1\r\n \r\n" * (3 * command.MOST_HEAD)
        found = said(server, head + pieces + b"0\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 400") and b"the request is no JSON" in found


def test_who_asks_for_another_protocol_is_answered_in_this_one(bundle: Path):
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    with served(bundle) as server:
        assert said(server, LIVE + upgrade + b"\r\n", end=True).startswith(b"HTTP/1.1 200")
        asked = (
            b"POST /v2/models/small/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n" + upgrade + b"\r\n{}"
        )
        assert said(server, asked, end=True).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("line", [b"GET", b"GET / HTTP/9.9", b"CONNECT a:1 HTTP/1.1", b"\x16\x03\x01\x02\x00"])
def test_what_is_no_request_is_refused(bundle: Path, line: bytes):
    with served(bundle) as server:
        found = said(server, line + b"\r\nHost: localhost\r\n\r\n", end=True)
        assert found.startswith(b"HTTP/1.1 4"), found
        assert server.get("/v2/health/live").status == 200
