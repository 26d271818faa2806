"""docs/fused_ops.md is what the declarations and the targets say."""

from __future__ import annotations

from edgesmith.exporter.commands.inspect.ops_page import PAGE, kernels, page
from edgesmith.exporter.plan.targets import TARGETS
from edgesmith.exporter.plugins import OPS


def test_the_page_in_the_checkout_is_the_one_that_is_generated():
    assert PAGE.read_text() == page(OPS.values()), "run make kernels and commit docs/fused_ops.md"


def test_every_op_target_and_attribute_is_on_it():
    text = page(OPS.values())
    for op in OPS.values():
        assert f"### {op.name}\n" in text
        assert all(f"`{attribute.name}`" in text for attribute in op.schema.attributes)
    assert all(f"| `{name}` |" in text for name in TARGETS)


def test_kernels_are_told_by_types_and_sizes():
    assert kernels(OPS["ChannelGram"]).endswith(".") and "float16" in kernels(OPS["ChannelGram"])
