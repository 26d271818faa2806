"""The flows that the grounding benchmark compares, each from a uint8 screenshot and an instruction to a point.

    flow = KIND.open(settings);  flow.first(picture, text) -> Answer;  flow.further(text) -> Answer, same screen

official, maps      transformers with eager attention: maps of all tokens against all in every block, all hidden states and the
                    logits of all positions are kept, then the method is computed from them
official, again     transformers with sdpa: all hidden states and logits kept; queries and keys are projected a second time, and
                    only the rows that the method reads are computed of the maps
sdpa, no method     transformers with sdpa and no more: no maps, no hidden states, logits of the last position. It finds no point
ours, the judge     grounding_ours.py
optimum-intel       grounding_peer.py

The method is GUI-AIMA's (Zhou et al., 2025, arXiv:2511.00810) as the reference page of this repository has it in formulas; of
all flows but ours the further instruction is the first over again, since nothing is kept of a screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesmith.runtime.tasks.grounding.regions import regions

TAIL = ("<|pointer_end|>", ")")  # what the authors' prompt has behind the anchor


@dataclass(frozen=True)
class Answer:
    """``point`` as shares of width and height; None and no scores where a flow leaves the method out."""

    point: tuple[float, float] | None
    scores: np.ndarray | None  # (rows, columns)


@dataclass
class Eager:
    """transformers; ``attention`` eager or sdpa, ``how`` maps, again or none."""

    folder: Any  # models/folders/folder.ModelFolder
    module: Any
    how: str
    picture: np.ndarray | None = None

    @classmethod
    def open(cls, settings: Mapping[str, Any]) -> Eager:
        import torch

        from edgesmith.models.folders.folder import load_eager, open_folder

        torch.set_num_threads(settings["threads"])
        folder = open_folder(settings["folder"])
        module = load_eager(folder, settings.get("dtype", "float32"))
        module.set_attn_implementation("eager" if settings["how"] == "maps" else "sdpa")
        return cls(folder, module, settings["how"])

    def first(self, picture: np.ndarray, text: str) -> Answer:
        self.picture = picture
        return self.further(text)

    def further(self, text: str) -> Answer:
        import torch

        from edgesmith.models.families.gui_aima.picture import grid_of, patch_rows, prepared

        assert self.picture is not None
        pixels = prepared(self.picture)
        grid = grid_of((pixels.shape[1], pixels.shape[2]))
        prompt, tokenizer = self.folder.prompt, self.folder.tokenizer
        behind = tokenizer.encode("".join(TAIL), add_special_tokens=False).ids
        ids = [*prompt.ids(prompt.instruction(text, tokenizer), grid), *behind]
        visual = slice(len(prompt.before), len(prompt.before) + grid[0] * grid[1])
        anchor = len(ids) - len(behind) - 1
        types = np.zeros((1, len(ids)), np.int64)
        types[:, visual] = 1
        more = {} if self.how == "none" else {"output_hidden_states": True, "output_attentions": self.how == "maps"}
        with torch.inference_mode():
            out = self.module(
                input_ids=torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
                mm_token_type_ids=torch.from_numpy(types),
                pixel_values=torch.from_numpy(patch_rows(pixels)).to(self.module.dtype),
                image_grid_thw=torch.tensor([[1, 2 * grid[0], 2 * grid[1]]]),
                use_cache=self.how == "none",
                logits_to_keep=1 if self.how == "none" else 0,
                **more,
            )
            if self.how == "none":
                return Answer(None, None)
            queries = slice(visual.stop, anchor - 1)
            scores = self._scores(out, len(ids), grid, visual, queries, anchor).reshape(grid)
        return Answer(regions(scores)[0].point, scores)

    def _scores(
        self, out: Any, count: int, grid: tuple[int, int], visual: slice, queries: slice, anchor: int
    ) -> np.ndarray:
        """(V,): query_1 weighting, written as a reader of the paper would in PyTorch."""
        import torch
        from torch.nn.functional import normalize

        affinity = sum(
            (normalize(h[0, queries], dim=-1) @ normalize(h[0, visual], dim=-1).T).float().sum(-1)
            for h in out.hidden_states[1:]
        )
        best = int(torch.as_tensor(affinity).argmax())
        if self.how == "maps":
            rows = [one[0, :, [queries.start + best, anchor], visual].float() for one in out.attentions]
        else:
            rows = self._rows(out.hidden_states, count, grid, visual, queries.start + best, anchor)
        asked, answered = (torch.stack([one[:, at] for one in rows]) for at in (0, 1))  # (L, H, V)
        weights = asked.sum(-1).flatten().softmax(0)
        scores = (weights[:, None] * answered.flatten(0, 1)).sum(0)
        found: np.ndarray = (scores / (scores.sum() + 1e-8)).numpy()
        return found

    def _rows(
        self, hidden: Any, count: int, grid: tuple[int, int], visual: slice, query: int, anchor: int
    ) -> list[Any]:
        """Of every layer the two rows (H, 2, V) of its map, from the stored hidden states."""
        import torch

        decoder = self.module.model.language_model
        places = self.folder.prompt.positions(grid, count - visual.stop)
        cos, sin = decoder.rotary_emb(hidden[0], torch.from_numpy(places)[:, None])
        two, rows = torch.tensor([query, anchor]), []
        for layer, entering in zip(decoder.layers, hidden, strict=False):
            attention, normed = layer.self_attn, layer.input_layernorm(entering)
            q = _turned(attention.q_proj(normed[:, two]), attention.head_dim, cos[:, two], sin[:, two])
            k = _turned(attention.k_proj(normed), attention.head_dim, cos, sin)
            k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
            logits = (q @ k.transpose(2, 3)).float() * attention.scaling
            logits = logits.masked_fill(torch.arange(count) > two[:, None], float("-inf"))
            rows.append(logits.softmax(-1)[0, :, :, visual])
        return rows


def _turned(flat: Any, width: int, cos: Any, sin: Any) -> Any:
    import torch

    heads = flat.unflatten(-1, (-1, width)).transpose(1, 2)
    first, second = heads.chunk(2, dim=-1)
    return heads * cos[:, None] + torch.cat([-second, first], dim=-1) * sin[:, None]
