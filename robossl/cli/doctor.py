"""What this machine can do for robossl: versions, devices, and which GL backends draw, each tried out."""

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

from robossl.core import system_info
from robossl.env_checker.subprocess_trial import run_trial

_PATIENCE = 60.0  # [s] for a first frame; a context that hangs never comes
_DISK = 2 * 1024**3  # [bytes] a short run with its stream, models and videos fits into this
_MEMORY = 2 * 1024**3  # [bytes] torch, MuJoCo and a batch of environments fit into this
_PACKAGES = {  # Debian and Ubuntu
    "egl": "apt install libegl1 libgl1-mesa-dri",
    "osmesa": "apt install libosmesa6",
    "glfw": "apt install libglfw3, and a display (a desktop session, or xvfb-run)",
}


def diagnose(seconds: float = _PATIENCE) -> dict[str, Any]:
    """Everything there is to know, ready for JSON; `problems` is empty where all is well.

    Each GL backend and each accelerator is tried in a process of its own for at most `seconds`.
    """
    chosen = system_info.render_backend()
    found: dict[str, Any] = {
        "versions": _versions(),
        "platform": platform.platform(),
        "processor": system_info.processor(),
        "cores": system_info.cores(),
        "memory": _memory(),  # [bytes]
        "disk": {"folder": str(Path.cwd()), "free": shutil.disk_usage(Path.cwd()).free},  # [bytes]
        "devices": _devices(seconds),
        "display": not system_info.headless(),
        "backends": {backend: _backend(backend, seconds) for backend in _backends(chosen)},
    }
    found["render"] = {
        "chosen": chosen,
        "set": os.environ.get("MUJOCO_GL"),
        "works": [name for name, outcome in found["backends"].items() if outcome["works"]],
    }
    return {**found, "problems": _problems(found)}


def _versions() -> dict[str, dict[str, Any]]:
    """Of Python and every package robossl needs: what is installed, what is supported, whether they agree."""
    supported = metadata.metadata("robossl")["Requires-Python"]
    found = {"python": _version(platform.python_version(), SpecifierSet(supported or ""))}
    for line in metadata.requires("robossl") or []:
        need = Requirement(line)
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            found[need.name] = _version(metadata.version(need.name), need.specifier)
        except metadata.PackageNotFoundError:
            found[need.name] = {"installed": None, "supported": str(need.specifier), "ok": False}
    return found


def _version(installed: str, supported: SpecifierSet) -> dict[str, Any]:
    fits = supported.contains(installed, prereleases=True)
    return {"installed": installed, "supported": str(supported), "ok": fits}


def _memory() -> int | None:
    """Bytes of memory; None where the system does not say."""
    names = getattr(os, "sysconf_names", {})  # not on Windows
    if "SC_PHYS_PAGES" not in names:
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _devices(seconds: float) -> dict[str, Any]:
    """The accelerators torch can use, those the system has, and the reason where torch cannot say."""
    outcome = run_trial("robossl.cli.accelerator_probe", [], seconds, os.environ)
    usable = outcome.answer["devices"] if outcome.answer else []
    auto = next((device["kind"] for device in usable if device["works"]), "cpu")
    return {"auto": auto, "usable": usable, "seen": system_info.accelerators(), "reason": outcome.reason}


def _backends(chosen: str) -> list[str]:
    """The backends of this system, and what MUJOCO_GL is set to if it is another one."""
    known = ["cgl", "glfw"] if sys.platform == "darwin" else ["glfw"]
    known = ["egl", "osmesa", "glfw"] if sys.platform.startswith("linux") else known
    return known if chosen in (*known, "none") else [*known, chosen]


def _backend(backend: str, seconds: float) -> dict[str, Any]:
    """Whether a backend draws, how fast, and the exact reason where it does not."""
    environment = {name: value for name, value in os.environ.items() if name != "PYOPENGL_PLATFORM"}
    environment["MUJOCO_GL"] = backend
    outcome = run_trial("robossl.cli.render_probe", [], seconds, environment)
    if outcome.answer is None:
        return {
            "works": False,
            "reason": outcome.reason,
            "because": _because(backend),
            "mend": _PACKAGES.get(backend),
        }
    black = outcome.answer.pop("black")
    reason = "its frames are of one colour: nothing is drawn" if black else ""
    return {"works": not black, "reason": reason, **outcome.answer}


def _because(backend: str) -> str:
    """Why a backend does not draw, where it can be known from outside."""
    if backend in ("egl", "osmesa") and system_info.library(backend) is None:
        return f"its system library (lib{'EGL' if backend == 'egl' else 'OSMesa'}) is not installed"
    if backend == "glfw" and system_info.headless():
        return "there is no display: neither DISPLAY nor WAYLAND_DISPLAY is set"
    return ""


def _problems(found: dict[str, Any]) -> list[str]:
    """What is wrong, each with its mend."""
    problems = []
    for name, version in found["versions"].items():
        if not version["ok"]:
            mend = f"install {name} {version['supported']}"
            if name != "python":
                mend = f'pip install "{name}{version["supported"]}"'
            problems.append(f"{name} is {_installed(version)}; supported: {version['supported']}; {mend}")
    devices = found["devices"]
    if devices["reason"]:
        problems.append(f"torch cannot be used: {devices['reason']}; pip install --force-reinstall torch")
    problems += [
        f"{device['name']} ({device['kind']}) does not compute: {device['reason']}; use --device cpu"
        for device in devices["usable"]
        if not device["works"]
    ]
    problems += _render_problems(found["render"], found["backends"])
    if found["disk"]["free"] < _DISK:
        problems.append(
            f"only {_size(found['disk']['free'])} free in {found['disk']['folder']}; make room, or give --out"
        )
    if found["memory"] is not None and found["memory"] < _MEMORY:
        problems.append(f"only {_size(found['memory'])} of memory; give fewer --num-envs")
    return problems


def _render_problems(render: dict[str, Any], backends: dict[str, Any]) -> list[str]:
    chosen, working = render["chosen"], render["works"]
    if not working:
        mends = " or ".join(_PACKAGES[name] for name in ("egl", "osmesa") if name in backends)
        return [f"nothing draws: pixels, videos and pictures are lacking; {mends or 'see the reasons above'}"]
    if chosen in working:
        return []
    why = "MUJOCO_GL is set to it" if render["set"] else "it would be chosen"
    return [f"{chosen} does not draw, and {why}; export MUJOCO_GL={working[0]}"]


def describe(found: dict[str, Any]) -> str:
    """A diagnosis for a person."""
    lines = ["versions"]
    for name, version in found["versions"].items():
        mark = "ok  " if version["ok"] else "FAIL"
        lines.append(
            f"  {mark}  {name:<18} {_installed(version):<14} supported {version['supported'] or 'any'}"
        )
    lines += ["machine", f"  {found['platform']}", f"  {found['processor']}, {found['cores']} cores"]
    if found["memory"] is not None:
        lines.append(f"  {_size(found['memory'])} of memory")
    lines.append(f"  {_size(found['disk']['free'])} free in {found['disk']['folder']}")
    lines += ["devices", *_device_lines(found["devices"])]
    lines += ["rendering, 64x64", *_backend_lines(found["backends"])]
    chosen = found["render"]["chosen"]
    how = "MUJOCO_GL is set to it" if found["render"]["set"] else "MUJOCO_GL is not set"
    lines.append(f"  robossl draws with {chosen} ({how})")
    if not found["problems"]:
        return "\n".join([*lines, "all is well"])
    return "\n".join([*lines, "to mend", *(f"  {problem}" for problem in found["problems"])])


def _device_lines(devices: dict[str, Any]) -> list[str]:
    lines = []
    for device in devices["usable"]:
        state = "ok  " if device["works"] else "FAIL"
        words = f"{device['kind']}: {device['name']}, {_size(device['memory'])} {device['reason']}"
        lines.append(f"  {state}  {words.rstrip()}")
    if not devices["usable"]:
        lines.append("  ok    cpu only")
        lines += [f"  --    {name} is there, and this torch cannot use it" for name in devices["seen"]]
    return [*lines, f"  --device auto is {devices['auto']}"]


def _backend_lines(backends: dict[str, Any]) -> list[str]:
    lines = []
    for name, outcome in backends.items():
        if outcome["works"]:
            first, rate = outcome["first_frame"], outcome["frames_per_second"]
            driver = f" ({outcome['driver']})" if outcome["driver"] else ""
            lines.append(f"  ok    {name:<7} {rate:,.0f} frames/s, first frame after {first:.2f} s{driver}")
            continue
        lines.append(f"  --    {name:<7} {outcome.get('because') or 'it does not draw'}")
        lines.append(f"                it said: {outcome['reason']}")
        if outcome.get("mend"):
            lines.append(f"                if wanted: {outcome['mend']}")
    return lines


def _installed(version: dict[str, Any]) -> str:
    return version["installed"] or "not installed"


def _size(count: float) -> str:
    """Bytes as a person says them."""
    return f"{count / 1024**3:,.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:,.0f} MiB"
