"""An ensemble names models that are there, feeds all they take, and hands on what has the type and dims that the next one takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .parse import Folder


@dataclass(frozen=True)
class Flow:
    """A tensor between steps as one side declares it."""

    side: str  # who declares it, for people
    dtype: str
    dims: tuple[int, ...]  # with the batch, which is -1

    def differs(self, other: Flow) -> str:
        """Why the two are not the same tensor; empty where they are."""
        if self.dtype != other.dtype:
            return f"{self.side} gives {self.dtype}, and {other.side} takes {other.dtype}"
        fits = len(self.dims) == len(other.dims) and all(
            a == b or -1 in (a, b) for a, b in zip(self.dims, other.dims, strict=True)
        )
        return "" if fits else f"{self.side} gives dims {list(self.dims)}, and {other.side} takes {list(other.dims)}"


def check_ensemble(folder: Folder, others: Mapping[str, Folder]) -> None:
    """Note what is wrong with the steps of an ensemble; ``others``: all models of the repository by name."""
    config = folder.config
    steps = config.ensemble_scheduling.step
    if not steps:
        folder.fault("is an ensemble without steps")
    given = {one.name: flow(config, one, "the request") for one in config.input}
    taken: list[tuple[str, Flow, tuple[str, ...]]] = []
    for step in steps:
        _check_step(folder, step, others, given, taken)
    for one in config.output:
        taken.append((one.name, flow(config, one, "the answer"), (one.name,)))
    for name, takes, place in taken:
        if name not in given:
            folder.fault(f"{takes.side} takes {name}, which no step gives", *place)
        elif why := given[name].differs(takes):
            folder.fault(f"{name}: {why}", *place)


def _check_step(
    folder: Folder, step: Any, others: Mapping[str, Folder], given: dict[str, Flow], taken: list[tuple[str, Flow, tuple[str, ...]]]
) -> None:  # fmt: skip
    name = step.model_name
    if name not in others or name == folder.name:
        folder.fault(f"has a step {name}, which is no other model of this repository", name)
        return
    model = others[name].config
    if model is None:
        folder.fault(f"has a step {name}, whose config cannot be read", name)
        return
    if folder.config.max_batch_size > model.max_batch_size:
        folder.fault(
            f"takes batches of {folder.config.max_batch_size}, and its step {name} of {model.max_batch_size}", name
        )
    inputs, outputs = ({one.name: one for one in side} for side in (model.input, model.output))
    for key, value in step.input_map.items():
        if key not in inputs:
            folder.fault(f"feeds {name} an input {key} that it does not have; it has {', '.join(inputs)}", name, key)
        else:
            taken.append((value, flow(model, inputs[key], name), (name, value)))
    for key, value in step.output_map.items():
        if key not in outputs:
            folder.fault(
                f"takes from {name} an output {key} that it does not have; it has {', '.join(outputs)}", name, key
            )
        elif value in given:
            folder.fault(f"has two tensors {value}", name, value)
        else:
            given[value] = flow(model, outputs[key], name)
    if missing := [key for key, one in inputs.items() if not one.optional and key not in step.input_map]:
        folder.fault(f"feeds {name} no {', '.join(missing)}", name)


def flow(config: Any, tensor: Any, side: str) -> Flow:
    """A tensor of a config as others see it."""
    from tritonclient.grpc.model_config_pb2 import DataType

    batch = (-1,) if config.max_batch_size else ()
    return Flow(side, DataType.Name(tensor.data_type), (*batch, *tensor.dims))
