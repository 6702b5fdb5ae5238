"""The door to MuJoCo: imported when an env is made, with a GL backend chosen and no log file left behind."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib import resources
from types import ModuleType
from typing import Any

from robossl.core.errors import RequestError

_BACKENDS = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}  # in the order they are tried


def load_mujoco() -> ModuleType:
    """The mujoco module; no MUJOCO_LOG.TXT is written into the working directory from here on."""
    choose_backend()
    import mujoco

    config = mujoco.MjLogConfig.get()
    if config.logto_file:
        config.logto_file = False
        mujoco.MjLogConfig.set(config)
    return mujoco


def choose_backend() -> None:
    """On Linux without a screen EGL, else OSMesa, before MuJoCo is imported; what the user chose stays."""
    if "mujoco" in sys.modules:
        return
    headless = not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY")
    if not sys.platform.startswith("linux") or not headless or "MUJOCO_GL" in os.environ:
        return
    for name, library in _BACKENDS.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        os.environ["MUJOCO_GL"] = name
        return


def load_model(path: str) -> Any:
    """The compiled `mujoco.MjModel` of an MJCF file: a path inside robossl.assets, or an absolute one."""
    mujoco = load_mujoco()
    file = os.path.join(str(resources.files("robossl.assets")), path)
    if not os.path.isfile(file):
        raise RequestError(
            f"no MJCF file {path!r}; expected a path inside robossl.assets or an absolute path"
        )
    return mujoco.MjModel.from_xml_path(file)
