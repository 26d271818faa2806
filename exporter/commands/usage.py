"""Where commands go wrong: words nobody understands, mistakes, an interrupt, a bug of ours; each told in its own way."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from ...runtime.commands.mistakes import mistake_of
from ...runtime.commands.streams import closing, shown_streams
from ...runtime.errors import BundleRefused, EdgesmithError, UserMistake
from ...runtime.errors.addresses import shown_in
from ...runtime.ground import signals
from ...runtime.ground.limits import FP16, INT8

EXPORT_EXTRA = frozenset(  # the modules that it brings (pyproject.toml)
    "torch torchvision timm onnx onnx_ir onnxscript onnx_graphsurgeon polygraphy safetensors skimage rich typer transformers".split()  # noqa: SIM905
)
BUG = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # what typer makes of it


def finish(action: Callable[[], Any], words: list[str], command: Any = None) -> NoReturn:
    """Do what the ``words`` ask for, tell what goes wrong, and leave with the exit code; ``command`` is their parser."""
    with shown_streams():
        code = _outcome(action, words, command)
        code = closing(code if isinstance(code, int) else 0)
    sys.exit(code)


def _outcome(action: Callable[[], Any], words: list[str], command: Any) -> Any:
    try:
        code = action()
    except KeyboardInterrupt:
        code = interrupted()
    except EdgesmithError as error:
        code = explain(error, "--json" in words)
    except Exception as error:  # noqa: BLE001 the last net: other tells a mistake from a bug and prints it
        code = other(error, command, words)
    else:
        if code == INTERRUPTED and command:  # without a word, and whatever signal it was
            code = interrupted()
    return code


def strict(words: list[str], command: Any) -> list[str]:
    """The words with ``key=value`` and ``--imgsz 256 320`` spelled as the parser wants them (arguments.flags)."""
    from ..run import arguments

    if not words or words[0] not in command.commands:
        return words
    known = {
        flag: not parameter.is_flag
        for parameter in command.commands[words[0]].params
        if parameter.param_type_name == "option"
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }
    words = [words[0], *arguments.flags(_with_model_named(words)[1:], known)]
    _check_named(words)
    return words


def _with_model_named(words: list[str]) -> list[str]:
    """``export timm:resnet18`` -> ``export --model timm:resnet18``."""
    first, named = words[1:2], {"--model", "-m"} & set(words)
    alone = words[0] == "export" and first and not first[0].startswith("-") and "=" not in first[0] and not named
    return [words[0], "--model", *words[1:]] if alone else words


def _check_named(words: list[str]) -> None:
    """A model that nobody knows is told before the parser of all settings is put together, which takes longer than looking."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    name = next((value for flag, value in pairs if flag in ("--model", "-m")), "")
    name = name or next((word.partition("=")[2] for word in words if word.startswith("--model=")), "")
    if words[0] != "export" or not name or name.startswith("-") or "--help" in words:
        return
    from ...models.registry import find, is_name

    if not is_name(name):
        find(name)


def one_precision(precision: str | None, half: bool, int8: bool, quantize: str | None) -> str | None:
    """``--precision``, ``--half``, ``--int8`` and ``--quantize`` are four spellings of one choice; they must agree."""
    asked = {
        flag: value
        for flag, value in (
            (f"--precision {precision}", precision),
            ("--half", FP16 if half else None),
            ("--int8", INT8 if int8 else None),
            (f"--quantize {quantize}", quantize),
        )
        if value
    }
    if not asked:
        return None
    from ..run import arguments

    names = {arguments.precision(value) for value in asked.values()}
    if len(names) > 1:
        raise UserMistake(
            "Two precisions were asked for",
            found=" and ".join(asked),
            expected="one precision for an export",
            attempt=f"only {next(iter(asked))}",
        )
    return names.pop()


def explain(error: EdgesmithError, as_json: bool) -> int:
    """Print a mistake or a result that does not hold; the exit code it stands for."""
    if not error.attempt:  # every message ends with something to do
        again = "copy the bundle again from where it was made, or export it again"
        attempt = (
            again if isinstance(error, BundleRefused) else "edgesmith --help lists the commands, and each its settings"
        )
        error = type(error)(
            error.what, found=error.found, expected=error.expected, because=error.because, attempt=attempt
        )
    if as_json:
        print(json.dumps(error.to_json(), indent=2))
    else:
        print(f"edgesmith: {error}", file=sys.stderr)
    return error.exit_code


def interrupted() -> int:
    return signals.tell(", nothing half-written is left")


def other(error: Exception, command: Any, words: list[str]) -> int:
    """Typer's own complaints become mistakes in our four lines; anything else is a bug of ours, with its traceback."""
    if signals.stopped() or type(error).__name__ == "Abort":  # the second is what typer makes of Ctrl-C
        return interrupted()
    if (mistake := mistake_of(error)) is not None:
        return explain(mistake, "--json" in words)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in EXPORT_EXTRA:
        mistake = UserMistake(
            f"edgesmith {' '.join(words[:1])} needs the extra named export",
            found=f"no Python module {error.name}",
            expected="what that extra brings: PyTorch, onnx and the exporter's tools",
            attempt="pip install 'edgesmith[export]'; edgesmith doctor lists what is missing",
        )
        return explain(mistake, "--json" in words)
    if hasattr(error, "format_message"):
        return explain(usage_mistake(error, command, words), "--json" in words)
    import traceback

    print(shown_in("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    print(
        "\nedgesmith: this is a bug of ours, not a mistake of yours. Please report it with the lines above and the command.",
        file=sys.stderr,
    )
    return BUG


def usage_mistake(error: Any, command: Any, words: list[str]) -> UserMistake:
    """What typer says of a word it cannot use -> found, expected, try."""
    from ..run import arguments

    verb = words[0] if words and words[0] in command.commands else ""
    help_line = f"edgesmith {verb} --help".replace("  ", " ")
    kind, message = type(error).__name__, error.format_message().rstrip(".")
    if not verb:
        found = words[0] if words else "no command"
        commands = sorted(command.commands)
        hint = arguments.nearest(found, commands)
        return UserMistake(
            f"Unknown command {found!r}" if words else "A command is missing",
            found=" ".join(["edgesmith", *words[:1]]),
            expected="one of " + ", ".join(commands),
            attempt=f"edgesmith {hint.removeprefix('did you mean ').rstrip('?')}" if hint else "edgesmith --help",
        )
    parameters = command.commands[verb].params
    flags = sorted(flag for item in parameters if item.param_type_name == "option" for flag in item.opts)
    if kind == "NoSuchOption":
        hint = arguments.nearest(error.option_name, [flag for flag in flags if flag.startswith("--")])
        return UserMistake(
            f"edgesmith {verb} has no flag {error.option_name}",
            found=error.option_name,
            expected="one of " + " ".join(flag for flag in flags if flag.startswith("--")),
            attempt=hint or help_line,
        )
    if kind == "MissingParameter":
        name = error.param.opts[0] if error.param.param_type_name == "option" else str(error.param.name).upper()
        example = {"export": "edgesmith export --model smt", "run": "edgesmith run smt_tiny.edge photo.jpg"}
        return UserMistake(
            f"edgesmith {verb} needs {name}",
            found=" ".join(["edgesmith", *words]),
            expected=getattr(error.param, "help", "") or name,
            attempt=example.get(verb, help_line),
        )
    return UserMistake(
        f"edgesmith {verb} cannot read its command line",
        found=message,
        expected="the settings that " + help_line + " lists",
        attempt=help_line,
    )
