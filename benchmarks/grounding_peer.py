"""The peer of the grounding benchmark: what optimum-intel exports of the same checkpoint, on OpenVINO, in an environment of its own.

    python -m venv .venv-grounding
    .venv-grounding/bin/pip install -r benchmarks/grounding_peers.txt && .venv-grounding/bin/pip install --no-deps -e .
    .venv-grounding/bin/python benchmarks/grounding_peer.py FOLDER OUT      OUT: graphs in float32; grounding.py calls this

It stands apart, because optimum-intel 2.2.0 takes this model only from transformers before 5.0 ("The current version of
Transformers does not allow for the export of the model. Maximum required is 5.0"). Those read rope_scaling where 5.x writes
rope_parameters: without it the export ends with "'NoneType' object is not subscriptable", so config.json is written as the
published checkpoints have it. Its graphs have logits and no attention, so that it finds no point: it is timed for the network alone,
all tokens in, one token out.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from grounding_flows import Answer

MIN_PIXELS, MAX_PIXELS = 3136, 5_760_000


def as_published(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of transformers 5.x with what 4.x looks for."""
    rope = config["text_config"]["rope_parameters"]
    more = {
        "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": rope["mrope_section"]},
        "rope_theta": rope["rope_theta"],
    }
    return {**config, **more, "text_config": {**config["text_config"], **more}}


def prepare(folder: Path, out: Path) -> None:
    """A folder that transformers 4.x reads: config.json, the processor's files, and the weights by a link."""
    from transformers import PreTrainedTokenizerFast, Qwen2VLImageProcessor

    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (out / "config.json").write_text(json.dumps(as_published(config), indent=1), encoding="utf-8")
    if not (out / "model.safetensors").exists():
        os.link(folder / "model.safetensors", out / "model.safetensors")
    words = {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **words).save_pretrained(out)
    Qwen2VLImageProcessor(min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS).save_pretrained(out)


def export(folder: Path, out: Path) -> None:
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig

    prepared = out.with_suffix(".folder")
    prepare(folder, prepared)
    main_export(str(prepared), str(out), task="image-text-to-text", ov_config=OVConfig(dtype="fp32"))


@dataclass
class Optimum:
    """optimum-intel's OVModelForVisualCausalLM; ``precision`` f32 or bf16."""

    folder: Any  # models/folders/folder.ModelFolder
    model: Any
    picture: np.ndarray | None = None

    @classmethod
    def open(cls, settings: Mapping[str, Any]) -> Optimum:
        from optimum.intel import OVModelForVisualCausalLM

        from edgesmith.models.folders.folder import open_folder

        chosen = {"INFERENCE_NUM_THREADS": settings["threads"], "INFERENCE_PRECISION_HINT": settings["precision"]}
        chosen |= {"PERFORMANCE_HINT": "LATENCY", "CACHE_DIR": ""}
        model = OVModelForVisualCausalLM.from_pretrained(settings["graphs"], ov_config=chosen, local_files_only=True)
        return cls(open_folder(settings["folder"]), model)

    def first(self, picture: np.ndarray, text: str) -> Answer:
        self.picture = picture
        return self.further(text)

    def further(self, text: str) -> Answer:
        import torch

        from edgesmith.models.families.gui_aima.picture import grid_of, patch_rows, prepared

        assert self.picture is not None
        pixels = prepared(self.picture)
        rows, columns = grid_of((pixels.shape[1], pixels.shape[2]))
        prompt = self.folder.prompt
        ids = torch.tensor([prompt.ids(prompt.instruction(text, self.folder.tokenizer), (rows, columns))])
        self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=torch.from_numpy(patch_rows(pixels)),
            image_grid_thw=torch.tensor([[1, 2 * rows, 2 * columns]]),
            max_new_tokens=1,
            do_sample=False,
        )
        return Answer(None, None)


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
