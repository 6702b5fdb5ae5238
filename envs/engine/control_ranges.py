"""Range of each actuator's control: its `ctrlrange`, or for an actuator without one what its target can reach.

MuJoCo does not limit a control without `ctrlrange`. A position servo then takes an angle or length, a velocity servo a
velocity, a motor a force; a range of [-1, 1] for all of them would put most poses of many robots out of reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robossl.core.seeding import generator

from .mujoco_setup import load_mujoco

if TYPE_CHECKING:
    from mujoco import MjModel

GIVEN = "ctrlrange"  # source of a range that the file states
UNKNOWN = "unknown"  # source of [-1, 1] where the file states nothing
_SAMPLES = 200  # poses in which the length of a tendon is measured


@dataclass(frozen=True)
class ControlRanges:
    """Lowest and highest value of each control, in the unit of its actuator, and where they were read."""

    low: np.ndarray  # (nu,)
    high: np.ndarray  # (nu,)
    sources: list[str]  # (nu) GIVEN, UNKNOWN, or what the range was read from


def control_ranges(model: MjModel, home: np.ndarray) -> ControlRanges:
    """Return the ranges of all controls of a model.

    Args:
        model: The model.
        home: Pose qpos (nq,) around which unlimited joints move.
    """
    low, high = np.full(model.nu, -1.0), np.ones(model.nu)
    sources = [UNKNOWN] * model.nu
    limited = model.actuator_ctrllimited.astype(bool)
    lengths: _Lengths | None = None
    for actuator in range(_actuators(model)):
        first, count = _controls(model, actuator)
        if not limited[first : first + count].all():
            lengths = lengths or _Lengths(model, home)
            found = _range_of(model, actuator, count, lengths)
            if found is not None:
                low[first], high[first], sources[first] = *found[0], found[1]
                if found[1] == _ROTATION:
                    low[first : first + count], high[first : first + count] = found[0]
                    sources[first : first + count] = [_ROTATION] * count
    ranges = model.actuator_ctrlrange.T
    low, high = np.where(limited, ranges[0], low), np.where(limited, ranges[1], high)
    return ControlRanges(low, high, [GIVEN if given else s for given, s in zip(limited, sources)])


def home_controls(model: MjModel, length: np.ndarray) -> np.ndarray:
    """Return the controls (nu,) at which position servos exert no force; NaN for other actuators.

    Args:
        model: The model.
        length: Actuator lengths (nactuator,) of the pose.
    """
    controls = np.full(model.nu, np.nan)
    for actuator in range(_actuators(model)):
        servo = _servo(model, actuator)
        if servo is not None and not _integrates(model, actuator):
            controls[_controls(model, actuator)[0]] = servo.control(length[actuator])
    return controls


def actuator_names(model: MjModel) -> list[str]:
    """Return a name for each control (nu): of its actuator, else of the joint it drives, else its number."""
    names = [""] * model.nu
    for actuator in range(_actuators(model)):
        first, count = _controls(model, actuator)
        name = model.actuator(actuator).name
        if not name and _drives_joint(model, actuator):
            name = model.joint(int(model.actuator_trnid[actuator, 0])).name
        for index in range(count):
            suffix = f"[{index}]" if count > 1 else ""
            names[first + index] = f"{name or f'actuator {actuator}'}{suffix}"
    return names


_ROTATION = "rotation"


@dataclass(frozen=True)
class _Servo:
    """An actuator whose force is gain * control + offset - stiffness * length."""

    gain: float
    offset: float
    stiffness: float

    def control(self, length: float) -> float:
        """Return the control whose equilibrium is a length."""
        return (self.stiffness * length - self.offset) / self.gain


def _actuators(model: MjModel) -> int:
    return int(getattr(model, "nactuator", model.nu))


def _controls(model: MjModel, actuator: int) -> tuple[int, int]:
    """Return the first control of an actuator and their number."""
    if not hasattr(model, "actuator_ctrladr"):
        return actuator, 1
    return int(model.actuator_ctrladr[actuator]), int(model.actuator_ctrlnum[actuator])


def _servo(model: MjModel, actuator: int) -> _Servo | None:
    """Return the position servo of an actuator; None if it is another one."""
    mujoco = load_mujoco()
    gain, bias = model.actuator_gainprm[actuator], model.actuator_biasprm[actuator]
    kinds = [mujoco.mjtGain.mjGAIN_FIXED, getattr(mujoco.mjtGain, "mjGAIN_PID", -1)]
    if int(model.actuator_gaintype[actuator]) not in [int(kind) for kind in kinds]:
        return None
    if int(model.actuator_biastype[actuator]) != int(mujoco.mjtBias.mjBIAS_AFFINE):
        return None
    if gain[0] == 0 or bias[1] >= 0:
        return None
    return _Servo(float(gain[0]), float(bias[0]), float(-bias[1]))


def _integrates(model: MjModel, actuator: int) -> bool:
    """Return whether the control is the rate of the activation."""
    return int(model.actuator_dyntype[actuator]) == int(load_mujoco().mjtDyn.mjDYN_INTEGRATOR)


def _drives_joint(model: MjModel, actuator: int) -> bool:
    transmission = load_mujoco().mjtTrn
    kinds = (int(transmission.mjTRN_JOINT), int(transmission.mjTRN_JOINTINPARENT))
    return int(model.actuator_trntype[actuator]) in kinds


def _range_of(
    model: MjModel, actuator: int, count: int, lengths: _Lengths
) -> tuple[tuple[float, float], str] | None:
    """Return the range of the first control of an actuator without `ctrlrange`, and its source; None if unknown."""
    mujoco = load_mujoco()
    if int(model.actuator_gaintype[actuator]) == int(getattr(mujoco.mjtGain, "mjGAIN_SO3", -1)):
        return ((-np.pi, np.pi) if count == 3 else (-1.0, 1.0)), _ROTATION
    if int(model.actuator_dyntype[actuator]) == int(mujoco.mjtDyn.mjDYN_MUSCLE):
        return (0.0, 1.0), "muscle"
    servo, length = _servo(model, actuator), lengths.of(actuator)
    if _integrates(model, actuator):  # the control is a velocity: the whole range in a second
        if servo is None or length is None:
            return None
        width = abs(servo.control(length[0][1]) - servo.control(length[0][0]))
        return (-width, width), f"{length[1]} per second"
    if servo is not None:
        if length is None:
            return None
        ends = sorted((servo.control(length[0][0]), servo.control(length[0][1])))
        return (ends[0], ends[1]), length[1]
    gain, bias = model.actuator_gainprm[actuator], model.actuator_biasprm[actuator]
    if gain[0] == 0 or int(model.actuator_gaintype[actuator]) != int(mujoco.mjtGain.mjGAIN_FIXED):
        return None
    if int(model.actuator_biastype[actuator]) == int(mujoco.mjtBias.mjBIAS_AFFINE) and bias[2] < 0:
        if length is None:
            return None
        width = abs((length[0][1] - length[0][0]) * bias[2] / gain[0])
        return (-width, width), f"{length[1]} per second"
    return _force_range(model, actuator, float(gain[0]))


def _force_range(model: MjModel, actuator: int, gain: float) -> tuple[tuple[float, float], str] | None:
    """Return the controls of a motor whose force is limited by the actuator or by its joint."""
    if model.actuator_forcelimited[actuator]:
        ends = sorted(model.actuator_forcerange[actuator] / gain)
        return (float(ends[0]), float(ends[1])), "forcerange"
    joint, gear = int(model.actuator_trnid[actuator, 0]), float(model.actuator_gear[actuator, 0])
    if _drives_joint(model, actuator) and gear and model.jnt_actfrclimited[joint]:
        ends = sorted(model.jnt_actfrcrange[joint] / gain / gear)
        return (float(ends[0]), float(ends[1])), "actuatorfrcrange"
    return None


class _Lengths:
    """Ranges of actuator lengths: of limited joints and tendons from the file, of others measured.

    Args:
        model: The model.
        home: Pose qpos (nq,) around which unlimited joints move.
    """

    def __init__(self, model: MjModel, home: np.ndarray) -> None:
        self._model, self._home = model, home
        self._measured: np.ndarray | None = None  # (2, nactuator)

    def of(self, actuator: int) -> tuple[tuple[float, float], str] | None:
        """Return the lowest and highest length of an actuator [rad or m], and the source; None if it has no length."""
        mujoco, model = load_mujoco(), self._model
        target, gear = int(model.actuator_trnid[actuator, 0]), float(model.actuator_gear[actuator, 0])
        if _drives_joint(model, actuator):
            kind = int(model.jnt_type[target])
            hinge, slide = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)
            if kind not in (hinge, slide):
                return None
            if model.jnt_limited[target]:
                return _sorted(model.jnt_range[target] * gear), "joint range"
            reach = np.pi if kind == hinge else float(model.stat.extent)
            position = self._home[model.jnt_qposadr[target]]
            return _sorted((position + np.array([-reach, reach])) * gear), "home and its surroundings"
        if (
            int(model.actuator_trntype[actuator]) == int(mujoco.mjtTrn.mjTRN_TENDON)
            and model.tendon_limited[target]
        ):
            return _sorted(model.tendon_range[target] * gear), "tendon range"
        if self._measured is None:
            self._measured = self._measure()
        low, high = self._measured[:, actuator]
        return ((float(low), float(high)), "measured length") if high - low > 1e-6 else None

    def _measure(self) -> np.ndarray:
        """Return the extremes (2, nactuator) of the lengths over random poses within the joint limits."""
        mujoco, model = load_mujoco(), self._model
        data, random = mujoco.MjData(model), generator(0, "actuator lengths")
        lengths = np.empty((_SAMPLES, len(data.actuator_length)))
        limited = np.flatnonzero(model.jnt_limited & (model.jnt_type >= int(mujoco.mjtJoint.mjJNT_SLIDE)))
        columns, ranges = model.jnt_qposadr[limited], model.jnt_range[limited]
        for row in lengths:
            data.qpos[:] = self._home
            data.qpos[columns] = random.uniform(*ranges.T)
            for compute in (mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_tendon, mujoco.mj_transmission):
                compute(model, data)
            row[:] = data.actuator_length
        return np.stack([lengths.min(axis=0), lengths.max(axis=0)])


def _sorted(ends: Any) -> tuple[float, float]:
    return float(min(ends)), float(max(ends))
