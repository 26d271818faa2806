"""Preprocessing equals timm's evaluation transform, pixel for pixel, and bad arrays are refused in words."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from floor import workstation
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.preprocess import ImageContract, fit_image, preprocess

TIMM_MODES = {"crop": "center", "stretch": "squash", "letterbox": "border"}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth shapes with sharp noise on top: both aliasing and overshoot show."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(height // 4, 1), max(width // 4, 1), 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.int64)
    return np.clip(smooth + rng.integers(-40, 41, smooth.shape), 0, 255).astype(np.uint8)


def timm_levels(image: np.ndarray, contract: ImageContract) -> np.ndarray:
    """timm's own transform, mapped back to levels 0..255, (3, H, W)."""
    from timm.data.transforms_factory import transforms_imagenet_eval

    transform = transforms_imagenet_eval(
        contract.size,
        contract.crop_fraction,
        TIMM_MODES[contract.fit],
        interpolation=contract.resize,
        mean=contract.mean,
        std=contract.std,
    )
    return levels(transform(Image.fromarray(image)).numpy(), contract)


def levels(tensor: np.ndarray, contract: ImageContract) -> np.ndarray:
    return (tensor * np.array(contract.std)[:, None, None] + np.array(contract.mean)[:, None, None]) / contract.scale


@workstation
@pytest.mark.parametrize("resize", ["bicubic", "bilinear"])
@pytest.mark.parametrize("fit", ["crop", "stretch", "letterbox"])
@pytest.mark.parametrize("size", [(1080, 1920), (300, 200), (37, 53), (248, 500), (224, 224), (700, 90)])
def test_preprocessing_equals_that_of_timm(size, fit, resize):
    contract = ImageContract((224, 224), resize, True, 0.9, fit)
    image = picture(*size)
    # 0.01 of a level: the resize is exact, what is left is float32 normalisation in another order
    assert np.abs(levels(preprocess([image], contract)[0], contract) - timm_levels(image, contract)).max() < 0.01


@workstation
@pytest.mark.parametrize("fit", ["crop", "stretch", "letterbox"])
def test_equals_timm_when_the_input_is_not_square(fit):
    contract = ImageContract((256, 320), "bicubic", True, 0.95, fit)
    image = picture(500, 401)
    assert np.abs(levels(preprocess([image], contract)[0], contract) - timm_levels(image, contract)).max() < 0.01


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["bicubic", "bilinear"]),
)
def test_any_size_is_within_one_level_of_pillow(height, width, out_height, out_width, resize):
    image = picture(height, width, seed=height * 91 + width)
    contract = ImageContract((out_height, out_width), resize, True, 1.0, "stretch")
    method = Image.Resampling.BICUBIC if resize == "bicubic" else Image.Resampling.BILINEAR
    want = np.asarray(Image.fromarray(image).resize((out_width, out_height), method)).astype(int)
    assert np.abs(fit_image(image, contract) - want).max() <= 1


@workstation
def test_without_antialias_it_is_the_plain_resize_of_torch():
    import torch

    image = picture(200, 300)
    got = fit_image(image, ImageContract((64, 96), "bilinear", False, 1.0, "stretch"))
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    want = torch.nn.functional.interpolate(tensor, (64, 96), mode="bilinear", antialias=False)[0].permute(1, 2, 0)
    assert np.abs(got - want.numpy()).max() <= 1


def test_bgr_reverses_the_channels_before_mean_and_std():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:] = (255, 0, 51)
    tensor = preprocess([image], ImageContract((8, 8), crop_fraction=1.0, mean=(0, 0, 0), std=(1, 2, 4), colour="BGR"))
    np.testing.assert_allclose(tensor[0, :, 0, 0], [0.2, 0, 0.25], atol=1e-6)


def test_grey_alpha_and_16_bit_arrays_become_rgb():
    contract = ImageContract((8, 8), crop_fraction=1.0, mean=(0, 0, 0), std=(1, 1, 1))
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    rgb = np.stack([grey] * 3, axis=-1)
    variants = [grey, grey[:, :, None], rgb, np.dstack([rgb, grey]), grey.astype(np.uint16) << 8]
    tensors = preprocess(variants, contract)
    assert tensors.shape == (5, 3, 8, 8) and tensors.dtype == np.float32
    for tensor in tensors[1:]:
        np.testing.assert_array_equal(tensor, tensors[0])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros(8, np.uint8),
    ],
)
def test_refuses_arrays_that_are_no_picture(array):
    with pytest.raises(UserMistake, match="not a picture"):
        preprocess([array], ImageContract((8, 8)))


def test_refuses_one_picture_where_a_sequence_is_expected():
    with pytest.raises(UserMistake, match="sequence of pictures"):
        preprocess(np.zeros((8, 8, 3), np.uint8), ImageContract((8, 8)))


def test_an_image_contract_survives_json():
    import json

    contract = ImageContract(
        (224, 256), "bilinear", False, 0.95, "letterbox", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "BGR", 1.0, anchor="corner"
    )
    assert ImageContract.from_json(json.loads(json.dumps(contract.to_json()))) == contract


def test_a_contract_from_before_there_was_an_anchor_stays_readable():
    fields = ImageContract((8, 8), fit="letterbox").to_json()
    assert fields.pop("anchor") == "centre"
    assert ImageContract.from_json(fields) == ImageContract((8, 8), fit="letterbox")


@pytest.mark.parametrize("anchor", ["centre", "corner"])
def test_where_a_letterboxed_picture_lies(anchor):
    """40 x 15 in 32 x 32: 12 wide, its neighbours the mean colour; the corner leaves nothing to the left."""
    mean = (100.0, 50.0, 10.0)
    contract = ImageContract((32, 32), "bilinear", True, 1.0, "letterbox", mean, scale=1.0, anchor=anchor)
    seen = fit_image(np.full((40, 15, 3), 200, np.uint8), contract)
    left = 10 if anchor == "centre" else 0
    assert (seen[:, left : left + 12] == 200).all()
    assert (np.delete(seen, range(left, left + 12), axis=1) == mean).all()


@pytest.mark.parametrize("colour", ["RGB", "BGR"])
@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_the_fill_is_the_mean_colour_and_nothing_to_the_network(colour, scale):
    """``mean`` is in the order ``colour`` and in units after ``scale``; the picture is still RGB where it is filled."""
    mean = tuple(level * scale for level in (100.0, 50.0, 10.0))
    contract = ImageContract((32, 32), "bilinear", True, 1.0, "letterbox", mean, (1, 2, 4), colour, scale)
    seen = fit_image(np.full((15, 40, 3), 200, np.uint8), contract)
    filled = (100, 50, 10) if colour == "RGB" else (10, 50, 100)
    assert seen[0, 0].tolist() == seen[-1, -1].tolist() == list(filled) and seen[16, 16].tolist() == [200] * 3
    tensor = preprocess([np.full((15, 40, 3), 200, np.uint8)], contract)[0]
    np.testing.assert_allclose(tensor[:, 0, 0], 0, atol=1e-6)
    np.testing.assert_allclose(tensor[:, 16, 16], (200 - np.array([100, 50, 10])) * scale / [1, 2, 4], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"resize": "nearest"}, "bicubic or bilinear"),
        ({"size": [224]}, "height, width"),
        ({"crop_fraction": 0}, "crop_fraction"),
        ({"std": [1, 0, 1]}, "std"),
        ({"colour": "YUV"}, "RGB or BGR"),
        ({"surprise": 1}, "surprise"),
        ({"channels": 2}, "channels"),
        ({"anchor": "left"}, "centre or corner"),
        ({"anchor": "corner"}, "only a letterboxed picture"),
    ],
)
def test_contract_names_the_field_that_is_wrong(change, said):
    with pytest.raises(UserMistake, match=said):
        ImageContract.from_json({**ImageContract((224, 224)).to_json(), **change})


def test_a_contract_of_lists_prepares_as_one_of_tuples():
    lists = ImageContract([8, 12], mean=[0.5, 0.4, 0.3], std=[0.1, 0.2, 0.3])  # type: ignore[arg-type]
    tuples = ImageContract((8, 12), mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    assert lists == tuples
    np.testing.assert_array_equal(preprocess([picture(20, 30)], lists), preprocess([picture(20, 30)], tuples))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("channels", "colour"), [(1, "RGB"), (3, "RGB"), (3, "BGR"), (4, "BGR")])
def test_each_byte_becomes_what_one_multiplication_and_one_addition_make_of_it(layout, channels, colour):
    image = np.arange(256 * channels, dtype=np.uint32).reshape(16, 16, channels).astype(np.uint8)
    contract = ImageContract((16, 16), crop_fraction=1.0, layout=layout).with_channels(channels)
    contract = replace(contract, colour=colour)
    gain = (contract.scale / np.array(contract.std)).astype(np.float32)
    shift = (-np.array(contract.mean) / contract.std).astype(np.float32)
    order = {1: [0], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]
    order = order if colour == "RGB" else [2, 1, 0, 3][:channels]
    want = image[:, :, order].astype(np.float32) * gain + shift
    found = preprocess([image], contract)[0]
    np.testing.assert_array_equal(found if layout == "NHWC" else found.transpose(1, 2, 0), want)


def test_the_tensor_lies_in_the_memory_that_is_given_where_that_fits():
    contract = ImageContract((8, 8))
    memory = preprocess([picture(20, 30)], contract)
    before = memory.copy()
    assert preprocess([picture(20, 30)], contract, memory) is memory
    np.testing.assert_array_equal(memory, before)
    assert len(preprocess([picture(20, 30)] * 2, contract, memory)) == 2
