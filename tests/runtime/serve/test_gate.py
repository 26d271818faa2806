"""Who may come in: names of this machine, no pages of others, a token where others can reach the port."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
from command_line import on_device
from served import served
from small_bundle import write_small_bundle

from edgesmith.runtime.commands.serve.gate import OPEN, names_this_machine
from edgesmith.runtime.commands.serve.words import Asked, is_loopback, listen_at, read_token
from edgesmith.runtime.errors import UserMistake

TOKEN = b"a-word-that-nobody-guesses"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8000", "127.3.2.1", "[::1]", "[::1]:8000"])
def test_names_of_this_machine(host: str):
    assert names_this_machine(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "192.168.0.2",
        "[::2]:8000",
        "[",
        "0.0.0.0",
        "a@localhost",
    ],
)
def test_names_of_others(host: str):
    assert not names_this_machine(host)


def test_pages_of_others_get_nothing(tmp_path: Path):
    with served(write_small_bundle(tmp_path / "small.edge")) as server:
        own = f"http://127.0.0.1:{server.port}"
        assert server.get("/health", Origin=own).status == 200
        for headers in (
            {"Host": "evil.example"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec_Fetch_Site": "cross-site"},
        ):
            reply = server.get("/health", **headers)
            assert (reply.status, "this server answers to" in reply.error["what"]) == (403, True), headers
            assert server.get("/v2", **headers).error == reply.error["what"]  # one text, as the protocol has it
        reply = server.get("/")
        assert "access-control-allow-origin" not in reply.headers
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert "unsafe" not in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_token_is_asked_for_and_never_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    with served(write_small_bundle(tmp_path / "small.edge"), token=TOKEN) as server:
        for path in ("/health", "/metrics", "/v1/models", "/v2", "/v2/models/small", "/nothing"):
            reply = server.get(path)
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer"), path
            for wrong in (
                "",
                "Bearer",
                "Bearer x",
                "Basic " + TOKEN.decode(),
                "Bearer " + TOKEN.decode()[:-1],
                "Bearer \xe9",
            ):
                assert server.get(path, Authorization=wrong).status == 401, wrong
        assert server.post("/v2/models/small/infer", b"{}").status == 401
        assert server.get("/v2/models/small", Authorization="Bearer " + TOKEN.decode()).status == 200
        assert server.get("/v2/models/small", Authorization="bearer " + TOKEN.decode()).status == 200
        assert {server.get(path).status for path in OPEN} == {200}
    told = capfd.readouterr()
    assert TOKEN.decode() not in told.out + told.err


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_that_others_reach_needs_a_token(tmp_path: Path, host: str):
    with pytest.raises(UserMistake, match="can be reached from other machines"):
        listen_at(Asked((str(tmp_path),), host=host, port=0))


def test_no_such_address_and_a_port_that_is_taken():
    with pytest.raises(UserMistake, match="no address of this machine"):
        listen_at(Asked((), host="no such host", port=0))
    with listen_at(Asked((), port=0)) as bound:
        bound.listen()
        with pytest.raises(UserMistake, match="cannot listen"):
            listen_at(Asked((), port=bound.getsockname()[1]))


def test_what_is_a_loopback():
    assert [is_loopback(one) for one in ("127.0.0.1", "::1", "0.0.0.0", "10.0.0.1", "localhost")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("text", ["", "4u-7qz", "two words of some length", "ünïcode-with-enough-letters"])
def test_a_token_that_is_none_is_refused_and_not_shown(tmp_path: Path, text: str):
    (tmp_path / "token").write_text(text, encoding="utf-8")
    with pytest.raises(UserMistake) as refused:
        read_token(str(tmp_path / "token"))
    assert not text or text not in str(refused.value)


def test_a_token_is_read_without_its_line_end(tmp_path: Path):
    (tmp_path / "token").write_bytes(TOKEN + b"\n")
    assert read_token(str(tmp_path / "token")) == TOKEN


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--queue", "0"], "--queue counts from 1"),
        (["--workers", "0"], "--workers counts from 1"),
        (["--batch", "-1"], "--batch counts from 1"),
        (["--port", "70000"], "--port is no port"),
        (["--max-mb", "nan"], "--max-mb is out of range"),
        (["--timeout-s", "0"], "--timeout-s is out of range"),
        (["--host", "0.0.0.0", "--port", "0"], "can be reached from other machines"),
        (["--token-file", "missing"], "cannot read the token"),
        (["--backend", "nothing", "--port", "0"], "there is no backend 'nothing'"),
    ],
)
def test_a_word_that_cannot_be_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], why: str):
    monkeypatch.chdir(tmp_path)
    write_small_bundle(tmp_path / "small.edge")
    found = on_device("serve", "small.edge", *words)
    assert (found.code, why in found.err) == (2, True), found.err


def test_a_name_twice_is_told(tmp_path: Path):
    one, two = write_small_bundle(tmp_path / "one.edge"), write_small_bundle(tmp_path / "two.edge")
    found = on_device("serve", str(one), str(two), "--port", "0", "--json")
    assert (found.code, "two bundles are called small" in found.out) == (2, True)
