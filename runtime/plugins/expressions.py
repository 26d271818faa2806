"""Small integer expressions over sizes and attributes: output shapes, grids and scalars of fused ops, written once as text.

    "cdiv(N, 64) * B"  >  postfix ("N", 64, "cdiv", "B", "*")  >  numbers here, symbols of TensorRT, the C++ plugin

Names are symbols of the input shapes (``B``, ``N``) or attributes of the op; a float attribute stands for the 32 bits of its
float32 as a signed integer, because a kernel takes int32 scalars and nothing else. Comparisons give 1 or 0.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

Token = int | str
Algebra = Mapping[str, Callable[[Any, Any], Any]]  # operator -> its meaning on two operands

INTEGERS: Algebra = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "cdiv": lambda a, b: -(-a // b),
    "min": min,
    "max": max,
    "==": lambda a, b: int(a == b),
    "<": lambda a, b: int(a < b),
}
_BINARY: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Eq: "==",
    ast.Lt: "<",
}
_CALLS = ("cdiv", "min", "max")


@dataclass(frozen=True)
class Expression:
    """One parsed expression; ``postfix`` is what every evaluator reads."""

    text: str
    postfix: tuple[Token, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The symbols and attributes that are read, each once, in order."""
        return tuple(dict.fromkeys(token for token in self.postfix if isinstance(token, str) and token.isidentifier()
                                   and token not in _CALLS))  # fmt: skip

    def value(self, names: Mapping[str, Any], algebra: Algebra = INTEGERS, number: Callable[[int], Any] = int) -> Any:
        """Evaluate; ``algebra`` and ``number`` decide what the operands are.

        Raises:
            KeyError: a name is not in ``names``.
        """
        stack: list[Any] = []
        for token in self.postfix:
            if isinstance(token, int):
                stack.append(number(token))
            elif token in algebra:
                right, left = stack.pop(), stack.pop()
                stack.append(algebra[token](left, right))
            else:
                stack.append(names[token])
        (result,) = stack
        return result


@cache
def parse(text: str) -> Expression:
    """Text with + - * // == <, cdiv, min, max and ``and`` (as a product of 0 and 1) -> Expression.

    Raises:
        ValueError: anything else stands in the text.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{text!r} is no expression: {error.msg}") from None
    return Expression(text, tuple(_postfix(tree, text)))


def _postfix(node: ast.AST, text: str) -> list[Token]:
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return [number]
        case ast.Name(id=name) if name not in _CALLS:
            return [name]
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
            return [*_postfix(left, text), *_postfix(right, text), _BINARY[type(sign)]]
        case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in _BINARY:
            return [*_postfix(left, text), *_postfix(right, text), _BINARY[type(sign)]]
        case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]) if name in _CALLS:
            return [*_postfix(left, text), *_postfix(right, text), name]
        case ast.BoolOp(op=ast.And(), values=[first, *others]):
            tokens = _postfix(first, text)
            for other in others:
                tokens += [*_postfix(other, text), "*"]
            return tokens
    raise ValueError(f"{text!r} has {ast.unparse(node)}, and only + - * // == <, cdiv, min, max and `and` are known")
