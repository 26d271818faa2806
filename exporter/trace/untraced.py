"""What torch's exporter could not trace, in words: which operator, where in the network, and what to write in its place.

Its own error is a page about its stages; the first cause of it is often inside of its own code.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...models.doors.building import first_line

if TYPE_CHECKING:
    from torch import fx, nn

OPERATOR = re.compile(r"Error when translating node .*?target=torch\.ops\.([\w.]+)\]", re.DOTALL)
PLACE = re.compile(r'File "(?:[^"]*/)?([^"/]+)", line (\d+), in (\w+)')
CAUSED = re.compile(r"Caused by: \((?:\S*/)?(\S+):(\d+) in (\w+)\)")

# the start of an operator's name -> what computes the same and is known; seen with torch 2.14
WRITE_INSTEAD = {
    "aten.sort.stable": "sort keys of which no two are equal, without stable=True: (keys * n + torch.arange(n)).argsort(-1)",
    "aten.adaptive_max_pool2d": "nn.MaxPool2d with a fixed window, or x.amax((2, 3)) for one place",
    "aten.linalg_": "a closed form, or some steps of an iteration in products: no engine has decompositions of matrices",
    "aten._linalg_": "a closed form, or some steps of an iteration in products: no engine has decompositions of matrices",
    "aten._cdist_forward": "(x * x).sum(-1, keepdim=True) - 2 * x @ y.T + (y * y).sum(-1), and its square root",
    "aten.searchsorted": "(x.unsqueeze(-1) > borders).sum(-1)",
    "aten.histc": "torch.histc with min and max, or a sum over (x.unsqueeze(-1) - centres)",
}
COMPLEX = (
    "real and imaginary parts as two tensors (torch.view_as_real): complex ones only between torch.fft and a product"
)
USUAL = "other operators, or an ONNX file made otherwise: --model path/net.onnx"
BRANCH = "torch.where in place of if, no .item(), no numpy: forward may not ask for the values of its tensors"


def untraced(error: BaseException, network: nn.Module, example: tuple[int, ...]) -> tuple[str, str]:
    """(found, what to try) of an error of torch.onnx.export on an input of the shape ``example``."""
    chain = _chain(error)
    operator = next((found[1] for each in chain if (found := OPERATOR.search(str(each)))), "")
    if not operator:
        last = chain[-1]
        what = "a branch on the values of a tensor" if "DataDependent" in type(last).__name__ else first_line(last)
        return what + _told_place(str(last)), BRANCH
    nodes = _nodes(network, example, operator)
    what = f"the operator {operator}" + (_place(nodes[0]) if nodes else "")
    if any("omplex" in str(each) for each in chain) or any(_is_complex(node) for node in nodes):
        return f"{what}, of complex numbers", COMPLEX
    return what, next((words for name, words in WRITE_INSTEAD.items() if operator.startswith(name)), USUAL)


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def _told_place(words: str) -> str:
    """``, net.py line 18 (forward)`` where the error tells a line of the network."""
    found = (PLACE.findall(words) or CAUSED.findall(words))[-1:]
    return f", {found[0][0]} line {found[0][1]} ({found[0][2]})" if found else ""


def _nodes(network: nn.Module, example: tuple[int, ...], operator: str) -> list[fx.Node]:
    """The nodes of torch's own graph that call the operator, or of the one in which operators are taken apart."""
    import torch

    def calls(program: torch.export.ExportedProgram) -> list[fx.Node]:
        return [node for node in program.graph.nodes if str(node.target) == operator]

    try:
        with torch.no_grad():
            program = torch.export.export(network, (torch.zeros(example),))
            return calls(program) or calls(program.run_decompositions())
    except Exception:  # noqa: BLE001  the place is an addition to an error that is told anyway
        return []


def _place(node: fx.Node) -> str:
    """`` in blocks.0.mixer, net.py line 40 (forward)``."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    inside = stack[-1][0] if stack else ""
    return (f" in {inside}" if inside else "") + _told_place(str(node.meta.get("stack_trace") or ""))


def _is_complex(node: fx.Node) -> bool:
    import torch

    values = [part.meta.get("val") for part in (node, *node.all_input_nodes)]
    return any(isinstance(value, torch.Tensor) and value.is_complex() for value in values)
