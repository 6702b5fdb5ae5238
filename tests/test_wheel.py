"""The built wheel: it holds what the checkout holds, and works installed clean, far from the checkout."""

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

SHIPPED = ["pyproject.toml", "README.md", "LICENSE", *FOLDERS.values()]
NOT_SHIPPED = ["tests", "benchmarks", "docs", "CHANGELOG.md", "CITATION.cff"]
CACHES = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache", ".*.swp", "MUJOCO_LOG.TXT")

LOOK_AROUND = """
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


def shipped_files(wheel: Path) -> set[str]:
    """Every file of the shipped folders the wheel was built from, under the name it has inside the wheel."""
    source = wheel.parent / "source"
    return {
        str(Path(*package.split(".")) / path.relative_to(source / folder))
        for package, folder in FOLDERS.items()
        for path in (source / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def run(*command: object, cwd: Path) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=clean, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{' '.join(words[:4])}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: what an earlier build left in the checkout must not slip in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in [*SHIPPED, *NOT_SHIPPED]:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=CACHES)
        elif path.exists():
            shutil.copy(path, source / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment with the wheel in it, far from the checkout.

    The dependencies come from the environment that runs the tests. Its folder is put on the path, which
    does not start the editable robossl: that hangs on a .pth file, and those work at home only.
    """
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder / "venv", with_pip=False, symlinks=os.name != "nt")
    python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=folder,
    )
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    borrowed = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return python


def test_the_wheel_holds_what_the_checkout_holds(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == shipped_files(wheel)
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_the_wheel_leaves_no_generic_name_in_site_packages(wheel):
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert top == {"robossl", f"robossl-{version}.dist-info"}


@pytest.fixture(scope="module")
def seen(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a program sees that imports everything and compiles every model."""
    return json.loads(run(clean, "-I", "-c", LOOK_AROUND, cwd=tmp_path_factory.mktemp("elsewhere")))


def test_every_module_can_be_imported_from_the_wheel(seen, clean, wheel):
    home = clean.parent.parent
    assert {name: file for name, file in seen["files"].items() if home not in Path(file).parents} == {}
    modules = {
        name.removesuffix(".py").removesuffix("/__init__")
        for name in shipped_files(wheel)
        if name.endswith(".py")
    }
    assert {name.replace(".", "/") for name in seen["files"]} == modules


def test_every_model_compiles_from_the_wheel(seen, wheel):
    inside = {name.removeprefix("robossl/assets/") for name in shipped_files(wheel) if name.endswith(".xml")}
    assert inside >= set(seen["models"]) != set()
    assert all(nq > 0 for nq in seen["models"].values())


def test_the_environments_are_registered_from_the_wheel(seen):
    assert "robossl/Reacher-v0" in seen["ids"]


def test_the_command_line_works_from_the_wheel(clean, tmp_path):
    assert "learn" in run(clean.with_name("robossl"), "--help", cwd=tmp_path)
    assert "Reacher" in run(clean.with_name("robossl"), "envs", cwd=tmp_path)
