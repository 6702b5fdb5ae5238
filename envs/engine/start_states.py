"""Start of an episode: a keyframe taken whole, with noise on the joints that keeps limits, equalities and contacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robossl.core.errors import UsageError, unknown_name_error

from .mujoco_setup import load_mujoco

if TYPE_CHECKING:
    from mujoco import MjData, MjModel

_NOISE = 1 / 64  # of a joint's range to either side; of a full turn for a hinge without limits
_SCALES = (1.0, 0.5, 0.25, 0.125)  # of the noise, until the pose is valid; else there is none
_EQUALITY_TOLERANCE = 1e-4  # [m or rad]
_DEPTH_TOLERANCE = 1e-4  # [m] of penetration that the noise adds
_KEYFRAME_DEPTH = 0.01  # [m] deeper keyframes are lifted; a robot at rest in one sinks in by less
_POSE_DEPTH = 1e-3  # [m] the same of the pose of the file
_LIMIT_TOLERANCE = 1e-3  # [rad or m]
_NEWTON_STEPS, _LIFT_STEPS = 20, 30


def find_keyframe(model: MjModel, keyframe: str | int | None) -> int:
    """Return the number of a keyframe; -1 is the pose of the file.

    Args:
        model: The model.
        keyframe: Name or number; "none" is the pose of the file; None takes "home", else the first, else the pose of
            the file.
    """
    names = [model.key(number).name for number in range(model.nkey)]
    if keyframe is None:
        return names.index("home") if "home" in names else 0 if names else -1
    if keyframe in names:
        return names.index(str(keyframe))
    if isinstance(keyframe, str) and keyframe.lower() == "none":
        return -1
    try:
        number = int(keyframe)
    except (TypeError, ValueError):
        number = -1
    if isinstance(keyframe, bool) or not 0 <= number < len(names):
        known = [name or str(number) for number, name in enumerate(names)]
        raise unknown_name_error("keyframe", str(keyframe), [*known, "none"])
    return number


class StartStates:
    """Initial positions and velocities around the home pose of a model.

    Args:
        model: The model.
        keyframe: Number of the keyframe; -1 takes the pose of the file.
    """

    def __init__(self, model: MjModel, keyframe: int) -> None:
        mujoco = load_mujoco()
        self._model, self._keyframe = model, keyframe
        self._data: MjData = mujoco.MjData(model)
        self._reset()
        self.qpos, self.qvel = self._data.qpos.copy(), self._data.qvel.copy()
        if not (np.isfinite(self.qpos).all() and np.isfinite(self.qvel).all()):
            raise UsageError(f"expected a finite keyframe, got one with NaN or infinity (number {keyframe})")
        hinge, slide = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)
        limited = model.jnt_limited.astype(bool) & (model.jnt_type >= slide)
        free_hinges = ~limited & (model.jnt_type == hinge)
        self._limited = model.jnt_qposadr[limited]  # columns of qpos
        self._low, self._high = model.jnt_range[limited].T
        self._noise = np.zeros(model.nq)
        self._noise[self._limited] = _NOISE * (self._high - self._low)
        self._noise[model.jnt_qposadr[free_hinges]] = _NOISE * 2 * np.pi
        self._followers = _followers(model)
        columns = self.qpos[self._limited]
        outside = (columns < self._low - _LIMIT_TOLERANCE) | (columns > self._high + _LIMIT_TOLERANCE)
        self.outside = np.flatnonzero(limited)[outside]  # joints whose home is outside their range
        within = self._clip(self.qpos[self._limited])
        if not np.array_equal(within, self.qpos[self._limited]):
            self.qpos[self._limited] = within
            self.qpos = self._project(self.qpos)
        self.lift = self._lift()  # [m] by which robots that begin inside the floor are raised
        self._depth = self._penetration(self.qpos)
        self._error = self._equality_error(self.qpos)

    def sample(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return positions (nq,) near home and the velocities (nv,) of home."""
        noise = random.uniform(-1.0, 1.0, len(self.qpos)) * self._noise
        for scale in _SCALES:
            pose = self.qpos + scale * noise
            pose[self._limited] = self._clip(pose[self._limited])
            if self._model.neq:
                pose = self._project(pose)
            if self._is_valid(pose):
                return pose, self.qvel.copy()
        return self.qpos.copy(), self.qvel.copy()

    def data(self) -> MjData:
        """Return the data of the model at home, with all derived fields; it is used again by `sample`."""
        self._reset()
        self._data.qpos[:] = self.qpos
        load_mujoco().mj_forward(self._model, self._data)
        return self._data

    def _clip(self, values: np.ndarray) -> np.ndarray:
        """Return the values of limited joints within their ranges."""
        return np.clip(values, self._low, self._high)

    def _is_valid(self, pose: np.ndarray) -> bool:
        if self._model.neq and self._equality_error(pose) > max(self._error, _EQUALITY_TOLERANCE):
            return False
        return self._penetration(pose) <= max(self._depth, 0.0) + _DEPTH_TOLERANCE

    def _reset(self) -> None:
        mujoco = load_mujoco()
        if self._keyframe < 0:
            mujoco.mj_resetData(self._model, self._data)
        else:
            mujoco.mj_resetDataKeyframe(self._model, self._data, self._keyframe)

    def _compute(self, pose: np.ndarray) -> None:
        """Compute contacts and constraints of a pose."""
        self._data.qpos[:] = pose
        load_mujoco().mj_fwdPosition(self._model, self._data)

    # --- contacts

    def _penetration(self, pose: np.ndarray) -> float:
        """Return the depth [m] of the deepest contact of a pose."""
        self._compute(pose)
        return float(np.max(-self._data.contact.dist, initial=0.0))

    def _lift(self) -> float:
        """Raise robots with a free joint until they no longer begin inside the floor; return the largest rise [m]."""
        limit = _KEYFRAME_DEPTH if self._keyframe >= 0 else _POSE_DEPTH
        start = self.qpos.copy()
        for _ in range(_LIFT_STEPS):
            self._compute(self.qpos)
            rises = self._rises()
            if not rises or max(rises.values()) <= limit:
                break
            limit = _DEPTH_TOLERANCE  # once it is lifted, it is lifted entirely
            for column, rise in rises.items():
                self.qpos[column] += rise
        return float(np.max(self.qpos - start, initial=0.0))

    def _rises(self) -> dict[int, float]:
        """Return for each free joint, by the column of its height, how deep its robot is in something fixed [m]."""
        mujoco, model = load_mujoco(), self._model
        rises: dict[int, float] = {}
        for contact in self._data.contact:
            bodies = [int(model.geom_bodyid[geom]) for geom in contact.geom if geom >= 0]
            fixed = [model.body_weldid[body] == 0 for body in bodies]
            if len(bodies) < 2 or sum(fixed) != 1 or contact.dist >= 0:
                continue
            root = int(model.body_rootid[bodies[fixed.index(False)]])
            joint = int(model.body_jntadr[root])
            upward = abs(float(contact.frame[2]))
            if joint >= 0 and model.jnt_type[joint] == int(mujoco.mjtJoint.mjJNT_FREE) and upward > 0.3:
                column = int(model.jnt_qposadr[joint]) + 2
                rises[column] = max(rises.get(column, 0.0), -float(contact.dist) / upward)
        return rises

    # --- equalities

    def _equality_error(self, pose: np.ndarray) -> float:
        """Return the largest violation [m or rad] of an equality in a pose."""
        self._compute(pose)
        return float(np.abs(self._data.efc_pos[: self._data.ne]).max(initial=0.0))

    def _project(self, pose: np.ndarray) -> np.ndarray:
        """Return the pose moved onto the equalities by Gauss-Newton steps, within the limits."""
        mujoco = load_mujoco()
        pose = np.array(pose)
        for follower, leader, neutral, polynomial in self._followers:
            pose[follower] = neutral[0] + np.polyval(polynomial, pose[leader] - neutral[1])
        pose[self._limited] = self._clip(pose[self._limited])
        for _ in range(_NEWTON_STEPS):
            self._compute(pose)
            rows = self._data.ne
            error = self._data.efc_pos[:rows]
            if rows == 0 or np.abs(error).max() < 1e-9:
                break
            step = -np.linalg.lstsq(self._jacobian(rows), error, rcond=1e-6)[0]  # (nv,)
            mujoco.mj_integratePos(self._model, pose, step, 1.0)
            pose[self._limited] = self._clip(pose[self._limited])
        return pose

    def _jacobian(self, rows: int) -> np.ndarray:
        """Return the Jacobian (rows, nv) of the first constraints, dense."""
        data, nv = self._data, self._model.nv
        if not load_mujoco().mj_isSparse(self._model):
            return data.efc_J.reshape(-1, nv)[:rows]
        jacobian = np.zeros((rows, nv))
        for row in range(rows):
            first, count = data.efc_J_rowadr[row], data.efc_J_rownnz[row]
            jacobian[row, data.efc_J_colind[first : first + count]] = data.efc_J[first : first + count]
        return jacobian


def _followers(model: MjModel) -> list[tuple[int, int, np.ndarray, np.ndarray]]:
    """Return the joints that an equality makes follow another joint.

    Returns:
        Columns of qpos of follower and leader, their neutral positions (2,), and the coefficients of the polynomial
        (5,), the highest first.
    """
    mujoco, followers = load_mujoco(), []
    for equality in range(model.neq):
        is_joint = int(model.eq_type[equality]) == int(mujoco.mjtEq.mjEQ_JOINT)
        if not is_joint or model.eq_obj2id[equality] < 0 or not model.eq_active0[equality]:
            continue
        joints = int(model.eq_obj1id[equality]), int(model.eq_obj2id[equality])
        columns = [int(model.jnt_qposadr[joint]) for joint in joints]
        followers.append((*columns, model.qpos0[columns], model.eq_data[equality, 4::-1].copy()))
    return followers
