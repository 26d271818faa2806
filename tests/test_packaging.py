"""The wheel holds every package folder, works outside the checkout, and nothing is imported by its bare folder name."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
TOP = ("calibration", "exporter", "graph", "models", "runtime")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_folder_is_listed_in_pyproject():
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    on_disk = {"edgesmith"} | {
        ".".join(("edgesmith", *init.parent.relative_to(ROOT).parts))
        for top in TOP
        for init in (ROOT / top).rglob("__init__.py")
    }
    assert listed == on_disk


def test_only_the_face_lives_at_the_root():
    assert sorted(path.name for path in ROOT.glob("*.py")) == ["__init__.py", "__main__.py"]


def test_the_base_install_is_the_runtime_only():
    names = {requirement.split(">")[0].split("=")[0].strip() for requirement in PROJECT["project"]["dependencies"]}
    assert names == {"numpy", "opencv-python-headless"}


def test_no_bare_folder_import():
    code = (
        "import sys, pkgutil, importlib, edgesmith.exporter.patterns, edgesmith.runtime, edgesmith.models\n"
        f"print(sorted({set(TOP)!r} & set(sys.modules)))"
    )
    assert _python(code, cwd=ROOT) == "[]"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tracked tree and unpacked by pip into an empty folder."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # --no-build-isolation and --no-deps: setuptools is in the environment, so the network is not needed
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(_copy(folder))]
    subprocess.run(wheel, check=True, stdin=subprocess.DEVNULL)
    (built,) = folder.glob("*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(built)], check=True)
    return target


def _copy(folder: Path) -> Path:
    """What git would hand to a user: building in the checkout itself would leave build/ and egg-info behind."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    for name in filter(None, names):
        source, copy = ROOT / name, folder / "checkout" / name
        if source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
    return folder / "checkout"


def _python(code: str, cwd: Path, path: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else dict(os.environ)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_wheel_imports_outside_the_checkout(installed: Path, tmp_path: Path):
    code = "import edgesmith, pathlib; print(edgesmith.__version__); print(pathlib.Path(edgesmith.__file__).parent)"
    version, folder = _python(code, cwd=tmp_path, path=installed).splitlines()
    assert Path(folder) == installed / "edgesmith"
    assert version == PROJECT["project"].get("version", version) and version.count(".") == 2


def test_the_wheel_brings_the_console_command(installed: Path, tmp_path: Path):
    command = [sys.executable, str(installed / "bin" / "edgesmith"), "--version"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("edgesmith ")


def test_the_wheel_holds_the_packages_and_nothing_else(installed: Path):
    (built,) = installed.parent.glob("*.whl")
    names = zipfile.ZipFile(built).namelist()
    tops = {name.split("/")[1] for name in names if name.startswith("edgesmith/") and name.count("/") > 1}
    assert tops <= set(TOP)
    assert not [name for name in names if name.startswith(("tests/", "exporter/", "models/", "runtime/"))]


def test_the_wheel_holds_the_licence_that_its_metadata_declares(installed: Path):
    (built,) = installed.parent.glob("*.whl")
    with zipfile.ZipFile(built) as wheel:
        (licence,) = (name for name in wheel.namelist() if name.endswith("licenses/LICENSE"))
        text = wheel.read(licence).decode()
        (metadata,) = (name for name in wheel.namelist() if name.endswith("dist-info/METADATA"))
        declared = wheel.read(metadata).decode()
    assert f"License-Expression: {PROJECT['project']['license']}\n" in declared
    assert f"SPDX-License-Identifier: {PROJECT['project']['license']}\n" in text
    assert "Copyright 2026 the Edgesmith authors" in text and "END OF TERMS AND CONDITIONS" in text
    assert text == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_wheel_says_that_it_is_typed(installed: Path):
    assert (installed / "edgesmith" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]


USER = """
import edgesmith
from PIL import Image

result = edgesmith.export("smt", "smt.pth", precision="int8", data=[("a.jpg", 0)], max_drop=0.5, image_size=(224, 256))
reveal_type(result)
with edgesmith.load("smt.edge") as session:
    reveal_type(session)
    session(Image.open("a.jpg"))
    session(["a.jpg", Image.open("b.jpg")])
    session(7)  # wrong
reveal_type(edgesmith.evaluate("smt.edge", "coco.json"))
edgesmith.export("smt", opset="18")  # wrong
edgesmith.export("smt", precison="int8")  # wrong
edgesmith.compare("a.edge")  # wrong
"""


@pytest.mark.slow
def test_mypy_of_a_users_project_sees_our_types(installed: Path, tmp_path: Path):
    (tmp_path / "mine.py").write_text(USER, encoding="utf-8")
    # PYTHONPATH makes the folder one of installed packages to mypy: without py.typed it would not look inside
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "mine.py"], check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True,
    )  # fmt: skip
    told = done.stdout.splitlines()
    revealed = [line.split('"')[1] for line in told if "Revealed type" in line]
    assert revealed == [
        "edgesmith.exporter.pipeline.Result",
        "edgesmith.runtime.session.session.Session",
        "dict[str, Any]",
    ], done.stdout + done.stderr
    wrong = [number for number, line in enumerate(USER.splitlines(), 1) if line.endswith("# wrong")]
    assert [int(line.split(":")[1]) for line in told if ": error:" in line] == wrong, done.stdout


def test_the_wheel_holds_the_kernels_and_the_sources_of_the_cpp_plugin(installed: Path):
    inside = installed / "edgesmith"
    assert (inside / "exporter/plugins/kernels.zip").read_bytes() == (
        ROOT / "exporter/plugins/kernels.zip"
    ).read_bytes()
    native = {path.name for path in (ROOT / "runtime/plugins/native").iterdir()}
    assert {"plugin.cpp", "CMakeLists.txt"} <= native
    assert {path.name for path in (inside / "runtime/plugins/native").iterdir()} == native
