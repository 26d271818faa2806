"""Declarations that NVIDIA's code has to refuse: without them, a simulator that accepts everything would look the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sizes import Builder, Registry, Shape, Size

DOMAIN = "wrong"


def refusals(trt: Any, trtp: Any, registry: Registry) -> dict[str, str]:
    """{what is wrong: type and text of the error}, "accepted" where there is none."""
    desc, launched = trtp.TensorDesc, tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]

    def annotated(run: Callable[..., Any], returns: Any, **types: Any) -> Callable[..., Any]:
        run.__annotations__ = {**types, "return": returns}  # objects; this file's own annotations are text
        return run

    def register(name: str, **attributes: Any) -> None:
        describe = annotated(lambda x: x.like(), desc, x=desc)
        trtp.register(f"{DOMAIN}::{name}")(describe)

    def kernel_without_its_input() -> None:
        register("Input")
        trtp.aot_impl(f"{DOMAIN}::Input")(
            annotated(lambda outputs, tactic: None, launched, outputs=tuple[desc], tactic=int)
        )

    def kernel_without_a_result() -> None:
        register("Result")
        trtp.aot_impl(f"{DOMAIN}::Result")(
            annotated(lambda x, outputs, tactic: None, tuple[str, str], x=desc, outputs=tuple[desc], tactic=int)
        )

    def types_for_one_tensor_of_two() -> None:
        register("Types")
        short = [trtp.AutoTuneCombination("FP32", "LINEAR")]
        tune = annotated(lambda x, outputs: short, list[trtp.AutoTuneCombination], x=desc, outputs=tuple[desc])
        trtp.autotune(f"{DOMAIN}::Types")(tune)
        trtp.aot_impl(f"{DOMAIN}::Types")(
            annotated(lambda x, outputs, tactic: None, launched, x=desc, outputs=tuple[desc], tactic=int)
        )
        strict = trt.QuickPluginCreationRequest.STRICT_AOT
        maker = registry.get_creator("Types", "1", DOMAIN)
        plugin = maker.create_plugin("Types", DOMAIN, trt.PluginFieldCollection([]), trt.TensorRTPhase.BUILD, strict)
        plugin.get_output_data_types([trt.float32], [1])
        plugin.get_output_shapes([Shape([Size(4)])], [], Builder())
        plugin.get_supported_format_combinations([trt.DynamicPluginTensorDesc() for _ in range(2)], 1)

    def attribute_that_is_a_list() -> None:
        trtp.register(f"{DOMAIN}::List")(annotated(lambda x, sizes: x.like(), desc, x=desc, sizes=list[int]))

    def output_that_is_an_array() -> None:
        trtp.register(f"{DOMAIN}::Array")(annotated(lambda x: x, np.ndarray, x=desc))

    def annotations_that_are_text() -> None:
        trtp.register(f"{DOMAIN}::Text")(annotated(lambda x: x.like(), "TensorDesc", x="TensorDesc"))

    attempts = (
        kernel_without_its_input,
        kernel_without_a_result,
        types_for_one_tensor_of_two,
        attribute_that_is_a_list,
        output_that_is_an_array,
        annotations_that_are_text,
    )
    return {attempt.__name__: _said(attempt) for attempt in attempts}


def _said(attempt: Callable[[], None]) -> str:
    try:
        attempt()
    except (ValueError, IndexError) as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"
