"""A bundle replaced, moved, changed in place, or the working directory left, after ``load``: as loaded or refused, never a mix.

The old bundle answers red for a red picture; the new one has other labels, another golden file and another graph.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import threading
from contextlib import suppress

import numpy as np
import onnx
import pytest
from floor import workstation
from onnx import external_data_helper

import edgesmith
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.bundle import Bundle, open_bundle, update_bundle
from edgesmith.runtime.bundle.golden import golden_bytes
from edgesmith.runtime.errors import BundleChanged, BundleRefused

RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)
BACKENDS = ["onnxruntime", pytest.param("openvino", marks=workstation)]
CHANGED = "was replaced or changed since it was opened"


WEIGHT = np.array([[4, -2, -2, 0], [-2, 4, -2, 0], [-2, -2, 4, 0]], np.float32)
GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
tiny (float[BATCH, 3, 8, 8] images) => (float[BATCH, 4] logits)
<int64[2] axes = {2, 3}>
{ colour = ReduceMean<keepdims = 0>(images, axes)  logits = MatMul(colour, weight) }
"""


def graph(batch, weight=WEIGHT):
    model = onnx.parser.parse_model(GRAPH.replace("BATCH", str(batch)))
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "weight"))
    return model


def other_files(batch=1):
    """Of a bundle with the same inputs whose every answer is another one."""
    model = graph(batch, -WEIGHT)
    images = np.ones((3 if isinstance(batch, str) else batch, 3, 8, 8), np.float32)
    return {
        "model.onnx": model.SerializeToString(),
        "labels.json": json.dumps(["cat", "dog", "bird", "fish"]).encode(),
        "golden.npz": golden_bytes({"images": images}, {"logits": np.full((len(images), 4), 7, np.float32)}),
    }


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize("way", ["replaced", "removed", "moved away", "another in its place"])
def test_a_bundle_that_is_replaced_after_load_answers_as_it_was(make_tiny, tmp_path, backend, batch, way):
    bundle = make_tiny(batch)
    with edgesmith.load(bundle.path, backend=backend, threads=1) as session:
        if way == "replaced":
            make_tiny(batch, files=other_files(batch))
        elif way == "removed":
            shutil.rmtree(bundle.path)
        else:
            bundle.path.rename(tmp_path / "elsewhere")
            if way == "another in its place":
                make_tiny(batch, files=other_files(batch))
        best = session(RED).best
        assert (best.label, best.index) == ("red", 0)
        if batch == "batch" and backend == "openvino":  # another size than the usual one is compiled late
            for late in (lambda: session([RED, RED]), session.self_test):
                with pytest.raises(BundleRefused, match=CHANGED):
                    late()
            return
        assert all(row.passed for row in session.self_test())
        if batch == "batch":
            assert [answer.best.label for answer in session([RED, RED])] == ["red", "red"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_working_directory_that_changes_changes_nothing(make_tiny, tmp_path, monkeypatch, backend):
    make_tiny("batch")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with edgesmith.load("tiny.edge", backend=backend, threads=1) as session:
        monkeypatch.chdir(tmp_path / "other")
        assert session(RED).best.label == "red" and session([RED] * 2)[1].best.label == "red"
        assert session.self_test()[0].passed
    monkeypatch.chdir(tmp_path)
    assert open_bundle("tiny.edge").path == tmp_path / "tiny.edge" and open_bundle("tiny.edge").graph.is_absolute()


@workstation
def test_a_link_that_leads_to_another_bundle_by_now_changes_nothing(make_tiny, tmp_path):
    first = make_tiny("batch").path.rename(tmp_path / "v1.edge")
    second = make_tiny("batch", files=other_files("batch")).path.rename(tmp_path / "v2.edge")
    (tmp_path / "current.edge").symlink_to(first)
    with load(tmp_path / "current.edge", backend="openvino", threads=1) as session:
        (tmp_path / "current.edge").unlink()
        (tmp_path / "current.edge").symlink_to(second)
        assert session(RED).best.label == "red" and session.bundle.labels[0] == "red"
        assert session.bundle.golden.outputs["logits"].max() < 7
        with pytest.raises(BundleRefused, match=CHANGED):
            session([RED, RED])


@workstation
def test_what_is_replaced_by_the_same_is_the_same(make_tiny):
    """A benchmark that is written into the bundle makes a new folder with the same graph in it."""
    bundle = make_tiny("batch")
    with load(bundle.path, backend="openvino", threads=1) as session:
        update_bundle(bundle, {"x.txt": b"x"})
        assert [answer.best.label for answer in session([RED, RED])] == ["red", "red"]


@pytest.mark.parametrize("file", ["golden.npz", "labels.json", "model.onnx"])
def test_a_file_that_changes_between_open_and_load_is_refused(make_tiny, file):
    bundle = open_bundle(make_tiny().path)
    (bundle.path / file).write_bytes(other_files()[file])
    with pytest.raises(BundleRefused, match=CHANGED):
        load(bundle)


def test_a_golden_file_written_over_in_place_is_refused(make_tiny):
    bundle = make_tiny()
    with load(bundle.path) as session:
        (bundle.path / "golden.npz").write_bytes(other_files()["golden.npz"])
        with pytest.raises(BundleRefused, match=CHANGED):
            session.self_test()
        assert session(RED).best.label == "red"


def with_external_weights(make_tiny, tmp_path):
    """The tiny bundle with its weight in a file beside the graph, long enough to be mapped."""
    model = graph(1)
    weight = model.graph.initializer[-1]
    external_data_helper.set_external_data(weight, "weights.bin", offset=0, length=WEIGHT.nbytes)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    content = WEIGHT.tobytes().ljust(1 << 16, b"\0")
    return make_tiny(files={"model.onnx": model.SerializeToString(), "weights.bin": content}), content


@pytest.mark.parametrize("backend", BACKENDS)
def test_external_weights_written_over_in_place_are_told(make_tiny, tmp_path, backend):
    bundle, content = with_external_weights(make_tiny, tmp_path)
    with load(bundle.path, backend=backend, threads=1) as session:
        assert session(RED).best.label == "red"
        with (bundle.path / "weights.bin").open("r+b") as file:
            file.write((-np.frombuffer(content[: WEIGHT.nbytes], np.float32)).tobytes())
        with pytest.raises(BundleRefused, match=f"{CHANGED}(.|\n)*weights.bin"):
            session(RED)


@pytest.mark.parametrize("backend", BACKENDS)
def test_external_weights_of_a_bundle_that_was_replaced_are_the_old_ones(make_tiny, tmp_path, backend):
    bundle, content = with_external_weights(make_tiny, tmp_path)
    with load(bundle.path, backend=backend, threads=1) as session:
        shutil.copytree(bundle.path, tmp_path / "new")
        (tmp_path / "new" / "weights.bin").write_bytes((-np.frombuffer(content, np.float32)).tobytes())
        bundle.path.rename(tmp_path / "old")
        (tmp_path / "new").rename(bundle.path)
        assert session(RED).best.label == "red"


def test_a_session_holds_as_many_files_after_it_as_before(make_tiny, tmp_path):
    bundle, _ = with_external_weights(make_tiny, tmp_path)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with load(bundle.path) as session:
            session.self_test()
        del session
    assert len(os.listdir("/proc/self/fd")) <= len(before)


def test_an_opened_bundle_can_still_be_sent_to_another_process(make_tiny):
    bundle = make_tiny()
    bundle.keep()
    copy = pickle.loads(pickle.dumps(bundle))
    assert copy == bundle and copy.golden.cases == bundle.golden.cases


def test_labels_that_cannot_be_read_are_refused_at_load(make_tiny):
    """Not at the first picture, by which time another bundle may have brought readable ones."""
    with pytest.raises(BundleRefused, match="no readable labels"):
        load(make_tiny(files={"labels.json": b"{"}))


def test_a_bundle_exchanged_again_and_again_while_it_is_loaded_is_one_of_the_two(make_tiny, tmp_path):
    for index, files in enumerate(({}, other_files())):
        make_tiny(files=files).path.rename(tmp_path / f"{index}.edge")
    place, over = tmp_path / "served.edge", threading.Event()

    def exchange():
        while not over.is_set():
            for index in (0, 1):
                (tmp_path / f"{index}.edge").rename(place)
                place.rename(tmp_path / f"{index}.edge")

    writer = threading.Thread(target=exchange)
    writer.start()
    found = set()
    try:
        for _ in range(30):
            with suppress(BundleRefused), load(place, threads=1) as session:
                found.add((session(RED).best.index, session.bundle.labels[0]))
    finally:
        over.set()
        writer.join()
    assert found <= {(0, "red"), (1, "cat")}


def test_a_bundle_that_makes_room_for_another_for_a_moment_is_not_read_from_the_other(make_tiny, tmp_path):
    """Before and after the reading the files are the right ones; what was read between was not."""
    other = make_tiny(files=other_files()).path.rename(tmp_path / "other.edge")
    bundle, away = open_bundle(make_tiny().path), tmp_path / "away"
    with pytest.raises(BundleRefused, match=CHANGED), bundle.reading("labels.json"):
        bundle.path.rename(away)
        other.rename(bundle.path)
        assert json.loads((bundle.path / "labels.json").read_text())[0] == "cat"
        bundle.path.rename(other)
        away.rename(bundle.path)


def test_a_file_that_comes_into_the_folder_while_another_is_read_changes_nothing(make_tiny):
    bundle = make_tiny()
    with bundle.reading("labels.json"):
        (bundle.path / "engines").mkdir()
    assert bundle.labels[0] == "red"


def test_a_file_that_goes_away_while_it_is_read_is_told_in_words(make_tiny):
    bundle = make_tiny()
    with pytest.raises(BundleRefused, match=CHANGED), bundle.reading("golden.npz"):
        (bundle.path / "golden.npz").unlink()
        (bundle.path / "golden.npz").read_bytes()


def test_a_manifest_that_cannot_be_read_is_told_in_words(make_tiny, monkeypatch):
    bundle = make_tiny()

    def gone(folder):
        raise FileNotFoundError(2, "No such file or directory", str(folder / "manifest.json"))

    monkeypatch.setattr("edgesmith.runtime.bundle.bundle.read_manifest", gone)
    with pytest.raises(BundleRefused, match="No such file or directory: .*manifest.json"):
        open_bundle(bundle.path)


def test_a_bundle_that_is_replaced_while_load_opens_it_is_the_new_one_and_no_refusal(make_tiny, monkeypatch):
    """Between opening the folder and starting the engine another writer may come; who asked for the path means the new one."""
    bundle, keep, times = make_tiny(), Bundle.keep, []

    def replaced_first(self):
        if not times:
            make_tiny(files=other_files())
        times.append(self.path)
        keep(self)

    monkeypatch.setattr(Bundle, "keep", replaced_first)
    with load(bundle.path) as session:
        assert session.bundle.labels[0] == "cat" and session(RED).best.label != "red"
    assert len(times) == 2


def test_one_that_is_replaced_again_and_again_is_refused_in_the_end(make_tiny, monkeypatch):
    bundle, keep = make_tiny(), Bundle.keep

    def replaced_first(self):
        make_tiny(files=other_files() if self.labels_before == "red" else None)
        keep(self)

    monkeypatch.setattr(Bundle, "labels_before", property(lambda self: json.loads((self.path / "labels.json").read_text())[0]), raising=False)  # fmt: skip
    monkeypatch.setattr(Bundle, "keep", replaced_first)
    with pytest.raises(BundleChanged, match=CHANGED):
        load(bundle.path)
