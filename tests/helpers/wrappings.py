"""Checkpoints as trainings wrap them: what each writes, by the words of the table in docs/checkpoints.md.

A wrapping takes the plain state dict of our network and gives what ``torch.save`` is handed; ZEROS are other weights of its shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch

State = dict[str, Any]


def under(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def zeros(state: State) -> State:
    return {name: torch.zeros_like(value) for name, value in state.items()}


def headless(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith("head.")}


def beside(state: State) -> State:
    """What Lightning's state dict has besides the network's own."""
    return {"criterion.weight": torch.ones(3), "loss.margin": torch.ones(1)}


OPTIMISER: State = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}


def blocks_compiled(state: State) -> State:
    return {re.sub(r"^(block\d\.\d+)\.", r"\1._orig_mod.", name): value for name, value in state.items()}


def fully_sharded(state: State) -> State:
    parts = {r"^(block\d\.\d+)\.": r"\1._fsdp_wrapped_module.", r"\.mlp\.": r"._checkpoint_wrapped_module.mlp."}
    out = under("_fsdp_wrapped_module.", state)
    for old, new in parts.items():
        out = {re.sub(old, new, name): value for name, value in out.items()}
    return out


def openmmlab_van(state: State) -> State:
    """As mmpretrain's VAN and LinearClsHead call them (written from their sources)."""
    rules = (
        (r"^block(\d)\.", r"blocks\1."), (r"^(patch_embed\d)\.proj\.", r"\1.projection."), (r"\.conv0\.", ".DW_conv."),
        (r"\.conv_spatial\.", ".DW_D_conv."), (r"\.dwconv\.dwconv\.", ".dwconv."),
    )  # fmt: skip
    out = {}
    for name, value in state.items():
        for old, new in rules:
            name = re.sub(old, new, name)
        out[name.replace("head.", "head.fc.") if name.startswith("head.") else f"backbone.{name}"] = value
    return out


# the row of the table -> what is saved; the network is VAN
WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "`DistributedDataParallel`: `module.`": lambda s: under("module.", s),
    "`torch.compile`: `_orig_mod.`": lambda s: under("_orig_mod.", s),
    "`torch.compile` block by block: `_orig_mod.` inside names": blocks_compiled,
    "SWA: `n_averaged` and `module.`": lambda s: {"n_averaged": torch.tensor(3), **under("module.", s)},
    "Lightning: `state_dict` with `model.`, `criterion.`, `loss.`": lambda s: {
        "state_dict": {**under("model.", s), **beside(s)}, "optimizer_states": [OPTIMISER], "epoch": 3},
    "`backbone.` before all names": lambda s: {"model": under("backbone.", s)},
    "`network.`, `net.` or `encoder.` before all names": lambda s: {"net": under("network.net.encoder.", s)},
    "FSDP and activation checkpointing: `_fsdp_wrapped_module.`, `_checkpoint_wrapped_module.` anywhere": fully_sharded,
    "ema-pytorch: `online_model.` and `ema_model.`": lambda s: {
        "initted": torch.tensor(True), "step": torch.tensor(3), **under("online_model.", zeros(s)), **under("ema_model.", s)},
    "timm: `state_dict` and `state_dict_ema`": lambda s: {"state_dict": zeros(s), "state_dict_ema": s, "optimizer": OPTIMISER},
    "BasicSR: `params` and `params_ema`": lambda s: {"params": zeros(s), "params_ema": s},
    "`network`, `model_state_dict`, `model_state`, `weights`, `generator`, or any other key": lambda s: {
        "of_ours": s, "optimizer": OPTIMISER},
    "OpenMMLab: `backbone.*` in its names, `head.fc.*`": lambda s: {"meta": {"epoch": 3}, "state_dict": openmmlab_van(s)},
    "trunk and classifier apart: `backbone.*` and `classifier.*`": lambda s: {
        **under("backbone.", headless(s)), "classifier.weight": s["head.weight"], "classifier.bias": s["head.bias"]},
    "DINO with a classifier: `student` and `teacher`": lambda s: {
        "student": under("module.backbone.", zeros(s)), "teacher": under("backbone.", s), "epoch": 3},
    "a training step around it: `module.model.`, several wrappers in each other": lambda s: {
        "checkpoint": {"model_state": under("module.model._orig_mod.", s)}},
}  # fmt: skip


def transformers_vit(state: State, prefix: str = "vit.", new: bool = False) -> State:
    """ViTForImageClassification's names, of version 4 or, ``new``, as version 5 has them in memory (written from its source)."""
    layer = "layers" if new else "encoder.layer"
    names = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.output.dense",
             "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}  # fmt: skip
    parts = ("attention.attention.query", "attention.attention.key", "attention.attention.value")
    if new:
        names |= {"attn.proj": "attention.o_proj", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
        parts = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
    out: State = {}
    for name, value in state.items():
        if match := re.fullmatch(r"blocks\.(\d+)\.(.+)\.(\w+)", name):
            home = f"{prefix}{layer}.{match[1]}."
            if match[2] == "attn.qkv":
                pieces = zip(parts, value.chunk(3), strict=True)
                out |= {f"{home}{part}.{match[3]}": piece.clone() for part, piece in pieces}
            else:
                out[f"{home}{names[match[2]]}.{match[3]}"] = value
        elif name in ("cls_token", "pos_embed"):
            out[prefix + "embeddings." + {"cls_token": name, "pos_embed": "position_embeddings"}[name]] = value
        elif name.startswith("patch_embed.proj."):
            out[f"{prefix}embeddings.patch_embeddings.projection.{name.rpartition('.')[2]}"] = value
        elif name.startswith("norm."):
            out[f"{prefix}layernorm.{name.removeprefix('norm.')}"] = value
        elif name.startswith("head."):
            out[name.replace("head.", "classifier.")] = value
    return out


def openmmlab_vit(state: State) -> State:
    """mmpretrain's VisionTransformer and VisionTransformerClsHead (written from their sources)."""
    rules = (
        (r"^blocks\.(\d+)\.norm(\d)\.", r"layers.\1.ln\2."), (r"^blocks\.(\d+)\.mlp\.fc1\.", r"layers.\1.ffn.layers.0.0."),
        (r"^blocks\.(\d+)\.mlp\.fc2\.", r"layers.\1.ffn.layers.1."), (r"^blocks\.", "layers."), (r"^norm\.", "ln1."),
        (r"^patch_embed\.proj\.", "patch_embed.projection."),
    )  # fmt: skip
    out = {}
    for name, value in state.items():
        for old, new in rules:
            name = re.sub(old, new, name)
        out[name.replace("head.", "head.layers.head.") if name.startswith("head.") else f"backbone.{name}"] = value
    return {name: value for name, value in out.items() if "ggem" not in name}


def torchvision_vit(state: State) -> State:
    """torchvision's VisionTransformer (written from its source)."""
    rules = (
        (r"^blocks\.(\d+)\.norm(\d)\.", r"encoder.layers.encoder_layer_\1.ln_\2."), (r"^norm\.", "encoder.ln."),
        (r"^blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.encoder_layer_\1.self_attention.in_proj_"),
        (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.encoder_layer_\1.self_attention.out_proj."),
        (r"^blocks\.(\d+)\.mlp\.fc1\.", r"encoder.layers.encoder_layer_\1.mlp.0."), (r"^head\.", "heads.head."),
        (r"^blocks\.(\d+)\.mlp\.fc2\.", r"encoder.layers.encoder_layer_\1.mlp.3."), (r"^cls_token$", "class_token"),
        (r"^pos_embed$", "encoder.pos_embedding"), (r"^patch_embed\.proj\.", "conv_proj."),
    )  # fmt: skip
    out = {}
    for name, value in state.items():
        for old, new in rules:
            name = re.sub(old, new, name)
        out[name] = value
    return {name: value for name, value in out.items() if "ggem" not in name}


# the same for ViT+GGeM: the plain ViT's tensors come out exactly, the exponents of the pooling keep their first value
VIT_WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "transformers' ViT: `vit.encoder.layer.0.attention.attention.query` (three become `qkv`)": transformers_vit,
    "transformers' ViT of version 5: `vit.layers.0.attention.q_proj`": lambda s: transformers_vit(s, new=True),
    "transformers' ViT in Lightning: `model.vit.`": lambda s: {"state_dict": under("model.", transformers_vit(s))},
    "OpenMMLab's ViT: `backbone.layers.0.ln1`, `head.layers.head`": lambda s: {"state_dict": openmmlab_vit(s)},
    "torchvision's ViT: `encoder.layers.encoder_layer_0.self_attention`": torchvision_vit,
}

# what cannot be loaded -> (what is saved, a word of the error)
NAMED: dict[str, tuple[Callable[[State], Any], str]] = {
    "DINO without a classifier: `teacher`": (
        lambda s: {"teacher": {**under("backbone.", headless(s)), "head.last_layer.weight_v": torch.ones(4, 2)}},
        "a backbone without a classifier, as self-supervised",
    ),
    "the state of an optimiser": (lambda s: OPTIMISER, "the state of an optimiser"),
    "an adapter (LoRA)": (
        lambda s: {"base_model.model.block1.0.mlp.fc1.lora_A.weight": torch.ones(2, 2)}, "the tensors of an adapter (LoRA)"),
    "two networks of the same shapes under unknown names": (lambda s: {"first": s, "second": zeros(s)}, "several networks"),
    "pruning under way: `weight_orig`, `weight_mask`": (
        lambda s: {**s, "block1.0.mlp.fc1.weight_mask": torch.ones(2)}, "these weights are being pruned"),
    "flat pieces of FSDP": (lambda s: {"_fsdp_wrapped_module._flat_param": torch.ones(9)}, "flat pieces of FSDP"),
}  # fmt: skip
