"""Observation of any model: which columns of the physics state are observed, and in which units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from robossl.core.errors import UsageError, unknown_name_error

from .control_ranges import ControlRanges
from .mujoco_setup import load_mujoco

if TYPE_CHECKING:
    from mujoco import MjModel

_UNLIMITED = 1000.0  # [m, m/s or rad/s] observation limit of quantities that the model does not limit
_QPOS_WIDTH = {"free": 7, "ball": 4, "slide": 1, "hinge": 1}  # columns of qpos


class JointLayout:
    """Columns of the physics state by kind (limited joints, unlimited hinges, others) and the observation of them.

    Args:
        model: The compiled model.
        controls: Ranges of its controls, which are those of filtered activations.
        sensors: Names of the observed sensors.
        mocap: Observe the mocap bodies: "position", "pose" or None.
        home: Positions (nmocap, 3) of the mocap bodies at the start.
    """

    def __init__(
        self,
        model: MjModel,
        controls: ControlRanges,
        sensors: Sequence[str] = (),
        mocap: str | None = None,
        home: np.ndarray | None = None,
    ) -> None:
        mujoco = load_mujoco()
        kinds = {int(getattr(mujoco.mjtJoint, f"mjJNT_{name.upper()}")): name for name in _QPOS_WIDTH}
        limited: list[int] = []
        ranges: list[np.ndarray] = []
        hinges: list[int] = []
        others: list[int] = []
        quaternions: list[int] = []
        for joint in range(model.njnt):
            kind, first = kinds[int(model.jnt_type[joint])], int(model.jnt_qposadr[joint])
            if kind in ("hinge", "slide") and model.jnt_limited[joint]:
                limited.append(first)
                ranges.append(model.jnt_range[joint])
            elif kind == "hinge":
                hinges.append(first)
            else:
                others += range(first, first + _QPOS_WIDTH[kind])
                quaternions += {"ball": [first], "free": [first + 3]}.get(kind, [])
        self.limited, self.hinges, self.others = (_as_index(c) for c in (limited, hinges, others))
        self.quaternions = np.array(quaternions, np.int64)  # first column of each
        low, high = np.array(ranges).reshape(-1, 2).T
        self.center, self.half_range = (low + high) / 2, np.maximum((high - low) / 2, 1e-6)
        self.neutral = np.array(model.qpos0)  # (nq,)
        self.nv, self.na = int(model.nv), int(model.na)
        self.sensors = SensorLayout(model, sensors)
        sizes = [len(limited), len(hinges), len(hinges), len(others), self.nv]
        ends = np.cumsum(sizes).tolist()
        self.parts = [slice(end - size, end) for size, end in zip(sizes, ends)]  # of the observation
        first_velocity = state_offset(model, "mjSTATE_QVEL")
        order = [state_offset(model, "mjSTATE_QPOS") + c for c in [*limited, *hinges, *hinges, *others]]
        order += range(first_velocity, first_velocity + self.nv)
        joints = len(order) - len(limited)
        self.offset = np.append(self.center, np.zeros(joints))  # (D,) subtracted from the columns
        self.scale = np.append(self.half_range, np.ones(joints))  # (D,) divides the difference
        self.limit = np.repeat([2.0, 1.0, 1.0, _UNLIMITED, _UNLIMITED], sizes)  # (D,)
        self.activations = self._add(order, *_activation_columns(model, controls))
        self._add(order, *_mocap_columns(model, mocap, home))
        # (D,) columns of the physics state
        self.columns = np.array(order, np.int64)
        self.limit = np.append(self.limit, self.sensors.limit)  # (D,)

    def _add(self, order: list[int], columns: Sequence[int], offset: Any, scale: Any, limit: Any) -> slice:
        """Append columns of the state to the observation; return where they are in it."""
        first = len(order)
        order += columns
        self.offset, self.scale = np.append(self.offset, offset), np.append(self.scale, scale)
        self.limit = np.append(self.limit, limit)
        return slice(first, len(order))


class SensorLayout:
    """Observed sensors: their columns of `sensordata`, in units of their cutoff where they have one.

    Args:
        model: The compiled model.
        names: Of the sensors.
    """

    def __init__(self, model: MjModel, names: Sequence[str]) -> None:
        mujoco = load_mujoco()
        known = sensor_names(model)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise unknown_name_error("sensor", unknown[0], known)
        self.names = list(names)
        columns: list[int] = []
        scales: list[np.ndarray] = []
        limits: list[np.ndarray] = []
        stages = [0]
        for sensor in (known.index(name) for name in names):
            size, first = int(model.sensor_dim[sensor]), int(model.sensor_adr[sensor])
            cutoff = float(model.sensor_cutoff[sensor])
            columns += range(first, first + size)
            scales.append(np.full(size, cutoff if cutoff > 0 else 1.0))
            limits.append(np.full(size, 1.0 if cutoff > 0 else _UNLIMITED))
            stages.append(int(model.sensor_needstage[sensor]))
        self.columns = np.array(columns, np.int64)
        self.scale, self.limit = (
            np.concatenate([np.empty(0), *scales]),
            np.concatenate([np.empty(0), *limits]),
        )
        # name of the stage that computes them after a step
        stage_names = ("none", "position", "velocity", "acceleration")
        order = [0, *(int(getattr(mujoco.mjtStage, f"mjSTAGE_{s}")) for s in ("POS", "VEL", "ACC"))]
        self.stage = stage_names[order.index(max(stages))]


def sensor_names(model: MjModel) -> list[str]:
    """Return the names of the sensors of a model; `sensor N` where the file gives none."""
    return [model.sensor(number).name or f"sensor {number}" for number in range(model.nsensor)]


def chosen_sensors(model: MjModel, sensors: Any) -> list[str]:
    """Return the names of the sensors to observe.

    Args:
        model: The model.
        sensors: None or False for none, True or "all" for all, a name, or names in a list or separated by commas.
    """
    known = sensor_names(model)
    if sensors is None or sensors is False or sensors == "none":
        return []
    if sensors is True or sensors == "all":
        if not known:
            raise UsageError("expected a model with sensors for sensors='all', got one without; leave it out")
        return known
    if isinstance(sensors, str):
        sensors = [sensors] if sensors in known else [name.strip() for name in sensors.split(",")]
    if not isinstance(sensors, (list, tuple)):
        raise UsageError(f"expected sensors as names, 'all' or 'none', got {sensors!r}")
    return [str(name) for name in sensors]


def state_offset(model: MjModel, component: str) -> int:
    """Return the first column of a component in the physics state, such as mjSTATE_QPOS."""
    mujoco = load_mujoco()
    before = int(getattr(mujoco.mjtState, component)) - 1
    return int(mujoco.mj_stateSize(model, int(mujoco.mjtState.mjSTATE_INTEGRATION) & before))


_Columns = tuple[Sequence[int], Any, Any, Any]  # of the state; offset, scale and limit


def _activation_columns(model: MjModel, controls: ControlRanges) -> _Columns:
    """Return the columns of the activations of actuators: muscles, filters, integrators."""
    mujoco = load_mujoco()
    dynamics = mujoco.mjtDyn
    filters = {int(dynamics.mjDYN_FILTER), int(dynamics.mjDYN_FILTEREXACT)}
    low, high = np.full(model.na, -1.0), np.ones(model.na)
    limit = np.full(model.na, _UNLIMITED)
    for actuator in range(len(model.actuator_actadr)):
        first = int(model.actuator_actadr[actuator])
        if first < 0:
            continue
        parts = slice(first, first + int(model.actuator_actnum[actuator]))
        dynamic = int(model.actuator_dyntype[actuator])
        if model.actuator_actlimited[actuator]:
            low[parts], high[parts] = model.actuator_actrange[actuator]
        elif dynamic == int(dynamics.mjDYN_MUSCLE):
            low[parts] = 0.0
        elif dynamic in filters:
            control = (
                int(model.actuator_ctrladr[actuator]) if hasattr(model, "actuator_ctrladr") else actuator
            )
            low[parts], high[parts] = controls.low[control], controls.high[control]
        else:
            continue
        limit[parts] = 2.0
    first = state_offset(model, "mjSTATE_ACT")
    return range(first, first + model.na), (low + high) / 2, np.maximum((high - low) / 2, 1e-6), limit


def _mocap_columns(model: MjModel, mocap: str | None, home: np.ndarray | None) -> _Columns:
    """Return the columns of the mocap bodies: positions from home in units of the model's extent, then quaternions."""
    if mocap is None or home is None:
        return (), (), (), ()
    count = int(model.nmocap)
    first = state_offset(model, "mjSTATE_MOCAP_POS")
    columns = list(range(first, first + 3 * count))
    offset, scale = home.reshape(-1), np.full(3 * count, float(model.stat.extent))
    if mocap == "pose":
        first = state_offset(model, "mjSTATE_MOCAP_QUAT")
        columns += range(first, first + 4 * count)
        offset, scale = np.append(offset, np.zeros(4 * count)), np.append(scale, np.ones(4 * count))
    return columns, offset, scale, np.ones(len(columns))


def _as_index(columns: list[int]) -> Any:
    """Return an index of array columns: a slice where they are contiguous, which copies nothing."""
    first = columns[0] if columns else 0
    contiguous = range(first, first + len(columns))
    return (
        slice(contiguous.start, contiguous.stop)
        if columns == list(contiguous)
        else np.array(columns, np.int64)
    )
