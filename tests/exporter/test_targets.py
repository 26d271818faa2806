"""Targets are data: every one is complete, every refusal names its reason and something that works."""

import pytest

from edgesmith.exporter.targets import ALIASES, RTX_ARCHS, TARGETS, check_arch, find_target
from edgesmith.runtime.errors import UserMistake


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_every_target_is_consistent(target):
    assert find_target(target.name) is target
    assert target.default_precision in target.precisions
    assert target.order in {"cpu", "openvino", "rtx", "tensorrt"}
    assert target.opset <= target.max_opset and target.max_ir <= 10
    assert target.note and target.check_precision(target.default_precision) == target.default_precision
    assert target.builds_here or "not yet run on hardware" in target.note


def test_what_is_not_built_here_says_which_library_will():
    assert all(target.library for target in TARGETS.values() if not target.builds_here)


def test_aliases_lead_to_targets():
    assert {find_target(alias).name for alias in ALIASES} <= set(TARGETS)


def test_unknown_target_names_the_nearest():
    with pytest.raises(UserMistake, match="Unknown target 'jetpak6'") as error:
        find_target("jetpak6")
    assert "jetpack6" in error.value.attempt and "openvino" in error.value.expected


@pytest.mark.parametrize("precision", ["int8", "fp8", "int4", "nvfp4"])
def test_quantised_precisions_are_refused_in_the_users_words(precision):
    with pytest.raises(UserMistake, match="not in this version") as error:
        find_target("rtx").check_precision(precision)
    assert error.value.attempt == "--precision fp16" and error.value.exit_code == 2


def test_bf16_on_the_cpu_names_targets_that_have_it():
    with pytest.raises(UserMistake, match="no bfloat16 kernels") as error:
        find_target("cpu").check_precision("bf16")
    for name in error.value.attempt.removeprefix("--target ").split(" or "):
        assert find_target(name).check_precision("bf16") == "bf16"


@pytest.mark.parametrize("spelling", ["sm89", "SM89", "sm_89", "8.9", "89"])
def test_architectures_in_every_spelling(spelling):
    assert check_arch(spelling) == "sm89"


def test_unknown_architecture_lists_what_there_is():
    with pytest.raises(UserMistake) as error:
        check_arch("sm90")
    assert all(arch in error.value.expected for arch in RTX_ARCHS)


def test_a_jetson_chip_is_sent_to_its_target():
    with pytest.raises(UserMistake, match="jetpack6"):
        check_arch("sm87")
