"""Import of MuJoCo with a GL backend chosen and no log file."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from types import ModuleType
from typing import Any

from packaging.version import Version

from robossl.core.errors import OperationError, UsageError

BATCH_VERSION = "3.17"  # the first MuJoCo with mujoco.batch
_BACKENDS = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}  # in the order in which they are tried


def load_mujoco() -> ModuleType:
    """Return the mujoco module; MuJoCo writes no MUJOCO_LOG.TXT from here on.

    Raises:
        OperationError: The GL backend that MUJOCO_GL names is not installed.
    """
    choose_backend()
    try:
        import mujoco
    except (AttributeError, ImportError, OSError, RuntimeError) as error:
        chosen = os.environ.get("MUJOCO_GL")
        if chosen is None:
            raise
        raise OperationError(
            f"cannot import mujoco with MUJOCO_GL={chosen} ({error}); install that library, or set MUJOCO_GL to "
            "egl, osmesa, glfw, or off (no rendering)"
        ) from error

    if hasattr(mujoco, "MjLogConfig"):
        config = mujoco.MjLogConfig.get()
        if config.logto_file:
            config.logto_file = False
            mujoco.MjLogConfig.set(config)
    return mujoco


def load_batch() -> ModuleType:
    """Return the module mujoco.batch, which simulates many copies of a model.

    Raises:
        UsageError: MuJoCo is too old for it; environments of other packages work with older versions.
    """
    mujoco = load_mujoco()
    if Version(mujoco.__version__) >= Version(BATCH_VERSION):
        return importlib.import_module("mujoco.batch")
    raise UsageError(
        f"expected mujoco {BATCH_VERSION} or newer for the robots of robossl and for robot files, got "
        f"{mujoco.__version__}, with which only environments of other packages work: "
        f"pip install 'mujoco>={BATCH_VERSION}'"
    )


def choose_backend() -> None:
    """Set MUJOCO_GL on Linux without a display, before MuJoCo is imported; a value set by the user stays."""
    if "mujoco" not in sys.modules and "MUJOCO_GL" not in os.environ:
        name = gl_backend()
        if name in _BACKENDS:
            os.environ["MUJOCO_GL"] = name


def gl_backend() -> str:
    """Return the GL backend: MUJOCO_GL if set, else the first installed one that fits the machine."""
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
    """Return whether this is Linux without a display."""
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform.startswith("linux") and not display


class QuietConsole:
    """Context in which MuJoCo prints no warnings, such as those about old MJCF syntax or unstable physics.

    It costs about 2 us, so that it can be entered at every step.
    """

    def __init__(self) -> None:
        self._mujoco = load_mujoco()
        self._config: Any = getattr(self._mujoco, "MjLogConfig", None)  # MuJoCo before 3.17 has none
        self._before: Any = None

    def __enter__(self) -> None:
        if self._config is None:
            self._before = self._mujoco.get_mju_user_warning()
            self._mujoco.set_mju_user_warning(_ignore)
            return
        config = self._config.get()
        self._before, config.logto_console = config.logto_console, False
        self._config.set(config)

    def __exit__(self, *reason: object) -> None:
        if self._config is None:
            self._mujoco.set_mju_user_warning(self._before)
            return
        config = self._config.get()
        config.logto_console = self._before
        self._config.set(config)


def _ignore(message: str) -> None:
    """Drop a warning of MuJoCo."""
