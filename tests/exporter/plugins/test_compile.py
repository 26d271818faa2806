"""PTX of a kernel: portable, without scratch pointers or paths, its parameters those of the declaration.

Compiling needs a process in which Triton does not interpret, so it is done in a child.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from edgesmith.exporter.plugins.pack.compile import entry_parameters, signature_of, without_comments, without_scratch
from edgesmith.exporter.plugins.vision.ggem_pool import KERNEL, OP

CHILD = """
import json, sys
from dataclasses import asdict
from edgesmith.exporter.plugins.pack.compile import compile_variant
from edgesmith.exporter.plugins.vision.ggem_pool import KERNEL, OP
made = compile_variant(OP, KERNEL, KERNEL.variants[int(sys.argv[1])])
print(json.dumps({"launch": asdict(made.launch), "ptx": made.ptx}))
"""
ENTRY = """.visible .entry f(
\t.param .u64 .ptr .global .align 1 f_param_0,
\t.param .u32 f_param_1,
\t.param .u64 .ptr .global .align 1 f_param_2,
\t.param .u64 .ptr .global .align 1 f_param_3
)
.reqntid 128
{
\tld.param.b32 \t%r1, [f_param_1];  // n
}
"""


@pytest.fixture(scope="module")
def compiled():
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, "1"], check=False, capture_output=True, text=True, env=environment
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


def test_the_ptx_is_portable_and_names_nothing_of_this_machine(compiled):
    ptx = compiled["ptx"]
    assert ".version 8.0\n.target sm_80\n" in ptx
    assert "//" not in ptx and ".file" not in ptx and sys.prefix not in ptx


def test_parameters_are_inputs_scalars_outputs(compiled):
    kinds = [kind for kind, _ in entry_parameters(compiled["ptx"], compiled["launch"]["entry"])]
    assert kinds == ["u64", "u64", *["u32"] * len(KERNEL.scalars), "u64"]


def test_the_launch_has_the_constants_in_its_grid_and_a_name_of_its_own(compiled):
    launch = compiled["launch"]
    width = KERNEL.variants[1].constants["BLOCK_C"]
    assert launch["grid"] == [f"cdiv(C, {width})", "B", "1"] and launch["type"] == "float16"
    assert launch["entry"].startswith("edgesmith_ggem_pool_kernel_") and launch["file"] == launch["entry"] + ".ptx"
    assert 0 < launch["shared_bytes"] <= 48 * 1024


def test_scratch_pointers_are_taken_out():
    text = without_scratch(ENTRY, "f", 2)
    assert entry_parameters(text, "f") == [("u64", "f_param_0"), ("u32", "f_param_1")]


def test_a_scratch_pointer_that_is_read_is_refused():
    with pytest.raises(ValueError, match="reads its scratch pointer f_param_3"):
        without_scratch(ENTRY.replace("[f_param_1]", "[f_param_3]"), "f", 2)


def test_another_number_of_parameters_is_refused():
    with pytest.raises(ValueError, match="1 parameters after its own, expected 2"):
        without_scratch(ENTRY, "f", 3)


def test_assembly_is_kept_without_its_comments():
    assert "// n" not in without_comments(ENTRY)


def test_a_kernel_whose_arguments_are_in_another_order_is_refused():
    names = ["p_ptr", "x_ptr", *KERNEL.scalars, "y_ptr", *KERNEL.variants[0].constants]
    with pytest.raises(ValueError, match="ggem_pool_kernel takes"):
        signature_of(OP, KERNEL, KERNEL.variants[0], SimpleNamespace(arg_names=names))
