"""WarpBatch: the physics of n sub-environments on a device, with the arrays that robots bind."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robossl.core.errors import UsageError, one_line, unknown_name_error

from ..engine.mujoco_setup import load_mujoco
from ..engine.watchdog import warn_if_slow
from .device_array import DeviceArray
from .warp_modules import load_warp, warp_stream

if TYPE_CHECKING:
    from mujoco import MjModel

# fields of the complete physics state, in MuJoCo's order, with their bits
_STATE = {
    "time": "TIME",
    "qpos": "QPOS",
    "qvel": "QVEL",
    "act": "ACT",
    "history": "HISTORY",
    "qacc_warmstart": "WARMSTART",
    "ctrl": "CTRL",
    "qfrc_applied": "QFRC_APPLIED",
    "xfrc_applied": "XFRC_APPLIED",
    "eq_active": "EQ_ACTIVE",
    "mocap_pos": "MOCAP_POS",
    "mocap_quat": "MOCAP_QUAT",
    "userdata": "USERDATA",
    "plastic": "PLASTIC",
}
NOT_FINITE, INVALID_ACTION = -1, -2  # physics errors that are no bits
_COMPILING = "MuJoCo Warp compiles its kernels for this robot, once on this machine: a minute or more"
_OVERFLOWS = {  # bits of `Data.overflow` with which contacts or constraints were lost, and what they mean
    "NEFC": "more constraints than njmax",
    "NJMAX_NNZ": "more constraint entries than njmax allows",
    "BROADPHASE": "more contact candidates than nconmax",
    "NARROWPHASE": "more contacts than nconmax",
    "CCD": "more convex contacts than nconmax",
    "HFIELD": "more height field contacts than Warp holds",
    "NVMAX": "more moving joints than Warp holds",
    "EPA_HORIZON": "a contact that Warp cannot resolve",
}


class LiveState(DeviceArray):
    """The complete physics state (n, P) of a batch now; writing into it has no effect."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Mapping[str, torch.Tensor]) -> None:
        super().__init__(next(iter(parts.values())))
        self._parts = parts

    @property
    def tensor(self) -> torch.Tensor:
        """The current state as a new tensor."""
        return torch.cat([part.reshape(len(part), -1).float() for part in self._parts.values()], dim=1)


class WarpBatch:
    """`num_envs` simulations of a model.

    Args:
        model: The model; its copy simulates boxes with MuJoCo's own box collisions, which Warp has too.
        num_envs: Number of sub-environments n.
        device: Where they are simulated.
        max_contacts: Largest number of contacts of a sub-environment.
        max_constraints: Largest number of constraints of a sub-environment.
        fields: Fields of the model that differ between sub-environments.
        deterministic: Slower kernels with the same bits in every run on a GPU.

    Raises:
        UsageError: The model has a feature that Warp lacks.
    """

    def __init__(
        self,
        model: MjModel,
        num_envs: int,
        device: torch.device,
        max_contacts: int,
        max_constraints: int,
        fields: tuple[str, ...] = (),
        deterministic: bool = False,
    ) -> None:
        mujoco = load_mujoco()
        self._warp, self._mjw = load_warp()
        self.model, self.nsim, self.device = model, num_envs, device
        self._warp_device = self._warp.device_from_torch(device)
        own = copy.copy(model)
        own.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_NATIVECCD)
        with self._warp.ScopedDevice(self._warp_device):
            try:
                sizes = {field: num_envs for field in fields if not field.startswith("opt.")}
                self._m = self._mjw.put_model(own, batch_sizes=sizes)
                self._d = self._mjw.make_data(own, num_envs, nconmax=max_contacts, njmax=max_constraints)
            except (NotImplementedError, ValueError) as error:
                reason = one_line(error)
                raise UsageError(
                    f"MuJoCo Warp cannot simulate this model: {reason}; backend='mujoco' can"
                ) from error
        self._m.opt.warn_overflow = 0  # reported as physics errors
        if deterministic:
            self._m.opt.deterministic = True
        self._fields: dict[str, torch.Tensor] = {field: self._batched(field) for field in fields}
        self._bound: dict[str, DeviceArray] = {}
        self.parts = self._state_parts()
        self.state = LiveState(self.parts)
        self._overflow = self._warp.to_torch(self._d.overflow)
        bits = self._mjw.OverflowType
        self.overflow_reasons = {
            int(getattr(bits, name)): text for name, text in _OVERFLOWS.items() if hasattr(bits, name)
        }
        self._lost = int(np.bitwise_or.reduce(list(self.overflow_reasons)))
        self._graphs: dict[Any, Any] = {}
        self._warp.synchronize_device(self._warp_device)  # from here on everything is on the stream of torch

    @staticmethod
    def bytes_per_env(model: MjModel, device: torch.device, max_contacts: int, max_constraints: int) -> float:
        """Return the memory [bytes] that one more sub-environment takes, without the starts of its episodes."""
        warp, mjw = load_warp()
        sizes = []
        with warp.ScopedDevice(warp.device_from_torch(device)):
            for count in (1, 2):
                data = mjw.make_data(model, count, nconmax=max_contacts, njmax=max_constraints)
                sizes.append(_num_bytes(data, warp.array))
        return float(sizes[1] - sizes[0])

    # --- arrays

    def bind(self, name: str) -> DeviceArray:
        """Return a live array (n, ...) of a field of MjData, with the shape that MuJoCo's own batch gives it."""
        if name not in self._bound:
            array = getattr(self._d, name, None)
            if not isinstance(array, self._warp.array) or array.shape[:1] != (self.nsim,):
                known = [n for n, a in vars(self._d).items() if isinstance(a, self._warp.array)]
                raise unknown_name_error("field of MuJoCo Warp's data", name, known)
            self._bound[name] = DeviceArray(_flat_matrices(self._tensor(array)))
        return self._bound[name]

    def field(self, name: str) -> torch.Tensor:
        """Return the live values (n, ...) of a field of the model that differs between sub-environments."""
        return self._fields[name]

    def _tensor(self, array: Any) -> torch.Tensor:
        if array.size == 0:
            return torch.zeros(array.shape, device=self.device)
        return self._warp.to_torch(array)

    def _batched(self, name: str) -> torch.Tensor:
        owner, _, option = name.partition(".")
        if owner != "opt":
            return self._tensor(getattr(self._m, name))
        old = getattr(self._m.opt, option)
        with self._warp.ScopedDevice(self._warp_device):
            new = self._warp.array(np.repeat(old.numpy(), self.nsim, axis=0), dtype=old.dtype)
        new._is_batched = True
        setattr(self._m.opt, option, new)
        return self._tensor(new)

    def _state_parts(self) -> dict[str, torch.Tensor]:
        """Return live tensors (n, ...) of the fields of the physics state that are not empty."""
        mujoco, parts = load_mujoco(), {}
        for name, bit in sorted(_STATE.items(), key=lambda item: self._bit(item[1])):
            if self._bit(bit) and mujoco.mj_stateSize(self.model, self._bit(bit)):
                parts[name] = self._tensor(getattr(self._d, name))
        return parts

    @staticmethod
    def _bit(name: str) -> int:
        return int(getattr(load_mujoco().mjtState, f"mjSTATE_{name}", 0))

    def split_state(self, states: np.ndarray) -> dict[str, np.ndarray]:
        """Return the fields (m, ...) of complete physics states (m, P)."""
        fields, first = {}, 0
        for name, part in self.parts.items():
            size = part[0].numel()
            fields[name] = states[:, first : first + size].reshape(len(states), *part.shape[1:])
            first += size
        return fields

    @property
    def nstate(self) -> int:
        """Numbers P of the complete physics state of a sub-environment."""
        return sum(part[0].numel() for part in self.parts.values())

    def write(self, fields: Mapping[str, torch.Tensor], mask: torch.Tensor) -> None:
        """Write values (n, ...), or (...) for all, of state fields into the sub-environments of `mask` (n,) bool."""
        for name, values in fields.items():
            part = self.parts[name]
            where = mask.reshape(-1, *(1,) * (part.ndim - 1))
            part.copy_(torch.where(where, values.to(part.dtype), part))

    # --- physics

    def step(self, substeps: int) -> None:
        """Advance all sub-environments by physics steps."""

        def advance() -> None:
            for _ in range(substeps):
                self._mjw.step(self._m, self._d)

        self._run(("step", substeps), advance)

    def forward(self, stage: str) -> None:
        """Compute the derived fields of a stage: "none", "position", "velocity" or "acceleration"."""
        if stage != "none":
            self._run(stage, lambda: self._derive(stage))

    def _derive(self, stage: str) -> None:
        mjw, m, d = self._mjw, self._m, self._d
        if stage == "acceleration":
            mjw.forward(m, d)
            return
        if stage == "position" and not self.model.nsensor:
            mjw.kinematics(m, d)
            mjw.com_pos(m, d)
            return
        mjw.fwd_position(m, d)
        mjw.sensor_pos(m, d)
        if stage == "velocity":
            mjw.fwd_velocity(m, d)
            mjw.sensor_vel(m, d)

    def render(self, context: Any, colors: Any) -> None:
        """Render the current state, and write the colors (n, H, W, 3) of the first camera of a render context."""

        def draw() -> None:
            mjw, m, d = self._mjw, self._m, self._d
            mjw.kinematics(m, d)
            mjw.com_pos(m, d)
            mjw.camlight(m, d)
            mjw.refit_bvh(m, d, context)
            mjw.render(m, d, context)
            mjw.get_rgb(context, 0, colors)

        self._run("render", draw)

    def errors(self) -> torch.Tensor:
        """Return (n,) int32: bits of lost contacts or constraints, or NOT_FINITE; clear the bits."""
        finite = self.is_finite()
        bits = (self._overflow & self._lost).to(torch.int32)
        self._overflow.zero_()
        return torch.where(finite, bits, torch.full_like(bits, NOT_FINITE))

    def is_finite(self) -> torch.Tensor:
        """Return (n,) bool: positions and velocities are finite."""
        return torch.isfinite(self.parts["qpos"]).all(1) & torch.isfinite(self.parts["qvel"]).all(1)

    def _run(self, key: Any, work: Any) -> None:
        """Run kernels: within a capture of torch directly, on the CPU as a graph of Warp, which is 10 times faster."""
        warp = self._warp
        if self.device.type == "cuda":
            # a captured stream may not wait for another one
            with warp.ScopedStream(warp_stream(self.device), sync_enter=False):
                work()
            return
        graph = self._graphs.get(key)
        if graph is None:
            before = {name: part.clone() for name, part in self.parts.items()}
            everything = torch.ones(self.nsim, dtype=torch.bool)
            with warp.ScopedDevice(self._warp_device):
                warn_if_slow(work, "the first step", _COMPILING, 5.0)
                warp.capture_begin(device=self._warp_device)
                try:
                    work()
                finally:
                    graph = self._graphs[key] = warp.capture_end(device=self._warp_device)
            self.write(before, everything)
            self._overflow.zero_()
        warp.capture_launch(graph)


def _num_bytes(data: Any, kind: type) -> int:
    """Return the bytes of the arrays of a dataclass and of those within it."""
    arrays: list[Any] = [value for value in vars(data).values() if isinstance(value, kind)]
    inner = [value for value in vars(data).values() if dataclasses.is_dataclass(value)]
    return sum(array.capacity for array in arrays) + sum(_num_bytes(value, kind) for value in inner)


def _flat_matrices(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor with its rotation matrices (..., 3, 3) as (..., 9), as MuJoCo has them."""
    return tensor.flatten(-2) if tensor.ndim == 4 and tensor.shape[-2:] == (3, 3) else tensor
