"""The door to MuJoCo: imported when an env is made, with a GL backend chosen and no log file left behind."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib import resources
from types import ModuleType
from typing import Any

from robossl.core.errors import OperationError, UsageError

_BACKENDS = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}  # in the order they are tried


def load_mujoco() -> ModuleType:
    """The mujoco module; no MUJOCO_LOG.TXT is written into the working directory from here on."""
    choose_backend()
    try:
        import mujoco
    except (AttributeError, ImportError, OSError, RuntimeError) as error:
        chosen = os.environ.get("MUJOCO_GL")
        if chosen is None:
            raise
        raise OperationError(
            f"mujoco cannot be imported with MUJOCO_GL={chosen} ({error}); install that library, or set "
            "MUJOCO_GL to another one (egl, osmesa, glfw) or to off, which draws no pictures"
        ) from error

    config = mujoco.MjLogConfig.get()
    if config.logto_file:
        config.logto_file = False
        mujoco.MjLogConfig.set(config)
    return mujoco


def choose_backend() -> None:
    """On Linux without a screen EGL, else OSMesa, before MuJoCo is imported; what the user chose stays."""
    if "mujoco" not in sys.modules and "MUJOCO_GL" not in os.environ:
        name = backend()
        if name in _BACKENDS:
            os.environ["MUJOCO_GL"] = name


def backend() -> str:
    """What draws here: MUJOCO_GL where it is set; without a screen the first that is installed; or windows."""
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if chosen:
        return chosen
    if headless():
        for name, library in _BACKENDS.items():
            try:
                ctypes.CDLL(library)
            except OSError:
                continue
            return name
    return "cgl" if sys.platform == "darwin" else "glfw"


def headless() -> bool:
    """Linux without a screen."""
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform.startswith("linux") and not screen


def load_model(path: str) -> Any:
    """The compiled `mujoco.MjModel` of an MJCF file: a path inside robossl.assets, or an absolute one."""
    mujoco = load_mujoco()
    file = os.path.join(str(resources.files("robossl.assets")), path)
    if not os.path.isfile(file):
        raise UsageError(f"no MJCF file {path!r}; expected a path inside robossl.assets or an absolute path")
    config = mujoco.MjLogConfig.get()
    spoken, config.logto_console = config.logto_console, False  # such as of an old dialect
    mujoco.MjLogConfig.set(config)
    try:
        return mujoco.MjModel.from_xml_path(file)
    except (ValueError, mujoco.FatalError) as error:
        words = " ".join(str(error).split())
        raise UsageError(f"{path} does not compile: {words}") from error
    finally:
        config.logto_console = spoken
        mujoco.MjLogConfig.set(config)
