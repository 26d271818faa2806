"""Only floating numbers fill weights: whatever else a file holds in their place is refused by name."""

import math
import warnings

import pytest
import torch
from reference_weights import reference_state
from safetensors.torch import save_file

from edgesmith.models import create
from edgesmith.models.weights.checkpoint import read_checkpoint
from edgesmith.runtime.errors import UserMistake

NAME = "block1.0.mlp.fc1.weight"


@pytest.fixture(scope="module")
def state():
    return reference_state("van_mnist")


def refusal(tmp_path, state):
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserMistake) as caught:
        create("van_mnist", weights=tmp_path / "x.pth")
    return str(caught.value)


def quantised(value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch has deprecated the kind
        return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)


KINDS = {
    "int8": (lambda v: (v * 100).to(torch.int8), "int8"),
    "uint8": (lambda v: (v * 100 + 128).to(torch.uint8), "uint8"),
    "int32": (lambda v: v.to(torch.int32), "int32"),
    "int64": (lambda v: v.to(torch.int64), "int64"),
    "bool": (lambda v: v > 0, "bool"),
    "complex": (lambda v: v.to(torch.complex64), "complex64"),
    "e4m3": (lambda v: v.to(torch.float8_e4m3fn), "float8_e4m3fn"),
    "e5m2": (lambda v: v.to(torch.float8_e5m2), "float8_e5m2"),
    "sparse": (lambda v: v.to_sparse(), "sparse_coo"),
    "quantised": (quantised, "qint8"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["one tensor", "all tensors"])
def test_what_is_no_floating_number_fills_no_weight(tmp_path, state, kind, which):
    made, word = KINDS[kind]
    changed = {
        k: made(v) if v.is_floating_point() and which != "one tensor" or k == NAME else v for k, v in state.items()
    }
    text = refusal(tmp_path, changed)
    first = (
        next(k for k, v in changed.items() if v.dtype != torch.int64 or kind == "int64")
        if which != "one tensor"
        else NAME
    )
    assert word in text and first in text


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floating_numbers_are_cast(tmp_path, state, dtype):
    save_file({k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "x.safetensors")
    loaded = create("van_mnist", weights=tmp_path / "x.safetensors").state_dict()
    assert loaded[NAME].dtype == torch.float32
    assert torch.equal(loaded[NAME], state[NAME].to(dtype).to(torch.float32))


def test_a_number_beyond_float32_is_not_made_infinite(tmp_path, state):
    wide = {k: v.double() if v.is_floating_point() else v for k, v in state.items()}
    wide[NAME] = wide[NAME].clone()
    wide[NAME].view(-1)[3] = 1e39
    text = refusal(tmp_path, wide)
    assert "beyond float32" in text and "1e+39" in text and NAME in text


@pytest.mark.parametrize(
    "count", [torch.tensor(3), torch.tensor(3, dtype=torch.int32), torch.tensor(3.0), torch.tensor(3.0).half()]
)
def test_a_count_of_training_steps_may_be_of_any_kind(tmp_path, state, count):
    counted = {k: count if k.endswith("num_batches_tracked") else v for k, v in state.items()}
    torch.save(counted, tmp_path / "x.pth")
    loaded = create("van_mnist", weights=tmp_path / "x.pth").state_dict()
    assert loaded["patch_embed1.norm.num_batches_tracked"].item() == 3
    assert loaded["patch_embed1.norm.num_batches_tracked"].dtype == torch.int64


def test_finite_weights_whose_sum_is_not_are_weights(tmp_path):
    """Whether all are finite is asked by their sum first, which may leave float32."""
    tensors = {NAME: torch.full((4, 4), 3e38), "b": torch.tensor([1.0, 2.0])}
    torch.save(tensors, tmp_path / "large.pth")
    assert torch.equal(read_checkpoint(tmp_path / "large.pth").tensors[NAME], tensors[NAME])


@pytest.mark.parametrize(
    "bad", [[math.inf, -math.inf], [math.nan, 1.0], [-math.inf, 1.0]], ids=["both", "nan", "minus"]
)
def test_no_sum_hides_what_is_not_finite(tmp_path, bad):
    torch.save({NAME: torch.tensor(bad)}, tmp_path / "bad.pth")
    with pytest.raises(UserMistake, match="not numbers"):
        _ = read_checkpoint(tmp_path / "bad.pth").tensors
