"""DAMO-YOLO: a detector whose backbone was searched for its target's latency (Xu et al., 2022, arXiv:2211.15444).

Written from the architecture's description; the parameter names are those of the authors' checkpoints, so that these
load as they are (training form).

    image (B, 3, H, W), RGB, 0..255 as it is: no mean, no std; H and W divisible by 32
      > backbone, maps at 1/8, 1/16, 1/32      backbone.py
      > neck, the same resolutions             neck.py
      > head and decoding                      head.py
      > boxes (B, N, 4) x1 y1 x2 y2 in pixels of the input, scores (B, N, classes); N = H W (1/64 + 1/256 + 1/1024)

Two forms compute the same: the training form, and the deploy form with re-parameterised blocks (deploy.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ....runtime.errors import UserMistake
from .backbone import TAKEN, Stage, backbone
from .deploy import is_deploy_form, is_training_form, to_deploy
from .head import ZeroHead
from .labels import COCO_LABELS
from .neck import Neck
from .settle import settle

__all__ = ["LAYOUTS", "DamoYolo", "Layout", "build", "changes_for", "deployed", "rename", "settle"]

CLASSES = len(COCO_LABELS)


@dataclass(frozen=True)
class Layout:
    """What the networks of the seven variants differ in; their image size and thresholds stand in facts.py."""

    kind: str  # of backbone: res, csp or mob
    stem: int
    stages: tuple[Stage, ...]
    act: str
    neck: tuple[int, int, int]  # channels out of the neck
    depth: float  # of the neck
    ratio: float = 1.0  # width of the neck's blocks

    @property
    def nano(self) -> bool:
        return self.kind == "mob"


def _stages(*rows: tuple[int, int, int]) -> tuple[Stage, ...]:
    """Channels, blocks and bottleneck of the five stages; the fourth keeps the resolution in every variant."""
    return tuple(Stage(*row, stride=stride) for row, stride in zip(rows, (2, 2, 2, 1, 2), strict=True))


def _nano(stem: int, neck: tuple[int, int, int], *rows: tuple[int, int, int]) -> Layout:
    return Layout("mob", stem, _stages(*rows), "silu", neck, depth=0.5)


_TINY = _stages((64, 2, 24), (96, 2, 64), (192, 2, 96), (192, 2, 152), (384, 1, 192))
_SMALL = _stages((128, 1, 24), (128, 5, 88), (256, 3, 128), (256, 2, 120), (512, 1, 144))
_MEDIUM = _stages((128, 2, 64), (128, 4, 64), (256, 4, 256), (256, 4, 256), (512, 3, 256))
_LARGE = _stages((128, 3, 96), (128, 5, 96), (256, 5, 384), (256, 5, 384), (512, 4, 384))

LAYOUTS = {
    "tiny": Layout("res", 24, _TINY, "relu", (64, 128, 256), depth=1.0),
    "small": Layout("res", 32, _SMALL, "relu", (128, 256, 512), depth=1.0, ratio=0.75),
    "medium": Layout("csp", 32, _MEDIUM, "silu", (128, 256, 512), depth=1.5),
    "large": Layout("csp", 32, _LARGE, "silu", (128, 256, 512), depth=2.0),
    "nano_small": _nano(16, (40, 80, 160), (24, 1, 0), (40, 2, 0), (64, 2, 0), (80, 2, 0), (160, 2, 0)),
    "nano_medium": _nano(16, (64, 128, 256), (40, 2, 0), (64, 2, 0), (112, 2, 0), (128, 2, 0), (256, 1, 0)),
    "nano_large": _nano(24, (80, 160, 320), (48, 1, 0), (80, 2, 0), (160, 2, 0), (160, 3, 0), (320, 2, 0)),
}


class DamoYolo(nn.Module):
    """``deploy`` chooses the form; ``reg_max`` is 16, and 7 in the nano models."""

    def __init__(self, layout: Layout, num_classes: int = CLASSES, deploy: bool = False, in_chans: int = 3) -> None:
        super().__init__()
        taken = [layout.stages[i].channels for i in TAKEN]
        self.backbone = backbone(layout.kind, in_chans, layout.stem, layout.stages, layout.act, deploy)
        self.neck = Neck(taken, layout.neck, layout.depth, layout.ratio, layout.act, layout.nano, deploy)
        reg_max, kernel = (7, 1) if layout.nano else (16, 3)
        self.head = ZeroHead(layout.neck, num_classes, reg_max, kernel)
        self.layout, self.num_classes, self.deploy, self.in_chans = layout, num_classes, deploy, in_chans

    def levels(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What the head says before decoding: class logits and sides at strides 8, 16, 32."""
        return self.head.levels(self.neck(self.backbone(x)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(self.neck(self.backbone(x)))


def deployed(model: DamoYolo) -> DamoYolo:
    """A copy in the deploy form, in the same type, on the same device and in the same mode."""
    copy = DamoYolo(model.layout, model.num_classes, deploy=True, in_chans=model.in_chans)
    copy.to(model.head.integral.project)
    copy.load_state_dict(to_deploy(model.state_dict()))
    return copy.train(model.training)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names are ours."""
    return state


def changes_for(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The form of the checkpoint is the form of the network; the nano models and other files leave it to ``config``."""
    training, deploy = is_training_form(state), is_deploy_form(state)
    if training and deploy:
        first = {form: next(name for name in state if f".{form}" in name) for form in ("rbr_dense", "rbr_reparam")}
        raise UserMistake(
            "the checkpoint mixes the training form and the deploy form",
            found=f"{first['rbr_dense']} beside {first['rbr_reparam']}",
            expected="the branches of every re-parameterised block, or of none",
            because="the network is built in one form",
            attempt="the checkpoint as the training wrote it",
        )
    return ({"deploy": deploy} if training or deploy else {}), ()


def build(
    num_classes: int, image_size: tuple[int, int], *, variant: str, deploy: bool = False, in_chans: int = 3
) -> nn.Module:
    """One model serves every image size whose sides are divisible by 32."""
    return DamoYolo(LAYOUTS[variant], num_classes, deploy, in_chans)
