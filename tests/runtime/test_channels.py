"""Pictures of one channel, of four, as bytes and with the channels last: prepared as Pillow and torchvision prepare them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from command_line import on_device
from floor import workstation
from PIL import Image

import edgesmith
from edgesmith.runtime.bundle.bundle import open_bundle, write_bundle
from edgesmith.runtime.bundle.golden import golden_bytes
from edgesmith.runtime.errors import BundleRefused, UserMistake
from edgesmith.runtime.pictures.contract import ImageContract, spread
from edgesmith.runtime.pictures.preprocess import as_channels, fit_image, pixels, preprocess
from edgesmith.runtime.session.pixels import prepared

PLAIN = ImageContract((8, 8), crop_fraction=1.0, mean=(0, 0, 0), std=(1, 1, 1), scale=1.0)
GREY = PLAIN.with_channels(1)
ALPHA = PLAIN.with_channels(4)
BYTES = replace(PLAIN, dtype="uint8")
LAST = replace(PLAIN, layout="NHWC")
GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
means ({kind}[n, {shape}] images) => (float[n, {channels}] logits)
<int64[2] sides = {{{sides}}}>
{{
  wide = Cast<to = 1>(images)
  logits = ReduceMean<keepdims = 0>(wide, sides)
}}
"""


def veiled(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 4) uint8: smooth colours under an alpha with edges."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(height // 6, 1), max(width // 6, 1), 4), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, 4)
    image[: height // 3, :, 3] = 255
    image[:, : width // 4, 3] = 0
    return image


def bundle(out: Path, contract: ImageContract, **changes: object) -> Path:
    """A real bundle whose answer is the mean of each channel of what it is fed."""
    shape = contract.shape(1)
    sides = (1, 2) if contract.layout == "NHWC" else (2, 3)
    kind = "float" if contract.dtype == "float32" else contract.dtype
    text = GRAPH.format(
        kind=kind, shape=", ".join(map(str, shape[1:])), channels=contract.channels, sides=f"{sides[0]}, {sides[1]}"
    )
    images = np.random.default_rng(0).integers(0, 256, shape).astype(contract.dtype)
    shown = veiled(13, 17) if contract.channels == 4 else veiled(13, 17)[:, :, :3].copy()
    logits = images.mean(axis=sides, dtype=np.float64).astype(np.float32)
    files = {
        "model.onnx": onnx.parser.parse_model(text).SerializeToString(),
        "labels.json": json.dumps([f"channel {number}" for number in range(contract.channels)]).encode(),
        "golden.npz": golden_bytes({"images": images}, {"logits": logits}, shown, prepared(shown, contract)),
    }
    manifest = {
        "name": "means", "model": "means", "family": "means", "task": "classification", "target": "cpu", "precision": "fp32",
        "num_classes": contract.channels, "labels": "labels.json", "engines": [], "notes": [], "parity": [],
        "inputs": [{"name": "images", "dtype": contract.dtype, "shape": ["batch", *shape[1:]],
                    "min": [1, *shape[1:]], "opt": [1, *shape[1:]], "max": [4, *shape[1:]]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", contract.channels]}],
        "input_contract": contract.to_json(), "weights": {"source": "none", "sha256": None},
    }  # fmt: skip
    return write_bundle(out, files, {**manifest, **changes}).path


@pytest.mark.parametrize(
    ("colour", "level"),
    [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29), ((255, 255, 255), 255), ((7, 7, 7), 7)],
)
def test_grey_is_the_luma_of_itu_r_601(colour, level):
    assert as_channels(np.full((2, 3, 3), colour, np.uint8), 1).tolist() == [[[level]] * 3] * 2


def test_grey_equals_pillows_mode_l_for_every_level():
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    np.testing.assert_array_equal(as_channels(image, 1)[:, :, 0], np.asarray(Image.fromarray(image).convert("L")))


@pytest.mark.parametrize("resize", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(1, 1), (7, 90), (64, 48), (200, 31)])
@pytest.mark.parametrize("channels", [1, 4])
def test_resized_to_the_bit_as_pillow_does(channels, size, resize):
    """Pillow multiplies colours by alpha before it resizes, and divides after."""
    image = veiled(61, 83) if channels == 4 else veiled(61, 83)[:, :, :1].copy()
    method = Image.Resampling.BICUBIC if resize == "bicubic" else Image.Resampling.BILINEAR
    shown = Image.fromarray(image if channels == 4 else image[:, :, 0])
    want = np.asarray(shown.resize(size[::-1], method)).reshape(*size, channels)
    contract = replace(ImageContract(size).with_channels(channels), resize=resize, crop_fraction=1.0, fit="stretch")
    np.testing.assert_array_equal(fit_image(image, contract), want)


@workstation
@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGBA", 4)])
def test_prepared_as_torchvision_prepares_it(mode, channels):
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

    contract = replace(ImageContract((56, 56), crop_fraction=0.875), mean=(0.4, 0.5, 0.3), std=(0.2, 0.3, 0.25))
    contract = contract.with_channels(channels)
    steps = [Resize(64, InterpolationMode.BICUBIC), CenterCrop(56), ToTensor(), Normalize(contract.mean, contract.std)]
    image = veiled(123, 97)
    want = Compose(steps)(Image.fromarray(image).convert(mode)).numpy()
    found = preprocess([image if channels == 4 else image[:, :, :3]], contract)[0]
    assert found.shape == (channels, 56, 56)
    np.testing.assert_allclose(found, want, atol=2e-6)  # float32, scaled and shifted in another order


def test_without_antialias_every_channel_is_resized_for_itself():
    contract = replace(ImageContract((20, 30)).with_channels(4), antialias=False, crop_fraction=1.0, fit="stretch")
    image = veiled(41, 53)
    each = [cv2.resize(np.ascontiguousarray(image[:, :, n]), (30, 20), interpolation=cv2.INTER_CUBIC) for n in range(4)]
    assert np.abs(fit_image(image, contract).astype(int) - np.dstack(each)).max() <= 1  # vectorised another way
    grey = fit_image(image[:, :, :1], replace(contract.with_channels(1)))
    assert grey.shape == (20, 30, 1)


@pytest.mark.parametrize("kind", ["a.png", "a.webp", "la.png", "palette.png", "rgb.png", "grey.png"])
def test_alpha_of_a_file_is_that_of_pillow_and_255_where_there_is_none(kind, tmp_path):
    picture = Image.fromarray(veiled(23, 31))
    shown = {
        "la.png": picture.convert("LA"),
        "palette.png": picture.quantize(32),
        "rgb.png": picture.convert("RGB"),
        "grey.png": picture.convert("L"),
    }.get(kind, picture)
    path = tmp_path / kind
    shown.save(path, **({"lossless": True, "exact": True} if kind == "a.webp" else {}))
    want = np.asarray(Image.open(path).convert("RGBA"))
    np.testing.assert_array_equal(pixels(path, 4), want)
    with Image.open(path) as again:
        np.testing.assert_array_equal(pixels(again, 4), want)
    np.testing.assert_array_equal(pixels(path), want[:, :, :3])


def test_alpha_of_16_bits_keeps_its_upper_eight(tmp_path):
    image = veiled(9, 11)
    cv2.imwrite(str(tmp_path / "deep.png"), cv2.cvtColor(image.astype(np.uint16) * 257, cv2.COLOR_RGBA2BGRA))
    np.testing.assert_array_equal(pixels(tmp_path / "deep.png", 4), image)
    np.testing.assert_array_equal(pixels(image.astype(np.uint16) * 257, 4), image)


def test_a_jpeg_has_no_alpha(tmp_path):
    Image.fromarray(veiled(16, 16)).convert("RGB").save(tmp_path / "photo.jpg")
    assert (pixels(tmp_path / "photo.jpg", 4)[:, :, 3] == 255).all()


def test_bytes_are_the_pixels_and_channels_last_the_same_numbers():
    image = veiled(8, 8)[:, :, :3].copy()
    made = preprocess([image], BYTES)
    assert made.dtype == np.uint8 and made.shape == (1, 3, 8, 8)
    np.testing.assert_array_equal(made[0].transpose(1, 2, 0), image)
    np.testing.assert_array_equal(preprocess([image], LAST), preprocess([image], PLAIN).transpose(0, 2, 3, 1))


def test_bgr_of_four_channels_leaves_alpha_behind():
    image = veiled(8, 8)
    made = preprocess([image], replace(ALPHA, colour="BGR"))[0]
    np.testing.assert_array_equal(made.transpose(1, 2, 0), image[:, :, [2, 1, 0, 3]])


def test_the_fill_of_a_letterbox_has_as_many_channels():
    contract = replace(PLAIN, size=(8, 16), fit="letterbox", mean=(10, 20, 30)).with_channels(4)
    seen = fit_image(np.full((8, 8, 4), 200, np.uint8), contract)
    assert seen[0, 0].tolist() == [20, 20, 20, 20] and seen[0, 8].tolist() == [200] * 4
    assert fit_image(np.full((8, 8, 1), 200, np.uint8), contract.with_channels(1))[0, 0].tolist() == [20]


def test_mean_and_std_for_other_channels_are_the_mean_of_those_there_are():
    assert spread((0.5, 0.5, 0.5), 4) == (0.5,) * 4 and spread((0.1,), 3) == (0.1,) * 3
    assert spread((0.1, 0.2, 0.6), 1) == pytest.approx((0.3,))
    assert spread((0.1, 0.2, 0.6), 3) == (0.1, 0.2, 0.6)


def test_an_ordinary_contract_is_written_as_older_versions_read_it():
    assert not {"dtype", "layout"} & ImageContract((8, 8)).to_json().keys()
    for contract in (PLAIN, GREY, ALPHA, BYTES, LAST):
        assert ImageContract.from_json(json.loads(json.dumps(contract.to_json()))) == contract


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": 4}, "four numbers"),
        ({"channels": 1, "mean": [0], "std": [1], "colour": "BGR"}, "no order of colours"),
        ({"dtype": "float16"}, "float32 or uint8"),
        ({"dtype": "uint8"}, "pixels as they are"),
        ({"layout": "NWHC"}, "NCHW or NHWC"),
    ],
)
def test_a_contract_that_cannot_be_is_refused(change, said):
    with pytest.raises(UserMistake, match=said):
        ImageContract.from_json({**ImageContract((8, 8)).to_json(), **change})


@pytest.mark.parametrize("contract", [GREY, ALPHA, BYTES, LAST, replace(BYTES, layout="NHWC")])
def test_a_session_feeds_what_the_graph_takes(contract, tmp_path):
    """The graph answers with the mean of each channel, so each answer is known by hand."""
    image = veiled(8, 8)
    path = bundle(tmp_path / "means.edge", contract)
    with edgesmith.load(path) as session:
        one, two = session([image, Image.fromarray(image)])
        assert all(row.passed for row in session.self_test())
        assert [row.output for row in session.self_test()] == ["logits", "preprocessing"]
    expected = as_channels(image, contract.channels).mean(axis=(0, 1), dtype=np.float64)
    np.testing.assert_allclose(one.logits, expected, rtol=1e-6)
    np.testing.assert_array_equal(one.logits, two.logits)


def test_a_folder_of_pictures_keeps_its_alpha_on_the_way(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(2):
        Image.fromarray(veiled(8, 8, number)).save(tmp_path / "photos" / f"{number}.png")
    path = bundle(tmp_path / "means.edge", ALPHA)
    told = on_device("run", str(path), str(tmp_path / "photos"), "--json", "--save", str(tmp_path / "drawn"))
    assert told.code == 0, told.err
    for number, entry in enumerate(json.loads(told.out)):
        best = entry["top"][0]["label"]
        means = veiled(8, 8, number).mean(axis=(0, 1))
        assert best == f"channel {int(means.argmax())}"
    assert sorted(one.name for one in (tmp_path / "drawn").iterdir()) == ["0.png", "1.png"]


def test_a_wrong_preparation_of_the_golden_picture_is_seen(tmp_path):
    """The bundle was made with another mean for alpha than its manifest says."""
    path = bundle(tmp_path / "a.edge", ALPHA)
    told = replace(ALPHA, mean=(0, 0, 0, 90))
    other = bundle(tmp_path / "b.edge", ALPHA, input_contract=told.to_json())
    for place, holds in ((path, True), (other, False)):
        with edgesmith.load(place) as session:
            assert session.self_test()[-1].passed is holds


@pytest.mark.parametrize(
    "input_contract", [PLAIN.to_json(), BYTES.to_json(), ALPHA.to_json(), replace(GREY, size=(9, 9)).to_json()]
)
def test_a_bundle_whose_contract_contradicts_its_graph_is_refused(input_contract, tmp_path):
    with pytest.raises(BundleRefused, match="contradicts itself"):
        open_bundle(bundle(tmp_path / "means.edge", GREY, input_contract=input_contract))
