"""The self-test holds where a device computes what PyTorch computed, and never because there was nothing to compare."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from detection_bundle import SIZE, judge, write_detection_bundle
from sealed import edit_manifest

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.bundle.golden import golden_bytes
from edgesmith.runtime.errors import BundleRefused
from edgesmith.runtime.pictures.contract import ImageContract
from edgesmith.runtime.session import selftest
from edgesmith.runtime.session.pixels import pixel_row, prepared
from edgesmith.runtime.tasks.selftest import agreement

NAN, INF = float("nan"), float("inf")
RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)  # (16, 24, 3) in blocks


def rows_of(bundle):
    with load(bundle) as session:
        return session.self_test()


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("side", ["images", "logits"])
def test_a_golden_file_with_a_value_that_is_no_number_is_refused(make_tiny, value, side):
    """With infinity in it the limit was infinite, and held for whatever the device computed."""
    arrays = {"images": np.ones((1, 3, 8, 8), np.float32), "logits": np.ones((1, 4), np.float32)}
    arrays[side].flat[0] = value
    golden = golden_bytes({"images": arrays["images"]}, {"logits": arrays["logits"]})
    with pytest.raises(BundleRefused, match=f"can judge nothing(.|\n)*{side}: 1 of"):
        rows_of(make_tiny(files={"golden.npz": golden}))


@pytest.mark.parametrize("value", [NAN, INF])
def test_no_number_is_not_equal_to_no_number(value):
    row = agreement("y", np.array([[1.0, value]]), np.array([[1.0, value]]), "fp32")
    assert not row.passed and row.limit == "finite numbers to compare"


def test_nothing_is_not_equal_to_nothing():
    assert not agreement("y", np.zeros((0, 4)), np.zeros((0, 4)), "fp32").passed


def test_golden_arrays_without_values_are_refused(make_tiny):
    for images, logits in (((0, 3, 8, 8), (0, 4)), ((1, 3, 8, 8), (1, 0)), ((), ())):
        golden = golden_bytes({"images": np.zeros(images, np.float32)}, {"logits": np.zeros(logits, np.float32)})
        with pytest.raises(BundleRefused, match="golden file does not fit"):
            rows_of(make_tiny(files={"golden.npz": golden}))


def test_a_task_that_compares_nothing_does_not_hold(tiny, monkeypatch):
    monkeypatch.setattr("edgesmith.runtime.tasks.classification.ClassificationTask.selftest_rows", lambda *_: [])
    (row,) = rows_of(tiny)
    assert not row.passed and row.cases == 0 and row.limit == "an output to compare"


@pytest.mark.parametrize("form", [{}, {"candidates": 4}, {"nms": "graph"}, {"nms": "none"}])
def test_a_detector_that_finds_nothing_in_its_golden_pictures_is_not_judged(tmp_path, form):
    """PyTorch's answer to black pictures: no score above 0, so no detection, whatever the weights are."""
    black = np.zeros((2, 3, SIZE, SIZE), np.float32)
    (row,) = rows_of(write_detection_bundle(tmp_path / "d.edge", images=black, **form))
    assert not judge(black)[..., 4:].any()
    assert not row.passed and row.limit == "a detection to compare" and row.told.startswith("not judged")


@pytest.mark.parametrize("form", [{}, {"nms": "graph"}])
def test_all_weights_zero_do_not_hold(tmp_path, form):
    """The graph answers 0 everywhere; the golden pictures are those of the right one."""
    import onnx

    place = write_detection_bundle(tmp_path / "d.edge", **form)
    model = onnx.load(place / "model.onnx")
    black = next(node for node in model.graph.node if node.op_type == "AveragePool")
    black.input[0] = "nothing"
    model.graph.node.insert(0, onnx.helper.make_node("Sub", ["images", "images"], ["nothing"]))
    (row,) = rows_of(
        write_detection_bundle(tmp_path / "zero.edge", files={"model.onnx": model.SerializeToString()}, **form)
    )
    assert not row.passed


# from the pixels on


def with_picture(make_tiny, contract):
    images = np.ones((1, 3, 8, 8), np.float32)
    logits = np.array([[0, 0, 0, 0]], np.float32)
    golden = golden_bytes({"images": images}, {"logits": logits}, PICTURE, prepared(PICTURE, contract))
    return make_tiny(files={"golden.npz": golden}, input_contract=contract.to_json())


CONTRACTS = {
    "crop": ImageContract((8, 8), crop_fraction=0.9),
    "letterbox": ImageContract((8, 8), resize="bilinear", crop_fraction=1.0, fit="letterbox"),
}


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_the_picture_is_prepared_as_where_the_bundle_was_made(make_tiny, contract):
    *_, row = rows_of(with_picture(make_tiny, contract))
    assert (row.output, row.passed, row.max_abs) == ("preprocessing", True, 0.0)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("crop", {"scale": 1 / 250}),
        ("crop", {"scale": 1.0}),
        ("crop", {"mean": [0.5, 0.456, 0.406]}),
        ("crop", {"std": [0.229, 0.224, 0.25]}),
        ("crop", {"std": [1e9, 1e9, 1e9]}),
        ("crop", {"colour": "BGR"}),
        ("crop", {"resize": "bilinear"}),
        ("crop", {"antialias": False}),
        ("crop", {"crop_fraction": 0.7}),
        ("crop", {"fit": "stretch"}),
        ("crop", {"fit": "letterbox"}),
        ("letterbox", {"anchor": "corner"}),
        ("letterbox", {"fit": "crop"}),
        ("letterbox", {"mean": [0.0, 0.0, 0.0]}),
    ],
)
def test_preprocessing_that_is_not_the_one_of_the_bundle_fails(make_tiny, kind, change):
    bundle = with_picture(make_tiny, CONTRACTS[kind])
    edit_manifest(bundle.path, lambda manifest: manifest["input_contract"].update(change))
    *_, row = rows_of(open_bundle(bundle.path))
    assert row.output == "preprocessing" and not row.passed


def test_another_machine_s_rounding_holds():
    """One level in 5 % of the places: what two processors' resize kernels were seen to differ by."""
    contract = CONTRACTS["crop"]
    there = prepared(PICTURE, contract)
    level = np.float32(contract.scale) / np.array(contract.std, np.float32)[:, None, None]
    here = there + level * (np.random.default_rng(1).random(there.shape) < 0.05).astype(np.float32)
    assert pixel_row(PICTURE, here, contract).passed
    assert not pixel_row(PICTURE, there + 5 * level, contract).passed


def test_a_bundle_without_a_picture_is_told_so(tiny):
    (row,) = rows_of(tiny)
    assert row.passed and selftest.UNCOVERED in row.told and "preprocessing not covered" in row.told


def test_graphs_behind_the_first_are_told_as_not_covered(tiny):
    from edgesmith.runtime.bundle.bundle import write_bundle

    spec = {key: tiny.manifest[key] for key in ("inputs", "outputs")}
    graphs = {"first": {"file": "model.onnx", **spec}, "second": {"file": "model.onnx", **spec}}
    kept = {key: value for key, value in tiny.manifest.items() if key not in ("inputs", "outputs", "files")}
    files = {name: tiny.path / name for name in tiny.manifest["files"]}
    (row,) = rows_of(write_bundle(tiny.path.with_name("two.edge"), files, {**kept, "graphs": graphs}))
    assert row.passed and "graphs not covered: second" in row.told


# the file itself


def npz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return buffer.getvalue()


def npy(shape, data=b"", descr="<f4") -> bytes:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"images__npy": npy((1, 3, 8, 8))}, "claims"),
        ({"images__npy": npy((10**9, 10**3))}, "claims"),
        ({"images__npy": npy((-1,), bytes(4))}, "no numbers"),
        ({"images__npy": npy((1,), bytes(8), "|O")}, "no numbers"),
        ({"images__npy": npy((1,), bytes(8), "<M8[s]")}, "no numbers"),
        ({"images__npy": b"no array"}, "golden.npz: "),
        ({"images__npy": bytes(2**30 + 1)}, "too large|unpacked"),
        ({"__/images__npy": npy((1,), bytes(4))}, "no plain file name"),
    ],
)
def test_a_golden_file_that_claims_more_than_it_has_is_refused_before_room_is_made(make_tiny, members, said):
    bundle = make_tiny(files={"golden.npz": npz(**members)})
    tracemalloc.start()
    try:
        with pytest.raises(BundleRefused, match=f"golden file of the bundle cannot be read(.|\n)*({said})"):
            _ = bundle.golden
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
