"""The wheel contains the files of the checkout and works in a new environment outside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from source_rules import FOLDERS, ROOT

pytestmark = pytest.mark.slow  # builds and installs; `make wheel` runs it

PACKAGED = ["pyproject.toml", "README.md", "LICENSE", *FOLDERS.values()]
NOT_PACKAGED = ["tests", "benchmarks", "docs", "CHANGELOG.md", "CITATION.cff"]
CACHES = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache", ".*.swp", "MUJOCO_LOG.TXT")

IMPORT_ALL = """
import importlib, importlib.resources, json, pkgutil, warnings
import robossl

def fail(name):
    raise

names = ["robossl"] + [m.name for m in pkgutil.walk_packages(robossl.__path__, "robossl.", onerror=fail)]
files = {name: importlib.import_module(name).__file__ for name in names}

import mujoco

assets = importlib.resources.files("robossl.assets")
models = {}
for path in sorted(assets.rglob("*.xml")):
    if "<mujocoinclude" not in path.read_text():
        models[str(path.relative_to(assets))] = mujoco.MjModel.from_xml_path(str(path)).nq

import gymnasium
ids = [i for i in gymnasium.registry if i.startswith("robossl/")]
print(json.dumps({"files": files, "models": models, "ids": ids}))
"""


def packaged_files(wheel: Path) -> set[str]:
    """Return the files of the packaged folders that the wheel was built from, by their names in the wheel."""
    source = wheel.parent / "source"
    return {
        str(Path(*package.split(".")) / path.relative_to(source / folder))
        for package, folder in FOLDERS.items()
        for path in (source / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def run(*command: object, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    arguments = [str(argument) for argument in command]
    done = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{' '.join(arguments[:4])}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, so that outputs of an earlier build are not included."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in [*PACKAGED, *NOT_PACKAGED]:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=CACHES)
        elif path.exists():
            shutil.copy(path, source / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of a new environment outside the checkout, with the wheel installed.

    The dependencies come from the environment that runs the tests: its folder is put on the path, which does not
    activate the editable robossl there, because .pth files are only read in an environment's own folder.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=False, symlinks=os.name != "nt")
    executable = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        executable,
        "install",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=folder,
    )
    site = Path(
        run(executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    dependencies = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    return executable


def test_wheel_contains_the_files_of_the_checkout(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == packaged_files(wheel)
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_wheel_adds_no_generic_name_to_site_packages(wheel):
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert top == {"robossl", f"robossl-{version}.dist-info"}


@pytest.fixture(scope="module")
def imported(python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Return what a program finds that imports all modules and compiles all models."""
    return json.loads(run(python, "-I", "-c", IMPORT_ALL, cwd=tmp_path_factory.mktemp("elsewhere")))


def test_every_module_is_importable_from_the_wheel(imported, python, wheel):
    home = python.parent.parent
    assert {name: file for name, file in imported["files"].items() if home not in Path(file).parents} == {}
    modules = {
        name.removesuffix(".py").removesuffix("/__init__")
        for name in packaged_files(wheel)
        if name.endswith(".py")
    }
    assert {name.replace(".", "/") for name in imported["files"]} == modules


def test_every_model_compiles_from_the_wheel(imported, wheel):
    inside = {name.removeprefix("robossl/assets/") for name in packaged_files(wheel) if name.endswith(".xml")}
    assert inside >= set(imported["models"]) != set()
    assert all(nq > 0 for nq in imported["models"].values())


def test_envs_are_registered_from_the_wheel(imported):
    assert "robossl/Reacher-v0" in imported["ids"]


def test_command_line_works_from_the_wheel(python, tmp_path):
    assert "learn" in run(python.with_name("robossl"), "--help", cwd=tmp_path)
    assert "Reacher" in run(python.with_name("robossl"), "envs", cwd=tmp_path)
