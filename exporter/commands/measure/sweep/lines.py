"""Words of the command line, and files of them -> lines: one model a line, with settings as ``edgesmith export`` takes them.

timm:resnet18 --image-size 96     # a comment
van_b0 num_classes=10
"""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from .....models.doors.names import door_of
from .....runtime.errors import EdgesmithError, UserMistake
from ...options import AT_THE_END, EXPORT, SPELLINGS, with_options
from .cells import Line

# settings that every cell has its own of, and those that print in the place of an export
OF_THE_SWEEP = {"target": "--target", "precision": "--precision", "out": "--out", "overwrite": "--again"}
NO_CELL_HAS = {**OF_THE_SWEEP, **dict.fromkeys(SPELLINGS, "--precision"), **dict.fromkeys(AT_THE_END, "")}
MOST_BYTES = 1 << 20


def read_lines(words: Iterable[str]) -> tuple[Line, ...]:
    """The lines of all words, in their order; a word is a file of lines, or a line itself.

    Raises UserMistake for the first that cannot be read; it names the line.
    """
    found = [line for word in words for line in (_of_file(Path(word)) if _is_list(word) else [_line(word, "")])]
    if not found:
        raise UserMistake(
            "There is no model to sweep",
            found=" ".join(words) or "no name and no file",
            expected="a file with one model a line, or names of models",
            attempt="edgesmith sweep van_b0 timm:resnet18 --target cpu",
        )
    return tuple(found)


def _is_list(word: str) -> bool:
    return Path(word).suffix.lower() == ".txt" or (os.path.isfile(word) and door_of(word) is None)


def _of_file(path: Path) -> Iterator[Line]:
    if not path.is_file():
        raise UserMistake(
            f"{path} is no file of models",
            found="a folder" if path.is_dir() else "nothing at that path",
            expected="a text file with one model a line",
            attempt="check the spelling and the folder you are in; names of models stand on the command line as they are",
        )
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_text(path, str(error)) from None
    if len(text) > MOST_BYTES or "\0" in text:
        raise _no_text(path, "more than a megabyte" if len(text) > MOST_BYTES else "bytes that are no text")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.split("#")[0].strip():
            continue
        yield _line(line, f"{path}, line {number}")


def _no_text(path: Path, found: str) -> UserMistake:
    return UserMistake(f"{path} is no file of models", found=found, expected="UTF-8 text with one model a line")


def _line(text: str, where: str) -> Line:
    """One line; a mistake in it is told with where it stands."""
    try:
        return _parsed(text, where)
    except EdgesmithError as error:
        raise at(where, error) from None


def at(where: str, error: EdgesmithError) -> EdgesmithError:
    """The same mistake, with its line in front."""
    what = f"{where}: {error.what}" if where else error.what
    return UserMistake(what, found=error.found, expected=error.expected, because=error.because, attempt=error.attempt)


def _parsed(text: str, where: str) -> Line:
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise UserMistake(
            "The quotes do not match", found=text.strip(), because=str(error), attempt="a second quote of the same kind"
        ) from None
    model, settings = _export_settings(words)
    return Line(model, settings, tuple(_without_model(words, model)), where)


def _export_settings(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The model, and what was asked beside it, read by the parser of ``edgesmith export``."""
    from ... import usage

    command = _parser()
    typed = ["export", *words]
    try:
        spelled = usage.strict(typed, command)
        context = command.commands["export"].make_context("export", spelled[1:], help_option_names=[])
    except UserMistake:
        raise
    except Exception as error:
        if hasattr(error, "format_message"):  # the parser's own complaint
            raise usage.usage_mistake(error, command, typed) from None
        raise
    given = {name: value for name, value in context.params.items() if _is_typed(context, name)}
    for name, flag in NO_CELL_HAS.items():
        if name in given:
            raise UserMistake(
                "A line of a sweep does not say that",
                found=" ".join(words),
                expected="a model and its own settings",
                because=f"{flag} of the whole sweep says it for every cell" if flag else "each cell is exported",
                attempt=f"edgesmith sweep ... {flag}" if flag else "leave it out",
            )
    return str(given.pop("model")), given


@functools.cache
def _parser() -> Any:
    """A command line that has ``export`` and nothing else; it is asked for its words, and never run."""
    app = typer.Typer()
    app.callback()(lambda: None)
    app.command("export")(with_options(lambda **_: None, EXPORT))
    return typer.main.get_command(app)


def _is_typed(context: Any, name: str) -> bool:
    """Whether a setting stands in the words, its default too."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _without_model(words: list[str], model: str) -> list[str]:
    """The words but the model's: those that say its settings."""
    left = list(words)
    for at_, word in enumerate(left):
        if word == model:
            flag = at_ and left[at_ - 1] in ("--model", "-m")
            return left[: at_ - bool(flag)] + left[at_ + 1 :]
        if word in (f"model={model}", f"--model={model}"):
            return left[:at_] + left[at_ + 1 :]
    return left
