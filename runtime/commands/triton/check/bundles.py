"""The bundles of a repository are those that were written, and signed where that is asked; the graphs outside of them are theirs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....bundle.bundle import open_bundle
from ....bundle.manifest import read_manifest
from ....bundle.vet import check_name, sha256
from ....errors import BundleRefused
from ..models import ANSWER, BUNDLE, ENGINE
from ..served import described
from .parse import Folder

if TYPE_CHECKING:
    from ....bundle.trust.keyring import Key

Keys = Mapping[bytes, "Key"]


def keys_of(keyring: str | None) -> Keys | None:
    """None where nobody asks who made the bundles. UserMistake as ``read_keyring``."""
    if keyring is None:
        return None
    from ....bundle.trust.keyring import read_keyring

    return read_keyring(keyring)


def check_bundle(folder: Folder, name: str, keys: Keys | None) -> None:
    """Note what does not hold of a bundle, whole or without its graph. To look is not to take: no counter is asked or raised."""
    path: Path = folder.path / name
    try:
        whole = any(one.suffix == ".onnx" for one in path.iterdir())
        _check_signed(path, (open_bundle(path) if whole else described(path)).manifest, keys)
    except (BundleRefused, OSError) as error:
        folder.fault(str(error).replace("\n", ";"), file=name)


def check_graph(folder: Folder, by_name: Mapping[str, Folder], keys: Keys | None) -> None:
    """A graph in a backend of the server is that of the bundle whose other parts stand in the models beside it."""
    beside = by_name.get(folder.name.removesuffix(ENGINE) + ANSWER)
    if not folder.name.endswith(ENGINE) or beside is None:
        if keys is not None and folder.config.backend and not list(folder.path.glob(f"*/{BUNDLE}")):
            folder.fault("has no bundle beside it, so nobody can say who made its graph", file="")
        return
    for version in sorted(beside.path.glob(f"*/{BUNDLE}")):
        try:
            records = {check_name(name): record for name, record in read_manifest(version)["files"].items()}
        except (BundleRefused, OSError):  # told where it stands
            continue
        for name, record in records.items():
            path = folder.path / version.parent.name / name
            if path.is_file() and sha256(path) != record["sha256"]:
                folder.fault(f"is not the file of the bundle in {beside.name}", file=f"{version.parent.name}/{name}")


def _check_signed(path: Path, manifest: Mapping[str, Any], keys: Keys | None) -> None:
    if keys is not None:
        from ....bundle.trust.signature import signed_by

        signed_by(path, manifest, keys)
