"""A folder of GUI-AIMA is read without its values, in either layout, and what cannot be used is refused in words."""

import json

import grounding_folder
import numpy as np
import pytest
import torch
from grounding_folder import special_id, write_folder

from edgesmith.models import find, prepare
from edgesmith.models.families.gui_aima.names import shapes_of
from edgesmith.models.families.gui_aima.prompt import MESSAGE
from edgesmith.models.families.gui_aima.shape import Shape
from edgesmith.models.folders.folder import load_eager, open_folder
from edgesmith.runtime.errors import UserMistake

SECOND = "model-00002-of-00002.safetensors"


def refused(folder) -> str:
    """What opening says, and reading where that is what fails."""
    with pytest.raises(UserMistake) as caught:
        load_eager(folder)
    return str(caught.value)


def rewritten(folder, change) -> None:
    """Write the tensors anew, in one file, with ``change`` made to them (5.x names -> arrays)."""
    from safetensors.torch import load_file, save_file

    tensors = {}
    for file in folder.glob("*.safetensors*"):
        if file.suffix == ".safetensors":
            tensors |= load_file(file)
        file.unlink()
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def told(folder, **changes) -> None:
    """Words of config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "tiny")


@pytest.mark.parametrize("layout", ["4.51", "5.x"])
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_both_layouts_and_any_number_of_files_are_the_same(tmp_path, layout, shards):
    first = open_folder(write_folder(tmp_path / "a"))
    other = open_folder(write_folder(tmp_path / "b", layout=layout, shards=shards))
    assert other.shape == first.shape
    assert list(other.tensors) == list(first.tensors) == list(shapes_of(first.shape))
    for name, one in first.tensors.items():
        assert torch.equal(one.read(), other.tensors[name].read()), name
    assert len({one.file for one in other.tensors.values()}) == shards


def test_no_values_are_read_before_they_are_asked_for(folder):
    """All bytes behind the heads of the files may change: only read() sees it."""
    from safetensors import safe_open

    opened = open_folder(folder)
    name = "model.language_model.norm.weight"
    assert (opened.tensors[name].dtype, opened.tensors[name].shape) == ("float32", (64,))
    file = folder / opened.tensors[name].file
    with safe_open(file, "pt") as stored:
        assert torch.equal(stored.get_tensor(name), opened.tensors[name].read())
    assert opened.parameters == sum(np.prod(sides) for sides in shapes_of(opened.shape).values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_values_keep_their_type_until_all_are_loaded(tmp_path, dtype):
    opened = open_folder(write_folder(tmp_path / "x", dtype=dtype))
    assert opened.dtype == dtype
    assert {one.read().dtype for one in opened.tensors.values()} == {getattr(torch, dtype)}
    assert {p.dtype for p in load_eager(opened).parameters()} == {torch.float32}


def test_an_lm_head_is_left_out(folder):
    """No logit is read: tied or not, it changes nothing."""
    rewritten(folder, lambda tensors: tensors.update({"lm_head.weight": torch.ones(320, 64)}))
    opened = open_folder(folder)
    assert any("lm_head.weight" in note for note in opened.notes)
    module = load_eager(opened)
    assert module.lm_head.weight is module.model.language_model.embed_tokens.weight


def test_the_published_message_is_taken_where_the_folder_says_none(tmp_path):
    assert open_folder(write_folder(tmp_path / "x", message=None)).message == MESSAGE
    assert open_folder(write_folder(tmp_path / "y", message="Click.")).message == "Click."


def test_the_model_is_prepared_by_its_name(folder):
    made = prepare("gui_aima", weights=folder)
    assert (made.source, made.num_classes, made.sha256) == ("tiny", 0, open_folder(folder).sha256())
    assert any("sizes" in note for note in made.notes)
    assert find("GUI-AIMA").name == "gui_aima"
    with pytest.raises(UserMistake, match="RESEARCH"):
        prepare("gui_aima", weights="pretrained")


def test_three_billion_has_the_size_that_is_said():
    sides = shapes_of(Shape())
    assert sum(int(np.prod(one)) for one in sides.values()) == find("gui_aima").parameters == 3_754_078_208
    assert sides["model.language_model.layers.35.self_attn.k_proj.weight"] == (256, 2048)


@pytest.mark.parametrize(
    ("kind", "difference"),
    [
        ("qwen2_vl", "Qwen2-VL.*LayerNorm"),
        ("qwen3_vl", "Qwen3-VL.*16 pixels"),
        ("qwen2", "text only.*no vision tower"),
        ("qwen2_5_vl_text", "language model of Qwen2.5-VL alone.*vision tower is missing"),
        ("llama", "llama.*another network"),
        (None, "no model_type.*does not say what network"),
    ],
)
def test_another_base_is_refused_with_the_difference(folder, kind, difference):
    import re

    told(folder, model_type=kind)
    assert re.search(difference, refused(folder), re.DOTALL)


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("visual.blocks.0.mlp.fc1.weight", "Qwen2-VL"),
        ("model.visual.blocks.0.mlp.fc1.weight", "Qwen2-VL"),
        ("model.visual.deepstack_merger_list.0.norm.weight", "Qwen3-VL"),
        ("multi_patch_pointer_head.query_proj.weight", "GUI-Actor"),
    ],
)
def test_tensors_of_another_base_are_told_by_their_names(folder, tensor, name):
    rewritten(folder, lambda tensors: tensors.update({tensor: torch.ones(2, 2)}))
    assert f"these are the tensors of {name}" in refused(folder)


@pytest.mark.parametrize("name", ["pointer_start_token_id", "pointer_pad_token_id"])
def test_an_anchor_that_config_does_not_name_is_refused(folder, name):
    told(folder, **{name: None})
    message = refused(folder)
    assert "no anchor" in message and name in message


def test_a_model_of_several_points_is_refused(folder):
    told(folder, pointer_pad_token_id=[314, 315])
    assert "[314, 315]" in refused(folder)
    told(folder, pointer_pad_token_id=[314])
    assert open_folder(folder).prompt.pointer_pad == 314


def test_a_tokenizer_without_the_anchor_is_refused(folder):
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace("<|pointer_pad|>", "<|something|>"))
    message = refused(folder)
    assert "no token <|pointer_pad|>" in message and "base model does not have" in message


def test_a_tokenizer_of_another_checkpoint_is_refused(folder):
    told(folder, pointer_pad_token_id=special_id("<|pointer_end|>"))
    assert "<|pointer_pad|> is 314 in tokenizer.json, 313 in config.json" in refused(folder)


def test_a_table_that_ends_before_the_anchor_is_refused(tmp_path):
    folder = write_folder(tmp_path / "x", vocabulary=314)
    assert "<|pointer_pad|> has no row" in refused(folder)


@pytest.mark.parametrize(
    "flags", [{"kl_query_weighting": None, "query_topk": None}, {"query_topk": 0}, {"query_topk": "1"}]
)
def test_a_folder_that_does_not_say_its_weighting_is_refused(folder, flags):
    told(folder, **flags)
    assert "how the heads are weighted" in refused(folder)


@pytest.mark.parametrize("mode", grounding_folder.MODES)
def test_every_weighting_is_read(tmp_path, mode):
    assert open_folder(write_folder(tmp_path / "x", weighting=mode)).weighting.name == mode


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", SECOND, "model.safetensors.index.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert name in refused(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "\\xff", "null"])
def test_a_damaged_file_is_named(folder, name, content):
    (folder / name).write_bytes(content.encode())
    message = refused(folder)
    assert f"{name} cannot be read" in message


def test_a_name_longer_than_a_file_system_takes_is_a_missing_file(folder):
    index = folder / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    first = next(iter(told["weight_map"]))
    told["weight_map"][first] = "a" * 300 + ".safetensors"
    index.write_text(json.dumps(told))
    with pytest.raises(UserMistake, match="are missing") as caught:
        open_folder(folder)
    assert "a" * 80 in str(caught.value) and "a" * 81 not in str(caught.value)


@pytest.mark.parametrize("left", [0, 7, 100, 0.5, 0.99])
def test_a_shard_that_was_cut_off_is_named(folder, left):
    file = folder / SECOND
    content = file.read_bytes()
    file.write_bytes(content[: left if isinstance(left, int) else int(left * len(content))])
    message = refused(folder)
    assert SECOND in message and ("whole" in message or "empty" in message)


def test_a_shard_without_a_promised_tensor_is_named(folder):
    index = folder / "model.safetensors.index.json"
    words = json.loads(index.read_text())
    words["weight_map"]["model.visual.merger.ln_q.weight"] = SECOND
    index.write_text(json.dumps(words))
    assert f"{SECOND} lacks" in refused(folder)


def test_a_part_alone_is_not_taken_for_the_whole(folder):
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model-00001-of-00002.safetensors").rename(folder / "model.safetensors")
    assert "missing" in refused(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.float8_e4m3fn])
def test_weights_that_are_codes_are_refused(folder, dtype):
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    rewritten(folder, lambda tensors: tensors.update({name: tensors[name].to(dtype)}))
    message = refused(folder)
    assert name in message and str(dtype).removeprefix("torch.") in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(folder, value):
    name = "model.visual.blocks.1.attn.qkv.bias"
    rewritten(folder, lambda tensors: tensors[name][3:5].fill_(value))
    assert f"{name}: 2 of 96" in refused(folder)


def test_shapes_that_contradict_config_are_refused(folder):
    name = "model.language_model.layers.0.self_attn.k_proj.weight"
    rewritten(folder, lambda tensors: tensors.update({name: torch.ones(64, 64)}))
    message = refused(folder)
    assert "1 of another shape" in message and name in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_hidden_layers": 5}, "missing"),
        ({"num_hidden_layers": 3}, "unknown"),
        ({"hidden_size": 0}, "hidden_size 0"),
        ({"num_hidden_layers": 1 << 20}, "num_hidden_layers 1048576"),
        ({"num_attention_heads": 3}, "hidden 64, 3 heads"),
        ({"num_key_value_heads": 3}, "3 of keys"),
        ({"rms_norm_eps": "x"}, "rms_norm_eps"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"use_sliding_window": True}, "use_sliding_window True"),
        ({"rope_parameters": {"rope_type": "yarn", "mrope_section": [2, 3, 3]}}, "yarn"),
        ({"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3]}}, "mrope_section [2, 3]"),
        ({"rope_parameters": None}, "no mrope_section"),
    ],
)
def test_sizes_that_cannot_be_are_refused(folder, change, said):
    words = json.loads((folder / "config.json").read_text())
    told(folder, text_config={**words["text_config"], **change})
    assert said in refused(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"patch_size": 16}, "patch_size 16"),
        ({"out_hidden_size": 32}, "out_hidden_size 32"),
        ({"window_size": 100}, "window_size 100"),
        ({"fullatt_block_indexes": [4]}, "fullatt_block_indexes [4]"),
        ({"num_heads": 3}, "multiple of 4"),
        ({"depth": True}, "depth True"),
    ],
)
def test_sizes_of_the_vision_tower_that_cannot_be_are_refused(folder, change, said):
    words = json.loads((folder / "config.json").read_text())
    told(folder, vision_config={**words["vision_config"], **change})
    assert said in refused(folder)


def test_weights_that_are_quantised_already_are_refused(folder):
    told(folder, quantization_config={"quant_method": "awq", "bits": 4})
    assert "quantization_config awq" in refused(folder)


def test_a_file_in_place_of_the_folder_is_refused(folder):
    message = refused(folder / SECOND)
    assert "is a folder" in message and "--weights" in message
    assert "which is not there" in refused(folder / "nothing")


def test_two_tensors_that_mean_the_same_are_refused(folder):
    rewritten(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(64)}))
    assert "two tensors of one name" in refused(folder)


@pytest.mark.parametrize("message", [3, ["a"], "x" * 10_001])
def test_a_message_that_is_no_text_is_refused(folder, message):
    told(folder, grounding_message=message)
    assert "grounding_message" in refused(folder)


def test_another_model_says_whose_folder_it_is(folder):
    with pytest.raises(UserMistake, match="--model gui_aima"):
        prepare("smt", weights=folder)


PUBLISHED = {  # what Qwen2.5-VL's folders say of their pictures
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
}


def test_the_published_preparation_of_pictures_is_ours(folder):
    (folder / "preprocessor_config.json").write_text(json.dumps(PUBLISHED))
    open_folder(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"image_mean": [0.485, 0.456, 0.406]},
        {"image_std": 0.5},
        {"patch_size": 16},
        {"do_normalize": False},
        {"resample": 2},
        {"rescale_factor": 1},
    ],
)
def test_another_preparation_of_pictures_is_refused(folder, change):
    (folder / "preprocessor_config.json").write_text(json.dumps({**PUBLISHED, **change}))
    message = refused(folder)
    assert "in another way" in message and next(iter(change)) in message
