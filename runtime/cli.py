"""The command on a device: ``edgesmith run`` and ``edgesmith test``, with nothing installed but the runtime.

Where the export extra is installed too, the full command (exporter/cli.py) takes its place and has both of these.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from .errors import EdgesmithError


def classify(
    bundle: str, images: Sequence[str], backend: str | None = None, threads: int | None = None, top: int = 5
) -> list[dict[str, Any]]:
    """One entry a picture, in the order given: its name and the ``top`` best classes."""
    from .load import load

    answers = []
    with load(bundle, backend=backend, threads=threads) as session:
        for image in images:
            guesses = [
                {"label": guess.label, "index": int(guess.index), "probability": float(guess.probability)}
                for guess in session(image).top(top)
            ]
            answers.append({"image": str(image), "top": guesses})
    return answers


def self_test(bundle: str, backend: str | None = None, threads: int | None = None) -> list[dict[str, Any]]:
    """Golden outputs against what this device computes, one entry an output."""
    from .load import load

    with load(bundle, backend=backend, threads=threads) as session:
        return [row.to_json() for row in session.self_test()]


def show_classes(answers: Sequence[dict[str, Any]]) -> str:
    """The answers as text: the picture, then its classes, best first."""
    lines = []
    for answer in answers:
        lines.append(answer["image"])
        lines += [f"{guess['probability']:9.2%}  {guess['label']}" for guess in answer["top"]]
    return "\n".join(lines)


def show_self_test(rows: Sequence[dict[str, Any]]) -> str:
    """The self-test as text, one line an output."""
    return "\n".join(
        f"{row['output']}: {'holds' if row['passed'] else 'FAILS'}, {row['told'] or 'nothing to compare'} "
        f"over {row['cases']} inputs, limit {row['limit']}"
        for row in rows
    )


def main(words: list[str] | None = None) -> None:
    """Exit code 0 done, 1 the self-test failed, 2 a mistake."""
    parser = argparse.ArgumentParser(
        "edgesmith", description=__doc__, epilog="pip install 'edgesmith[export]' adds export."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, purpose in (("run", "classify pictures"), ("test", "compare this device with the golden outputs")):
        command = verbs.add_parser(verb, help=purpose)
        command.add_argument("bundle")
        if verb == "run":
            command.add_argument("images", nargs="+")
            command.add_argument("--top", type=int, default=5)
        command.add_argument("--backend")
        command.add_argument("--threads", type=int)
        command.add_argument("--json", action="store_true")
    asked = parser.parse_args(words)
    try:
        if asked.verb == "run":
            found = classify(asked.bundle, asked.images, asked.backend, asked.threads, asked.top)
            text = show_classes(found)
        else:
            found = self_test(asked.bundle, asked.backend, asked.threads)
            text = show_self_test(found)
    except EdgesmithError as error:
        print(f"edgesmith: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(json.dumps(found, indent=2) if asked.json else text)
    sys.exit(1 if asked.verb == "test" and not all(row["passed"] for row in found) else 0)
