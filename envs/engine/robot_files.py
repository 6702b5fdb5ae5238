"""Compilation of robot files: MJCF, URDF (with a motor for each joint) and MuJoCo's binary MJB."""

from __future__ import annotations

import copy
import hashlib
import itertools
import os
import re
import time
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from robossl.core.errors import UsageError, one_line

from .mujoco_setup import QuietConsole, load_mujoco
from .urdf import read_urdf

if TYPE_CHECKING:
    from mujoco import MjModel

_ROOT = re.compile(rb"<\s*(mujoco|mujocoinclude|robot)[\s>/]")
_SLOW = 0.3  # [s] a model that takes longer to compile is kept
_MAX_COMPILED, _MAX_BESIDE = 4, 2000  # models, and files that decide whether they are still valid
_compiled_models: dict[str, tuple[tuple[tuple[str, int, int], ...], MjModel]] = {}  # by file
_ROOT_BYTES = 1 << 16  # in which the first element of a file is looked for
_MIN_TIMESTEP, _MAX_TIMESTEP = 1e-6, 10.0  # [s] of the physics


def load_model(path: str) -> MjModel:
    """Return the compiled model of a robot file.

    A flag that a batch cannot simulate (sleep) is taken out. A URDF file gets a motor for each joint, with the joint's
    effort limit.

    Args:
        path: A path inside robossl.assets, or an absolute path.
    """
    mujoco = load_mujoco()
    file = os.path.join(str(resources.files("robossl.assets")), path)
    if not os.path.isfile(file):
        raise UsageError(f"no MJCF file {path!r}; expected a path inside robossl.assets, or an absolute path")
    with QuietConsole():
        try:
            model = _compiled(mujoco, file)
        except (ValueError, TypeError, mujoco.FatalError) as error:
            reason = one_line(error) or type(error).__name__
            raise UsageError(f"{path} does not compile: {reason}{_compile_hint(file)}") from error
    if not _MIN_TIMESTEP <= model.opt.timestep <= _MAX_TIMESTEP:
        raise UsageError(
            f"{path}: expected a timestep of {_MIN_TIMESTEP:g} to {_MAX_TIMESTEP:g} s in its option element, got "
            f"{model.opt.timestep:g}"
        )
    model.opt.enableflags &= ~_unsupported_flags(mujoco)
    return model


def file_kind(file: str | os.PathLike[str]) -> str:
    """Return "MJB", "URDF" or "MJCF": by the suffix, and for text by its first element."""
    if str(file).lower().endswith(".mjb"):
        return "MJB"
    with open(file, "rb") as stream:
        root = _ROOT.search(stream.read(_ROOT_BYTES))
    is_urdf = root[1] == b"robot" if root else str(file).lower().endswith(".urdf")
    return "URDF" if is_urdf else "MJCF"


def model_digest(model: MjModel) -> str:
    """Return a digest of a compiled model."""
    mujoco = load_mujoco()
    data = np.zeros(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, data)
    return hashlib.blake2b(data.tobytes(), digest_size=16).hexdigest()


def removed_flags(file: str | os.PathLike[str]) -> list[str]:
    """Return the names of the flags of a file that `load_model` takes out."""
    mujoco = load_mujoco()
    with QuietConsole():
        flags = int(_compile(mujoco, str(file)).opt.enableflags)
    return [name for name, flag in _flags(mujoco).items() if flags & flag]


def scene_file(file: str | os.PathLike[str], pattern: str = "*scene*.xml") -> str | None:
    """Return the file beside a robot file that includes it, such as scene.xml; None if there is none."""
    path = Path(file)
    name = rf"include\s+file\s*=\s*[\"']([^\"']*/)?{re.escape(path.name)}[\"']"
    beside = [*path.parent.glob(pattern), *path.parent.parent.glob(pattern)]
    for other in sorted(
        beside[:_MAX_BESIDE], key=lambda p: (p.name != "scene.xml", p.parent != path.parent, p.name)
    ):
        is_small_file = other != path and other.is_file() and other.stat().st_size < _ROOT_BYTES
        if is_small_file and re.search(name, other.read_text(encoding="utf-8", errors="replace")):
            return str(other)
    return None


def _compiled(mujoco: ModuleType, file: str) -> MjModel:
    """Return a new model of a file; one that took long to compile is copied as long as no file beside it changes."""
    signature = _signature(file)
    if file in _compiled_models and _compiled_models[file][0] == signature:
        return copy.copy(_compiled_models[file][1])
    start = time.perf_counter()
    model = _compile(mujoco, file)
    if time.perf_counter() - start > _SLOW:
        while len(_compiled_models) >= _MAX_COMPILED:
            _compiled_models.pop(next(iter(_compiled_models)))
        _compiled_models[file] = signature, copy.copy(model)
    return model


def _signature(file: str) -> tuple[tuple[str, int, int], ...]:
    """Return names, sizes and times of a file and of the files in its folder and the folders in it."""
    entries = []
    folder = Path(file).parent
    beside = itertools.chain([Path(file)], folder.glob("*"), folder.glob("*/*"))
    for path in itertools.islice(beside, _MAX_BESIDE):
        status = path.stat() if path.exists() else None
        if status is not None:
            entries.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(sorted(entries))


def _compile(mujoco: ModuleType, file: str) -> MjModel:
    kind = file_kind(file)
    if kind == "MJB":
        return mujoco.MjModel.from_binary_path(file)
    if kind == "MJCF":
        return mujoco.MjModel.from_xml_path(file)
    spec = mujoco.MjSpec.from_string(read_urdf(file).text)
    _add_motors(mujoco, spec)
    _exclude_base_contacts(spec, spec.worldbody)
    return spec.compile()


def _add_motors(mujoco: ModuleType, spec: Any) -> None:
    """Add a motor [N m or N] to each hinge and slide of a file without actuators; URDF has none."""
    if len(spec.actuators):
        return
    for joint in spec.joints:
        if joint.type not in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE):
            continue
        motor = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        low, high = (float(end) for end in joint.actfrcrange)
        if low < high:
            motor.ctrlrange, motor.ctrllimited = (low, high), mujoco.mjtLimited.mjLIMITED_TRUE


def _exclude_base_contacts(spec: Any, fixed: Any) -> None:
    """Exclude contacts between a fixed base and its children, as MuJoCo does for other parents and children."""
    for child in fixed.bodies:
        if fixed.name != "world":
            spec.add_exclude(bodyname1=fixed.name, bodyname2=child.name)
        if not len(child.joints):
            _exclude_base_contacts(spec, child)


def _flags(mujoco: ModuleType) -> dict[str, int]:
    """Return the flags that a batch cannot simulate, by name."""
    bits = mujoco.mjtEnableBit
    names = {"sleep": "mjENBL_SLEEP", "ipc": "mjENBL_IPC"}
    return {name: int(getattr(bits, bit)) for name, bit in names.items() if hasattr(bits, bit)}


def _unsupported_flags(mujoco: ModuleType) -> int:
    return sum(_flags(mujoco).values())


def _compile_hint(file: str) -> str:
    """Return what may help with a file that does not compile."""
    if file_kind(file) == "MJB":
        return "; an MJB file is read only by the MuJoCo version that wrote it: save it again, or use the MJCF file"
    whole = scene_file(file, "*.xml")
    return f"; {whole} includes this file: use that one" if whole else ""
