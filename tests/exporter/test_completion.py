"""What a shell is told when Tab is pressed: commands and flags; and the lines that switch it on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def _asked(**environment: str) -> str:
    """The command as the shell's completion script runs it."""
    code = "import sys; sys.argv[0] = 'edgesmith'; from edgesmith.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("edgesmith e", ["export", "eval"]),
        ("edgesmith export --prec", ["--precision"]),
        ("edgesmith run small.edge --js", ["--json", "--json-lines"]),
        ("edgesmith list --", ["--json"]),
    ],
)
def test_bash_is_told_the_commands_and_flags_that_fit(line, expected):
    words = line.split()
    told = _asked(_EDGESMITH_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1)).split()
    assert set(expected) <= set(told) and all(word.startswith(words[-1]) for word in told)


def test_zsh_and_fish_are_told_the_help_texts_too():
    zsh = _asked(_EDGESMITH_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="edgesmith export --gpu")
    fish = _asked(
        _EDGESMITH_COMPLETE="complete_fish",
        _TYPER_COMPLETE_ARGS="edgesmith export --gpu",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    for told in (zsh, fish):
        assert "--gpu-arch" in told and "GPU to build the engine for" in told


def test_the_script_is_shown_for_the_shell():
    assert "_EDGESMITH_COMPLETE=complete_bash" in _asked(_EDGESMITH_COMPLETE="source_bash")
