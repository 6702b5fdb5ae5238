"""System information that reproduces a run elsewhere: versions, devices, command, git revision."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from robossl.core.git_revision import git_revision

_PACKAGES = ("robossl", "numpy", "gymnasium", "mujoco", "torch", "stable-baselines3")
_TIMEOUT = 5.0  # [s] for programs that end at once
_LIBRARIES = {  # names of the system library by render backend; one of them must load
    "egl": ("libEGL.so.1", "libEGL.so"),
    "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"),
}


def system_info() -> dict[str, Any]:
    """Return the system information as JSON values. No heavy package is imported.

    Keys: command, versions, platform, cores, devices, render, and git if there is a revision.
    """
    info: dict[str, Any] = {
        "command": command(),
        "versions": versions(),
        "platform": platform.platform(),
        "cores": cores(),
        "devices": devices(),
        "render": render_backend(),
    }
    git = revisions()
    return {**info, "git": git} if git else info


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed dependencies; missing ones are omitted."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    info = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            info[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return info


def command(arguments: Sequence[str] | None = None) -> str:
    """Return the command line in a form that can be run again: `robossl learn --seed 3`."""
    program, *rest = sys.argv if arguments is None else arguments
    path = Path(program)
    if path.name == "__main__.py":
        return shlex.join(["python", "-m", path.parent.name, *rest])
    if program in ("", "-c"):  # interactive Python, or a notebook
        return "python"
    return shlex.join([path.name, *rest])


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def devices() -> list[str]:
    """Return the names of the processor and the accelerators."""
    return [processor(), *accelerators()]


def processor() -> str:
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()


def accelerators() -> list[str]:
    """Return the names of the accelerators that the system lists, even if torch cannot use them."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return ["Apple GPU"]
    names = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        model = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("Model:")]
        names += [line.partition(":")[2].strip() for line in model]
    if not names and shutil.which("nvidia-smi"):
        gpus = _run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
        names = [line.strip() for line in (gpus or "").splitlines() if line.strip()]
    return names


def is_headless(environment: Mapping[str, str] | None = None) -> bool:
    """Return whether this is Linux without a display."""
    environ = os.environ if environment is None else environment
    return sys.platform.startswith("linux") and not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def render_backend(environment: Mapping[str, str] | None = None) -> str:
    """Return the MuJoCo rendering backend: MUJOCO_GL if set; else, without a display, the first that is installed.

    The order is egl, osmesa; `none` if neither is installed. `robossl doctor` tests it.
    """
    environ = os.environ if environment is None else environment
    backend = environ.get("MUJOCO_GL", "").strip().lower()
    if backend:
        return backend
    if not is_headless(environ):
        return "cgl" if sys.platform == "darwin" else "glfw"
    return next((backend for backend in _LIBRARIES if find_library(backend)), "none")


def find_library(backend: str) -> str | None:
    """Return the name of the system library of a backend; None if it does not load."""
    for name in _LIBRARIES[backend]:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return name
    return None


def revisions() -> dict[str, str]:
    """Return the git revisions of robossl's checkout and of the working folder, where they exist.

    `+changes` is appended if tracked files differ from the revision.
    """
    checkout = Path(__file__).resolve().parents[2]
    info = {"robossl": git_revision(checkout, upwards=False)}
    with contextlib.suppress(OSError):  # the working folder may have been removed
        info["folder"] = git_revision(Path.cwd())
    return {name: revision for name, revision in info.items() if revision}


def _run(command_line: Sequence[str]) -> str | None:
    """Return the output of a program; None if it is missing, fails or takes too long."""
    try:
        completed = subprocess.run(
            command_line,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return completed.stdout if completed.returncode == 0 else None
