"""A signed bundle is opened where its key is in the keyring, and where nothing of it is another since; all else is refused in words."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import BASE_ONLY, edgesmith
from sealed import edit_manifest
from small_bundle import write_small_bundle

pytest.importorskip("cryptography")

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle, write_bundle
from edgesmith.runtime.bundle.trust.believe import believe
from edgesmith.runtime.bundle.trust.counters import counters_path
from edgesmith.runtime.bundle.trust.keyring import new_key, read_keyring, read_signer
from edgesmith.runtime.bundle.trust.signature import read_signature, sign
from edgesmith.runtime.errors import BundleRefused, UserMistake


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "maker.key")
    return tmp_path / "maker.key"


@pytest.fixture
def ring(tmp_path: Path, key: Path) -> Path:
    (tmp_path / "ring").mkdir()
    shutil.copy(key.with_suffix(".pub"), tmp_path / "ring")
    return tmp_path / "ring"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_small_bundle(tmp_path / "small.edge")


def signed(bundle: Path, key: Path, counter: int = 5) -> Path:
    opened = open_bundle(bundle)
    sign(opened.path, opened.manifest, read_signer(key), counter)
    return bundle


def edit(bundle: Path, **values: Any) -> None:
    path = bundle / "signature.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refused(bundle: Path, ring: Path) -> str:
    with pytest.raises(BundleRefused) as caught:
        load(bundle, keyring=ring)
    return str(caught.value)


def test_what_a_key_of_the_keyring_signed_is_opened(bundle: Path, key: Path, ring: Path):
    signed(bundle, key)
    with load(bundle, keyring=ring) as session:
        assert all(row.passed for row in session.self_test())
    found, by = believe(open_bundle(bundle), ring)
    assert (by.name, found.counter, found.name) == ("maker", 5, "small")
    assert open_bundle(bundle) == open_bundle(signed(bundle, key, 6)), "signing again changes nothing else"


def test_a_key_and_a_signature_are_those_of_openssl(bundle: Path, key: Path, tmp_path: Path):
    """The text that is signed is written down in SECURITY.md, so anybody can check it without us."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here")
    found = read_signature(signed(bundle, key))
    (tmp_path / "text").write_bytes(found.text)
    (tmp_path / "raw").write_bytes(found.ed25519)
    words = ("pkeyutl", "-verify", "-pubin", "-inkey", str(key.with_suffix(".pub")), "-rawin")
    done = subprocess.run(
        [openssl, *words, "-in", str(tmp_path / "text"), "-sigfile", str(tmp_path / "raw")],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    manifest = open_bundle(bundle).manifest["manifest_sha256"]
    assert found.text.decode().splitlines() == ["edgesmith bundle signature 1", '"small"', "5", manifest]


def test_a_bundle_without_a_signature_is_refused_where_one_is_asked_for(bundle: Path, ring: Path):
    assert "is not signed" in refused(bundle, ring) and "edgesmith sign" in refused(bundle, ring)


def test_a_signature_of_somebody_else_is_refused(bundle: Path, ring: Path, tmp_path: Path):
    new_key(tmp_path / "other.key")
    said = refused(signed(bundle, tmp_path / "other.key"), ring)
    assert "not in the keyring" in said and "one of maker" in said


def test_the_key_in_the_file_is_believed_by_nobody(bundle: Path, key: Path, ring: Path, tmp_path: Path):
    new_key(tmp_path / "other.key")
    signed(bundle, tmp_path / "other.key")
    edit(bundle, key=read_signer(key).key.hex())
    assert "a signature that maker did not make" in refused(bundle, ring)


@pytest.mark.parametrize("change", [{"counter": 6}, {"ed25519": "00" * 64}])
def test_nothing_of_a_signature_can_be_changed(bundle: Path, key: Path, ring: Path, change: dict[str, Any]):
    edit(signed(bundle, key), **change)
    assert "does not hold" in refused(bundle, ring)


def test_a_bundle_that_was_changed_and_sealed_again_is_refused(bundle: Path, key: Path, ring: Path):
    edit_manifest(signed(bundle, key), notes=["another"])
    assert "of another bundle" in refused(bundle, ring)


def test_a_signature_does_not_fit_another_bundle(bundle: Path, key: Path, ring: Path, tmp_path: Path):
    other = write_small_bundle(tmp_path / "other.edge")
    edit_manifest(other, name="other")
    shutil.copy(signed(bundle, key) / "signature.json", other)
    assert "of another bundle" in refused(other, ring)


def test_an_older_bundle_is_not_taken_again(bundle: Path, key: Path, ring: Path):
    believe(open_bundle(signed(bundle, key, 7)), ring)
    signed(bundle, key, 6)
    said = refused(bundle, ring)
    assert "older than one that was taken here" in said and "7 or more" in said and "--allow-older" in said
    believe(open_bundle(bundle), ring, allow_older=True)
    assert "older than" in refused(bundle, ring), "to go back once does not forget the newer one"
    believe(open_bundle(signed(bundle, key, 7)), ring)


def test_what_did_not_hold_raises_no_counter(bundle: Path, key: Path, ring: Path):
    edit(signed(bundle, key), counter=10**9)
    refused(bundle, ring)
    assert not counters_path().exists()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"counters": 2, "highest": {}}', '{"counters": 1, "highest": {"a": -1}}']
)
def test_counters_that_cannot_be_read_let_nothing_in(bundle: Path, key: Path, ring: Path, content: str):
    counters_path().parent.mkdir(parents=True)
    counters_path().write_text(content)
    with pytest.raises(UserMistake, match="is damaged"):
        load(signed(bundle, key), keyring=ring)


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", '{"signature": 2}', '{"signature": 1, "name": 1, "counter": 1}', '{"signature": 1, "name": "a", "counter": -1}',
        '{"signature": 1, "name": "a", "counter": 1, "manifest_sha256": "xyz"}', "[" * 1000, '{"signature": 1, "signature": 1}',
    ],
)  # fmt: skip
def test_a_damaged_signature_is_told(bundle: Path, ring: Path, content: str):
    (bundle / "signature.json").write_text(content)
    assert "signature.json cannot be read" in refused(bundle, ring)


def test_a_signed_bundle_is_opened_without_a_keyring_too_and_stays_as_it_is(bundle: Path, key: Path, ring: Path):
    signed(bundle, key)
    with load(bundle):
        pass
    with pytest.raises(UserMistake, match="is signed, and stays as it is"):
        update_bundle(open_bundle(bundle), {}, {"benchmark": None})
    believe(open_bundle(bundle), ring)


def test_a_signature_on_its_way_is_no_file_of_the_bundle_and_goes_with_the_next(bundle: Path, key: Path, ring: Path):
    """A reader that comes meanwhile, or after a process that was killed there, opens what it would have opened before."""
    signed(bundle, key)
    (bundle / ".signature.abcdefgh.edgesmith.part").write_bytes(b"half of o")
    believe(open_bundle(bundle), ring)
    (bundle / ".other.abcdefgh.edgesmith.part").write_bytes(b"")
    assert "not part of the bundle" in refused(bundle, ring)
    (bundle / ".other.abcdefgh.edgesmith.part").unlink()
    signed(bundle, key, 6)
    assert not list(bundle.glob(".signature*"))


def test_a_new_export_takes_the_place_of_a_signed_bundle(bundle: Path, key: Path):
    manifest = open_bundle(signed(bundle, key)).manifest
    contents = {name: (bundle / name).read_bytes() for name in manifest["files"]}
    write_bundle(bundle, contents, manifest, overwrite=True)
    assert not (bundle / "signature.json").exists()


def test_no_manifest_may_list_the_signature_as_a_file_of_its_own(bundle: Path):
    opened = open_bundle(bundle)
    with pytest.raises(BundleRefused):
        write_bundle(bundle.with_name("b.edge"), {"signature.json": b"{}"}, opened.manifest)


def test_a_keyring_is_a_folder_of_public_keys_or_one(key: Path, ring: Path, tmp_path: Path):
    new_key(ring / "second.key")
    assert sorted(one.name for one in read_keyring(ring).values()) == ["maker", "second"]
    assert [one.name for one in read_keyring(key.with_suffix(".pub")).values()] == ["maker"]
    assert key.stat().st_mode & 0o777 == 0o600


def rsa(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    made = generate_private_key(65537, 2048)
    plain = s.NoEncryption()
    path.with_suffix(".key").write_bytes(made.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, plain))
    form = s.PublicFormat.SubjectPublicKeyInfo
    path.with_suffix(".pub").write_bytes(made.public_key().public_bytes(s.Encoding.PEM, form))


def test_keys_that_are_none_are_told(bundle: Path, tmp_path: Path, key: Path):
    (tmp_path / "empty").mkdir()
    rsa(tmp_path / "rsa")
    (tmp_path / "text.pub").write_text("no key")
    for place, said in (("empty", "0 files named"), ("rsa.pub", "no public key of Ed25519"), ("text.pub", "no public key"),
                        ("gone", "cannot be read"), ("maker.key", "no public key")):  # fmt: skip
        with pytest.raises(UserMistake, match=said):
            load(bundle, keyring=tmp_path / place)
    for place, said in (("rsa.key", "no key of Ed25519"), ("gone", "cannot be read"), ("maker.pub", "no private key")):
        with pytest.raises(UserMistake, match=said):
            read_signer(tmp_path / place)
    with pytest.raises(UserMistake, match="is there already"):
        new_key(key)
    key.with_suffix(".pub").unlink()  # as a process leaves it that is killed between the two
    with pytest.raises(UserMistake, match="openssl pkey -in .*maker.key -pubout -out .*maker.pub"):
        new_key(key)


def test_the_commands_of_both_installs(bundle: Path, tmp_path: Path):
    made = edgesmith("sign", "--new-key", str(tmp_path / "k.key"))
    assert made.code == 0 and "k.pub" in made.out
    told = json.loads(edgesmith("sign", str(bundle), "--key", str(tmp_path / "k.key"), "--counter", "3", "--json").out)
    assert told["counter"] == 3
    for words in (("verify", str(bundle)), ("test", str(bundle))):
        device = [sys.executable, "-c", BASE_ONLY, *words, "--keyring", str(tmp_path / "k.pub")]
        done = subprocess.run(device, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert edgesmith(*words, "--keyring", str(tmp_path / "k.pub")).code == 0
    assert "signed by k" in edgesmith("verify", str(bundle), "--keyring", str(tmp_path / "k.pub")).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sign",), "make a key"), (("sign", "small.edge"), "no key"), (("sign", "small.edge", "--new-key", "a"), "both"),
        (("sign", "small.edge", "--key", "maker.key", "--counter", "-1"), "no counter"),
        (("verify", "small.edge", "--keyring", "ring"), "is not signed"),
        (("test", "small.edge", "--keyring", "ring"), "is not signed"),
        (("run", "small.edge", "a.png", "--keyring", "ring"), "is not signed"),
        (("run", "small.edge", "a.png", "--allow-older"), "older than what"),
    ],
)  # fmt: skip
def test_mistakes_end_with_2(
    bundle: Path, ring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"not looked at")
    answer = edgesmith(*words)
    assert answer.code == 2 and said in answer.err, answer
