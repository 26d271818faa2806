"""A repository -> all that is wrong with it, as data and for people."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from .bundles import check_graph, keys_of
from .ensembles import check_ensemble
from .files import check_files
from .parse import ENSEMBLE, read_folders
from .server import ask


def check(repository: str, url: str | None = None, keyring: str | None = None) -> dict[str, Any]:
    """{"repository", "models": names, "faults": [{"model", "file", "line", "what"}], "server": what it says, or None}.

    Raises:
        UserMistake: no repository is there, no keys are in the keyring, or nobody answers at the URL.
        BackendUnavailable: tritonclient is not installed.
    """
    folders, keys = read_folders(Path(repository)), keys_of(keyring)
    by_name = {folder.name: folder for folder in folders}
    for folder in folders:
        if folder.config is not None:
            check_files(folder, keys)
            check_graph(folder, by_name, keys)
            if folder.config.platform == ENSEMBLE or folder.config.HasField("ensemble_scheduling"):
                check_ensemble(folder, by_name)
    faults = [fault for folder in folders for fault in folder.faults]
    server = None
    if url is not None:
        server, more = ask(url, folders)
        faults += more
    return {
        "repository": repository,
        "models": list(by_name),
        "faults": [asdict(fault) | {"text": str(fault)} for fault in faults],
        "server": server,
    }


def show(result: dict[str, Any]) -> str:
    """The same for people: a line a fault, the file and the line of it in front."""
    place = Path(result["repository"])
    lines = [str(place / fault["text"]) for fault in result["faults"]]
    if server := result["server"]:
        ready = sum(server["models"].values())
        says = "ready" if server["ready"] else "not ready"
        lines.append(
            f"server {server['version']} at {server['url']} says {says}; {ready} of {len(server['models'])} models are"
        )
    count = len(result["faults"])
    lines.append(
        f"{len(result['models'])} models, " + (f"{count} fault{'s' if count > 1 else ''}" if count else "no fault")
    )
    return "\n".join(lines)
