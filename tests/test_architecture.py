"""ARCHITECTURE.md is true: the names it cites exist, and its table of chapters is the one that imports keep to."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from test_import_direction import ROOT, imports

TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
CHAPTERS = {
    line.split()[0]: line.split()[1:] for line in TEXT.split("```chapters\n")[1].split("```")[0].strip().splitlines()
}
CITED = sorted(set(re.findall(r"`(edgesmith[\w.]*:\w+)`", TEXT)))
MOST_ENTRIES = 12


@pytest.mark.parametrize("name", CITED)
def test_every_step_of_the_chain_can_be_imported(name: str):
    module, attribute = name.split(":")
    assert callable(getattr(importlib.import_module(module), attribute))


def test_the_chain_is_told_whole():
    assert len(CITED) >= 20


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:\w+/)+[\w*]+\.\w+)`", TEXT))))
def test_every_file_it_names_is_there(path: str):
    assert list(ROOT.glob(path)), path


def entries(folder: Path) -> list[str]:
    """What stands in a folder of the package: modules and folders, without what Python leaves there."""
    return sorted(path.name for path in folder.iterdir() if path.name not in ("__init__.py", "__pycache__"))


@pytest.mark.parametrize("package", CHAPTERS)
def test_the_table_names_every_chapter(package: str):
    found = {
        path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    said = set(CHAPTERS[package])
    assert said == (found if "__init__" in said else found - {"__init__"})


def folders() -> Iterator[Path]:
    for package in CHAPTERS:
        yield from (path.parent for path in (ROOT / package).rglob("__init__.py"))


@pytest.mark.parametrize("folder", sorted(folders()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_folder_tells_one_chapter(folder: Path):
    assert len(entries(folder)) <= MOST_ENTRIES, entries(folder)
    init = (folder / "__init__.py").read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(init)), "the first line of __init__.py says what the chapter tells"


@pytest.mark.parametrize("package", CHAPTERS)
def test_no_chapter_imports_a_higher_one(package: str):
    order = {name: floor for floor, name in enumerate(CHAPTERS[package])}
    wrong = []
    for path in sorted((ROOT / package).rglob("*.py")):
        own = path.relative_to(ROOT / package).with_suffix("").parts[0]
        if own == "__init__" and own not in order:
            own = CHAPTERS[package][-1]  # the face of a package may show all of it
        for line, name in imports(path, ast.parse(path.read_text(encoding="utf-8"))):
            parts = name.split(".")
            if (
                parts[:2] == ["edgesmith", package]
                and len(parts) > 2
                and parts[2] in order
                and order[parts[2]] > order[own]
            ):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {parts[2]}, which stands above {own}")
    assert not wrong, "\n".join(wrong)


def test_no_files_import_each_other_in_a_circle():
    """``graphlib`` names a circle where there is one; a package's ``__init__`` counts as itself, not as what it holds."""
    files = {path for package in CHAPTERS for path in (ROOT / package).rglob("*.py")}

    def file_of(name: str) -> Path | None:
        place = ROOT.joinpath(*name.split(".")[1:])
        return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path in files), None)

    order: TopologicalSorter[Path] = TopologicalSorter()
    for path in files:
        names = [name for _, name in imports(path, ast.parse(path.read_text(encoding="utf-8")))]
        found = {file_of(name) for name in names} - {None, path}
        # `from .. import nouns` names the package too: what is taken is the file
        taken = {each for each in found if each.name != "__init__.py" or not _holds(each, found - {each})}
        order.add(path, *taken)
    try:
        order.prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(path.relative_to(ROOT).as_posix() for path in circle.args[1]))


def _holds(package: Path, others: set[Path]) -> bool:
    return any(other.is_relative_to(package.parent) for other in others)
