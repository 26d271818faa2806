"""What is typed after --model goes through one door, and a word that names nothing is told without importing what is heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgesmith.models.doors.names import door_of
from edgesmith.models.doors.timm_names import renamed, timm_matching, timm_names
from edgesmith.models.registry import find
from edgesmith.runtime.errors import UserMistake


@pytest.mark.parametrize(
    ("word", "door"),
    [
        ("timm:resnet18", ("timm_model", "resnet18")),
        ("timm:resnet18.a1_in1k", ("timm_model", "resnet18.a1_in1k")),
        ("resnet18", ("timm_model", "resnet18")),
        ("ResNet18.tv_in1k", ("timm_model", "ResNet18.tv_in1k")),
        ("vit_base_patch16_224_in21k", ("timm_model", "vit_base_patch16_224_in21k")),
        ("torchvision:resnet18", ("torchvision_model", "resnet18")),
        ("hf:some/folder", ("hf_folder", "some/folder")),
        ("path/net.py:make", ("own_module", "path/net.py:make")),
        ("net.py", ("own_module", "net.py")),
        ("path/net.onnx", ("onnx_file", "path/net.onnx")),
        ("smt_tiny", None),
        ("bert", None),
        ("keras:resnet", None),
    ],
)
def test_a_word_goes_through_one_door(word: str, door: tuple[str, str] | None):
    assert door_of(word) == door


def test_a_family_keeps_its_names_although_timm_has_them_too():
    assert "convit_tiny" in timm_names()
    assert find("convit_tiny").family == "convit"
    assert find("timm:convit_tiny").family == "timm"


def test_the_names_read_from_the_sources_are_those_that_timm_registers():
    import timm
    from timm.models._registry import _deprecated_models

    assert timm_names() == set(timm.list_models())
    assert {old: new for old, new in renamed().items() if _deprecated_models.get(old) != new} == {}
    assert len(renamed()) >= 0.99 * len(_deprecated_models)


@pytest.mark.parametrize("word", ["resnt18", "swin_tiny_patch4_windw7_224"])
def test_an_unknown_name_is_answered_with_timms_near_ones_and_timm_is_not_imported(word: str):
    code = f"""
import sys
from edgesmith.models.registry import find
try:
    find({word!r})
except Exception as error:
    print(error)
print("heavy:", sorted({{"timm", "torch", "torchvision", "transformers"}} & set(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "heavy: []" in answer and "did you mean " in answer
    assert "resnet18" in answer or "swin_tiny_patch4_window7_224" in answer


def test_names_of_timm_are_listed_by_a_pattern():
    assert timm_matching("resnet18*") == ["resnet18", "resnet18d"]
    assert timm_matching("ResNet1?") == ["resnet18"]
    with pytest.raises(UserMistake, match="resnet18"):
        timm_matching("resnt18")
