"""What all doors ask of a network before anything is exported: that it can be built, what it answers, which sizes it sees.

Where nothing but shapes is asked it is built on the device meta, without memory.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...runtime.errors import UserMistake
from ..channels import checked, contract_for

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..spec import ModelSpec

STEPS = (32, 16, 14, 64, 7)  # of a side, tried for the nearest size that a network sees
ANSWERS = ("logits", "out", "pooler_output", "last_hidden_state")  # what of several outputs is meant
MOST_DENSE = 2  # layers before a classifier that are no convolution, in networks that are otherwise made of them: VGG's
UNKNOWN = re.compile(r"unexpected keyword argument '(\w+)'|unexpected keyword arguments?:? (\w+)")


def first_line(error: BaseException) -> str:
    """What an error of others says, in one line that fits."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:160] if lines else type(error).__name__


def arguments_of(call: Callable[..., Any]) -> tuple[str, ...]:
    """The names that can be given to it; none where it does not say."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY))


def built(
    what: str, make: Callable[[], nn.Module], model_args: Mapping[str, Any], known: Callable[[], Iterable[str]]
) -> nn.Module:
    """What ``make`` gives; UserMistake where it does not take ``model_args``, with the nearest name that is ``known``."""
    try:
        return make()
    except UserMistake:
        raise
    except Exception as error:  # noqa: BLE001  networks of others raise anything
        if not model_args:
            raise UserMistake(
                f"{what} cannot be built", found=first_line(error), expected="a network", attempt="edgesmith list"
            ) from None
        unknown = UNKNOWN.search(str(error))
        name = next(filter(None, unknown.groups()), "") if unknown else ""
        names = sorted({one for one in known() if one not in ("self", "kwargs", "args")})
        near = difflib.get_close_matches(name, names, n=2, cutoff=0.5) if name in model_args else []
        told = typed(model_args)
        raise UserMistake(
            f"{what} does not take these arguments",
            found=told[:160],
            expected="some of " + ", ".join(names[:24]) + (" ..." if names[24:] else "") if names else "",
            because=first_line(error),
            attempt=f"did you mean {' or '.join(near)}?" if near else "--model-arg with values that go together",
        ) from None


def with_arguments(spec: ModelSpec, model_args: Mapping[str, Any]) -> ModelSpec:
    """A family's variant with other arguments of its builder; UserMistake where it does not take them."""
    if spec.folder:
        raise UserMistake(
            f"{spec.name} takes no --model-arg",
            found=typed(model_args)[:160],
            expected="none",
            because="its sizes are those of config.json in the folder of its weights",
            attempt="--weights FOLDER",
        )
    changed = replace(spec, config={**spec.config, **model_args}, asked=dict(model_args))
    if spec.channels_argument in model_args:
        channels = checked(model_args[spec.channels_argument])
        contract, assumed = contract_for(spec.contract, channels, spec.family)
        changed = replace(changed, contract=contract, assumed=(*spec.assumed, *assumed))
    known = (*spec.config, *spec.arguments, *filter(None, (spec.channels_argument,)))
    network = built(spec.name, lambda: on_meta(changed, spec.contract.size), model_args, lambda: known)
    return replace(changed, parameters=sum(parameter.numel() for parameter in network.parameters()))


def spelt(value: Any) -> str:
    """A value as it is typed."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def typed(model_args: Mapping[str, Any]) -> str:
    """Arguments of a builder as they are typed."""
    return " ".join(f"--model-arg {key}={spelt(value)}" for key, value in model_args.items())


def tuples(value: Any) -> Any:
    """Lists as the tuples that builders are given, at every depth."""
    return tuple(map(tuples, value)) if isinstance(value, (list, tuple)) else value


def one_tensor(answer: Any, what: str) -> Tensor:
    """The one tensor that a network answers with, out of a tuple, a dict or what transformers gives; else UserMistake."""
    import torch

    parts: Mapping[str, Any] | None = None
    if isinstance(answer, Mapping):
        parts = {str(name): part for name, part in answer.items() if part is not None}
    elif isinstance(answer, (tuple, list)):
        parts = {str(index): part for index, part in enumerate(answer)}
    if parts is not None:
        chosen = next((parts[name] for name in ANSWERS if name in parts), None)
        answer = chosen if chosen is not None else next(iter(parts.values())) if len(parts) == 1 else answer
    if isinstance(answer, torch.Tensor):
        return answer
    if isinstance(answer, (tuple, list)) and len(answer) == 1:  # one map of features in a tuple, as backbones give it
        return one_tensor(answer[0], what)
    found = f"{len(parts)} outputs: {', '.join(parts)}"[:160] if parts is not None else type(answer).__name__
    maps = isinstance(answer, (tuple, list)) and parts is not None and len(parts) == 1
    if maps:
        found = f"{len(answer)} tensors in {next(iter(parts or ()))}"
    raise UserMistake(
        f"{what}: the network does not answer with one tensor",
        found=found,
        expected="a tensor, or a dict with one tensor or with logits",
        attempt=("--model-arg out_features=stage4, for one, of a backbone; or " if maps else "")
        + "a module around it whose forward returns the one that is wanted",
    )


class OneTensor:
    """A forward hook that leaves of a network's answer the tensor that counts; the names of its weights stay as they are."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __call__(self, _module: Any, _inputs: Any, answer: Any) -> Tensor:
        return one_tensor(answer, self.what)


def on_meta(spec: ModelSpec, size: tuple[int, int]) -> nn.Module:
    import torch

    with torch.device("meta"):
        return spec.build(image_size=size).eval()


def seen(spec: ModelSpec, size: tuple[int, int]) -> str:
    """Why the network cannot see this size; empty where it can."""
    import torch

    try:
        with torch.no_grad():
            on_meta(spec, size)(torch.empty(*spec.contract.shape(1, size), device="meta"))
    except Exception as error:  # noqa: BLE001  what a network of others says of a shape
        return first_line(error)
    return ""


def sized(spec: ModelSpec, network: nn.Module) -> ModelSpec:
    """``spec`` with what its network tells: parameters, layers of the classifier, and whether it is made of convolutions."""
    from torch import nn

    layers = {name: part for name, part in network.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))}
    wide = [name for name, part in layers.items() if part.weight.shape[0] == spec.num_classes and spec.num_classes > 1]
    classifier = spec.classifier or tuple(wide[-1:])
    dense = [name for name, part in layers.items() if isinstance(part, nn.Linear) and name not in classifier]
    # what is called attention may be a gate of channels or nothing at all (mobileone's), and may be made of convolutions itself:
    # where no layer is dense, a form that takes products alone would find none
    attends = bool(dense) and any(
        "attn" in name.lower() or "attention" in name.lower() for name, _ in network.named_modules()
    )
    return replace(
        spec,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        classifier=classifier,
        convolutional=len(dense) <= MOST_DENSE and len(dense) < len(layers) / 4 and not attends,
    )


def check_size(spec: ModelSpec, size: tuple[int, int]) -> None:
    """UserMistake where the network cannot see ``size``, with the nearest that it can; where meta cannot tell, nothing."""
    why = seen(spec, size)
    if not why or seen(spec, spec.contract.size):
        return
    rounded = [(max(step, round(size[0] / step) * step), max(step, round(size[1] / step) * step)) for step in STEPS]
    near = next((one for one in rounded if one != size and not seen(spec, one)), spec.contract.size)
    raise UserMistake(
        f"{spec.name} cannot see this image size",
        found="{}x{}".format(*size),
        expected="a size that its layers divide, {}x{} for one".format(*spec.contract.size),
        because=why,
        attempt="--image-size {} {}".format(*near),
    )
