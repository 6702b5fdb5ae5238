"""Duration of one step of an env, and where it was read: from frame skip and physics step, or from `render_fps`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from gymnasium import Env
from gymnasium.vector import VectorEnv


class StepDuration(NamedTuple):
    """Duration of one step, and its source in words; None and "unknown" if the env states none."""

    seconds: float | None  # [s]
    source: str

    @property
    def fps(self) -> float | None:
        """Steps per second; None if the duration is unknown."""
        return None if self.seconds is None else 1.0 / self.seconds


UNKNOWN = StepDuration(None, "unknown")


def step_duration(envs: VectorEnv | Env) -> StepDuration:
    """Return the duration of one step of an env or vector env.

    It is, in this order, the metadata "step_seconds"; frame skip times physics step of a MuJoCo env; the
    `control_timestep()` of a dm_control env; the metadata "render_fps". An attribute `dt` is not read: it is the
    physics step in some envs and the control step in others.
    """
    stated = _positive(envs.metadata.get("step_seconds"))
    if stated is not None:
        return StepDuration(stated, "metadata step_seconds")
    single = getattr(envs.unwrapped, "envs", [envs])[0]  # the first of Gymnasium's sync vector env
    if isinstance(single, Env):
        inner = single.unwrapped
        physics_step = _positive(
            getattr(getattr(getattr(inner, "model", None), "opt", None), "timestep", None)
        )
        for name in ("frame_skip", "n_substeps"):
            repeats = _positive(getattr(inner, name, None))
            if physics_step is not None and repeats is not None:
                return StepDuration(repeats * physics_step, f"{name} x physics step")
        control_step = _positive(_call(getattr(getattr(inner, "_env", inner), "control_timestep", None)))
        if control_step is not None:
            return StepDuration(control_step, "control_timestep()")
    for metadata in (getattr(single, "metadata", None), envs.metadata):
        fps = _positive(metadata.get("render_fps")) if isinstance(metadata, dict) else None
        if fps is not None:
            return StepDuration(1.0 / fps, "metadata render_fps")
    return UNKNOWN


def _call(function: Any) -> Any:
    """Return what a method without arguments returns; None if there is none, or if it raises."""
    try:
        return function()
    except Exception:  # noqa: BLE001 - third-party code may raise anything
        return None


def _positive(value: Any) -> float | None:
    """Return a finite positive number as float, anything else as None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
