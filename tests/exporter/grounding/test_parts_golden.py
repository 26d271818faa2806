"""The three graphs against what the authors' code gave: PyTorch, ONNX Runtime and OpenVINO, all six weighting modes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from grounding_folder import MODES, golden_arrays, golden_facts, state
from grounding_graphs import Small, of_maximum, on_onnxruntime, on_openvino

from edgesmith.exporter.grounding.parts.sizes import Sizes
from edgesmith.exporter.grounding.parts.stored import Storage

STORAGE = Storage()
# the authors' own float32 scores are up to 6.4e-6 of the maximum from the same computation in float64
LIMIT = 1e-5


@cache
def golden() -> tuple[Small, dict[str, np.ndarray], tuple[int, int]]:
    from transformers import Qwen2_5_VLConfig

    facts, arrays = golden_facts(), dict(golden_arrays())
    sizes = Sizes.of(Qwen2_5_VLConfig(**facts["config"]))
    text = {name: value for name, value in facts["config"].items() if name != "vision_config"}
    weights = state(text, facts["config"]["vision_config"])
    first = facts["sequence"]["visual_first"]
    small = Small(sizes, lambda name: weights[_older(name)], tuple(map(int, arrays["input_ids"][0, :first])))
    picture = arrays["resized_image"].astype(np.float32) / 255
    normal = (picture - np.float32(facts["image"]["mean"])) / np.float32(facts["image"]["std"])
    anchor = facts["sequence"]["anchor"]
    arrays["tokens"] = arrays["input_ids"][0, facts["sequence"]["visual_last"] + 1 : anchor + 1]
    arrays["pixels"] = np.ascontiguousarray(normal.transpose(2, 0, 1)[None], np.float32)
    rows, columns = facts["image"]["merged_grid_hw"]
    return small, arrays, (rows, columns)


def _older(name: str) -> str:
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


@cache
def stored(engine: str) -> dict[str, np.ndarray]:
    """What the prefix graph gives on an engine, from what the tower gives there."""
    small, arrays, grid = golden()
    run = RUNS[engine]
    in_cache = engine == "in cache"
    embeds = run(small.vision(grid, in_cache))({"pixels": arrays["pixels"]})
    return {**embeds, **run(small.prefix(grid, STORAGE, in_cache))(embeds)}


RUNS = {
    "onnxruntime": on_onnxruntime,
    "in cache": on_onnxruntime,  # with the passes of the target cpu
    "openvino": on_openvino,
}


@pytest.mark.slow
@pytest.mark.parametrize("engine", RUNS)
def test_visual_tokens_and_their_sums_are_the_authors(engine):
    _, arrays, _ = golden()
    assert of_maximum(stored(engine)["image_embeds"][0], arrays["image_embeds"]) < 3e-6
    assert of_maximum(stored(engine)["visual_sums"][0], arrays["visual_unit_sum"]) < 3e-6


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("engine", RUNS)
def test_scores_are_the_authors(engine, mode):
    small, arrays, grid = golden()
    feeds = {**small.asked([arrays["tokens"]], grid), **stored(engine)}
    scores = RUNS[engine](small.instruction(STORAGE, mode))(feeds)["scores"]
    assert of_maximum(scores[0], arrays[f"{mode}/patch_scores"]) < LIMIT


@pytest.mark.parametrize("mode", MODES)
def test_the_modules_from_the_authors_visual_tokens(mode):
    small, arrays, grid = golden()
    vision, prefix, instruction = small.modules(grid, STORAGE, mode)
    assert of_maximum(vision({"pixels": arrays["pixels"]})["image_embeds"][0], arrays["image_embeds"]) < 3e-6
    found = prefix({"image_embeds": arrays["image_embeds"][None]})
    assert of_maximum(found["visual_sums"][0], arrays["visual_unit_sum"]) < 3e-6
    scores = instruction({**small.asked([arrays["tokens"]], grid), **found})["scores"]
    assert of_maximum(scores[0], arrays[f"{mode}/patch_scores"]) < LIMIT
    assert scores.sum() == pytest.approx(1, abs=1e-5)
