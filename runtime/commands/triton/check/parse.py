"""config.pbtxt -> ModelConfig, by the server's own protobuf, which tritonclient ships."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....errors import BackendUnavailable, UserMistake
from ....ground.regular import read_regular
from ..config import CONFIG, quoted

MOST_BYTES = 2**24
PYTHON, ENSEMBLE = "python", "ensemble"  # a backend and a platform of Triton


@dataclass(frozen=True)
class Fault:
    """What is wrong: in which model, which file of the repository, which line (0: none)."""

    model: str
    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.what}"


@dataclass
class Folder:
    """One model of the repository as it lies there."""

    path: Path
    text: str = ""
    config: Any = None  # ModelConfig; None where it cannot be read
    faults: list[Fault] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    def fault(self, what: str, *told: str, file: str = CONFIG) -> None:
        """Note one; ``told``: what stands on its line of the config, the last of them the nearest."""
        line = self.line_of(*told) if told and file == CONFIG else 0
        self.faults.append(Fault(self.name, f"{self.name}/{file}", line, what))

    def line_of(self, *told: str) -> int:
        """The line with the last of these strings, behind those before it; 0 where they are not there so."""
        lines, at = self.text.splitlines(), 0
        for one in told:
            spelled = {quoted(one), f'"{one}"', f"'{one}'"}
            at = next((n for n in range(at, len(lines)) if any(each in lines[n] for each in spelled)), -1)
            if at < 0:
                return 0
        return at + 1


def model_config() -> tuple[Any, Any]:
    """(text_format, ModelConfig); BackendUnavailable where tritonclient is not installed."""
    try:
        from google.protobuf import text_format  # type: ignore[import-untyped]
        from tritonclient.grpc.model_config_pb2 import ModelConfig
    except ImportError as error:
        raise BackendUnavailable(
            "--check reads configs as the server does, with tritonclient",
            found=str(error),
            expected="the extra named triton",
            attempt="pip install 'edgesmith[triton]'",
        ) from None
    return text_format, ModelConfig


def read_folders(repository: Path) -> list[Folder]:
    """Every model of a repository, its config read; UserMistake where there is none."""
    text_format, config = model_config()
    if not repository.is_dir():
        raise UserMistake(
            f"there is no repository {repository}",
            found="a file" if repository.exists() else "nothing at that path",
            expected="a folder with a folder for each model",
        )
    # what begins with a dot is no model for the server either
    folders = [Folder(one) for one in sorted(repository.iterdir()) if one.is_dir() and not one.name.startswith(".")]
    if not folders:
        raise UserMistake(
            f"{repository} is no model repository", found="no folder in it", expected="one for each model"
        )
    for folder in folders:
        _read(folder, text_format, config)
    return folders


def _read(folder: Folder, text_format: Any, config: Any) -> None:
    path = folder.path / CONFIG
    if not path.is_file():
        near = difflib.get_close_matches(CONFIG, [one.name for one in folder.path.iterdir()], n=1)
        folder.fault("is not there" + (f"; {near[0]} is, whose name the server does not look for" if near else ""))
        return
    try:
        folder.text = read_regular(path, MOST_BYTES).decode()
        folder.config = text_format.Parse(folder.text, config())
    except (UnicodeDecodeError, OSError, UserMistake) as error:
        folder.fault(f"cannot be read: {error}")
        return
    except text_format.ParseError as error:
        line = error.GetLine() or 0
        said = str(error).split(" : ", 1)[-1]
        folder.faults.append(Fault(folder.name, f"{folder.name}/{CONFIG}", line, f"is no ModelConfig: {said}"))
        return
    if folder.config.name not in ("", folder.name):
        folder.fault(f"is called {folder.config.name}, and its folder {folder.name}", folder.config.name)
