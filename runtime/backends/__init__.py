"""Which engine runs a bundle: one file a backend, found by name, imported only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..bundle.engines import ENGINES, TENSORRT
from ..errors import BackendUnavailable, UserMistake

if TYPE_CHECKING:
    from ..session.session import Session

MODULES = {name: engine.module for name, engine in ENGINES.items()}
DEFAULTS = dict(sorted((target, name) for name, engine in ENGINES.items() for target in engine.targets))
_CLASSES: dict[str, type[Session]] = {}

SessionClass = TypeVar("SessionClass", bound="type[Session]")


def backend(name: str) -> Callable[[SessionClass], SessionClass]:
    """Register a session class under the name that users give."""

    def register(cls: SessionClass) -> SessionClass:
        cls.backend = name
        _CLASSES[name] = cls
        return cls

    return register


def find_backend(name: str) -> type[Session]:
    """The session class of a backend; UserMistake for a name that is none."""
    if not isinstance(name, str) or name not in MODULES:
        raise UserMistake(f"there is no backend {name!r}", found=str(name), expected=", ".join(MODULES))
    if name not in _CLASSES:
        importlib.import_module(f".{MODULES[name]}", __package__)
    return _CLASSES[name]


def default_backend(target: str, told: object = None) -> str:
    """The backend of a bundle for ``target``; every jetpack runs TensorRT.

    ``told`` is ``engine`` of the manifest, which a bundle has whose target was added where it was made.
    """
    if isinstance(told, str):
        return told
    if target.startswith("jetpack"):
        return TENSORRT
    if target not in DEFAULTS:
        raise UserMistake(
            f"the bundle is for a target this version does not know: {target}",
            expected=", ".join([*DEFAULTS, "jetpack..."]),
            attempt="name a backend yourself, such as backend='onnxruntime'",
        )
    return DEFAULTS[target]


def library(name: str, install: str) -> Any:
    """Import an engine's Python library; BackendUnavailable says how to get it, or what its import said."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise _broken(name, error) from error
        raise BackendUnavailable(
            f"the backend {name} is not installed", found=f"no Python module {name}", attempt=install
        ) from None
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> BackendUnavailable:
    return BackendUnavailable(
        f"the backend {name} is installed but cannot be imported",
        found=f"{type(error).__name__}: {str(error)[:300]}",
        because="a library that it needs is missing or of another version",
        attempt="edgesmith doctor",
    )
