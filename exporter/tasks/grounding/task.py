"""The task of grounding in an export: several graphs, so the flow is its own (exporter/grounding/flow.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..task import Engine, ExportTask
from .plan import CHOICES, FEW_BITS, GroundingRule, plan_grounding

if TYPE_CHECKING:
    import numpy as np

    from ....models.spec import ModelSpec
    from ....runtime.bundle.bundle import Bundle


class GroundingExport(ExportTask):
    """A screen and an instruction -> scores of the visual tokens, over a prefix that is stored."""

    name = "grounding"
    noun, verb = "grounding model", "finds what an instruction means on a screen"
    files = "no single file: a vision tower, a prefix and an instruction graph"
    choices = CHOICES
    key = "grounding"
    asked = ' --instruction "open the settings"'
    quantised_by = " --precision int4"
    flow = "grounding.flow"
    in_steps = True

    def plan(self, spec: ModelSpec, target: Engine, choices: Mapping[str, Any]) -> GroundingRule:
        return plan_grounding(choices)

    def rule_words(self, rule: Mapping[str, Any]) -> str:
        """A manifest's entry in words."""
        kv = rule["kv"]
        seen = ", ".join(
            "{}x{}".format(*one["screen"]) + f" as {one['grid'][1]}x{one['grid'][0]}" for one in rule["buckets"]
        )
        packed = f", {kv['scheme']}" if kv["bits"] < FEW_BITS else ""
        return (
            f"screens {seen} visual tokens; keys and values of {kv['bits']} bits{packed}; {rule.get('weighting', '')}"
        )

    def steps(self, session: Any) -> dict[str, Callable[[], np.ndarray]]:
        from .bench import steps

        return steps(session)

    def off(self, session: Any, answers: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        from .bench import off

        return off(session, answers)

    def beside(
        self, first: Bundle, second: Bundle, precision: str, data: str | None
    ) -> tuple[list[dict[str, Any]], list[str]]:
        from .beside import beside

        return beside(first, second, precision, data)

    def claims(self, shapes: Mapping[str, Any]) -> dict[str, str]:
        """No file of one graph is of this task."""
        return {}
