"""A source file -> the bugs that can be planted in it, one at a time, each as changed source.

What cannot change a number or a refusal is left alone: messages, docstrings, annotations, type checking, ``__repr__``,
names of nodes, time limits, assertions that only help a type checker.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
WORDS = {
    "min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum", "mean": "max",
    "argmin": "argmax", "argmax": "argmin", "floor": "ceil", "ceil": "floor", "amin": "amax", "amax": "amin",
    "sum": "max", "median": "min", "cumsum": "cumprod", "zeros": "ones", "ones": "zeros", "rint": "floor",
    "round": "int", "only_consumer": "bool", "startswith": "endswith",
}  # fmt: skip
# calls whose arguments are only read by people
TELLING = re.compile(
    r"(Error|Mistake|Refused|Unavailable|Failed|Warning|NotLinear|decline|refuse|warn|print|echo|shown|note|_words)$"
)
NOT_PLANTED = {  # keywords: words for people, names, time limits, and what only guards or spells
    "found", "expected", "because", "attempt", "why", "help", "name", "strict", "encoding", "errors", "timeout", "flush",
    "daemon", "description", "title", "indent", "maxsize", "output", "exist_ok", "parents", "usedforsecurity",
}  # fmt: skip
CHOICE = re.compile(r"[\w.:/+-]*\w")


@dataclass(frozen=True)
class Mutant:
    """One planted bug. ``first`` and ``last`` are the lines of the statement around it; ``scope`` of its function."""

    path: str
    line: int
    kind: str
    before: str
    after: str
    first: int
    last: int
    scope: tuple[int, int] | None
    place: tuple[int, int]  # number of the node in the walk, number of the change there

    @property
    def name(self) -> str:
        return f"{self.path}:{self.line} [{self.kind}] {self.before} -> {self.after}"


@dataclass(frozen=True)
class Change:
    """``field`` of a node (or item ``index`` of that list) becomes ``new``; without a field, the node itself."""

    kind: str
    new: object
    field: str = ""
    index: int = -1


def mutants(path: str, source: str) -> list[Mutant]:
    """Every bug that can be planted in the file, in the order of its lines."""
    found = []
    for number, (node, statement, scope) in enumerate(_places(ast.parse(source))):
        for which, change in enumerate(_changes(node)):
            shown = statement.test if change.field == "test" and isinstance(statement, ast.If) else node
            new = _changed(deepcopy(node), change)
            after = "False" if change.field == "test" else _short(new) if isinstance(new, ast.AST) else "(nothing)"
            if change.field == "keywords" and isinstance(node, ast.Call):
                after = f"without {node.keywords[change.index].arg}="
            last = getattr(statement, "body", None)  # the head of a compound statement only
            end = last[0].lineno - 1 if isinstance(last, list) else statement.end_lineno or statement.lineno
            found.append(
                Mutant(
                    path, node.lineno, change.kind, _short(shown), after, statement.lineno, max(end, statement.lineno),
                    (scope.body[0].lineno, scope.end_lineno or 0) if scope else None, (number, which),
                )
            )  # fmt: skip
    return found


def planted(source: str, place: tuple[int, int]) -> ast.Module:
    """The tree of the file with one bug in it."""
    tree = ast.parse(source)
    node = [node for node, _, _ in _places(tree)][place[0]]
    change = _changes(node)[place[1]]
    new = _changed(node, change)
    if new is not node:
        _replace(tree, node, new)
    return ast.fix_missing_locations(tree)


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else text[:87] + "..."


def _changed(node: ast.AST, change: Change) -> object:
    if not change.field:
        return ast.copy_location(change.new, node) if isinstance(change.new, ast.AST) else None
    value = getattr(node, change.field)
    if change.index < 0:
        setattr(node, change.field, change.new)
    elif change.new is None:
        del value[change.index]
    else:
        value[change.index] = change.new
    return node


def _replace(tree: ast.AST, old: ast.AST, new: object) -> None:
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, field, new)
                return
            if isinstance(value, list) and any(one is old for one in value):
                value[[one is old for one in value].index(True)] = new if new is not None else ast.Pass()
                return
    raise AssertionError("the node stands in its tree")


Place = tuple[ast.AST, ast.stmt, ast.FunctionDef | None]


def _places(tree: ast.Module) -> Iterator[Place]:
    """Every node in which a bug may be planted, with its statement and its function."""

    def walk(node: ast.AST, statement: ast.stmt | None, scope: ast.FunctionDef | None) -> Iterator[Place]:
        if _left_alone(node):
            return
        if isinstance(node, ast.stmt):
            statement = node
        if isinstance(node, ast.FunctionDef):
            scope = node
        if statement is not None and hasattr(node, "lineno"):
            yield node, statement, scope
        skipped = {"annotation", "returns", "decorator_list", "bases", "type_comment"}
        for field, value in ast.iter_fields(node):
            if field in skipped:
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from walk(child, statement, scope)

    for statement in tree.body:
        yield from walk(statement, None, None)


def _left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.JoinedStr() | ast.Assert() | ast.Import() | ast.ImportFrom():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.FunctionDef(name="__repr__" | "__str__" | "_words"):
            return True
        case ast.Raise() | ast.Call(func=ast.Name(id="TypeVar")):
            return True
        case ast.Call(func=func) if TELLING.search(_called(func)):
            return _called(func) != "decline"
        case ast.Call(func=ast.Attribute(value=value)) if isinstance(value, ast.AST) and "notes" in ast.unparse(value):
            return True
        case ast.keyword(arg=name) if name in NOT_PLANTED:
            return True
    return False


def _called(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


def _changes(node: ast.AST) -> list[Change]:
    """What can be planted at this very node."""
    match node:
        case ast.Compare(ops=ops, comparators=right):
            swaps = [Change("comparison", COMPARE[type(op)](), "ops", at) for at, op in enumerate(ops)]
            texts = [
                Change("string", ast.Constant(_other(one.value, ops[at])), "comparators", at)
                for at, one in enumerate(right)
                if isinstance(one, ast.Constant) and isinstance(one.value, str) and CHOICE.fullmatch(one.value)
            ]
            return swaps + texts
        case ast.BoolOp(op=op):
            return [Change("and/or", ast.Or() if isinstance(op, ast.And) else ast.And(), "op")]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return [Change("not removed", operand)]
        case ast.If(body=[*_, ast.Return() | ast.Raise() | ast.Continue()]):
            return [Change("refusal off", ast.Constant(False), "test")]
        case ast.Expr(value=ast.Call(func=func)) if _called(func) == "decline":
            return [Change("decline removed", None)]
        case ast.Constant(value=bool() as value):
            return [Change("constant", ast.Constant(not value))]
        case ast.Constant(value=int() as value):
            return [Change("constant", ast.Constant(value + 1)), Change("constant", ast.Constant(value - 1))]
        case ast.Constant(value=float() as value):
            return [Change("constant", ast.Constant(value * 2 if value else 1.0))]
        case ast.BinOp(op=op, left=left, right=right) if (
            type(op) in ARITHMETIC and not _text(left) and not _text(right)
        ):
            return [Change("arithmetic", ARITHMETIC[type(op)](), "op")]
        case ast.AugAssign(op=op, value=value) if type(op) in ARITHMETIC and not _text(value):
            return [Change("arithmetic", ARITHMETIC[type(op)](), "op")]
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            return [Change("returns nothing", ast.Constant(None), "value")]
        case ast.Call(func=func, keywords=keywords):
            return _swapped(func) + [
                Change("argument missing", None, "keywords", at)
                for at, one in enumerate(keywords)
                if one.arg and one.arg not in NOT_PLANTED
            ]
    return []


def _other(text: str, op: ast.cmpop) -> str:
    """Another string than the one compared with; of letters that one may be among, one less."""
    return text[1:] if isinstance(op, ast.In | ast.NotIn) else f"{text}_"


def _text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _swapped(func: ast.expr) -> list[Change]:
    other = WORDS.get(_called(func))
    if other is None:
        return []
    if isinstance(func, ast.Attribute):
        return [Change("function", ast.Attribute(func.value, other, ast.Load()), "func")]
    return [Change("function", ast.Name(other, ast.Load()), "func")]
