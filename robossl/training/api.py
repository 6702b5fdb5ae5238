"""The few functions that the verbs and a notebook share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode

from robossl import registry
from robossl.core.env_ids import canonical_id
from robossl.core.interfaces import Agent, NullProgress, Policy, ProgressReporter, Representation
from robossl.core.io import check_writable
from robossl.rollout import collect_steps
from robossl.streams import Recorder, Stream
from robossl.training import agent_loading, output_dirs
from robossl.training.agent_runner import AgentRunner
from robossl.training.config import check_count, thread_count
from robossl.training.config_io import to_dict
from robossl.training.world_model_phase import few_episodes_warning
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer
from robossl.world_model.config import default_config_for


def make(env: str, num_envs: int = 1, threads: int = 0, **settings: Any) -> gym.vector.VectorEnv:
    """A vector env of any Gymnasium id or MJCF file: `num_envs` lanes, ours on one native MuJoCo batch."""
    return registry.make_envs(env, num_envs, threads=thread_count(threads), **settings)


def collect(
    envs: gym.vector.VectorEnv | str,
    policy: str | Policy = "colored_noise",
    steps: int = 50_000,
    out: str | Path | None = None,
    seed: int = 0,
    progress: ProgressReporter | None = None,
    num_envs: int = 16,
    threads: int = 0,
) -> Stream:
    """A stream of `steps` environment steps of a policy, all lanes together.

    `policy` is a name (random, pink, zero), a run or agent folder, or an object with `act` and `reset`.
    `envs` is a vector env, which stays open, or an id or MJCF file, of which `num_envs` lanes are made.
    """
    check_count("steps", steps)
    if isinstance(policy, str) and not Path(policy).is_dir():
        registry.policy(policy)  # a wrong name is told before anything is made
    made = make(envs, num_envs, threads) if isinstance(envs, str) else envs
    name = canonical_id(envs) if isinstance(envs, str) else registry.env_name(envs)
    label = policy if isinstance(policy, str) else type(policy).__name__
    settings = {"env": name, "policy": label, "steps": steps, "num_envs": made.num_envs, "seed": seed}
    acting = _policy(policy, made, seed)
    with output_dirs.output_dir(out, f"streams/{output_dirs.slug(name)}") as folder:
        recorder = Recorder.create(made, folder, policy=label, seed=seed)
        output_dirs.write_manifest(folder, "stream", settings, **settings)
    say = progress or NullProgress()
    say.start("collect", steps, "steps")
    try:
        with interrupt_message(f"what was lived through is kept in {folder}"):
            collect_steps(recorder, acting, steps, seed, say)
    finally:
        say.stop()
        if isinstance(envs, str):
            recorder.close()
        else:
            recorder.finish()
    return Stream.open(folder)


def _policy(policy: str | Policy, envs: gym.vector.VectorEnv, seed: int) -> Policy:
    if not isinstance(policy, str):
        return policy
    if Path(policy).is_dir():
        return agent_loading.load(policy, envs)
    return registry.policy(policy)(envs.single_action_space, envs.num_envs, seed=seed)


def pretrain(
    stream: Stream | str | Path,
    updates: int = 2000,
    config: WorldModelConfig | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int = 0,
    progress: ProgressReporter | None = None,
) -> WorldModel:
    """A world model from a stream, without reward; written to `out`. Without a config, by the recipe that fits."""
    check_count("updates", updates)
    source = stream if isinstance(stream, Stream) else Stream.open(stream)
    model = WorldModel(
        config or default_config_for(source.observation_space),
        source.observation_space,
        source.action_space,
        seed,
    )
    learner = WorldModelTrainer(model, source, seed, device=device)
    env = output_dirs.recorded_env(source.path) or source.header["env"]
    settings = {"seed": seed, "device": device, "threads": threads, "pretrain": {"updates": updates}}
    say = progress or NullProgress()
    if words := few_episodes_warning(source):
        say.message(words)
    ended: KeyboardInterrupt | None = None
    with output_dirs.output_dir(out, f"models/{output_dirs.slug(env)}") as folder, torch_threads(threads):
        say.start("learn the world", updates, "updates")
        try:
            learner.run(updates, say)
        except KeyboardInterrupt:
            ended = KeyboardInterrupt(f"interrupted; the model of {learner.updates} updates is in {folder}")
        say.stop()
        learner.publish()
        for words in learner.health()["words"]:
            say.message(words)
        learner.ema_model.save(folder)
        output_dirs.write_manifest(
            folder, "model", settings | {"world_model": to_dict(model.config)}, env=env, seed=seed,
            updates=learner.updates, stream=os.path.relpath(os.path.realpath(source.path), os.path.realpath(folder)),
            stream_path=os.path.realpath(source.path),
        )  # fmt: skip
    if ended is not None:
        raise ended
    learner.ema_model.metadata["path"] = str(folder)
    return learner.ema_model


@dataclass(frozen=True)
class TrainResult:
    """An agent, and the folder it was written to."""

    agent: Agent
    folder: Path


def train(
    env: str,
    agent: str = "auto",
    representation: Representation | str | Path | None = None,
    mode: str = "frozen",
    steps: int = 20_000,
    num_envs: int = 8,
    threads: int = 0,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: ProgressReporter | None = None,
    export_zip: str | Path | None = None,
    **settings: Any,
) -> Agent:
    """An agent that learned to act in `env` for `steps` steps, all lanes together; written to `out`.

    `representation` is a world model, its folder, "raw" (or None) or "random" (an untrained encoder).
    `settings` go to the agent: `updates_per_step`, `learning_starts`, and whatever SB3 takes.
    """
    return trained(
        env, agent, representation, mode, steps, num_envs, threads, out, seed, device, progress, export_zip,
        **settings,
    ).agent  # fmt: skip


def trained(
    env: str,
    agent: str,
    representation: Representation | str | Path | None,
    mode: str,
    steps: int,
    num_envs: int,
    threads: int,
    out: str | Path | None,
    seed: int,
    device: str,
    progress: ProgressReporter | None,
    export_zip: str | Path | None,
    **settings: Any,
) -> TrainResult:
    """As `train` says, with the folder."""
    check_count("steps", steps)
    check_count("num_envs", num_envs)
    if export_zip is not None:
        check_writable(export_zip)
    env = canonical_id(env)
    envs = make(env, num_envs, threads, autoreset_mode=AutoresetMode.DISABLED)
    name = agent_loading.resolve_agent(agent, envs.single_action_space)
    encoder = agent_loading.resolve_representation(representation, envs, seed)
    given = {
        "env": env, "agent": name, "mode": mode, "steps": steps, "num_envs": num_envs, "seed": seed,
        "threads": threads, "device": device, **settings,
    }  # fmt: skip
    with output_dirs.output_dir(out, f"agents/{output_dirs.slug(env)}") as folder, torch_threads(threads):
        recorder = Recorder.create(envs, folder / "stream", policy=name, seed=seed)
        actor = AgentRunner(name, recorder, seed, encoder, mode=mode, device=device, **settings)
        seen = representation if isinstance(representation, (str, Path)) else "a model in memory"
        output_dirs.write_manifest(
            folder, "agent", given | {"representation": "raw" if encoder is None else str(seen)}, env=env,
            agent=name, seed=seed, steps=steps, mode=mode, representation=encoder is not None,
        )  # fmt: skip
        say = progress or NullProgress()
        say.start(f"train {name}", steps, "steps")
        try:
            with interrupt_message(f"the agent as it is lies in {folder}"):
                actor.learn(steps, say)
        finally:
            say.stop()
            recorder.close()
            actor.agent.save(folder / "agent")
    if export_zip is not None:
        actor.agent.export_zip(export_zip)  # type: ignore[attr-defined]
    return TrainResult(actor.agent, folder)


@contextmanager
def interrupt_message(words: str) -> Iterator[None]:
    """A Ctrl-C inside says what becomes of the work."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {words}") from None


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """So many threads for networks inside; 0: all cores, at most 8."""
    before = torch.get_num_threads()
    torch.set_num_threads(thread_count(threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def evaluate(
    model: WorldModel | str | Path,
    stream: Stream | str | Path | None = None,
    env: str | None = None,
    episodes: int = 20,
    pairs: int = 100,
    offset: int = 25,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int = 0,
    progress: ProgressReporter | None = None,
    videos: bool = True,
    ablate: bool = False,
    updates: int | None = None,
) -> dict[str, Any]:
    """The evaluation protocol, as report.json and report.html in `out`; returns the report and its "folder".

    `model` is a world model or its folder (measured on `stream`, or on the one it learned from), a run (its
    model on its stream, its agents on held-out episodes) or an agent folder. Held-out episodes are those of
    the stream's own splits. With `ablate` models with other objectives learn from the same stream, for
    `updates` gradient steps each (as many as the model had), and stand beside it.
    """
    check_count("episodes", episodes)
    from robossl.training.evaluation_runner import evaluate as carry_out

    with torch_threads(threads):
        return carry_out(
            model, stream, env, episodes, pairs, offset, out, seed, device, thread_count(threads),
            progress or NullProgress(), videos, ablate, updates,
        )  # fmt: skip
