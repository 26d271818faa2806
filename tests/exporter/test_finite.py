"""A network whose own answers are NaN or infinite: the parameter, buffer or layer is named, and no graph is made or blamed."""

import pytest
import torch

from edgesmith import export
from edgesmith.models import find
from edgesmith.runtime.errors import UserMistake

EVER = {
    "a negative variance": (
        "block1.0.norm1.running_var", lambda v: torch.full_like(v, -0.3),
        "the layer block1.0.norm1 (BatchNorm2d)", "running_var holds -0.3",
    ),
    "a weight too large": (
        "block2.0.mlp.fc1.weight", lambda v: torch.full_like(v, 3e38),
        "the layer block2.0.mlp.fc1 (Conv2d)", "weight reaches 3e+38",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", EVER)
def test_the_layer_that_makes_them_is_named(tmp_path, kind):
    name, change, layer, why = EVER[kind]
    torch.manual_seed(0)
    state = find("van_mnist").build().state_dict()
    torch.save({**state, name: change(state[name])}, tmp_path / "x.pth")
    with pytest.raises(UserMistake) as caught:
        export("van_mnist", str(tmp_path / "x.pth"), out=tmp_path / "x.edge")
    text = str(caught.value)
    assert "PyTorch itself does not answer with numbers" in text
    assert layer in text and why in text
    assert "graph kept" not in text and sorted(path.name for path in tmp_path.iterdir()) == ["x.pth"]


def test_a_parameter_that_is_not_finite_is_named():
    from edgesmith.exporter.run.finite import check_finite

    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
    with torch.no_grad():
        module[0].bias[1] = float("nan")
    images = torch.ones(3, 2).numpy()
    with pytest.raises(UserMistake, match=r"the parameter 0\.bias holds NaN or infinity"):
        check_finite(module, images, module(torch.ones(3, 2)).detach().numpy(), "seeded")


def test_finite_answers_are_left_alone():
    from edgesmith.exporter.run.finite import check_finite

    module = torch.nn.Linear(2, 2)
    images = torch.ones(3, 2)
    check_finite(module, images.numpy(), module(images).detach().numpy(), "seeded")
