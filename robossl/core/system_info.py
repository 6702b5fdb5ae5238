"""This machine and what reproduces a run on another one: versions, devices, command, revision."""

from __future__ import annotations

import ctypes
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("robossl", "numpy", "gymnasium", "mujoco", "torch", "stable-baselines3")
_PATIENCE = 5.0  # [s] for a program that answers at once, or is broken
_LIBRARIES = {  # by backend, any one of which has to load
    "egl": ("libEGL.so.1", "libEGL.so"),
    "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"),
}


def system_info() -> dict[str, Any]:
    """Everything that reproduces a run, ready for JSON. Nothing heavy is imported.

    Keys: command, versions, platform, cores, devices, render, and git where there is a revision.
    """
    found: dict[str, Any] = {
        "command": command(),
        "versions": versions(),
        "platform": platform.platform(),
        "cores": cores(),
        "devices": devices(),
        "render": render_backend(),
    }
    git = revisions()
    return {**found, "git": git} if git else found


def versions() -> dict[str, str]:
    """The versions of Python and of what is installed of our dependencies."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def command(arguments: Sequence[str] | None = None) -> str:
    """The command as it can be given again: `robossl learn --seed 3`."""
    program, *rest = sys.argv if arguments is None else arguments
    path = Path(program)
    if path.name == "__main__.py":
        return shlex.join(["python", "-m", path.parent.name, *rest])
    if program in ("", "-c"):  # typed at Python's prompt, or a notebook
        return "python"
    return shlex.join([path.name, *rest])


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def devices() -> list[str]:
    """The names of the processor and the accelerators."""
    return [processor(), *accelerators()]


def processor() -> str:
    """The name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()


def accelerators() -> list[str]:
    """The names of the accelerators that the system knows of, whether or not torch can use them."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return ["Apple GPU"]
    names = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        model = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("Model:")]
        names += [line.partition(":")[2].strip() for line in model]
    if not names and shutil.which("nvidia-smi"):
        listed = _answer(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
        names = [line.strip() for line in (listed or "").splitlines() if line.strip()]
    return names


def headless(environment: Mapping[str, str] | None = None) -> bool:
    """Linux without a display to draw on."""
    given = os.environ if environment is None else environment
    return sys.platform.startswith("linux") and not (given.get("DISPLAY") or given.get("WAYLAND_DISPLAY"))


def render_backend(environment: Mapping[str, str] | None = None) -> str:
    """What MuJoCo draws with: MUJOCO_GL where it is set; else, headless, the first that is installed.

    The order is egl, osmesa; `none` where there is neither. `robossl doctor` says whether it works.
    """
    given = os.environ if environment is None else environment
    chosen = given.get("MUJOCO_GL", "").strip().lower()
    if chosen:
        return chosen
    if not headless(given):
        return "cgl" if sys.platform == "darwin" else "glfw"
    return next((backend for backend in _LIBRARIES if library(backend)), "none")


def library(backend: str) -> str | None:
    """The name of the system library of a backend; None where it does not load."""
    for name in _LIBRARIES[backend]:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return name
    return None


def revisions() -> dict[str, str]:
    """The git revisions of robossl's checkout and of the folder of the command, where there are any.

    `+changes` is added where files under git differ from that revision.
    """
    package = Path(__file__).resolve().parent
    found: dict[str, str | None] = {}
    if _answer(["git", "-C", str(package), "ls-files", "--error-unmatch", Path(__file__).name]):
        found["robossl"] = _revision(package)
    found["folder"] = _revision(Path.cwd())
    return {name: revision for name, revision in found.items() if revision}


def _revision(folder: Path) -> str | None:
    revision = (_answer(["git", "-C", str(folder), "rev-parse", "HEAD"]) or "").strip()
    if not revision:
        return None
    changed = _answer(["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no"])
    return f"{revision}+changes" if changed else revision


def _answer(words: Sequence[str]) -> str | None:
    """What a program prints; None where it is absent, fails or takes too long."""
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # reading does not touch the index
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_PATIENCE, check=False, env=quiet, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
