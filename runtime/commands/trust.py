"""``edgesmith sign`` and ``verify``: who made a bundle, said with a key and asked of a keyring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UserMistake

SIGN_HELP = "Sign a bundle with a key of yours, so that devices can tell who made it."
VERIFY_HELP = "Is a bundle whole, and signed by a key of the keyring?"
KEYRING = "Open the bundle only if a key of this folder (NAME.pub) signed it, and it is no older than one taken before."
OLDER = "Take a signed bundle that is older than one that was taken here."
SIGN_OPTIONS: dict[str, tuple[type, str]] = {  # of both commands
    "--key": (str, "The private key, PEM of Ed25519, as --new-key or openssl genpkey writes it."),
    "--new-key": (str, "Make a key: the private one in this file, the public one for devices beside it as .pub."),
    "--counter": (int, "Number of the release; devices take none that is lower (default: seconds since 1970)."),
}


def sign(bundle: str | None, key: str | None, make: str | None, counter: int | None) -> dict[str, Any]:
    """What was made, as plain data. UserMistake for words that do not go together."""
    from ..bundle.bundle import open_bundle
    from ..bundle.trust.keyring import new_key, read_signer
    from ..bundle.trust.signature import sign as write_signature

    if (bundle is None) == (make is None) or (bundle is None) != (key is None):
        raise UserMistake(
            "sign a bundle with a key, or make a key",
            found="both" if bundle and make else "no bundle" if bundle is None else "no key",
            expected="edgesmith sign BUNDLE --key KEY, or edgesmith sign --new-key KEY",
        )
    if make is not None:
        public = new_key(make)
        return {"key": str(Path(make)), "public": str(public)}
    assert bundle is not None and key is not None
    signer = read_signer(key)
    opened = open_bundle(bundle)  # with all its hashes: nobody signs what is damaged
    made = write_signature(opened.path, opened.manifest, signer, counter)
    return {"bundle": bundle, "name": made.name, "counter": made.counter, "key": made.key.hex()}


def sign_words(made: dict[str, Any]) -> str:
    if "public" in made:
        return (
            f"{made['key']}  keep it where only you can read it\n{made['public']}  goes into the keyring of each device"
        )
    return f"{made['bundle']}: signed with key {made['key'][:16]}, counter {made['counter']}"


def verify(bundle: str, keyring: str, allow_older: bool) -> dict[str, Any]:
    """Who signed a bundle; BundleRefused where that does not hold."""
    from ..bundle.bundle import open_bundle
    from ..bundle.trust.believe import believe

    opened = open_bundle(bundle)
    signature, key = believe(opened, keyring, allow_older)
    return {
        "bundle": bundle, "name": signature.name, "signed_by": key.name, "key": key.raw.hex(), "counter": signature.counter,
        "files": len(opened.manifest["files"]),
    }  # fmt: skip


def verify_words(found: dict[str, Any]) -> str:
    return (
        f"{found['bundle']}: signed by {found['signed_by']} (key {found['key'][:16]}), counter {found['counter']}; "
        f"manifest and {found['files']} files are as they were signed"
    )
