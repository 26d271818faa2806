"""timm:NAME[.TAG] -> ModelSpec: everything that timm's pretrained_cfg says of the tag, and the network itself from timm.

preprocessing   as timm's validate.py chooses: test_input_size and test_crop_pct where there are some
weights         --weights pretrained, a file in timm's names, or in any layout that timm's own filter for the network reads
classes         ImageNet's names where the tag has its thousand, else numbers; none: the task ``features``
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...runtime.errors import UserMistake
from ...runtime.pictures.contract import ImageContract
from ..channels import ARGUMENT, USUAL, checked, contract_for
from ..labels import numbers
from ..spec import ModelSpec
from ..weights.said import timm_says
from .building import arguments_of, built, check_size, on_meta, sized
from .kinds import CLASSES, FEATURES
from .timm_names import architecture, renamed, timm_names

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["build", "check_size", "rename_for", "resized_for", "spec"]

NOT_OURS = ("pretrained", "checkpoint_path", "cache_dir", "pretrained_cfg", "pretrained_cfg_overlay", "num_classes")
FILTERS = ("checkpoint_filter_fn", "checkpoint_filter_fn_classifier", "_filter_fn", "_filter_torchvision_pretrained")


def spec(name: str, model_args: Mapping[str, Any]) -> ModelSpec:
    """The facts of one tag; the first of a network where the name has none.

    Raises:
        UserMistake: timm has no such network or tag, or the network does not take ``model_args``.
    """
    full = _full_name(name.strip())
    cfg = _cfg(full)
    full = f"{architecture(full)}.{cfg.tag}" if cfg.tag else full
    words = cfg.to_dict()
    says = {**words, "input_size": cfg.test_input_size or cfg.input_size, "crop_pct": cfg.test_crop_pct or cfg.crop_pct}
    fields = timm_says({**says, "model_args": dict(model_args)}, f"timm's {full}")
    published = ImageContract(**{**fields, "channels": len(fields.get("mean", (0, 0, 0)))})
    channels = checked(model_args.get(ARGUMENT, (cfg.input_size or (USUAL,))[0]))
    contract, assumed = contract_for(published, channels, "timm")
    unpooled = not model_args.get("global_pool", "as published")  # which no classifier can follow
    classes = 0 if unpooled else int(cfg.num_classes or 0)
    named, first = cfg.classifier or (), cfg.first_conv or ()
    known = ModelSpec(
        name=f"timm:{name.strip()}",
        family="timm",
        paper=", ".join(filter(None, (cfg.paper_name, _arxiv(cfg.paper_ids)))) or f"timm, {architecture(full)}",
        licence_code="Apache-2.0 (timm)",
        licence_weights=f"{cfg.license} as timm states it" if cfg.license else f"not stated by timm, see {full}",
        parameters=0,
        contract=contract,
        config={"name": full, **model_args},
        pretrained=f"timm:{full}" if cfg.has_weights else None,
        **(FEATURES if not classes else {**CLASSES, "may_go_without": True}),
        num_classes=classes,
        size_min=1,
        label_names=() if classes == 1000 else tuple(numbers(classes)),
        module=__name__,
        classifier=(named,) if isinstance(named, str) else tuple(named),
        asked=dict(model_args),
        assumed=assumed,
        channels_argument=ARGUMENT,
        first_layers=(first,) if isinstance(first, str) else tuple(first),
        sizes_by_trying=True,
    )
    _refuse(known.name, model_args)
    network = built(
        known.name, lambda: on_meta(known, known.contract.size), model_args, lambda: _arguments(full, known)
    )
    found = sized(known, network)
    flexible = found.convolutional and not cfg.fixed_input_size
    return replace(found, arguments=arguments_of(type(network).__init__), dynamic_size=flexible)


def build(num_classes: int, image_size: tuple[int, int], *, name: str, **model_args: Any) -> nn.Module:
    """The network; a size is an argument of those that are made for one only."""
    import timm

    cfg = _cfg(name)
    if "img_size" in model_args or (cfg.fixed_input_size and tuple(image_size) != tuple(cfg.input_size[1:])):
        model_args["img_size"] = tuple(image_size)
    network: nn.Module = timm.create_model(name, num_classes=num_classes, **model_args)
    return network


def rename_for(state: dict[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """Names of any layout that timm reads for this network -> its own; as they are where they are those already."""
    network = on_meta(spec, spec.contract.size)
    ours = network.state_dict().keys()
    if len(ours & state.keys()) * 2 > len(ours):
        return state
    read = _filtered(state, network)
    return read if read is not None and len(ours & read.keys()) > len(ours & state.keys()) else state


def resized_for(
    state: dict[str, Tensor], spec: ModelSpec, image_size: tuple[int, int]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tables of positions for another size, as timm resamples them; and a note where that was done."""
    network = on_meta(spec, image_size)
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    heads = {f"{layer}.{kind}" for layer in spec.classifier for kind in ("weight", "bias")}
    other = {name for name in wanted.keys() & state.keys() - heads if wanted[name] != state[name].shape}
    if not other:
        return state, ()
    read = _filtered(dict(state), network)
    if read is None or any(read.get(name, state[name]).shape != wanted[name] for name in other):
        return state, ()  # the comparison with the network tells which do not fit
    changed = {name: read[name] for name in other}
    return {**state, **changed}, ("{} tables of positions resampled for {}x{}".format(len(changed), *image_size),)


def _filtered(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor] | None:
    """What timm's filter of the network's module makes of a checkpoint; None where it has none or it does not read this one."""
    module = importlib.import_module(type(network).__module__)
    call = next((getattr(module, name) for name in FILTERS if hasattr(module, name)), None)
    if call is None:
        return None
    try:
        read: dict[str, Tensor] = call(dict(state), network) if len(arguments_of(call)) > 1 else call(dict(state))
    except Exception:  # noqa: BLE001  a layout that it does not know: the comparison tells what is missing
        return None
    return read


def _full_name(name: str) -> str:
    """NAME.TAG in timm's spelling; UserMistake with near names for one that it does not have."""
    wanted, tag = architecture(name), name.partition(".")[2]
    if wanted in timm_names():
        return f"{wanted}.{tag}" if tag else wanted
    if wanted in renamed():
        return renamed()[wanted]
    near = difflib.get_close_matches(wanted, timm_names(), n=3, cutoff=0.5)
    raise UserMistake(
        "timm has no model of this name" if timm_names() else "timm is not installed",
        found=f"timm:{name}",
        expected=f"one of its {len(timm_names())} names" if timm_names() else "pip install 'edgesmith[export]'",
        attempt=(f"did you mean {' or '.join(near)}? " if near else "")
        + "`edgesmith list --timm 'swin*'` prints names",
    )


def _cfg(full: str) -> Any:
    """timm's pretrained_cfg; UserMistake for a tag that it does not have."""
    import timm
    from timm.models import PretrainedCfg

    try:
        found = timm.models.get_pretrained_cfg(full)
    except RuntimeError:  # what timm says of an unknown tag
        name, _, tag = full.partition(".")
        tags = [one.partition(".")[2] for one in timm.list_models(f"{name}.*", pretrained=True)]
        near = difflib.get_close_matches(tag, tags, n=1, cutoff=0.3) or tags[:1]
        raise UserMistake(
            f"timm's {name} has no weights of this tag",
            found=f"timm:{full}",
            expected="one of " + ", ".join(tags[:8]) if tags else "no tag",
            attempt=f"--model timm:{name}" + (f".{near[0]}" if near else ""),
        ) from None
    return found or PretrainedCfg()


def _refuse(name: str, model_args: Mapping[str, Any]) -> None:
    for key in NOT_OURS:
        if key in model_args:
            flag = "--num-classes" if key == "num_classes" else "--weights"
            raise UserMistake(
                f"{key} is no argument of a network",
                found=f"--model-arg {key}={model_args[key]} for {name}",
                expected="arguments that change its layers, such as depths or embed_dim",
                attempt=f"{flag}, which says it",
            )


def _arguments(full: str, known: ModelSpec) -> tuple[str, ...]:
    """Names of the network's constructor, as built without what the user says."""
    plain = replace(known, config={"name": full})
    return arguments_of(type(on_meta(plain, plain.contract.size)).__init__)


def _arxiv(ids: Any) -> str:
    found = (ids,) if isinstance(ids, str) else tuple(ids or ())
    return ", ".join(found)
