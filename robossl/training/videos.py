"""Watching: a run or an env as a video or in a window, the dream beside reality, runs beside each other."""

from __future__ import annotations

import contextlib
import itertools
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from robossl import registry
from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import PhysicsStateEnv, PoseEnv
from robossl.core.io import check_writable
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.metrics.prediction import valid_prediction_time
from robossl.evaluation.report import page
from robossl.evaluation.report import report_file as reports
from robossl.evaluation.report.text import validity_sentence
from robossl.evaluation.video import encoding
from robossl.evaluation.video.imagination import Pose, imagination_video
from robossl.rollout import steps as rollout_steps
from robossl.streams import Stream
from robossl.training import agent_loading, output_dirs
from robossl.training.evaluation_steps import recorded_settings, step_seconds
from robossl.world_model import data_validation

FRAME = (480, 480)  # [pixels] height and width of a video of an env


def play(path: str, policy: str, out: str | None, viewer: bool, episodes: int, seed: int) -> dict[str, Any]:
    """Watch the agent of a run or agent folder, or a simple policy in an env."""
    if out is None and not viewer:
        raise UsageError("say how to watch: --video FILE.mp4 or --viewer")
    folder = Path(path).is_dir() and not path.startswith("robossl/")
    env = agent_loading.env_of(path) if folder else path
    target = _video_file(out) if out else None
    envs = make_render_env(env, "human" if viewer else "rgb_array")
    acting: Any = (
        agent_loading.load(path, envs)
        if folder
        else registry.policy(policy)(envs.single_action_space, 1, seed=seed)
    )
    steps = episodes * (registry.env_spec(env).max_episode_steps or 1000)
    try:
        if target is None:
            run_viewer(envs, acting, steps, seed)
            return {"text": f"{steps:,} steps in a window", "env": env, "steps": steps}
        frames = encoding.agent_frames(envs, acting, lambda: frame_of(envs), steps, seed)
    finally:
        envs.close()
    if not frames:
        raise UsageError(f"{env} cannot be rendered here; see robossl doctor")
    encoding.write_video(target, frames, envs.metadata.get("render_fps", 30))
    return {"text": str(target), "env": env, "video": str(target), "frames": len(frames)}


def run_viewer(envs: gym.vector.VectorEnv, policy: Any, steps: int, seed: int) -> None:
    """Live for so many steps before the eyes of whoever watches: no faster than the robot would."""
    period = 1 / envs.metadata.get("render_fps", 30)  # [s]
    observation, _ = envs.reset(seed=seed)
    due = time.monotonic()
    for _ in itertools.islice(rollout_steps(envs, policy, observation), steps):
        due = max(due + period, now := time.monotonic())
        time.sleep(due - now)


def make_render_env(env: str, mode: str = "rgb_array") -> gym.vector.VectorEnv:
    """One lane of an env that can be looked at; `RequestError` where it says that it can not."""
    if not registry.is_native(registry.env_spec(env)):
        plain = registry.make_envs(env, 1)
        modes = list(plain.metadata.get("render_modes") or [])
        plain.close()
        if not {mode, "rgb_array"} & set(modes):  # of pictures Gymnasium makes a window
            raise UsageError(f"{env} cannot be looked at as {mode}: its metadata['render_modes'] is {modes}")
    return registry.make_envs(env, 1, render_mode=mode)


def frame_of(envs: gym.vector.VectorEnv) -> np.ndarray | None:
    """The frame (H, W, 3) of lane 0; None where there is none, `WorkError` or `RequestError` where it fails."""
    frames = envs.render()
    return None if not frames else np.asarray(frames[0], np.uint8)


def _video_file(out: str | Path) -> Path:
    if Path(out).suffix.lower() != ".mp4":
        raise UsageError(f"{out} is not an .mp4 file; expected a name like reacher.mp4")
    return check_writable(out)


def compare(runs: list[Path], out: str | None) -> dict[str, Any]:
    """One page for one run, or several beside each other."""
    found = []
    for run in runs:
        output_dirs.read_manifest(run, "run", "evaluation")
        if not (run / "report.json").is_file():
            raise UsageError(f"{run} has no report yet; go on with: robossl learn --resume {run}")
        found.append(reports.read(run))
    if len(runs) == 1 and out is None:
        folder = runs[0]
    else:
        folder = output_dirs.create_output_dir(out, "runs/compared")
        output_dirs.write_manifest(folder, "comparison", runs=[str(r) for r in runs])
    path = page.write(folder, found, names=[r.name for r in runs])
    return {"text": str(path.resolve()), "page": str(path), "runs": [str(r) for r in runs]}


def find_stream(path: str, stream: str | None) -> Stream:
    """The stream that was named, that of a run, or the one a model folder says it learned from."""
    if stream is not None:
        return Stream.open(stream)
    saved = (Path(path) / "model.safetensors").is_file()
    if not saved and output_dirs.read_manifest(path, "run", "model")["kind"] == "run":
        return Stream.open(Path(path) / "stream")
    if (own := output_dirs.training_stream_of(path)) is None:
        raise UsageError(f"{path} does not say on which stream it learned, or it is gone: give --stream")
    return Stream.open(own)


def record_imagination(
    path: Path, env: str, model: Any, stream: Stream, seed: int, length: int = 100
) -> tuple[Path, dict]:
    """The dream beside reality, with pictures where the env can be put into a recorded state and drawn."""
    data_validation.check_spaces_match(
        model, stream.observation_space, stream.action_space, f"the stream {stream.path}"
    )
    held = load_heldout(model, stream, seed)
    seconds = step_seconds(env, **recorded_settings(stream))
    envs = make_render_env(env) if "physics" in stream.schema.names else None
    try:
        if envs is None or not isinstance(envs.unwrapped, PhysicsStateEnv):
            drawn = imagination_video(path, model, stream, held, seconds, length)
            return path, _explained(drawn, f"{env} cannot be put into the states it was recorded in")
        inner = envs.unwrapped
        envs.reset(seed=seed)

        def render(physics: np.ndarray) -> np.ndarray | None:
            inner.set_physics_state(physics[None])
            return frame_of(envs)

        pose = None if held.test.images else _pose_of(inner, held.test.numbers[:1])
        try:
            drawn = imagination_video(path, model, stream, held, seconds, length, render=render, pose=pose)
            return path, _explained(drawn, f"{env} draws nothing here; see robossl doctor")
        except OperationError as error:  # no OpenGL here: the traces tell it too
            return path, _explained(imagination_video(path, model, stream, held, seconds, length), str(error))
    finally:
        if envs is not None:
            envs.close()


def _explained(drawn: dict[str, Any], reason: str) -> dict[str, Any]:
    """With the reason for which there are curves and no pictures, if there are none."""
    return drawn | {"no_pictures": reason} if drawn["panels"] == "traces" else drawn


def _pose_of(envs: Any, example: np.ndarray) -> Pose | None:
    """What tells the physics of an observation, where these envs can: tried on `example` (1, D)."""
    if not isinstance(envs, PoseEnv) or envs.physics_from_observation(example) is None:
        return None

    def pose(observation: np.ndarray) -> np.ndarray | None:
        rows = envs.physics_from_observation(observation[None])
        return None if rows is None else rows[0]

    return pose


def record_agent(path: Path, env: str, agent: Any, seed: int, seconds: float = 8.0) -> Path:
    """The agent's first held-out episodes, for about `seconds` of video."""
    envs = make_render_env(env)
    try:
        rate = envs.metadata.get("render_fps", 30)
        frames = encoding.agent_frames(envs, agent, lambda: frame_of(envs), int(seconds * rate), seed)
    finally:
        envs.close()
    if not frames:
        raise UsageError(f"{env} cannot be drawn here; see robossl doctor")
    return encoding.write_video(path, frames, rate)


def imagine(path: str, stream: str | None, out: str | None, length: int, seed: int) -> dict[str, Any]:
    """The model of a run or of a model folder imagining a held-out episode, as a video."""
    source = find_stream(path, stream)
    model = agent_loading.load_model(path)
    target = _video_file(out or Path(path) / "imagination.mp4")
    env = agent_loading.env_of(path)
    registry.env_spec(env)
    target, drawn = record_imagination(target, env, model, source, seed, length)
    with contextlib.suppress(UsageError):  # episodes too short to time a forecast
        seconds = step_seconds(env, **recorded_settings(source))
        drawn["valid_prediction_time"] = valid_prediction_time(
            model, load_heldout(model, source, seed), seconds
        )
    time = drawn.get("valid_prediction_time")
    lines = [validity_sentence(time)] if time else []
    if "no_pictures" in drawn:
        lines.append(f"Curves only, no pictures: {drawn['no_pictures']}.")
    text = "\n".join([*lines, str(target)])
    return {"text": text, "video": str(target), **drawn}
