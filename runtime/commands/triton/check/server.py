"""What a running server says of each model, which its own health does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....errors import UserMistake
from .parse import Fault, Folder

TIMEOUT_S = 10.0


def ask(url: str, folders: Sequence[Folder]) -> tuple[dict[str, Any], list[Fault]]:
    """({"url", "version", "ready", "models": {name: bool}}, what is not ready and why); UserMistake where nobody answers."""
    from tritonclient import http

    secure = url.startswith("https://")
    address = url.removeprefix("https://").removeprefix("http://").rstrip("/")
    try:
        client = http.InferenceServerClient(
            address, ssl=secure, connection_timeout=TIMEOUT_S, network_timeout=TIMEOUT_S
        )
        with client:
            told = {"url": url, "version": client.get_server_metadata()["version"], "ready": client.is_server_ready()}
            index = client.get_model_repository_index()
            ready = {folder.name: bool(client.is_model_ready(folder.name)) for folder in folders}
    except Exception as error:  # gevent's, the system's and the client's own share no base class but this one
        raise UserMistake(
            "the server cannot be asked",
            found=f"{url}: {error}"[:300],
            expected="the HTTP endpoint of a Triton server",
            attempt="--url 127.0.0.1:8000, where tritonserver says that its HTTPService started",
        ) from error
    faults = []
    for name, fine in ready.items():
        if not fine:
            rows = [row for row in index if row["name"] == name]
            why = "; ".join(str(row.get("reason") or row.get("state", "")) for row in rows) or "it does not know of it"
            faults.append(Fault(name, name, 0, "is not ready on the server: " + " ".join(why.split())))
    return {**told, "models": ready}, faults
