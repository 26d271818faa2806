"""``edgesmith triton``: bundles -> models -> a repository; or a repository -> what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...bundle.bundle import Bundle, open_bundle
from ...bundle.trust import check_signed
from ...errors import UserMistake
from .models import ANSWER, ENGINE, PREPARE, Choices, Model, apart, whole
from .options import PYTHON, Asked

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
SUFFIX = ".edge"
MOST, INSTANCES, WAIT_US = 8, 1, 500


def triton(asked: Asked) -> int:
    """Do what was asked; the exit code: 0, or 1 where a repository does not hold."""
    asked.verify()
    if asked.check is not None:
        from .check.report import check, show

        result = check(asked.check, asked.url, asked.keyring)
        print(json.dumps(result, indent=2) if asked.as_json else show(result))
        return 1 if result["faults"] else 0
    result = write(asked)
    print(json.dumps(result, indent=2) if asked.as_json else shown(result))
    return 0


def write(asked: Asked) -> dict[str, Any]:
    """The repository written; {"repository", "models": [{"name", "bundle", "inputs", "outputs", "max_batch_size", "to_build"}]}."""
    from .place import publish

    bundles = [open_bundle(path) for path in asked.bundles]
    for bundle in bundles:
        check_signed(bundle, asked.keyring, asked.allow_older)
    choices = Choices(
        asked.max_batch or MOST,
        asked.instances or INSTANCES,
        WAIT_US if asked.wait_us is None else asked.wait_us,
        asked.threads,
    )
    make = whole if asked.backend == PYTHON else apart
    several = [make(name, bundle, choices) for name, bundle in zip(names(bundles), bundles, strict=True)]
    _check_apart([model for models in several for model in models])
    place = publish(str(asked.out), [model for models in several for model in models], bundles, asked.force)
    rows = [_row(model, bundle) for models, bundle in zip(several, bundles, strict=True) for model in models]
    return {"repository": str(place), "models": rows}


def names(bundles: Sequence[Bundle]) -> list[str]:
    """What the models are called: as the folders of the bundles, which their owner names."""
    found = [bundle.path.resolve().name.removesuffix(SUFFIX) for bundle in bundles]
    for name, bundle in zip(found, bundles, strict=True):
        if not NAME.fullmatch(name):
            raise UserMistake(
                f"no model of Triton can be called like the bundle {bundle.path.name}",
                found=name,
                expected="letters, digits, _ . and -, at most 100, as the name is part of addresses",
                attempt="rename the folder of the bundle",
            )
    return found


def _check_apart(models: Sequence[Model]) -> None:
    seen: set[str] = set()
    for model in models:
        if model.name.lower() in seen:
            raise UserMistake(
                "two models of one repository would have the same name",
                found=model.name,
                because=f"a model is called as the folder of its bundle; an ensemble also has {PREPARE}, {ENGINE} and {ANSWER}",
                attempt="rename the folder of one bundle",
            )
        seen.add(model.name.lower())


def _row(model: Model, bundle: Bundle) -> dict[str, Any]:
    config = model.config
    return {
        "name": model.name,
        "bundle": str(bundle.path),
        "backend": config.get("backend") or config["platform"],
        "max_batch_size": config["max_batch_size"],
        **{f"{side}s": [one["name"] for one in config[side]] for side in ("input", "output")},
        "to_build": model.comment.splitlines()[-1] if model.comment else "",
    }


def shown(result: dict[str, Any]) -> str:
    """What was written, for people."""
    place = Path(result["repository"])
    lines = [f"{place.name}: {len(result['models'])} models"]
    for row in result["models"]:
        batch = f"batches of {row['max_batch_size']}" if row["max_batch_size"] else "one at a time"
        takes, gives = ", ".join(row["inputs"]), ", ".join(row["outputs"])
        lines.append(f"  {row['name']}  {row['backend']}, {batch}: {takes} -> {gives}")
    for row in result["models"]:
        if row["to_build"]:
            lines += [
                "",
                f"{row['name']} needs its plan, built on the machine of the server, in {place.name}:",
                f"  {row['to_build']}",
            ]
    return "\n".join([*lines, "", f"tritonserver --model-repository={place}"])
