"""Official checkpoints load: a pickle of epoch, model, optimizer and feature_loss, of which only model is taken."""

import argparse
import collections

import damo_yolo_reference as reference
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgesmith.models import create, families, find
from edgesmith.models.families.damo_yolo.deploy import is_deploy_form, is_training_form, to_deploy
from edgesmith.models.families.damo_yolo.network import LAYOUTS, DamoYolo
from edgesmith.models.loading import prepare
from edgesmith.runtime.errors import UserMistake


class Trainer:
    """An object of the authors' training code, which a pickle names and a reader must not build."""


VARIANTS = list(LAYOUTS)


@pytest.fixture(scope="module")
def state():
    return {name: torch.from_numpy(value) for name, value in reference.state("nano_small").items()}


@pytest.fixture(scope="module")
def training_state():
    return {name: torch.from_numpy(value) for name, value in reference.state("tiny").items()}


def saved(path, tensors, **others):
    torch.save({"epoch": 300, **others, "model": collections.OrderedDict(tensors)}, path)
    return path


@pytest.mark.parametrize(
    "others",
    [
        {},
        {
            "optimizer": {
                "state": {0: {"momentum_buffer": torch.ones(3)}},
                "param_groups": [{"lr": 0.01, "params": [0]}],
            }
        },
        {"args": argparse.Namespace(lr=0.1), "best": np.float64(0.42)},
        {"feature_loss": {"align_module.0.weight": torch.ones(2)}},  # of a distillation; None without one
        {"ema": {"head.scales.0.scale": torch.tensor(9.0)}, "feature_loss": None},
    ],
    ids=["alone", "optimizer", "namespace", "distilled", "averaged"],
)
def test_the_tensors_are_taken_from_among_other_objects(tmp_path, state, others):
    file = saved(tmp_path / "damoyolo_nano_small.pth", state, **others)
    loaded = prepare(find("damo_yolo_nano_small"), file)
    ours = loaded.module.state_dict()
    assert not loaded.module.training and loaded.num_classes == 80
    assert ours.keys() == state.keys() and all(torch.equal(ours[name], value) for name, value in state.items())


@pytest.mark.parametrize("wrapped", ["module.", "_orig_mod."])
def test_prefixes_of_a_training_are_taken_off(tmp_path, state, wrapped):
    file = saved(tmp_path / "net.pth", {wrapped + name: value for name, value in state.items()})
    assert prepare(find("damo_yolo_nano_small"), file).module.state_dict().keys() == state.keys()


def test_an_object_of_the_training_is_left_unread(tmp_path, state):
    file = saved(tmp_path / "net.pth", state, trainer=Trainer())
    loaded = prepare(find("damo_yolo_nano_small"), file)
    assert loaded.module.state_dict().keys() == state.keys()
    assert any("left unread" in note and "Trainer" in note for note in loaded.notes)


@pytest.mark.parametrize(("variant", "kind"), [("tiny", "pth"), *((variant, "safetensors") for variant in VARIANTS)])
def test_both_forms_of_every_variant_load(tmp_path, variant, kind):
    """The form of the file is the form of the network, whatever the file is called; both answer alike."""
    name = f"damo_yolo_{variant}"
    with torch.device("meta"):
        shapes = find(name).build().state_dict()
    training = {key: torch.rand(value.shape).to(value.dtype) for key, value in shapes.items()}
    for form, tensors in (("training", training), ("deploy", to_deploy(training))):
        file = tmp_path / f"{form}.{kind}"
        torch.save({"model": tensors}, file) if kind == "pth" else save_file(tensors, file)
        prepared = prepare(find(name), file)
        ours = prepared.module.state_dict()
        assert ours.keys() == tensors.keys() and all(torch.equal(ours[key], tensors[key]) for key in tensors)
        if not LAYOUTS[variant].nano:
            assert prepared.module.deploy == is_deploy_form(ours) == (form == "deploy")
            assert is_training_form(ours) == (form == "training")


def test_the_two_forms_of_a_file_answer_alike(tmp_path, training_state):
    """float32: logits and boxes as far apart as the golden file's note says of the authors' own two forms, 0.02 px."""
    image = torch.from_numpy(reference.picture(seed=3, shape=[1, 3, 64, 96]))
    save_file(training_state, tmp_path / "training.safetensors")
    save_file(to_deploy(training_state), tmp_path / "deploy.safetensors")
    with torch.inference_mode():
        one, other = (create("damo_yolo", tmp_path / f"{form}.safetensors")(image) for form in ("training", "deploy"))
    assert (one[0] - other[0]).abs().max() <= 0.02 and (one[1] - other[1]).abs().max() <= 1e-4
    assert not torch.equal(one[0], other[0])  # two computations


def test_random_weights_are_the_training_form():
    assert not create("damo_yolo").deploy
    assert find("damo_yolo").build(deploy=True).deploy


def test_a_checkpoint_with_classes_of_ones_own_is_read(tmp_path):
    torch.manual_seed(0)
    trained = DamoYolo(LAYOUTS["nano_small"], num_classes=3)
    file = saved(tmp_path / "mine.pth", trained.state_dict())
    assert prepare(find("damo_yolo_nano_small"), file, num_classes=3).module.num_classes == 3


# ---- files that cannot be used --------------------------------------------------------------------------------------


def refusal(path, name="damo_yolo_tiny", **options):
    with pytest.raises(UserMistake) as caught:
        create(name, weights=path, **options)
    text = str(caught.value)
    assert len(text.splitlines()) <= 24 and max(map(len, text.splitlines())) <= 200, "an error fits one screen"
    return text


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (eval, (f"open({str(self.mark)!r}, 'w')",))


def without(tensors, part):
    return {name: value for name, value in tensors.items() if part not in name}


BAD = {
    "empty": (lambda s: None, "empty"),
    "text": (lambda s: b"not a checkpoint at all", "not a PyTorch checkpoint"),
    "a web page": (lambda s: b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "not a PyTorch checkpoint"),
    "empty dict": (lambda s: {}, "no named tensors"),
    "empty model": (lambda s: {"model": {}, "epoch": 3}, "no named tensors"),
    "a list": (lambda s: list(s.values()), "no named tensors"),
    "figures only": (lambda s: {"model": {"epoch": 3}}, "no named tensors"),
    "a config only": (lambda s: {"model": Trainer()}, "which is not run"),
    "not numbers": (lambda s: {"model": {**s, "head.gfl_cls.0.bias": torch.full((80,), torch.nan)}}, "not numbers"),
    "the head is gone": (lambda s: without(s, "head."), "missing"),
    "a backbone alone": (lambda s: {k: v for k, v in s.items() if k.startswith("backbone.")}, "missing"),
    "a deploy file with holes": (lambda s: without(to_deploy(s), "neck.merge_4."), "missing"),
    "both forms": (
        lambda s: {**to_deploy(s), **{k: v for k, v in s.items() if k.startswith("neck.")}},
        "mixes the training form and the deploy form",
    ),
    "other heads": (lambda s: {**s, "head.gfl_reg.0.weight": torch.zeros(32, 64, 3, 3)}, "1 mis-shaped"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_cannot_be_used(tmp_path, training_state, kind):
    make, told = BAD[kind]
    content, path = make(training_state), tmp_path / "net.pth"
    path.write_bytes(content or b"") if isinstance(content, bytes | None) else torch.save(content, path)
    assert told in refusal(path)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_file_that_was_cut_off(tmp_path, state, kind, share):
    file = tmp_path / f"net.{kind}"
    saved(file, state, trainer=Trainer()) if kind == "pth" else save_file(state, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    assert "not a whole" in (text := refusal(file, "damo_yolo_nano_small")) or "or not a whole one" in text


def test_a_hostile_file_with_the_right_tensors(tmp_path, state):
    file = saved(tmp_path / "net.pth", state, hook=Hostile(tmp_path / "ran"))
    assert "builtins.eval" in refusal(file, "damo_yolo_nano_small")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", ["training", "deploy"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_variant_that_fits_is_named(tmp_path, variant, form):
    """For each variant another one of this family is asked, and a classifier."""
    with torch.device("meta"):
        module = find(f"damo_yolo_{variant}").build(num_classes=3, deploy=form == "deploy")
    save_file(
        {k: torch.zeros(v.shape, dtype=v.dtype) for k, v in module.state_dict().items()}, tmp_path / "x.safetensors"
    )
    for asked in ("damo_yolo_nano_large" if variant != "nano_large" else "damo_yolo_tiny", "van_b0"):
        text = refusal(tmp_path / "x.safetensors", asked)
        assert f"does not fit {asked}" in text and f"--model damo_yolo_{variant} --num-classes 3: it fits" in text


@pytest.mark.parametrize("family", families("classification"))
def test_the_file_of_a_classifier_names_the_classifier(tmp_path, family):
    small = f"{family}_mnist"
    save_file(create(small).state_dict(), tmp_path / "x.safetensors")
    assert f"--model {small}: it fits" in refusal(tmp_path / "x.safetensors")


def test_another_class_count_names_the_option(tmp_path, state):
    file = saved(tmp_path / "net.pth", state)
    text = refusal(file, "damo_yolo_nano_small", num_classes=3)
    assert "80 classes" in text and "--num-classes 80" in text
    mine = create("damo_yolo_nano_small", num_classes=3)
    saved(file, mine.state_dict())
    assert "--num-classes 3" in refusal(file, "damo_yolo_nano_small")


# ---- what the authors publish ---------------------------------------------------------------------------------------


def delivering(monkeypatch, tmp_path, answer):
    asked = []

    def deliver(url, target, progress):
        asked.append(url)
        answer(url, target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", deliver)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return asked


def test_pretrained_is_the_distilled_release(monkeypatch, tmp_path, training_state):
    asked = delivering(monkeypatch, tmp_path, lambda url, target: saved(target, training_state))
    prepared = prepare(find("damo_yolo"), "pretrained")
    assert [url.rsplit("/", 1)[1] for url in asked] == ["damoyolo_tinynasL20_T_436.pth"]
    assert prepared.source == find("damo_yolo").pretrained and prepared.sha256
    assert "weights licence: Apache-2.0" in prepared.notes
    prepare(find("damo_yolo"), "pretrained")
    assert len(asked) == 1  # the second time from the cache


def test_where_the_release_does_not_answer_the_first_one_is_taken_and_told(monkeypatch, tmp_path, training_state):
    def answer(url, target):
        if "release_model" in url:
            raise OSError("HTTP Error 404: Not Found")
        saved(target, training_state)

    asked = delivering(monkeypatch, tmp_path, answer)
    prepared = prepare(find("damo_yolo"), "pretrained")
    assert [url.rsplit("/", 1)[1] for url in asked] == ["damoyolo_tinynasL20_T_436.pth", "damoyolo_tinynasL20_T.pth"]
    assert prepared.source == find("damo_yolo").older_weights
    assert any("404" in note and "earlier release" in note for note in prepared.notes)


@pytest.mark.parametrize("name", ["damo_yolo_tiny", "damo_yolo_nano_small"])
def test_where_nothing_answers_the_page_is_named(monkeypatch, tmp_path, name):
    def answer(url, target):
        raise OSError("HTTP Error 404: Not Found")

    delivering(monkeypatch, tmp_path, answer)
    text = refusal("pretrained", name)
    assert "could not be downloaded" in text and find(name).pretrained in text and "--weights FILE" in text


def test_every_variant_has_an_address_of_its_own():
    addresses = [find(f"damo_yolo_{variant}").pretrained for variant in VARIANTS]
    assert len(set(addresses)) == 7 and all(url.startswith("https://") and url.endswith(".pth") for url in addresses)
