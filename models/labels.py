"""Names of the classes: ImageNet's thousand from the list that timm carries, numbers for anything else."""

from __future__ import annotations

from functools import lru_cache


def imagenet_or_numbers(num_classes: int) -> list[str]:
    """One name a class, in the order of the logits."""
    return list(_imagenet()) if num_classes == 1000 else numbers(num_classes)


def numbers(num_classes: int) -> list[str]:
    return [f"class {index}" for index in range(num_classes)]


@lru_cache(maxsize=1)
def _imagenet() -> tuple[str, ...]:
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return tuple(info.index_to_description(index) for index in range(1000))
