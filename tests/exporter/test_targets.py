"""Targets are data: every one is complete, every refusal names its reason and something that works."""

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from edgesmith.exporter.engine import rtx as rtx_builder
from edgesmith.exporter.engine.rtx import BuildFailed, build_rtx
from edgesmith.exporter.plan.targets import ALIASES, QUANTISED, RTX_ARCHS, TARGETS, check_arch, find_target
from edgesmith.runtime.errors import UserMistake

needs_rtx = pytest.mark.skipif(not rtx_builder.installed(), reason="TensorRT-RTX is not installed")
TYPES = {"int4": ml_dtypes.int4, "fp8": ml_dtypes.float8_e4m3fn, "nvfp4": ml_dtypes.float4_e2m1fn}


def one_weight(precision):
    """(16, 64) fp16 -> (16, 64): MatMul with a weight of ones in that type, scaled in blocks of 32 (nvfp4: 16)."""
    block = {"int4": 32, "nvfp4": 16}.get(precision, 0)
    scale = np.full((64 // block, 64) if block else (64,), 0.5, np.float16)
    values = {"x": ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT16), shape=ir.Shape((16, 64)))}
    for name, array in {"codes": np.ones((64, 64), np.float32).astype(TYPES[precision]), "scale": scale}.items():
        tensor = ir.tensor(array, name=name)
        values[name] = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=tensor.shape)
    attributes = {"axis": 0, "block_size": block} if block else {"axis": 1}
    weight = ir.node("DequantizeLinear", [values["codes"], values["scale"]], attributes)
    product = ir.node("MatMul", [values["x"], weight.outputs[0]])
    product.outputs[0].name = "y"
    product.outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    graph = ir.Graph(
        [values["x"]], product.outputs, nodes=[weight, product], initializers=[values["codes"], values["scale"]],
        opset_imports={"": 23 if precision == "nvfp4" else 21}, name="g",
    )  # fmt: skip
    return ir.Model(graph, ir_version=10)


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


# DESIGN.md's table: what each target has on its first able chip
OFFERED = {
    "cpu": {"int8", "int4"},
    "openvino": {"int8", "int4", "nvfp4"},
    "rtx": {"int8", "fp8", "int4", "nvfp4"},
    "tensorrt": {"int8", "fp8", "int4", "nvfp4"},
    "jetpack7": {"int8", "fp8", "int4", "nvfp4"},
    "jetpack7.0": {"int8", "fp8", "int4", "nvfp4"},
    "jetpack6": {"int8", "int4"},
    "jetpack6.0": set(),
    "jetpack5": set(),
}


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_offers_what_the_design_says(name):
    assert {precision for precision in QUANTISED if not TARGETS[name].refuses(precision)} == OFFERED[name]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("precision", QUANTISED)
def test_a_refusal_has_a_reason_and_its_attempt_works(name, precision):
    target = TARGETS[name]
    for arch in (None, *target.archs):
        if not target.refuses(precision, arch):
            assert target.check_precision(precision, arch) == precision
            continue
        with pytest.raises(UserMistake, match=f"no precision {precision}") as error:
            target.check_precision(precision, arch)
        assert len(error.value.because.split()) > 4 and error.value.exit_code == 2
        for attempt in error.value.attempt.split(", or "):
            flag, *words = attempt.split(" or ")[0].split() + attempt.split(" or ")[1:]
            for word in words:
                if flag == "--gpu-arch":
                    assert target.check_precision(precision, word) == precision
                elif flag == "--precision":
                    assert target.check_precision(word, arch) == word
                else:
                    assert flag == "--target" and find_target(word).check_precision(precision) == precision


def test_fp8_for_orin_is_refused_with_the_reason():
    with pytest.raises(UserMistake) as error:
        find_target("jetpack6").check_precision("fp8")
    assert "Orin (sm87) has no fp8 tensor cores" in error.value.because and "sm89" in error.value.because
    assert error.value.attempt == "--precision int8"
    with pytest.raises(UserMistake, match="on sm87") as error:
        find_target("jetpack7").check_precision("fp8", "sm87")
    assert error.value.attempt == "--gpu-arch sm110"
    assert find_target("jetpack7").check_precision("fp8", "sm110") == "fp8"


def test_an_old_card_is_told_which_cards_can():
    with pytest.raises(UserMistake) as error:
        find_target("rtx").check_precision("fp8", "sm86")
    assert error.value.attempt == "--gpu-arch sm89 or sm120 or sm121"
    assert "fp8" not in error.value.expected and "int4" in error.value.expected


def test_without_a_named_chip_the_first_that_has_the_precision_is_taken():
    rtx, jetpack7 = find_target("rtx"), find_target("jetpack7")
    assert [rtx.default_arch(word) for word in ("fp16", "int8", "fp8", "nvfp4")] == ["sm89", "sm89", "sm89", "sm120"]
    assert (jetpack7.default_arch("int8"), jetpack7.default_arch("fp8")) == ("sm87", "sm110")
    assert find_target("cpu").default_arch("int4") is None


def test_tensorrt_8_says_what_it_lacks_and_where_to_go():
    with pytest.raises(UserMistake, match="jetpack6.0 has no precision int8") as error:
        find_target("jetpack6.0").check_precision("int8")
    assert "strongly typed" in error.value.because and "--precision fp16" in error.value.attempt
    assert "--target jetpack7 or jetpack6" in error.value.attempt


def test_blocks_need_a_newer_opset_than_the_rest():
    jetpack6 = find_target("jetpack6")
    assert [jetpack6.opset_limit(word) for word in ("fp16", "int8", "int4", "fp8")] == [20, 20, 21, 20]
    assert find_target("jetpack7.0").opset_limit("nvfp4") == 23 and find_target("jetpack5").opset_limit("fp16") == 16


@needs_rtx
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int4", "fp8", "nvfp4"])
def test_the_builder_agrees_with_the_table(precision):
    """One weight of that type, every chip: built where the table says so, refused by the builder where not."""
    rtx = find_target("rtx")
    for arch in RTX_ARCHS:
        if rtx.refuses(precision, arch):
            with pytest.raises(BuildFailed, match="HW-specific datatypes"):
                build_rtx(one_weight(precision), arch)
        else:
            assert build_rtx(one_weight(precision), arch).data


def test_bf16_on_the_cpu_names_targets_that_have_it():
    with pytest.raises(UserMistake, match="no bfloat16 kernels for Conv and MatMul") as error:
        find_target("cpu").check_precision("bf16")
    for name in error.value.attempt.removeprefix("--target ").split(" or "):
        assert find_target(name).check_precision("bf16") == "bf16"


@pytest.mark.parametrize("spelling", ["sm89", "SM89", "sm_89", "8.9", "89"])
def test_an_architecture_is_known_in_every_spelling(spelling):
    assert check_arch(spelling) == "sm89"


def test_unknown_architecture_lists_what_there_is():
    with pytest.raises(UserMistake) as error:
        check_arch("sm90")
    assert all(arch in error.value.expected for arch in RTX_ARCHS)


def test_a_jetson_chip_is_sent_to_its_target():
    with pytest.raises(UserMistake, match="jetpack6"):
        check_arch("sm87")


@pytest.mark.parametrize(
    ("target", "arch", "able", "order"),
    [
        ("cpu", "", ("fp32", "fp16", "int8"), ("int8", "fp32")),
        ("jetpack7", "sm87", ("fp32", "fp16", "bf16", "int8"), ("fp16", "int8")),
        ("jetpack7", "sm110", ("fp32", "fp16", "bf16", "int8", "fp8"), ("fp8", "fp16", "int8")),
        ("rtx", "sm89", ("fp32", "fp16", "bf16", "int8", "fp8"), ("fp16", "fp8", "int8")),
    ],
)
def test_a_target_has_an_order_of_precisions_it_prefers(target, arch, able, order):
    assert TARGETS[target].preferred(arch, able) == order
