"""A golden file that is damaged, missing or of another graph is told as what it is; the words differ, as the cures do."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from detection_bundle import golden_images, judge, write_detection_bundle
from sealed import edit_manifest

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle
from edgesmith.runtime.bundle.golden import MAX_CASES, golden_bytes
from edgesmith.runtime.errors import BundleRefused


@pytest.mark.parametrize("content", [b"", b"PK\3\4 cut", b"\x93NUMPY", b"no zip at all"])
def test_a_damaged_file_is_not_said_to_be_missing(make_tiny, content):
    with load(make_tiny(files={"golden.npz": content})) as session, pytest.raises(BundleRefused) as error:
        session.self_test()
    assert error.value.what == "the golden file of the bundle cannot be read"
    assert "golden.npz" in error.value.found and "copy the bundle again" in error.value.attempt


def test_a_missing_file_is_said_to_be_missing(tiny):
    bundle = update_bundle(tiny, {"golden.npz": None})
    with load(bundle) as session, pytest.raises(BundleRefused, match="has no golden file to test against"):
        session.self_test()


def test_more_cases_than_anybody_writes_are_not_run(make_tiny):
    many = MAX_CASES + 1
    content = golden_bytes({"images": np.ones((many, 1), np.uint8)}, {"logits": np.ones((many, 1), np.uint8)})
    with pytest.raises(BundleRefused, match="too many cases"):
        _ = make_tiny(files={"golden.npz": content}).golden


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda boxes, scores: (boxes[..., :3], scores), "boxes"),
        (lambda boxes, scores: (boxes[:, :-1], scores), "scores"),
        (lambda boxes, scores: (boxes, scores[..., 0]), "scores"),
        (lambda boxes, scores: (boxes, scores[..., :2]), "2 classes"),
        (lambda boxes, scores: (boxes, np.concatenate([scores, scores], axis=-1)), "6 classes"),
    ],
)
def test_the_golden_answers_of_another_detector_are_refused(tmp_path, change, said):
    images = golden_images()
    answer = judge(images)
    boxes, scores = change(answer[..., :4], answer[..., 4:])
    content = golden_bytes({"images": images}, {"boxes": boxes, "scores": scores})
    place = write_detection_bundle(tmp_path / "detector.edge", files={"golden.npz": content})
    with load(place) as session, pytest.raises(BundleRefused, match="golden file does not fit") as error:
        session.self_test()
    assert said in error.value.found


def test_limits_that_are_not_known_are_no_traceback(tiny):
    edit_manifest(tiny.path, precision_report=None)
    with load(tiny.path) as session:
        (*_, row) = session.self_test()
    assert row.cases == 1


@pytest.mark.parametrize("labels", [{"labels": "names.json"}, {"labels": "../labels.json"}])
def test_labels_that_are_no_file_of_the_bundle_are_refused(tiny, labels):
    edit_manifest(tiny.path, **labels)
    with pytest.raises(BundleRefused) as error:
        open_bundle(tiny.path)
    assert error.value.found == f"labels: {labels['labels']!r}" and error.value.expected == "a file of the bundle"


def test_a_bundle_without_labels_says_so_and_not_that_it_was_replaced(tiny):
    bundle = update_bundle(tiny, {"labels.json": None}, {"labels": None})
    with load(bundle) as session, pytest.raises(BundleRefused, match="does not name its classes"):
        session(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("header", [b"'shape': (" + b"1, " * 5000, b"'shape': (" + b"1" * 40 + b"x", b"'shape': (1, 3"])
def test_a_header_that_no_parser_ends_is_refused_at_once(make_tiny, header):
    """A regular expression that tries every way to split a row of digits would never come back."""
    member = b"\x93NUMPY\x01\x00vv{'descr': '<f4', 'fortran_order': False, " + header
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images.npy", member)
    with pytest.raises(BundleRefused, match="cannot be read(.|\n)*no .npy of numbers"):
        _ = make_tiny(files={"golden.npz": buffer.getvalue()}).golden


@pytest.mark.parametrize("dtype", ["float16", ">f4", "float64", "int8", "uint16", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_kind_of_number_is_read_as_numpy_wrote_it(make_tiny, dtype, order):
    values = np.arange(192).reshape(1, 3, 8, 8).astype(dtype).copy(order=order)
    golden = make_tiny(files={"golden.npz": golden_bytes({"images": values}, {"logits": values})}).golden
    assert golden.inputs["images"].dtype == values.dtype.newbyteorder("=") and (golden.inputs["images"] == values).all()
