"""Record videos of an env: the imagined rollout beside reality, and the first episodes of an agent."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from robossl import registry
from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import PhysicsStateEnv, Policy, PoseEnv
from robossl.core.rendered_frame import as_frame
from robossl.evaluation.context import recorded_settings, step_seconds
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.video.frames import agent_frames, write_video
from robossl.evaluation.video.imagination import ImaginationVideo, Pose, imagination_video
from robossl.streams import Stream
from robossl.world_model import WorldModel, data_validation


def make_render_env(env: str, mode: str = "rgb_array", **settings: Any) -> gym.vector.VectorEnv:
    """Return one sub-environment of `env` with these settings that can be rendered.

    Raises:
        UsageError: The env does not support the render mode.
    """
    if not registry.is_native_batch(env):
        plain = registry.make_envs(env, 1, **settings)
        modes = list(plain.metadata.get("render_modes") or [])
        plain.close()
        # Gymnasium shows the frames of the other two in a window
        if not {mode, "rgb_array", "rgb_array_list"} & set(modes):
            raise UsageError(f"{env} cannot be rendered as {mode}; its metadata['render_modes'] is {modes}")
    return registry.make_envs(env, 1, render_mode=mode, **settings)


def render_frame(envs: gym.vector.VectorEnv) -> np.ndarray | None:
    """Return the frame (H, W, 3) of sub-environment 0; None if rendering is unavailable."""
    frames = envs.render()
    return None if not frames or frames[0] is None else as_frame(frames[0])


def record_imagination(
    path: Path, env: str, model: WorldModel, stream: Stream, seed: int, num_steps: int = 100
) -> ImaginationVideo:
    """Write a video of an imagined rollout beside a held-out episode.

    Frames are shown if the env can be set to recorded states and rendered; traces are always shown.

    Raises:
        UsageError: The model does not fit the stream, or the episodes are too short.
    """
    data_validation.check_spaces_match(
        model, stream.observation_space, stream.action_space, f"the stream {stream.path}"
    )
    heldout = load_heldout(model, stream, seed)
    seconds = step_seconds(env, **recorded_settings(stream))
    envs = make_render_env(env) if "physics" in stream.schema.names else None
    try:
        if envs is None or not isinstance(envs.unwrapped, PhysicsStateEnv):
            video = imagination_video(path, model, stream, heldout, seconds, num_steps)
            return _with_reason(video, f"{env} cannot be set to recorded states")
        physics_env = envs.unwrapped
        envs.reset(seed=seed)

        def render(physics: np.ndarray) -> np.ndarray | None:
            physics_env.set_physics_state(physics[None])
            return render_frame(envs)

        pose = None if heldout.test.has_images else _make_pose(physics_env, heldout.test.values[:1])
        try:
            video = imagination_video(
                path, model, stream, heldout, seconds, num_steps, render=render, pose=pose
            )
            return _with_reason(video, f"{env} cannot be rendered on this machine; run: robossl doctor")
        except OperationError as error:  # no OpenGL: show the traces
            video = imagination_video(path, model, stream, heldout, seconds, num_steps)
            return _with_reason(video, str(error))
    finally:
        if envs is not None:
            envs.close()


def _with_reason(video: ImaginationVideo, reason: str) -> ImaginationVideo:
    return video if video.rendered else dataclasses.replace(video, not_rendered_reason=reason)


def _make_pose(envs: object, example: np.ndarray) -> Pose | None:
    """Return a function from an observation to its physics state; None if these envs have none for `example` (1, D)."""
    if not isinstance(envs, PoseEnv) or envs.physics_from_observation(example) is None:
        return None
    pose_env = envs

    def pose(observation: np.ndarray) -> np.ndarray | None:
        physics = pose_env.physics_from_observation(observation[None])
        return None if physics is None else physics[0]

    return pose


def record_agent(
    path: Path, env: str, agent: Policy, seed: int, seconds: float = 8.0, **settings: Any
) -> Path:
    """Write a video of about `seconds` of the first held-out episodes of an agent, in an env with these settings.

    Raises:
        UsageError: The env cannot be rendered.
    """
    envs = make_render_env(env, **settings)
    try:
        fps = envs.metadata.get("render_fps") or 30
        frames = agent_frames(envs, agent, lambda: render_frame(envs), int(seconds * fps), seed)
    finally:
        envs.close()
    if not frames:
        raise UsageError(f"{env} cannot be rendered on this machine; run: robossl doctor")
    return write_video(path, frames, fps)
