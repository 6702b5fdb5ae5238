"""Diagnosis of this machine: versions, devices, and which GL backends can render, each one tried."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from robossl.core import system_info
from robossl.env_checker.subprocess_trial import run_trial

_TIMEOUT = 60.0  # [s] for a first frame; some broken GL contexts hang
_NATIVE = {"mujoco": "3.17"}  # versions that native envs need; other envs work with older ones
_MIN_DISK = 2 * 1024**3  # [bytes] a short run with its stream, models and videos needs less
_MIN_MEMORY = 2 * 1024**3  # [bytes] torch, MuJoCo and a batch of environments need less
_PACKAGES = {  # Debian and Ubuntu
    "egl": "apt install libegl1 libgl1-mesa-dri",
    "osmesa": "apt install libosmesa6",
    "glfw": "apt install libglfw3, and a display (a desktop session, or xvfb-run)",
}


def diagnose(seconds: float = _TIMEOUT) -> dict[str, Any]:
    """Return a diagnosis of this machine, ready for JSON; `problems` is empty if there are none.

    Args:
        seconds: Time limit [s] of each GL backend and accelerator; each is tried in a process of its own.
    """
    chosen = system_info.render_backend()
    diagnosis: dict[str, Any] = {
        "versions": _versions(),
        "platform": platform.platform(),
        "processor": system_info.processor(),
        "cores": system_info.cores(),
        "memory": _memory(),  # [bytes]
        "disk": {"folder": str(Path.cwd()), "free": shutil.disk_usage(Path.cwd()).free},  # [bytes]
        "devices": _devices(seconds),
        "display": not system_info.is_headless(),
        "backends": {backend: _backend(backend, seconds) for backend in _backends(chosen)},
    }
    diagnosis["render"] = {
        "chosen": chosen,
        "set": os.environ.get("MUJOCO_GL"),
        "works": [name for name, result in diagnosis["backends"].items() if result["works"]],
    }
    return {**diagnosis, "problems": _problems(diagnosis)}


def _versions() -> dict[str, dict[str, Any]]:
    """Return the installed and the supported version of Python and of every required package."""
    supported = metadata.metadata("robossl")["Requires-Python"]
    versions = {"python": _version(platform.python_version(), SpecifierSet(supported or ""))}
    for line in metadata.requires("robossl") or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = metadata.version(requirement.name)
            versions[requirement.name] = _version(installed, requirement.specifier)
        except metadata.PackageNotFoundError:
            supported = str(requirement.specifier)
            versions[requirement.name] = {"installed": None, "supported": supported, "ok": False}
    return versions


def _version(installed: str, supported: SpecifierSet) -> dict[str, Any]:
    ok = supported.contains(installed, prereleases=True)
    return {"installed": installed, "supported": str(supported), "ok": ok}


def _memory() -> int | None:
    """Return the memory of this machine [bytes]; None if the system does not report it."""
    names = getattr(os, "sysconf_names", {})  # missing on Windows
    if "SC_PHYS_PAGES" not in names:
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _devices(seconds: float) -> dict[str, Any]:
    """Return the accelerators that torch can use, those of the system, and the error if torch fails."""
    result = run_trial("robossl.cli.accelerator_probe", [], seconds, os.environ)
    usable = result.output["devices"] if result.output else []
    auto = next((device["kind"] for device in usable if device["works"]), "cpu")
    return {"auto": auto, "usable": usable, "seen": system_info.accelerators(), "reason": result.reason}


def _backends(chosen: str) -> list[str]:
    """Return the backends of this system, and the one of MUJOCO_GL if it is another one."""
    known = ["cgl", "glfw"] if sys.platform == "darwin" else ["glfw"]
    known = ["egl", "osmesa", "glfw"] if sys.platform.startswith("linux") else known
    return known if chosen in (*known, "none") else [*known, chosen]


def _backend(backend: str, seconds: float) -> dict[str, Any]:
    """Return whether a backend renders and how fast, or the exact error and a fix."""
    environment = {name: value for name, value in os.environ.items() if name != "PYOPENGL_PLATFORM"}
    environment["MUJOCO_GL"] = backend
    result = run_trial("robossl.cli.render_probe", [], seconds, environment)
    if result.output is None:
        return {
            "works": False,
            "reason": result.reason,
            "cause": _cause(backend),
            "fix": _PACKAGES.get(backend),
        }
    single_color = result.output.pop("black")
    reason = "its frames have a single color: nothing is rendered" if single_color else ""
    return {"works": not single_color, "reason": reason, **result.output}


def _cause(backend: str) -> str:
    """Return why a backend cannot render, if the system shows it."""
    if backend in ("egl", "osmesa") and system_info.find_library(backend) is None:
        return f"its system library (lib{'EGL' if backend == 'egl' else 'OSMesa'}) is not installed"
    if backend == "glfw" and system_info.is_headless():
        return "there is no display: neither DISPLAY nor WAYLAND_DISPLAY is set"
    return ""


def _problems(diagnosis: dict[str, Any]) -> list[str]:
    """Return one line for each problem, with its fix."""
    problems = []
    for name, version in diagnosis["versions"].items():
        if not version["ok"]:
            fix = f"install {name} {version['supported']}"
            if name != "python":
                fix = f'pip install "{name}{version["supported"]}"'
            problems.append(f"{name}: expected {version['supported']}, got {_installed(version)}; fix: {fix}")
    devices = diagnosis["devices"]
    if devices["reason"]:
        problems.append(
            f"torch cannot be used: {devices['reason']}; fix: pip install --force-reinstall torch"
        )
    problems += [
        f"{device['name']} ({device['kind']}) does not compute: {device['reason']}; fix: use --device cpu"
        for device in devices["usable"]
        if not device["works"]
    ]
    problems += _render_problems(diagnosis["render"], diagnosis["backends"])
    if diagnosis["disk"]["free"] < _MIN_DISK:
        free, folder = _size(diagnosis["disk"]["free"]), diagnosis["disk"]["folder"]
        problems.append(f"only {free} are free in {folder}; fix: free some space, or use --out")
    if diagnosis["memory"] is not None and diagnosis["memory"] < _MIN_MEMORY:
        problems.append(f"only {_size(diagnosis['memory'])} of memory; fix: use fewer --num-envs")
    return problems


def _render_problems(render: dict[str, Any], backends: dict[str, Any]) -> list[str]:
    chosen, working = render["chosen"], render["works"]
    if not working:
        fixes = " or ".join(_PACKAGES[name] for name in ("egl", "osmesa") if name in backends)
        return [
            "no backend renders, so image observations and videos are unavailable; "
            f"fix: {fixes or 'see the errors above'}"
        ]
    if chosen in working:
        return []
    reason = "MUJOCO_GL selects it" if render["set"] else "it is the default"
    return [f"{chosen} does not render, and {reason}; fix: export MUJOCO_GL={working[0]}"]


def describe(diagnosis: dict[str, Any]) -> str:
    """Return a diagnosis as text."""
    lines = ["versions"]
    for name, version in diagnosis["versions"].items():
        status = "ok  " if version["ok"] else "FAIL"
        supported = version["supported"] or "any"
        note = _note(name, version["installed"])
        lines.append(f"  {status}  {name:<18} {_installed(version):<14} supported {supported}{note}")
    lines += [
        "machine",
        f"  {diagnosis['platform']}",
        f"  {diagnosis['processor']}, {diagnosis['cores']} cores",
    ]
    if diagnosis["memory"] is not None:
        lines.append(f"  {_size(diagnosis['memory'])} of memory")
    lines.append(f"  {_size(diagnosis['disk']['free'])} free in {diagnosis['disk']['folder']}")
    lines += ["devices", *_device_lines(diagnosis["devices"])]
    lines += ["rendering, 64x64", *_backend_lines(diagnosis["backends"])]
    source = "set by MUJOCO_GL" if diagnosis["render"]["set"] else "MUJOCO_GL is not set"
    lines.append(f"  robossl renders with {diagnosis['render']['chosen']} ({source})")
    problems = diagnosis["problems"]
    if not problems:
        return "\n".join([*lines, "no problems found"])
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return "\n".join([*lines, count, *(f"  {problem}" for problem in problems)])


def _note(name: str, installed: str | None) -> str:
    """Return what a supported version of a package lacks; empty if nothing."""
    needed = _NATIVE.get(name)
    if needed is None or installed is None or Version(installed) >= Version(needed):
        return ""
    return f"; the robots of robossl and robot files need {needed}, environments of other packages do not"


def _device_lines(devices: dict[str, Any]) -> list[str]:
    lines = []
    for device in devices["usable"]:
        status = "ok  " if device["works"] else "FAIL"
        text = f"{device['kind']}: {device['name']}, {_size(device['memory'])} {device['reason']}"
        lines.append(f"  {status}  {text.rstrip()}")
    if not devices["usable"]:
        lines.append("  ok    cpu only")
        lines += [f"  --    {name} is installed, but this torch cannot use it" for name in devices["seen"]]
    return [*lines, f"  --device auto is {devices['auto']}"]


def _backend_lines(backends: dict[str, Any]) -> list[str]:
    lines = []
    for name, result in backends.items():
        if result["works"]:
            first, rate = result["first_frame"], result["frames_per_second"]
            driver = f" ({result['driver']})" if result["driver"] else ""
            lines.append(f"  ok    {name:<7} {rate:,.0f} frames/s, first frame after {first:.2f} s{driver}")
            continue
        lines.append(f"  --    {name:<7} {result.get('cause') or 'it does not render'}")
        lines.append(f"                error: {result['reason']}")
        if result.get("fix"):
            lines.append(f"                fix: {result['fix']}")
    return lines


def _installed(version: dict[str, Any]) -> str:
    return version["installed"] or "not installed"


def _size(count: float) -> str:
    """Return a number of bytes in GiB or MiB."""
    return f"{count / 1024**3:,.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:,.0f} MiB"
