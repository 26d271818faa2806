"""Names lead to variants, variants have the stated sizes and contracts, and a wrong name is answered with a near one."""

import subprocess
import sys

import pytest
import torch

from edgesmith.exporter.commands import listing
from edgesmith.models import FAMILIES, MODELS, create, families, find, list_models
from edgesmith.models.registry import ALIASES
from edgesmith.runtime.errors import UserMistake

# facts of the papers' code, counted on the official implementations; large, huge, giant: timm; b5, b6 and ViT: below
COUNTED = {
    "convit_tiny": 5_710_512,
    "convit_small": 27_777_322,
    "convit_base": 86_540_040,
    "smt_tiny": 11_506_536,
    "smt_small": 22_550_952,
    "smt_base": 32_037_352,
    "smt_large": 80_620_264,
    "davit_tiny": 28_360_168,
    "davit_small": 49_745_896,
    "davit_base": 87_954_408,
    "van_b0": 4_105_800,
    "van_b1": 13_861_800,
    "van_b2": 26_578_472,
    "van_b3": 44_765_608,
    "van_b4": 60_283_176,
    "damo_yolo_tiny": 8_875_727,
    "damo_yolo_small": 16_935_647,
    "damo_yolo_medium": 29_241_727,
    "damo_yolo_large": 43_861_759,
    "damo_yolo_nano_small": 1_405_691,
    "damo_yolo_nano_medium": 2_707_219,
    "damo_yolo_nano_large": 5_688_579,
    "gui_aima": 3_754_622_976 - (151_936 - 151_670) * 2_048,  # Qwen2.5-VL-3B with a table of fewer rows
}


@pytest.mark.parametrize("name", MODELS)
def test_parameter_count_is_exact(name):
    spec = find(name)
    with torch.device("meta"):
        module = spec.build()
    assert sum(p.numel() for p in module.parameters()) == spec.parameters == COUNTED.get(name, spec.parameters)


@pytest.mark.parametrize("name", ["davit_large", "davit_huge", "davit_giant"])
def test_larger_davits_are_timms(name):
    import timm

    with torch.device("meta"):
        module = timm.create_model(name)
    assert sum(p.numel() for p in module.parameters()) == find(name).parameters


def test_the_largest_vans_have_the_stated_millions():
    """The paper's table says 90 M and 200 M."""
    assert round(find("van_b5").parameters / 1e6) == 90
    assert round(find("van_b6").parameters / 1e6) == 200


@pytest.mark.parametrize(("size", "heads"), [("tiny", 3), ("small", 6), ("base", 12), ("large", 16)])
def test_ggem_adds_one_exponent_a_head_to_timms_vit(size, heads):
    import timm

    with torch.device("meta"):
        plain = timm.create_model(f"vit_{size}_patch16_224")
        ours = find(f"vit_ggem_{size}").build()
    count = sum(p.numel() for p in plain.parameters())
    assert find(f"vit_ggem_{size}").parameters == count + heads
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    assert shapes.pop("ggem.p") == (heads, 1)
    assert shapes == {name: value.shape for name, value in plain.state_dict().items()}
    norms = [module.eps for module in ours.modules() if isinstance(module, torch.nn.LayerNorm)]
    assert set(norms) == {1e-6}


@pytest.mark.parametrize("name", [n for n, spec in MODELS.items() if (spec.pretrained or "").startswith("timm:")])
def test_input_contract_is_timms_evaluation(name):
    import timm

    spec = find(name)
    config = timm.models.get_pretrained_cfg(spec.pretrained.removeprefix("timm:"))
    contract = spec.contract
    assert config is not None and config.hf_hub_id
    assert (3, *contract.size) == config.input_size
    assert (contract.crop_fraction, contract.resize, contract.mean, contract.std) == (
        config.crop_pct,
        config.interpolation,
        config.mean,
        config.std,
    )
    assert contract.antialias and contract.fit == "crop" and contract.colour == "RGB"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_name_is_its_default_variant(family):
    assert find(family).name == FAMILIES[family]
    assert find(family).family == family


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("SMT-Tiny", "smt_tiny"),
        ("vit_ggem_tiny", "vit_ggem_tiny_patch16"),
        ("vit_ggem_base_patch16_224", "vit_ggem_base_patch16"),
        ("damo-yolo", "damo_yolo_tiny"),
        ("DAMO-YOLO-S", "damo_yolo_small"),
        ("damoyolo_m", "damo_yolo_medium"),
        ("damo_yolo_l", "damo_yolo_large"),
        ("damoyolo_nano_middle", "damo_yolo_nano_medium"),
        ("damoyolo_tinynasL20_T", "damo_yolo_tiny"),
        ("damoyolo_tinynasL20_T_436", "damo_yolo_tiny"),
        ("damoyolo_tinynasL45_L_519", "damo_yolo_large"),
        ("damoyolo_tinynasL18_Ns", "damo_yolo_nano_small"),
        ("damoyolo_tinynasL18_Nm", "damo_yolo_nano_medium"),
        ("damoyolo_tinynasL20_Nl", "damo_yolo_nano_large"),
    ],
)
def test_a_model_is_found_by_alias_and_other_spellings(name, variant):
    assert find(name).name == variant


@pytest.mark.parametrize(
    ("wrong", "near"), [("smt_tny", "smt_tiny"), ("davit-tinny", "davit_tiny"), ("vanb0", "van_b0")]
)
def test_a_wrong_name_is_answered_with_a_near_one(wrong, near):
    with pytest.raises(UserMistake, match=near):
        find(wrong)


def test_a_name_near_to_nothing_lists_the_families():
    with pytest.raises(UserMistake, match="one of convit, smt, davit, van, vit_ggem") as caught:
        find("bert_base")
    assert "edgesmith list" in str(caught.value)


def test_fixtures_are_listed_apart():
    assert not any(spec.fixture for spec in list_models())
    fixtures = {spec.name for spec in list_models(fixtures=True) if spec.fixture}
    assert fixtures == {f"{family}_mnist" for family in families("classification")} | {"damo_yolo_scenes"}
    assert all(spec.paper and spec.licence_code and spec.licence_weights for spec in list_models(fixtures=True))


def test_an_alias_names_a_variant_and_hides_none():
    assert set(ALIASES.values()) <= set(MODELS)
    assert not set(ALIASES) & (set(MODELS) | set(FAMILIES))


def test_the_families_of_a_task():
    assert families("detection") == {"damo_yolo": "damo_yolo_tiny"}
    assert families("grounding") == {"gui_aima": "gui_aima"}
    assert {**families("classification"), **families("detection"), **families("grounding")} == FAMILIES


@pytest.mark.parametrize("name", [n for n, spec in MODELS.items() if spec.task == "detection" and not spec.fixture])
def test_what_a_detector_says_of_itself(name):
    """The thresholds and sizes of the authors' evaluation; pictures as the released models see them."""
    spec = find(name)
    nano = "nano" in name
    assert (spec.score, spec.iou) == ((0.03, 0.65) if nano else (0.05, 0.7))
    assert spec.contract.size == ((416, 416) if nano else (640, 640)) and spec.size_multiple == 32
    assert spec.contract.fit == "stretch" and spec.contract.scale == 1
    assert spec.num_classes == len(set(spec.labels())) == 80
    with pytest.raises(UserMistake, match="a multiple of 32"):
        spec.check_size((640, 648))


def test_a_detector_has_the_labels_of_coco():
    names = find("damo_yolo").labels()
    known = {0: "person", 2: "car", 11: "stop sign", 15: "cat", 16: "dog", 39: "bottle", 62: "tv", 79: "toothbrush"}
    assert {i: names[i] for i in known} == known
    assert find("damo_yolo").labels(2) == ["class 0", "class 1"]
    assert find("damo_yolo").labels(1000)[0] == "class 0"  # a thousand classes do not make a detector ImageNet's


def test_a_model_has_a_label_for_each_class():
    names = find("smt").labels()
    assert len(names) == 1000 and names[0].startswith("tench") and names[999].startswith("toilet tissue")
    assert find("smt").labels(3) == ["class 0", "class 1", "class 2"]
    assert find("smt_mnist").labels() == [f"digit {digit}" for digit in range(10)]


def test_reading_the_registry_imports_no_framework():
    code = "import sys, edgesmith.models as m; m.find('smt'); print([n for n in ('torch', 'timm') if n in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_random_weights_follow_the_seed_and_leave_the_callers_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = create("smt_mnist"), create("smt_mnist"), create("smt_mnist", seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one.head.weight, same.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)
    assert not one.training


@pytest.mark.parametrize(
    ("name", "size", "because"),
    [
        ("convit_tiny", 256, "one image size"),
        ("vit_ggem_tiny", 230, "multiple of 16"),
        ("smt", 16, "at least 32"),
        ("davit", (16, 224), "at least 32"),
        ("smt", -1, "at least 32"),
    ],
)
def test_an_impossible_image_size_is_refused(name, size, because):
    with pytest.raises(UserMistake, match=because):
        create(name, image_size=size)


@pytest.mark.parametrize(("count", "because"), [(0, "no form without its classes"), (-3, "at least 0")])
def test_a_class_count_below_one_is_refused(count, because):
    with pytest.raises(UserMistake, match=because):
        create("smt", num_classes=count)


@pytest.mark.parametrize(("name", "size"), [("vit_ggem_mnist", (42, 56)), ("smt_mnist", (50, 70)), ("davit_mnist", 96)])
def test_other_sizes_and_class_counts_build_and_run(name, size):
    model = create(name, num_classes=7, image_size=size)
    height, width = (size, size) if isinstance(size, int) else size
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, height, width)).shape == (2, 7)


def test_the_list_tells_the_task():
    entries = {entry["name"]: entry for entry in listing.models()}
    assert {entry["task"] for entry in entries.values()} == {"classification", "detection", "grounding"}
    row = next(row for row in listing.rows() if row[0].startswith("damo_yolo_tiny"))
    assert dict(zip(listing.COLUMNS, row, strict=True)) == {
        "model": "damo_yolo_tiny*",
        "task": "detection",
        "parameters": "8,875,727",
        "image": "640x640",
        "pretrained": "yes",
        "paper": "arXiv:2211.15444",
        "licence of the weights": "Apache-2.0",
    }
    assert not any("scenes" in name for name in entries)


def test_the_list_tells_what_a_grounding_model_is():
    entry = next(entry for entry in listing.models() if entry["name"] == "gui_aima")
    assert (entry["num_classes"], entry["pretrained"], entry["size_multiple"]) == (None, None, 28)
    assert "RESEARCH" in entry["licence_weights"] and "non-commercial" in entry["licence_weights"]
    assert find("gui_aima").labels() == []
