"""The commands `play` and `imagine`: videos and the viewer."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

import gymnasium as gym

from robossl import registry
from robossl.core.errors import UsageError, WindowClosedError
from robossl.core.interfaces import Policy
from robossl.core.io import check_writable
from robossl.core.small_files import as_path
from robossl.evaluation.context import recorded_settings, step_seconds
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.metrics.prediction import valid_prediction_time
from robossl.evaluation.report.sections.world_model_section import validity_sentence
from robossl.evaluation.video.frames import agent_frames, write_video
from robossl.evaluation.video.recording import make_render_env, record_imagination, render_frame
from robossl.rollout import steps as rollout_steps
from robossl.streams import Stream
from robossl.training import agent_loading, output_dirs

_DEFAULT_EPISODE_STEPS = 1000  # [steps] of an env without a time limit


def play(path: str, policy: str, out: str | None, viewer: bool, episodes: int, seed: int) -> dict[str, Any]:
    """Show the agent of a run or agent folder, or a simple policy in an env, as a video or in the viewer.

    Args:
        path: Folder of a run or an agent, or an env id.
        policy: Name of the policy, if `path` is an env id.
        out: mp4 file to write.
        viewer: Show a window instead.
        episodes: Number of episodes; one without a time limit is cut after 1,000 steps.
        seed: Seed of the first episode.

    Returns:
        JSON object with "text" for the terminal, "env" and the result.
    """
    if out is None and not viewer:
        raise UsageError("expected --video FILE.mp4 or --viewer, got neither")
    is_folder = Path(path).is_dir() and not path.startswith("robossl/")
    env = agent_loading.env_of(path) if is_folder else path
    target = _video_path(out) if out else None
    settings = agent_loading.env_settings(path) if is_folder else {}
    envs = make_render_env(env, "human" if viewer else "rgb_array", **settings)
    try:
        agent: Policy = (
            agent_loading.load(path, envs)
            if is_folder
            else registry.policy(policy)(envs.single_action_space, 1, seed=seed)
        )
        num_steps = episodes * (registry.env_spec(env).max_episode_steps or _DEFAULT_EPISODE_STEPS)
        if target is None:
            num_steps = run_viewer(envs, agent, num_steps, seed, episodes)
            return {"text": f"{num_steps:,} steps in the viewer", "env": env, "steps": num_steps}
        frames = agent_frames(envs, agent, lambda: render_frame(envs), num_steps, seed, episodes)
    finally:
        envs.close()
    if not frames:
        raise UsageError(f"{env} cannot be rendered on this machine; run: robossl doctor")
    write_video(target, frames, envs.metadata.get("render_fps") or 30)
    return {"text": str(target), "env": env, "video": str(target), "frames": len(frames)}


def run_viewer(
    envs: gym.vector.VectorEnv, policy: Policy, num_steps: int, seed: int, episodes: int | None = None
) -> int:
    """Run the policy in the viewer, at most at real-time speed; return the number of steps.

    It ends after `num_steps` steps, after `episodes` episodes of sub-environment 0, or when the window is closed.
    """
    period = 1 / (envs.metadata.get("render_fps") or 30)  # [s]
    observation, _ = envs.reset(seed=seed)
    due = time.monotonic()
    count = ended = 0
    with contextlib.suppress(WindowClosedError):
        for count, step in enumerate(rollout_steps(envs, policy, observation), 1):
            due = max(due + period, now := time.monotonic())
            time.sleep(due - now)
            ended += int(step.done[0])
            if count >= num_steps or ended == episodes:
                break
    return count


def imagine(
    path: str, stream: str | None, out: str | None, num_steps: int, seed: int, env: str | None = None
) -> dict[str, Any]:
    """Write a video of a model that imagines a held-out episode, beside that episode.

    Args:
        path: Folder of a run or a model.
        stream: Folder of the stream; that of the run, or the one the model was trained on, if None.
        out: mp4 file to write; `imagination.mp4` in the folder if None.
        num_steps: Length of the imagined rollout.
        seed: Seed of the choice of the episode.
        env: Env that renders the frames, with arguments and options; the recorded one if None.

    Returns:
        JSON object with "text" for the terminal, "video" and the description of the video.
    """
    source = find_stream(path, stream)
    model = agent_loading.load_model(path)
    target = _video_path(out or Path(path) / "imagination.mp4")
    env = env or agent_loading.env_of(path)
    registry.env_spec(env)
    video = record_imagination(target, env, model, source, seed, num_steps)
    result: dict[str, Any] = {"video": str(target), **dataclasses.asdict(video)}
    lines = []
    with contextlib.suppress(UsageError):  # the episodes are too short to time a forecast
        seconds = step_seconds(env, **recorded_settings(source))
        heldout = load_heldout(model, source, seed)
        result["valid_prediction_time"] = valid_prediction_time(model, heldout, seconds)
        lines.append(validity_sentence(result["valid_prediction_time"]))
    if video.not_rendered_reason:
        lines.append(f"Curves only, no frames: {video.not_rendered_reason}.")
    return {"text": "\n".join([*lines, str(target)]), **result}


def find_stream(path: str, stream: str | None) -> Stream:
    """Return the given stream, that of a run, or the one that a model was trained on."""
    if stream is not None:
        return Stream.open(stream)
    if not (Path(path) / "model.safetensors").is_file():
        output_dirs.read_manifest(path, "run", "model")
    if (trained_on := agent_loading.training_stream(path)) is None:
        raise UsageError(
            f"{path}: the stream that the model was trained on is unknown or does not exist any more; give --stream"
        )
    return trained_on


def _video_path(out: str | Path) -> Path:
    path = as_path(out, "the name of an .mp4 file")
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"expected the name of an .mp4 file, got {out}; for example reacher.mp4")
    return check_writable(path)
