"""A network of somebody else's that does not run or cannot be traced: told as that, since it is no bug of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...models.doors.building import first_line
from ...runtime.errors import EdgesmithError, UserMistake
from .untraced import untraced

if TYPE_CHECKING:
    from torch import nn

    from ...models.spec import ModelSpec


@contextmanager
def it_runs(spec: ModelSpec) -> Iterator[None]:
    """Around calls of the network itself; of our own families an error goes on as it is."""
    try:
        yield
    except EdgesmithError:
        raise
    except Exception as error:
        if spec.module is None:
            raise
        raise UserMistake(
            f"{spec.name} does not run on a batch of pictures",
            found=first_line(error),
            expected="a network that answers pictures (B, 3, H, W) of any batch",
            attempt="--image-size with a size that it takes; or call it yourself on torch.zeros(1, 3, H, W)",
        ) from error


@contextmanager
def it_traces(spec: ModelSpec, network: nn.Module, example: tuple[int, ...]) -> Iterator[None]:
    """Around torch's exporter: what it cannot trace is told with its operator, the place and what to write instead."""
    import torch

    try:
        yield
    except torch.onnx.OnnxExporterError as error:
        if spec.module is None:
            raise
        found, attempt = untraced(error, network, example)
        raise UserMistake(
            f"torch.export cannot trace {spec.name}",
            found=found,
            expected="a network without branches on the values of its tensors, of operators that torch.onnx knows",
            because="a graph holds every step that it computes, and no Python",
            attempt=attempt,
        ) from error
