"""The pack in the checkout: made from these sources, by what its table says, every kernel assembled for every chip."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys

import pytest

from edgesmith.exporter.plugins import OPS
from edgesmith.exporter.plugins.pack.compile import entry_parameters
from edgesmith.exporter.plugins.pack.pack import PACKED, about, source_hash
from edgesmith.exporter.plugins.pack.ptxas import CHIPS, TABLE, assemble, measure, table
from edgesmith.runtime.plugins.pack import read_pack
from edgesmith.runtime.plugins.schema import MAX_SHARED_BYTES


@pytest.fixture(scope="module")
def pack():
    return read_pack(PACKED)


def test_the_pack_was_made_from_these_sources():
    assert about()["source_sha256"] == source_hash(), "run make kernels and commit exporter/plugins/kernels.zip"


def test_every_op_with_a_kernel_is_in_the_pack_with_its_schema(pack):
    assert {name: op.schema for name, op in pack.ops.items()} == {
        name: op.schema for name, op in OPS.items() if op.kernel is not None
    }
    for name, op in OPS.items():
        if op.kernel is not None:
            assert len(pack.ops[name].launches) == len(op.kernel.variants)


def test_entries_are_unique_portable_and_take_inputs_scalars_outputs(pack):
    assert len(pack.ptx) == sum(len(op.launches) for op in pack.ops.values())
    for op in pack.ops.values():
        for launch in op.launches:
            ptx = pack.ptx[launch.entry]
            assert ptx.startswith(".version 8.0\n.target sm_80\n")
            kinds = [kind for kind, _ in entry_parameters(ptx, launch.entry)]
            assert kinds == [
                *["u64"] * len(op.schema.inputs), *["u32"] * len(launch.scalars), *["u64"] * len(op.schema.outputs)
            ]  # fmt: skip
            assert launch.shared_bytes <= MAX_SHARED_BYTES


def test_the_pack_is_small():
    assert PACKED.stat().st_size < 2_000_000


def test_the_assembler_refuses_what_is_not_ptx():
    with pytest.raises(ValueError, match="ptxas for sm_87"):
        assemble(".version 8.0\n.target sm_80\n.address_size 64\nnonsense\n", "sm_87")


@pytest.fixture
def same_triton():
    if about()["triton"] != importlib.metadata.version("triton"):
        pytest.skip(f"the pack was compiled and assembled by Triton {about()['triton']}")


@pytest.fixture(scope="module")
def assembled(pack):
    return measure(pack, CHIPS)


def test_every_kernel_assembles_for_every_chip_and_spills_nothing(pack, assembled):
    assert len(assembled) == len(pack.ptx) * len(CHIPS)
    assert not {key: found for key, found in assembled.items() if found.spilled_bytes}


def test_the_table_says_what_the_assembler_said(pack, assembled, same_triton):
    assert table(pack, assembled) == TABLE.read_text()


@pytest.mark.slow
def test_the_same_sources_give_the_same_bytes(tmp_path, same_triton):
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)  # compiled anew, not remembered
    command = [sys.executable, "-m", "edgesmith.exporter.plugins.pack.pack", "--check"]
    child = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert child.returncode == 0, child.stdout + child.stderr
