"""``--weights pretrained``: the published weights of a variant, from timm's hub or the authors' pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ....runtime.errors import UserMistake
from ...spec import ModelSpec
from ..checkpoint import Checkpoint, read_checkpoint
from ..recorded import Recorded


def fetch(spec: ModelSpec, ema: bool | None = None) -> Checkpoint:
    """Downloads once, then takes the copy of the cache; UserMistake without a network or without published weights."""
    if spec.pretrained is None:
        raise UserMistake(
            f"{spec.name}: nobody publishes weights for this variant",
            found="--weights pretrained",
            attempt="--weights FILE with your own checkpoint, or --weights random",
        )
    failed: list[str] = []
    for address in filter(None, (spec.pretrained, spec.older_weights)):
        try:
            checkpoint = _read(address, ema)
        except UserMistake:
            raise
        except Exception as error:  # noqa: BLE001  every library on the way has its own kinds for "no network"
            failed.append(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:140]}")
            continue
        older = [f"{spec.pretrained}: {why}; the weights are those of an earlier release" for why in failed]
        notes = (*checkpoint.notes, *older, f"weights licence: {spec.licence_weights}")
        return replace(checkpoint, source=address, notes=notes, recorded=Recorded())
    raise UserMistake(
        f"{spec.name}: the published weights could not be downloaded",
        found=failed[0],
        expected=f"a network that reaches {spec.pretrained}",
        attempt="download the file elsewhere and pass it: --weights FILE",
    )


def _read(address: str, ema: bool | None) -> Checkpoint:
    origin, _, name = address.partition(":")
    return read_checkpoint(_from_timm(name) if origin == "timm" else _from_url(address), ema=ema)


def _from_timm(name: str) -> str:
    import timm
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    config: Any = timm.models.get_pretrained_cfg(name)
    if not config.hf_hub_id:
        return _from_url(config.url)
    file = config.hf_hub_filename or "pytorch_model.bin"
    safe = file.replace("pytorch_model", "model").rpartition(".")[0] + ".safetensors"
    try:
        return str(hf_hub_download(config.hf_hub_id, safe))
    except EntryNotFoundError:  # the repository is there, and has the weights in PyTorch's own format only
        return str(hf_hub_download(config.hf_hub_id, file))


def _from_url(url: str) -> str:
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / url.rsplit("/", 1)[1]
    if not file.exists():
        torch.hub.download_url_to_file(url, str(file), progress=False)  # writes beside, then renames
    return str(file)
