"""What is asked of a grounding export, and what is refused before torch is imported."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from grounding_folder import write_folder

from edgesmith.exporter.grounding.plan import make_plan
from edgesmith.exporter.pipeline import export
from edgesmith.exporter.tasks.grounding.plan import plan_grounding
from edgesmith.runtime.errors import UserMistake


def test_screens_become_buckets_by_the_rule_of_the_resize():
    found = plan_grounding({"screen": "1366x768,2560x1440,220x170"})
    assert [(one.screen, one.size) for one in found.buckets] == [
        ((1366, 768), (756, 1372)),  # the first two and the last are cases of the authors' own files
        ((2560, 1440), (1428, 2548)),
        ((220, 170), (168, 224)),
    ]
    assert found.buckets[2].grid == (6, 8) and found.buckets[2].name == "224x168"


def test_screens_that_are_seen_alike_share_their_graphs():
    assert len(plan_grounding({"screen": "220x170,224x168"}).buckets) == 1


def test_pairs_are_screens_too():
    assert plan_grounding({"screen": [(220, 170), [1366, 768]]}).buckets[1].size == (756, 1372)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"screen": "20x2000"}, "too small"),
        ({"screen": "30x8000"}, "no screen"),
        ({"screen": "7680x4320"}, "too many pixels"),
        ({"screen": "1280"}, "not the size of a screen"),
        ({"screen": ""}, "not the size of a screen"),
        ({"screen": "1280x800x3"}, "not the size of a screen"),
        ({"screen": "-1x800"}, "not the size of a screen"),
        ({"screen": ",".join(f"{280 + 28 * at}x280" for at in range(9))}, "Too many screens"),
        ({"kv_bits": 3}, "--kv-bits has no value 3"),
        ({"kv_bits": 4, "kv_scheme": "some"}, "--kv-scheme has no value some"),
        ({"kv_scheme": "rotatekv"}, "few bits"),
        ({"kv_bits": 16, "kv_scheme": "kivi"}, "few bits"),
        ({"precision": "fp8"}, "no precision fp8"),
        ({"data": "screens"}, "takes no --data here"),
        ({"data": "screens", "precision": "int4", "target": "openvino"}, "takes no --data here"),
        ({"smooth": 0.5, "precision": "int4"}, "takes no --smooth here"),
        ({"data": "screens", "precision": "int4", "smooth": 2}, "--smooth"),
        ({"precision": "auto"}, "no precision auto"),
        ({"precision": "bf16"}, "no precision bf16"),
        ({"image_size": 224}, "takes no --image-size"),
        ({"batch": "1..8"}, "takes no --batch"),
        ({"labels": "names.txt"}, "takes no --labels"),
        ({"nms": "graph"}, "belongs to a detector"),
        ({"block": 48}, "--block has no value 48"),
        ({"gpu_arch": "sm89"}, "no --gpu-arch"),
    ],
)
def test_what_cannot_work_is_refused(choices, words, tmp_path):
    with pytest.raises(UserMistake) as caught:
        make_plan("gui_aima", out=tmp_path / "some.edge", **choices)
    assert words in caught.value.what
    assert caught.value.attempt
    assert not list(tmp_path.iterdir())


def test_a_detector_takes_no_screen(tmp_path):
    from edgesmith.exporter.plan.plan import make_plan as of_others

    with pytest.raises(UserMistake, match="belongs to a grounding model"):
        of_others("damo_yolo", screen="220x170", out=tmp_path / "some.edge")


def test_screens_calibrate_the_tower(tmp_path):
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "screens").mkdir()
    for number in range(3):
        array = np.random.default_rng(number).integers(0, 256, (60 + number, 90, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "screens" / f"{number}.png"), array)
    plan = make_plan(
        "gui_aima", out=tmp_path / "some.edge", precision="int8", data=tmp_path / "screens", screen="220x170"
    )
    assert plan.calibration is not None and plan.calibration.data is not None
    (batch,) = plan.calibration.data.calibration.batches(3)
    assert batch.shape == (3, 3, 168, 224)


def test_keys_and_values_are_float32_in_fp32_and_16_bits_otherwise(tmp_path):
    out = tmp_path / "some.edge"
    assert make_plan("gui_aima", out=out).rule.kv_bits == 32
    assert make_plan("gui_aima", out=out, precision="fp16").rule.kv_bits == 16
    assert make_plan("gui_aima", out=out, kv_bits=2).rule.kv_bits == 2


def test_keys_are_stored_a_channel_where_nothing_else_is_asked_for(tmp_path):
    out = tmp_path / "some.edge"
    assert make_plan("gui_aima", out=out, kv_bits=4).rule.kv_scheme == "kivi"
    assert make_plan("gui_aima", out=out, kv_bits=4, kv_scheme="rotatekv").rule.kv_scheme == "rotatekv"


@pytest.mark.parametrize(
    ("sizes", "choices", "words"),
    [
        ({"hidden": 96}, {"kv_bits": 4, "kv_scheme": "rotatekv"}, "cannot be rotated"),  # heads of 24 channels
        ({}, {"kv_bits": 4, "kv_scheme": "rotatekv", "screen": "224x168,28x28"}, "fewer tokens"),
        ({"hidden": 32}, {"kv_bits": 2}, "8 channels cannot be packed"),
    ],
)
def test_keys_that_a_scheme_does_not_take_are_refused_before_anything_is_written(sizes, choices, words, tmp_path):
    folder = write_folder(tmp_path / "tiny", message="Hi.", **sizes)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserMistake) as caught:
        export("gui_aima", str(folder), out=tmp_path / "out" / "some.edge", **{"screen": "224x168", **choices})
    assert words in caught.value.what
    assert caught.value.found and caught.value.expected and caught.value.attempt and caught.value.exit_code == 2
    assert not list((tmp_path / "out").iterdir())


def test_a_wrong_choice_costs_no_import_of_torch(tmp_path):
    code = (
        "import sys\n"
        "from edgesmith.exporter.pipeline import export\n"
        "from edgesmith.runtime.errors import UserMistake\n"
        "try: export('gui_aima', screen='20x2000')\n"
        "except UserMistake: print(any(name in sys.modules for name in ('torch', 'transformers')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "False"
