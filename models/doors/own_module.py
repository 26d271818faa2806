"""path/file.py:function -> ModelSpec: a network that a function of the user's gives, ``function(**model_args) -> nn.Module``.

The file is the user's own code and is run, as ``python file.py`` would run it. What it returns is taken as it is, with the weights
that it has; what nothing says (how pictures are prepared, what the outputs are called) is assumed, and told.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.errors import UserMistake
from ...runtime.pictures.contract import BYTES, FLOAT32, ImageContract
from ...runtime.pictures.contract import SIDES as LAYOUTS
from ..labels import numbers
from ..spec import ModelSpec, face_words
from .building import OneTensor, arguments_of, check_size, first_line, one_tensor, sized, spelt, typed
from .kinds import CLASSES, MAPS, TENSORS, Kind

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build", "check_input", "check_size", "load", "spec"]

CHANNELS_ARGUMENTS = ("in_chans", "in_channels", "channels", "num_channels")  # what a function calls them
SIDES = (224, 32, 64, 128, 256, 384, 512, 28)  # tried in this order for the size of a picture
KINDS: dict[int, Kind] = {2: CLASSES, 4: MAPS}  # by the axes of the output


def spec(word: str, model_args: Mapping[str, Any]) -> ModelSpec:
    """What the network tells when it is built and run once on an empty picture.

    Raises:
        UserMistake: no such file or function; it needs other arguments, raises, or gives no module of one input and output.
    """
    file, name = _place(word)
    config = {"file": str(file.absolute()), "function": name, **model_args}
    network = _made(file, name, model_args)
    usual = model_args.get("image_size", _usual_size(file, name))
    contract, answer = _first_answer(network, word, usual[0] if isinstance(usual, tuple) and usual else usual)
    classes = answer[1] if len(answer) in KINDS else 0
    assumed = (
        f"{file.name}: its code is run, and its weights are those that {name} gives",
        "found by running it on an empty picture: it takes {}x{}, {}".format(
            *contract.size, face_words(*contract.face)
        ),
        f"assumed: {classes} outputs are numbered classes (--labels names them)"
        if classes
        else "assumed: outputs by number",
    )
    known = ModelSpec(
        name=word,
        family="own",
        paper=f"a network of one's own, {file.name}",
        licence_code="its author's",
        licence_weights="its author's",
        parameters=0,
        contract=contract,
        config=config,
        **KINDS.get(len(answer), TENSORS),
        num_classes=classes,
        size_min=1,
        label_names=tuple(numbers(classes)),
        module=__name__,
        usual_weights="own",
        asked=dict(model_args),
        assumed=assumed,
        channels_argument=next((one for one in CHANNELS_ARGUMENTS if one in _parameters(file, name)), ""),
        contract_assumed="a module",
        sizes_by_trying=True,
    )
    return sized(known, network)


def build(num_classes: int, image_size: tuple[int, int], *, file: str, function: str, **model_args: Any) -> nn.Module:
    """What the function gives; number of classes and image size are passed on where it has such arguments."""
    path, usual = Path(file), _usual_size(Path(file), function)
    side = image_size[0] if image_size[0] == image_size[1] and not isinstance(usual, tuple) else image_size
    return _made(path, function, model_args, {"num_classes": num_classes, "image_size": side})


def load(spec: ModelSpec, num_classes: int, image_size: tuple[int, int]) -> tuple[nn.Module, str, str, tuple[str, ...]]:
    """The same with the weights that it has; UserMistake where it has another number of outputs."""
    file, name = Path(spec.config["file"]), spec.config["function"]
    network = spec.build(num_classes, image_size).eval()
    contract = spec.contract_for(image_size)
    found = _answer(network, contract)
    if spec.num_classes and found[1] != num_classes:
        raise UserMistake(
            f"{file.name}: the network has another number of outputs",
            found=f"{found[1]} outputs, --num-classes {num_classes}",
            expected="as many as the network gives",
            because=f"{name} has no argument num_classes" if "num_classes" not in _parameters(file, name) else "",
            attempt="leave --num-classes out",
        )
    if len(together := _answer(network, contract, batch=2)) and together[0] != 2:
        raise UserMistake(
            f"{file.name}: the network mixes the pictures of a batch",
            found=f"an answer of shape {together} to 2 pictures",
            expected="one row a picture",
            because="a batch is several pictures of which none may change the answer to another",
            attempt="x.flatten(1) or x.reshape(len(x), -1) in place of a fixed first axis",
        )
    return network, f"{file.name}:{name}", hashlib.sha256(file.read_bytes()).hexdigest(), ()


def _place(word: str) -> tuple[Path, str]:
    """The file and the name of the function in it; UserMistake with near ones."""
    place, _, name = word.rpartition(":") if not word.endswith(".py") else (word, "", "")
    file = Path(place)
    if not file.is_file():
        beside = [path.name for path in file.parent.glob("[!_]*.py")] if file.parent.is_dir() else []
        near = difflib.get_close_matches(file.name, beside, n=2, cutoff=0.5)
        raise UserMistake(
            f"There is no file {place}",
            found=word,
            expected="a Python file with a function that returns a network, as path/file.py:function",
            attempt=f"did you mean {' or '.join(str(file.parent / one) for one in near)}?"
            if near
            else "the path of the file",
        )
    known = _functions(file)
    if name and name in known:
        return file, name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4) or known[:1]
    raise UserMistake(
        f"Which function of {file.name}?" if not name else f"{file.name} has no function {name}",
        found=word,
        expected="one of " + ", ".join(known[:12]) if known else "def make() -> nn.Module, for one, and none is there",
        attempt=f"--model {place}:{near[0]}" if near else f"a function in {file.name} that returns the network",
    )


def _functions(file: Path) -> list[str]:
    """What can be called at the top of a file: functions, classes, and names that are imported or assigned; nothing is run."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UserMistake(
            f"{file.name} is no Python file that can be read",
            found=first_line(error) + line,
            expected="a file that Python runs",
            attempt=f"python {file.name}",
        ) from None
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = [*functions, *(node.name for node in tree.body if isinstance(node, ast.ClassDef))]
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            names += [one.asname or one.name for one in node.names]
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names


@contextmanager
def _beside(file: Path) -> Iterator[None]:
    """Modules beside the file can be imported, as when Python runs it."""
    sys.path.insert(0, str(file.parent.absolute()))
    try:
        yield
    finally:
        sys.path.remove(str(file.parent.absolute()))


def _function(file: Path, name: str) -> Any:
    """The function itself: the file is run."""
    key = "edgesmith_own_" + hashlib.sha256(str(file.absolute()).encode()).hexdigest()[:12]
    told = spec_from_file_location(key, file)
    if told is None or told.loader is None:
        raise AssertionError("a .py file has a loader")
    module = module_from_spec(told)
    sys.modules[key] = module  # dataclasses and pickles of the file look for it there
    try:
        told.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001  code of others raises anything
        raise _raised(f"{file.name} does not run", error, file) from None
    found = getattr(module, name, None)
    if callable(found):
        return found
    raise UserMistake(
        f"{name} of {file.name} cannot be called",
        found=type(found).__name__,
        expected="a function that returns a network",
        attempt=f"def {name}(): return the network",
    )


def _parameters(file: Path, name: str) -> tuple[str, ...]:
    with _beside(file):
        return arguments_of(_function(file, name))


def _made(file: Path, name: str, model_args: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> nn.Module:
    """What the function gives, in eval mode; of ``given`` only what it has arguments for and the user did not say."""
    from torch import nn

    with _beside(file):
        function = _function(file, name)
        known = arguments_of(function)
        args = {key: value for key, value in (given or {}).items() if key in known} | dict(model_args)
        try:
            inspect.signature(function).bind(**args)
        except TypeError as error:
            raise _arguments(file, name, model_args, known, str(error)) from None
        except ValueError:  # it does not say what it takes
            pass
        try:
            network = function(**args)
        except (Exception, SystemExit) as error:  # noqa: BLE001
            raise _raised(f"{file.name}: {name} fails", error, file) from None
    if not isinstance(network, nn.Module):
        raise UserMistake(
            f"{file.name}: {name} returns no network",
            found=f"{type(network).__name__} {str(network)[:60]}",
            expected="a torch.nn.Module",
            attempt="return the module itself, not its class or state_dict",
        )
    _one_input(network, file, name)
    network.register_forward_hook(OneTensor(f"{file.name}:{name}"))
    return network.eval()


def _arguments(file: Path, name: str, model_args: Mapping[str, Any], known: tuple[str, ...], why: str) -> UserMistake:
    wrong = [key for key in model_args if key not in known]
    near = difflib.get_close_matches(wrong[0], known, n=1, cutoff=0.4) if wrong else []
    told = typed(model_args) or "no --model-arg"
    lacking = next((key for key in known if f"'{key}'" in why), "name")
    return UserMistake(
        f"{file.name}: {name} takes other arguments",
        found=told[:160],
        expected="arguments " + ", ".join(known) if known else "no arguments",
        because=why,
        attempt=f"--model-arg {near[0]}={spelt(model_args[wrong[0]])}"
        if near
        else f"--model-arg {lacking}=VALUE"
        if not wrong
        else f"without --model-arg {wrong[0]}",
    )


def _one_input(network: nn.Module, file: Path, name: str) -> None:
    needed = [
        one.name
        for one in inspect.signature(network.forward).parameters.values()
        if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    ]
    if len(needed) <= 1:
        return
    raise UserMistake(
        f"{file.name}: the network of {name} has {len(needed)} inputs",
        found=f"forward({', '.join(needed)})",
        expected="one input: pictures (B, 3, H, W), float32",
        because="a picture is all that an export of a module feeds it",
        attempt="a module around it with one input, or an ONNX file of it: --model path/net.onnx",
    )


def check_input(spec: ModelSpec, contract: ImageContract) -> None:
    """UserMistake where the network does not run on pictures of this type and layout."""
    file, name = Path(spec.config["file"]), spec.config["function"]
    try:
        _answer(spec.build(image_size=contract.size).eval(), contract)
    except UserMistake:
        raise
    except Exception as error:  # noqa: BLE001
        told = face_words(*contract.face)
        raise UserMistake(
            f"{file.name}: the network of {name} does not take what the contract says",
            found=f"{told}: {first_line(error)}",
            expected=face_words(*spec.contract.face),
            because="it was run on an empty picture of that kind",
            attempt="leave --input-dtype and --layout out, or a forward that begins with what they say",
        ) from None


def _answer(network: nn.Module, contract: ImageContract, batch: int = 1) -> tuple[int, ...]:
    """The shape of what it answers to empty pictures; of several nothing, where it takes one only."""
    import torch

    try:
        with torch.no_grad():
            empty = torch.zeros(*contract.shape(batch), dtype=getattr(torch, contract.dtype))
            return tuple(one_tensor(network(empty), "the network").shape)
    except RuntimeError:
        if batch == 1:
            raise
        return ()


def _usual_size(file: Path, name: str) -> Any:
    """The value that the function's own argument image_size has where nobody gives one; None where it has none."""
    with _beside(file):
        function = _function(file, name)
    if "image_size" not in arguments_of(function):
        return None
    default = inspect.signature(function).parameters["image_size"].default
    return tuple(default) if isinstance(default, (list, tuple)) else default if isinstance(default, int) else None


def _first_answer(network: nn.Module, word: str, usual: Any = None) -> tuple[ImageContract, tuple[int, ...]]:
    """The first kind of picture that it sees, and the shape of its answer; UserMistake where it sees none.

    Three channels before one and four, floats before bytes, channels first before last.
    """
    first: Exception | None = None
    sides = (*([usual] if isinstance(usual, int) and usual > 0 else []), *SIDES)
    for dtype, layout, channels, side in product((FLOAT32, BYTES), LAYOUTS, (3, 1, 4), sides):
        contract = replace(ImageContract((side, side)).with_channels(channels), layout=layout)
        contract = replace(contract.raw(), dtype=dtype) if dtype == BYTES else contract
        try:
            return contract, _answer(network, contract)
        except UserMistake:
            raise
        except Exception as error:  # noqa: BLE001
            first = first or error
    assert first is not None
    raise _raised(
        f"{word}: the network does not run", first, Path(word.rpartition(":")[0]), "a picture (1, 3, 224, 224)"
    )


def _raised(
    what: str, error: BaseException, file: Path, expected: str = "a function that returns a network"
) -> UserMistake:
    """What code of the user's raised, and where in the file."""
    line, trace = "", error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == file.name:
            line = f"{file.name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return UserMistake(what, found=first_line(error), expected=expected, because=line, attempt=f"python -i {file.name}")
