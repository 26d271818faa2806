"""Reads the tensors out of a pickle whose other objects are unknown; none of these is ever built and no function called.

    .pth -> content with tensors, dicts, lists and numbers as they are, everything else an Inert; the names of that

PyTorch's weights-only reader looks every global of the file up in a table and refuses what is not in it. Here a refused
name is put into the table with a class of ours behind it that takes any arguments and any state and keeps none of them.
The classes and functions of the file's author are not imported, so it does not matter what they would have done.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from ...runtime.errors import UserMistake

MOST_NAMES = 100  # a training's configuration has some ten classes; every name costs one more reading of the file

# Modules whose names have no place beside weights. An Inert would take their calls too; a file that asks for them is not
# a checkpoint that somebody trained, and is refused as a whole.
NEVER = {
    "os",
    "posix",
    "nt",
    "sys",
    "io",
    "_io",
    "subprocess",
    "commands",
    "pty",
    "shutil",
    "socket",
    "ctypes",
    "runpy",
}
NEVER |= {"importlib", "pickle", "_pickle", "marshal", "code", "codeop", "timeit", "webbrowser"}
OF_PYTHON = {"object", "getattr", "range", "slice", "frozenset", "tuple", "list", "dict", "str", "int", "float", "bool"}


class Inert:
    """Stands for an object of unknown kind; takes everything and keeps nothing."""

    __slots__ = ()

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class PlainDict:
    """Where the file fills an object with items by key: what subclasses dict is read as one."""

    def __new__(cls, *_: Any, **__: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()  # the reader fills it, and takes attributes for it, which a dict has no place for


class PlainList:
    """Where the file appends items to an object."""

    def __new__(cls, *_: Any, **__: Any) -> list[Any]:  # type: ignore[misc]
        return []


def read_inert(file: Path, source: str) -> tuple[Any, tuple[str, ...]]:
    """The content, and the names that stand as :class:`Inert` in it; UserMistake for what is no checkpoint."""
    kinds: dict[str, type] = {}
    while True:
        known = [(kind, name) for name, kind in kinds.items()]
        try:
            with torch.serialization.safe_globals([*_harmless(), *known]), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the pickle protocol; what cannot be read raises
                return torch.load(file, map_location="cpu", weights_only=True), tuple(kinds)
        except (pickle.UnpicklingError, TypeError, AttributeError) as error:
            if _learn(kinds, str(error), source):
                continue
            raise (not_run(source, tuple(kinds)) if kinds else not_a_checkpoint(source, error)) from None
        except (RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError) as error:
            raise not_a_checkpoint(source, error) from None


def _learn(kinds: dict[str, type], message: str, source: str) -> bool:
    """Let ``kinds`` answer what the reader refused; False where the refusal is about something else."""
    refused = re.search(
        r"nsupported global: GLOBAL (.+?) was not an allowed|unsupported GLOBAL (\S+) whose module", message
    )
    if refused:
        name = refused[1] or refused[2]
        name = name if "." in name else f"builtins.{name}"  # the reader's message leaves builtins out
        module, _, function = name.partition(".")
        if refused[2] or module in NEVER or (module == "builtins" and function not in OF_PYTHON):
            raise not_run(source, (name,))
        if name in kinds or len(kinds) == MOST_NAMES:
            raise not_run(source, tuple(kinds))
        kinds[name] = type(name, (Inert,), {"__slots__": (), "__module__": "unread"})
        return True
    filled = re.search(r"Can only (SETITEM|append|extend).* but got <class 'unread\.(.+?)'>", message)
    if filled and issubclass(kinds.get(filled[2], object), Inert):
        kinds[filled[2]] = PlainDict if filled[1] == "SETITEM" else PlainList
        return True
    return False


def not_run(source: str, names: tuple[str, ...]) -> UserMistake:
    return UserMistake(
        f"{source}: the file holds pickled code, which is not run",
        found=", ".join(names[:4]),
        expected="tensors (a state dict), alone or beside other objects",
        because="reading a pickle may execute anything its author put in",
        attempt="where you trust it: torch.save(model.state_dict(), FILE), or save as .safetensors",
    )


def not_a_checkpoint(source: str, error: BaseException) -> UserMistake:
    return UserMistake(
        f"{source}: not a PyTorch checkpoint, or not a whole one",
        found=first_line(error),
        expected="a file written by torch.save or safetensors",
        attempt="copy or download it again, and compare the size",
    )


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    inner = [line for line in lines if "WeightsUnpickler error: " in line]  # PyTorch's advice stands before it
    return (inner[0].partition("error: ")[2] if inner else lines[0])[:160]


def _harmless() -> list[Any]:
    """Types that training scripts save beside the weights and that do nothing when they are read."""
    import numpy as np

    rebuild = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.array(0).__reduce__()[0]}
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since numpy 2
    named = [(function, f"{module}.{name}") for name, function in rebuild.items() for module in modules]
    kinds = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]
    return [argparse.Namespace, np.dtype, np.ndarray, *named, *kinds]
