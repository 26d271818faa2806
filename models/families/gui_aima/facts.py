"""GUI-AIMA: what is known of its variants."""

from __future__ import annotations

from ....runtime.pictures.contract import ImageContract
from ...spec import ModelSpec
from .shape import MEAN, MULTIPLE, STD

# what a screen of 1920x1080 becomes; every screen has a size of its own (picture.py: resized)
CONTRACT = ImageContract(
    size=(1092, 1932), resize="bicubic", antialias=True, crop_fraction=1.0, fit="stretch", mean=MEAN, std=STD
)
PUBLISHED = (
    "smz8599/GUI-AIMA-3B"  # on huggingface.co; also GUI-AIMA-lite-3B, and GUI-AIMA-3B-kl with the mode query_kl_part
)
LICENCE_WEIGHTS = (
    "Qwen RESEARCH LICENSE, non-commercial: that of the base model Qwen2.5-VL-3B; nothing of it is shipped here, and "
    "every bundle made of it is bound by it"
)

VARIANTS = (
    ModelSpec(
        name="gui_aima",
        family="gui_aima",
        paper="GUI-AIMA, Zhou et al., 2025, arXiv:2511.00810; base: Qwen2.5-VL, Bai et al., 2025, arXiv:2502.13923",
        licence_code="Apache-2.0 (our own code); the authors' repository is Apache-2.0, its package metadata says MIT",
        licence_weights=LICENCE_WEIGHTS,
        parameters=3_754_078_208,
        contract=CONTRACT,
        task="grounding",
        num_classes=0,
        dynamic_size=True,
        size_multiple=MULTIPLE,
        size_min=2 * MULTIPLE,
        folder=True,
    ),
)
ALIASES = {
    "guiaima": "gui_aima",
    "gui_aima_3b": "gui_aima",
    "gui_aima_lite_3b": "gui_aima",
    "gui_aima_3b_kl": "gui_aima",
}
