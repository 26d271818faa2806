"""Reads a pickle without building any of its objects and without calling any of its functions.

    stream -> dicts, lists, numbers and texts as they are, tensors as Stored, everything else an Unbuilt; the names of that

No name of the file is ever looked up or imported: each stands for a :class:`Named`, and calling one gives what BUILDERS
says for that name, or an :class:`Unbuilt`, which keeps what it is filled with and does nothing. It therefore does not matter
what the classes and functions of the file's author would have done. The interpreter of the standard library in Python is used,
as its sibling in C reserves memory by numbers that the file states.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import IO, Any, ClassVar

from ...runtime.errors import UserMistake
from .files.tensors import BUILDERS, KNOWN

MOST_NAMES = 100  # a training's configuration has some ten classes

# Modules whose names have no place beside weights. An Unbuilt would take their calls too; a file that asks for them is not
# a checkpoint that somebody trained, and is refused as a whole.
NEVER = {
    *("os", "posix", "nt", "sys", "io", "_io", "subprocess", "commands", "pty", "shutil", "socket", "ctypes", "runpy"),
    *("importlib", "pickle", "_pickle", "marshal", "code", "codeop", "timeit", "webbrowser"),
}
OF_PYTHON = {
    *("object", "getattr", "range", "slice", "frozenset", "tuple", "list", "dict", "str", "int", "float", "bool"),
    *("set", "bytes", "bytearray", "complex"),
}
# what a stream that is cut off, changed or made up provokes in the interpreter
BROKEN: tuple[type[Exception], ...] = (
    *(pickle.UnpicklingError, EOFError, OSError, MemoryError, RecursionError, AssertionError, ArithmeticError),
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, NameError),
)
LARGEST = 2**63  # of a key that is a number
KEYS = (str, int, float, bool, bytes, type(None))  # of a dict; hashing others may go as deep as the file likes


class Unbuilt(dict[Any, Any]):
    """Stands for an object of the file: a dict of its items, with its ``attributes`` beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: dict[str, Any] = {}

    def fill(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):  # attributes, and those in slots
            if isinstance(part, dict):
                self.attributes.update((name, value) for name, value in part.items() if isinstance(name, str))


class Named:
    """A class or function of the file by its name, ``module.name``; calling it builds nothing of its kind."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any, **_: Any) -> Any:
        if builder := BUILDERS.get(self.name):
            return builder(*args)
        made = Unbuilt()
        if self.name == "copyreg._reconstructor" and isinstance(args[-1], dict):  # a dict of theirs in an old pickle
            made.update(args[-1])
        return made


class InertReader(pickle._Unpickler):
    """One pickle of a stream; ``unread`` and ``forbidden`` are names that it met, ``tensor_of`` makes sense of storages."""

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, stream: IO[bytes], storage: Callable[[Any], Any]) -> None:
        super().__init__(stream, encoding="latin1")  # of Python 2's texts
        self.storage = storage
        self.unread: dict[str, None] = {}
        self.forbidden: dict[str, None] = {}

    def find_class(self, module: str, name: str) -> Any:
        known = name if module in ("builtins", "__builtin__") else ""
        full = f"{'builtins' if known else module}.{name}"
        if module.partition(".")[0] in NEVER or (known and known not in OF_PYTHON):
            self.forbidden[full] = None
        elif not known and full not in BUILDERS and not KNOWN.fullmatch(full):
            self.unread[full] = None
            if len(self.unread) > MOST_NAMES:
                self.forbidden.update(self.unread)
        return Named(full)

    def persistent_load(self, pid: Any) -> Any:
        return self.storage(pid)

    def load_persid(self) -> None:
        self.append(Unbuilt())  # a name in a line of text: torch writes none

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if not isinstance(function, Named):
            self.forbidden["a call of what a call returned"] = None
        self.stack[-1] = function(*arguments) if isinstance(function, Named) else Unbuilt()

    def load_newobj(self) -> None:
        self.load_reduce()

    def load_newobj_ex(self) -> None:
        self.stack.pop()  # arguments by name
        self.load_reduce()

    def _instantiate(self, kind: Any, arguments: Any) -> None:
        self.append(kind(*arguments) if isinstance(kind, Named) else Unbuilt())

    def load_build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, Unbuilt):
            made.fill(state)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _set(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _set(self.stack[-1], items)

    def load_dict(self) -> None:
        made: dict[Any, Any] = {}
        _set(made, self.pop_mark())
        self.append(made)

    def load_append(self) -> None:
        value = self.stack.pop()
        if isinstance(self.stack[-1], list):
            self.stack[-1].append(value)

    def load_appends(self) -> None:
        values = self.pop_mark()
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def load_additems(self) -> None:
        self.pop_mark()  # a set's are not kept: they would be hashed

    def load_frozenset(self) -> None:
        self.pop_mark()
        self.append(Unbuilt())

    def load_bytearray8(self) -> None:
        raise pickle.UnpicklingError("a bytearray, which reserves as much memory as the file says")

    for opcode, function in (
        (pickle.PERSID, load_persid), (pickle.REDUCE, load_reduce), (pickle.NEWOBJ, load_newobj),
        (pickle.NEWOBJ_EX, load_newobj_ex), (pickle.BUILD, load_build), (pickle.SETITEM, load_setitem),
        (pickle.SETITEMS, load_setitems), (pickle.DICT, load_dict), (pickle.APPEND, load_append),
        (pickle.APPENDS, load_appends), (pickle.ADDITEMS, load_additems), (pickle.FROZENSET, load_frozenset),
        (pickle.BYTEARRAY8, load_bytearray8),
    ):  # fmt: skip
        dispatch[opcode[0]] = function
    del opcode, function


def _set(target: Any, items: list[Any]) -> None:
    if isinstance(target, dict):
        pairs = zip(items[::2], items[1::2], strict=True)
        target.update((key, value) for key, value in pairs if _usual(key))


def _usual(key: Any) -> bool:
    """Whether a key may be hashed and printed."""
    return isinstance(key, KEYS) and not (isinstance(key, int) and not -LARGEST <= key < LARGEST)


def not_run(source: str, names: tuple[str, ...]) -> UserMistake:
    whole = any(name.startswith("torch.nn.modules.") for name in names)
    return UserMistake(
        f"{source}: the file holds pickled code, which is not run",
        found=", ".join(names[:4]) + (" and others: a whole module, not its weights" if whole else ""),
        expected="tensors (a state dict), alone or beside other objects",
        because="reading a pickle may execute anything its author put in",
        attempt="where you trust it: torch.save(model.state_dict(), FILE), or save as .safetensors",
    )


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
