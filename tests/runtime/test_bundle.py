"""A bundle exists whole or not at all, and is opened only if it is what was written."""

import os
import shutil
import subprocess
import sys

import onnx
import pytest
from sealed import edit_manifest

from edgesmith.runtime.bundle import publish
from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle, write_bundle
from edgesmith.runtime.errors import BundleRefused, UserMistake


def rehash(bundle, **changes):
    """Change manifest keys by hand, as an attacker or a careless editor would, with hashes that fit the files."""
    from edgesmith.runtime.bundle.vet import sha256

    def fit(manifest):
        for name in manifest["files"]:
            if (bundle.path / name).is_file():
                manifest["files"][name] = {
                    "sha256": sha256(bundle.path / name),
                    "bytes": (bundle.path / name).stat().st_size,
                }

    edit_manifest(bundle.path, fit, **changes)


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_written_and_opened_again_it_says_the_same(tiny):
    opened = open_bundle(str(tiny.path))
    assert opened == tiny
    assert (opened.name, opened.target, opened.precision, opened.task) == ("tiny", "cpu", "fp32", "classification")
    assert opened.labels == ["red", "green", "blue", "dark"]
    assert opened.inputs[0].shape == (1, 3, 8, 8) and opened.outputs[0].name == "logits"
    assert opened.contract.size == (8, 8) and opened.golden.cases == 1
    assert opened.manifest["schema"] == 2 and set(opened.manifest["files"]) == {
        "model.onnx",
        "labels.json",
        "golden.npz",
    }
    assert leftovers(tiny.path.parent) == ["tiny.edge"]


def test_files_may_be_given_as_paths_and_numbers_as_numpy(tmp_path, make_tiny):
    import numpy as np

    (tmp_path / "notes.txt").write_text("hello")
    bundle = make_tiny(
        files={"extra/notes.txt": tmp_path / "notes.txt"}, parity=[{"max_abs": np.float32(0.5), "bad": float("inf")}]
    )
    assert (bundle.path / "extra" / "notes.txt").read_text() == "hello"
    assert bundle.manifest["parity"] == [{"max_abs": 0.5, "bad": "inf"}]


@pytest.mark.parametrize("name", ["model.onnx", "labels.json", "golden.npz"])
def test_a_flipped_byte_is_found(tiny, name):
    data = bytearray((tiny.path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tiny.path / name).write_bytes(data)
    with pytest.raises(BundleRefused, match=f"{name} has sha256"):
        open_bundle(tiny.path)


def test_a_truncated_graph_is_found_by_its_size_and_without_it(tiny):
    data = tiny.graph.read_bytes()
    tiny.graph.write_bytes(data[:-7])
    with pytest.raises(BundleRefused, match="model.onnx has .* bytes"):
        open_bundle(tiny.path, check=False)
    rehash(tiny)
    with pytest.raises(BundleRefused, match="no whole ONNX model.*\n.*cut off"):
        open_bundle(tiny.path)


@pytest.mark.parametrize("content", [b"", b"not an onnx file at all, just words", b"\x08\x0a"])
def test_a_graph_that_is_none_is_refused(tiny, content):
    tiny.graph.write_bytes(content)
    rehash(tiny)
    with pytest.raises(BundleRefused, match="no whole ONNX model"):
        open_bundle(tiny.path)


def test_a_missing_file_is_named(tiny):
    (tiny.path / "labels.json").unlink()
    with pytest.raises(BundleRefused, match="no file labels.json"):
        open_bundle(tiny.path)


def test_a_file_that_is_not_listed_is_refused(tiny):
    (tiny.path / "surprise.so").write_bytes(b"\x7fELF")
    with pytest.raises(BundleRefused, match="surprise.so"):
        open_bundle(tiny.path)


def test_a_schema_from_the_future_says_who_wrote_it(tiny):
    rehash(tiny, schema=3, edgesmith="9.1")
    with pytest.raises(BundleRefused, match="newer Edgesmith.*\n.*schema 3, written by edgesmith 9.1"):
        open_bundle(tiny.path)


@pytest.mark.parametrize("schema", [None, 0, "1", True, 1.0])
def test_a_schema_that_is_none_is_refused(tiny, schema):
    rehash(tiny, schema=schema)
    with pytest.raises(BundleRefused, match="not a bundle"):
        open_bundle(tiny.path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": None}, "inputs"),
        ({"files": []}, "files"),
        ({"outputs": [{"name": "logits"}]}, "tensor that cannot be"),
        ({"inputs": [{"name": "x", "dtype": "float32", "shape": [1, -3]}]}, "tensor that cannot be"),
        ({"inputs": [{"name": "x", "dtype": "float32", "shape": ["b", 3], "max": [4]}]}, "tensor that cannot be"),
        ({"engines": [{"file": "../evil.engine"}]}, "outside"),
        ({"engines": [{"file": "engines/unlisted.engine"}]}, "not listed"),
    ],
)
def test_a_manifest_without_what_the_runtime_needs(tiny, change, said):
    rehash(tiny, **change)
    with pytest.raises(BundleRefused, match=said):
        open_bundle(tiny.path)


@pytest.mark.parametrize("text", ["", "{", "[]", "nul\x00", "[" * 100000])
def test_a_manifest_that_is_no_json(tiny, text):
    (tiny.path / "manifest.json").write_text(text)
    with pytest.raises(BundleRefused, match="cannot be read"):
        open_bundle(tiny.path)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../b", "a//b", "./a", "C:x", "a\\b", "", "manifest.json", "a\nb"]
)
def test_names_that_lead_out_are_refused_in_reading_and_writing(tiny, tmp_path, make_tiny, name):
    (tmp_path / "secret").write_text("untouched")
    with pytest.raises(BundleRefused, match="outside of it"):
        make_tiny(files={name: b"x"})
    assert leftovers(tmp_path) == ["secret", "tiny.edge"] and (tmp_path / "secret").read_text() == "untouched"
    edit_manifest(tiny.path, lambda manifest: manifest["files"].update({name: {"sha256": "0" * 64, "bytes": 1}}))
    with pytest.raises(BundleRefused, match="outside of it"):
        open_bundle(tiny.path)


def test_a_file_that_is_a_link_is_refused(tiny, tmp_path):
    shutil.copy(tiny.path / "labels.json", tmp_path / "labels.json")
    (tiny.path / "labels.json").unlink()
    (tiny.path / "labels.json").symlink_to(tmp_path / "labels.json")
    with pytest.raises(BundleRefused, match="labels.json is a link"):
        open_bundle(tiny.path)


def test_a_linked_folder_or_manifest_is_refused(tiny, tmp_path):
    (tiny.path / "engines").symlink_to(tmp_path)
    with pytest.raises(BundleRefused, match="engines is a link"):
        open_bundle(tiny.path)
    (tiny.path / "engines").unlink()
    os.rename(tiny.path / "manifest.json", tmp_path / "m.json")
    (tiny.path / "manifest.json").symlink_to(tmp_path / "m.json")
    with pytest.raises(BundleRefused, match="not a bundle"):
        open_bundle(tiny.path)


@pytest.mark.parametrize("what", ["gone", "file"])
def test_a_bundle_that_is_no_folder_cannot_be_opened(tmp_path, what):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleRefused, match="cannot open") as caught:
        open_bundle(tmp_path / what)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "sub/../../w", "unlisted.bin"])
@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "function"])
def test_external_data_that_leaves_the_bundle_is_refused(tiny, location, place):
    tiny.graph.write_bytes(with_external(location, place))
    rehash(tiny)
    with pytest.raises(BundleRefused, match="outside of"):
        open_bundle(tiny.path)


def with_external(location: str, place: str = "initializer", **more: str) -> bytes:
    """A model with one tensor in another file, at each place of the format where a tensor can be."""
    from onnx import TensorProto, helper

    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    constant = helper.make_node("Constant", [], ["w"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    inner = helper.make_graph([constant], "inner", [], [])
    model = helper.make_model(helper.make_graph([], "g", [], []))
    if place == "initializer":
        model.graph.initializer.append(tensor)
    elif place == "attribute":
        model.graph.node.append(constant)
    elif place == "subgraph":
        model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner))
    else:
        model.functions.append(helper.make_function("d", "F", [], ["w"], [constant], []))
    return model.SerializeToString()


def test_external_data_inside_the_bundle_is_accepted_within_its_size(make_tiny):
    bundle = make_tiny(files={"model.onnx": with_external("w.bin", length="48"), "w.bin": bytes(48)})
    assert open_bundle(bundle.path).graph.name == "model.onnx"
    for more in (
        {"offset": "8", "length": "48"},
        {"length": "49"},
        {"offset": "49"},
        {"offset": "-1"},
        {"length": "-1"},
    ):
        with pytest.raises(BundleRefused, match="past the end"):
            make_tiny(files={"model.onnx": with_external("w.bin", **more), "w.bin": bytes(48)})
    with pytest.raises(BundleRefused, match="cannot be read"):
        make_tiny(files={"model.onnx": with_external("w.bin", offset="x"), "w.bin": bytes(48)})


def test_overwriting_takes_a_bundle_or_an_empty_folder_and_nothing_else(tiny, tmp_path):
    manifest, files = (
        {**tiny.manifest, "name": "new"},
        {name: (tiny.path / name).read_bytes() for name in tiny.manifest["files"]},
    )
    with pytest.raises(UserMistake, match="taken"):
        write_bundle(tiny.path, files, manifest)
    assert write_bundle(tiny.path, files, manifest, overwrite=True).name == "new"
    (tmp_path / "empty").mkdir()
    assert write_bundle(tmp_path / "empty", files, manifest).name == "new"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tiny.path)
    for name in ("photos", "file", "link"):
        with pytest.raises(UserMistake, match="taken"):
            write_bundle(tmp_path / name, files, manifest, overwrite=True)
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "meow" and (tmp_path / "file").read_text() == "x"
    (tiny.path / "my_notes.txt").write_text("mine")
    with pytest.raises(UserMistake, match="my_notes.txt"):
        write_bundle(tiny.path, files, manifest, overwrite=True)
    assert (tiny.path / "my_notes.txt").exists()


@pytest.mark.parametrize("step", ["copy", "manifest", "exchange", "first rename", "last rename"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), MemoryError()])
@pytest.mark.parametrize("before", [False, True])
def test_a_stop_in_the_middle_leaves_what_was_there(tiny, tmp_path, monkeypatch, step, error, before):
    files = {name: (tiny.path / name).read_bytes() for name in tiny.manifest["files"]}
    if not before:
        shutil.rmtree(tiny.path)
    calls = []

    def stop(function, when):
        def wrapped(*args, **kwargs):
            calls.append(args)
            if len(calls) == when:
                raise error
            return function(*args, **kwargs)

        return wrapped

    if "rename" in step:  # as on a file system that cannot exchange two names
        monkeypatch.setattr(publish, "exchange", lambda *_: False)
        monkeypatch.setattr(publish.os, "replace", stop(os.replace, 2 if before and "last" in step else 1))
    elif step == "exchange":
        monkeypatch.setattr(publish, "exchange" if before else "swap", stop(publish.exchange, 1))
    else:
        monkeypatch.setattr(publish, "_put", stop(publish._put, 2 if step == "copy" else 4))
    expected = UserMistake if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        write_bundle(tiny.path, files, {**tiny.manifest, "name": "new"}, overwrite=True)
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert "No space left" in str(caught.value)
    assert leftovers(tmp_path) == (["tiny.edge"] if before else [])
    if before:
        assert open_bundle(tiny.path).name == "tiny"


def test_a_killed_process_leaves_no_half_bundle(tiny, tmp_path):
    """Not an exception but the end: nothing of ours runs afterwards."""
    code = """
import os, sys
from edgesmith.runtime.bundle import publish
from edgesmith.runtime.bundle.bundle import open_bundle, write_bundle
old, calls, put = open_bundle(sys.argv[1]), [], publish._put
def dying(path, content):
    calls.append(path)
    if len(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    return put(path, content)
publish._put = dying
files = {name: old.path / name for name in old.manifest["files"]}
write_bundle(sys.argv[2], files, {**old.manifest, "name": "new"}, overwrite=True)
"""
    for place, step in ((tmp_path / "new.edge", 2), (tiny.path, 4)):
        command = [sys.executable, "-c", code, str(tiny.path), str(place), str(step)]
        assert subprocess.run(command, check=False, capture_output=True).returncode == -9
    assert not (tmp_path / "new.edge").exists() and open_bundle(tiny.path).name == "tiny"
    files = {name: tiny.path / name for name in tiny.manifest["files"]}
    assert write_bundle(tmp_path / "new.edge", files, tiny.manifest).name == "tiny"


def test_an_unwritable_place_is_the_users_mistake(tiny, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserMistake, match="cannot write"):
        write_bundle(tmp_path / "file" / "sub.edge", {}, tiny.manifest)


def test_update_adds_replaces_removes_and_keeps_the_rest(tiny):
    inode = tiny.graph.stat().st_ino
    update_bundle(tiny, {"report.html": b"<p>1</p>"}, {"benchmark": {"rows": []}})
    after = update_bundle(tiny, {"report.html": b"<p>2</p>", "labels.json": b'["a", "b", "c", "d"]'})
    assert (after.path / "report.html").read_bytes() == b"<p>2</p>" and after.labels == ["a", "b", "c", "d"]
    assert after.manifest["benchmark"] == {"rows": []}
    assert after.graph.stat().st_ino == inode  # linked, not copied
    assert open_bundle(after.path) == after
    assert "report.html" not in update_bundle(after, {"report.html": None}).manifest["files"]


def test_update_keeps_engines_of_this_device_unless_the_graph_changes(tiny):
    (tiny.path / "engines").mkdir()
    (tiny.path / "engines" / "device-abc.engine").write_bytes(b"engine")
    assert open_bundle(tiny.path).engines == ()
    assert (update_bundle(tiny, {"x.txt": b"x"}).path / "engines" / "device-abc.engine").exists()
    graph = tiny.graph.read_bytes()
    assert not (update_bundle(tiny, {"model.onnx": graph}).path / "engines").exists()


def test_golden_must_fit_the_graph(make_tiny):
    import numpy as np

    from edgesmith.runtime.bundle.golden import golden_bytes

    ok = np.zeros((1, 3, 8, 8), np.float32)
    for content in (
        b"no npz",
        golden_bytes({"images": ok}, {"other": ok}),
        golden_bytes({"images": ok}, {"logits": np.zeros((2, 4), np.float32)}),
        b"",
    ):
        with pytest.raises(BundleRefused, match="golden"):
            _ = make_tiny(files={"golden.npz": content}).golden
