"""Python functions for the single steps; the command line runs the same requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import Agent, Policy, ProgressReporter, Representation
from robossl.evaluation.results import EvaluationReport
from robossl.logging.notebook_progress import default_progress
from robossl.training.agent_training import train_agent
from robossl.training.collection import collect_stream
from robossl.training.config import thread_count
from robossl.training.evaluation_runner import run_evaluation
from robossl.training.pretraining import pretrain_world_model
from robossl.training.pretraining_seeds import pretrain_seeds
from robossl.training.relabeling import relabel_recorded
from robossl.training.requests import (
    CollectRequest,
    EvaluateRequest,
    PretrainRequest,
    RelabelRequest,
    TrainRequest,
)
from robossl.training.work_context import torch_threads

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv
    from stable_baselines3.common.callbacks import BaseCallback
    from torch.nn import Module

    from robossl.registry import EnvLike
    from robossl.streams import Stream
    from robossl.streams.relabel import RewardFunction
    from robossl.world_model import WorldModel, WorldModelConfig


def make(env: EnvLike, num_envs: int = 1, threads: int = 0, **settings: Any) -> VectorEnv:
    """Make a vector env.

    Example:
        envs = robossl.make("robossl/Reacher-v0", num_envs=64)

    Args:
        env: A Gymnasium id, `module:function`, an MJCF file, a function that makes an env, a `gymnasium.Env` (it is
            copied), a vector env of such, or an `EnvSpec`. Envs of robossl run as
            one MuJoCo batch.
        num_envs: Number of sub-environments.
        threads: CPU threads; 0: all cores, at most 8.
        settings: Passed to the constructor of the env.

    Returns:
        A Gymnasium vector env.

    Raises:
        UsageError: The env is unknown; the message has similar names.
    """
    return registry.make_envs(registry.name_of(env), num_envs, threads=thread_count(threads), **settings)


def collect(
    envs: EnvLike,
    policy: str | Policy = CollectRequest.policy,
    steps: int = CollectRequest.steps,
    out: str | Path | None = None,
    seed: int = CollectRequest.seed,
    progress: ProgressReporter | None = None,
    num_envs: int = CollectRequest.num_envs,
    threads: int = CollectRequest.threads,
    pixels: int = CollectRequest.pixels,
    backend: str = CollectRequest.backend,
    device: str = CollectRequest.device,
    record_envs: int = CollectRequest.record_envs,
    workers: int = CollectRequest.workers,
    engine: str = CollectRequest.engine,
    **arguments: Any,
) -> Stream:
    """Record the steps of a policy.

    Example:
        stream = robossl.collect("robossl/Reacher-v0", "colored_noise", steps=20_000, out="streams/reacher")
        shards = robossl.collect("robossl/HopperHop-v0", steps=5_000_000, num_envs=64, workers=8)

    Args:
        envs: A vector env, which stays open; or an id, `module:function`, MJCF file, function that makes an env,
            `gymnasium.Env` or `EnvSpec`, of which `num_envs` sub-environments are made.
        policy: A policy name (random, colored_noise, curious, zero), the folder of a run or agent, or an object with
            `act` and `reset`.
        steps: Environment steps of all sub-environments.
        out: Folder of the stream; must be empty or missing. Default: streams/NAME.
        seed: Seed of the envs and the policy.
        progress: Receives the steps.
        num_envs: Number of sub-environments if `envs` is an id or file.
        threads: CPU threads; 0: all cores, at most 8.
        pixels: Edge of image observations, if `envs` is an id or file; 0: the env's own observations.
        backend: That simulates an env of robossl: mujoco, on the CPU; or warp, on a GPU (docs/scale.md).
        device: Of the simulation with backend="warp": auto, cpu or cuda.
        record_envs: Record only so many sub-environments, the first ones; 0: all.
        workers: Collectors, each a process that records whole episodes into a shard; 0: this process records one
            stream.
        engine: Of the workers: local, processes of this machine; or ray.
        arguments: Passed to the constructor of the env, and recorded.

    Returns:
        The finished stream; with workers `robossl.streams.Shards`, one read-only stream over all shards.

    Raises:
        UsageError: An env, policy or setting is unknown, or `out` is not empty.
    """
    request = CollectRequest(
        envs, policy, steps, out, seed, num_envs, threads, pixels, arguments, backend, device, record_envs, workers,
        engine,
    )  # fmt: skip
    return collect_stream(request, progress or default_progress())


def relabel(
    stream: Stream | str | Path,
    task: str | None = None,
    out: str | Path | None = None,
    reward: RewardFunction | None = None,
    seed: int = RelabelRequest.seed,
    threads: int = RelabelRequest.threads,
    progress: ProgressReporter | None = None,
) -> Stream:
    """Write a stream again with the reward of another task of its robot, or of a function.

    Example:
        run = robossl.relabel("streams/walker", "robossl/WalkerRun-v0", out="streams/walker-run")

    Args:
        stream: A stream or its folder; it is not changed.
        task: Env id of the task: reward, termination, success and goals are computed from the recorded physics.
        out: Folder of the new stream; must be empty or missing. Default: streams/NAME.
        reward: In place of a task, a function of observation, action and next observation (n, ...) of transitions that
            returns rewards (n,), for example of a learned reward model; terminations stay as recorded.
        seed: Seed of the goals, where a task has goals and the stream is of another task.
        threads: CPU threads; 0: all cores, at most 8.
        progress: Receives the rows.

    Returns:
        The new stream.

    Raises:
        UsageError: The task is of another robot, or neither or both of `task` and `reward` are given.
    """
    request = RelabelRequest(stream, task, out, reward, seed, threads)
    return relabel_recorded(request, progress or default_progress())[0]


@overload
def pretrain(
    stream: Stream | str | Path,
    updates: int = ...,
    config: WorldModelConfig | None = ...,
    out: str | Path | None = ...,
    seed: int = ...,
    device: str = ...,
    threads: int = ...,
    progress: ProgressReporter | None = ...,
    log: Sequence[str] = ...,
    encoder: Module | None = ...,
    head_updates: int | Literal["auto"] = ...,
    baseline: str | None = ...,
    from_model: str | Path | None = ...,
    seeds: None = ...,
) -> WorldModel: ...
@overload
def pretrain(
    stream: Stream | str | Path,
    updates: int = ...,
    config: WorldModelConfig | None = ...,
    out: str | Path | None = ...,
    *,
    device: str = ...,
    threads: int = ...,
    progress: ProgressReporter | None = ...,
    log: Sequence[str] = ...,
    head_updates: int | Literal["auto"] = ...,
    baseline: str | None = ...,
    from_model: str | Path | None = ...,
    seeds: Sequence[int],
) -> EvaluationReport: ...
def pretrain(
    stream: Stream | str | Path,
    updates: int = PretrainRequest.updates,
    config: WorldModelConfig | None = None,
    out: str | Path | None = None,
    seed: int = PretrainRequest.seed,
    device: str = PretrainRequest.device,
    threads: int = PretrainRequest.threads,
    progress: ProgressReporter | None = None,
    log: Sequence[str] = PretrainRequest.log,
    encoder: Module | None = None,
    head_updates: int | Literal["auto"] = PretrainRequest.head_updates,
    baseline: str | None = None,
    from_model: str | Path | None = None,
    seeds: Sequence[int] | None = None,
) -> WorldModel | EvaluationReport:
    """Train a world model, or a baseline of one, on a stream, without reward.

    Example:
        model = robossl.pretrain("streams/reacher", updates=1200, out="models/reacher")
        z = model.encode(observation)  # (n, Z)
        report = robossl.pretrain("streams/reacher", out="models/reacher-seeds", seeds=[0, 1, 2, 3])

    Args:
        stream: A stream or its folder.
        updates: Gradient steps.
        config: Sizes and objectives; None: the default for the observations of the stream.
        out: Folder of the model; must be empty or missing. Default: models/NAME.
        seed: Seed of the initial weights and of sampling.
        device: auto, cpu, cuda or mps.
        threads: CPU threads; 0: all cores, at most 8.
        progress: Receives the gradient steps.
        log: Metric sinks beside metrics.jsonl: tensorboard, wandb, console.
        encoder: A torch module in place of the built-in encoder, for example a frozen pretrained vision network. Its
            input and output are documented in docs/world-model.md; load the model again with
            `WorldModel.load(folder, encoder=module)`.
        head_updates: Gradient steps of each goal head, if the env has goals; auto: `updates`, at most 1,500; 0: none.
        baseline: normalized, random, pca, autoencoder, time_shuffled, scrambled or noise: a baseline
            representation with the sizes of `config`, in the form of a world model; see docs/world-model.md.
        from_model: Folder of a model whose weights and config are the initial ones; it is not changed. To train more
            on the same stream, `robossl.resume(folder, "+1000")` keeps the state of the optimizer too.
        seeds: Train a model with each of these seeds at once, in the folders seed-0, seed-1, ... of `out`, and report
            over all of them. The same call goes on after any end, and with other seeds adds them.

    Returns:
        The world model; with `seeds` the report over all of them, whose `folder` has the models.

    Raises:
        UsageError: A name or number is wrong, or `out` has something else.
    """
    if seeds is not None and seed != PretrainRequest.seed:
        raise UsageError(f"seeds: expected no seed beside them, got seed {seed}")
    request = PretrainRequest(
        stream, updates, config, out, seed, device, threads, log, encoder, head_updates, baseline, from_model
    )
    if seeds is not None:
        return pretrain_seeds(request, seeds, progress or default_progress())
    return pretrain_world_model(request, progress or default_progress())


def train(
    env: EnvLike,
    agent: str = TrainRequest.agent,
    representation: Representation | str | Path | None = None,
    encoder: str | None = None,
    steps: int = TrainRequest.steps,
    num_envs: int = TrainRequest.num_envs,
    threads: int = TrainRequest.threads,
    out: str | Path | None = None,
    seed: int = TrainRequest.seed,
    device: str = TrainRequest.device,
    progress: ProgressReporter | None = None,
    log: Sequence[str] = TrainRequest.log,
    export_sb3: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    callbacks: Sequence[BaseCallback] = (),
    stream: Stream | str | Path | None = None,
    offline_updates: int | None = None,
    pixels: int = TrainRequest.pixels,
    **arguments: Any,
) -> Agent:
    """Train an agent in an env, on a recorded stream, or first on the stream and then in the env.

    Example:
        agent = robossl.train("robossl/Reacher-v0", "sac", representation="models/reacher", steps=20_000)
        action = agent.act(observation, explore=False)

    Args:
        env: A Gymnasium id, `module:function`, an MJCF file, a function that makes an env, a `gymnasium.Env` (it is
            copied), a vector env of such, or an `EnvSpec`.
        agent: Name of the agent; auto: sac for continuous actions, dqn for discrete actions.
        representation: A world model, or the folder of a model or run.
        encoder: none, random, frozen, finetune, cotrain or scratch; None: frozen with a representation, else none.
        steps: Environment steps of all sub-environments; 0 with a `stream`: learn from it alone.
        num_envs: Number of sub-environments.
        threads: CPU threads; 0: all cores, at most 8.
        out: Folder of the agent; must be empty or missing. Default: agents/NAME.
        seed: Seed of the agent and the envs.
        device: auto, cpu, cuda or mps.
        progress: Receives the steps.
        log: Metric sinks beside metrics.jsonl: tensorboard, wandb, console.
        export_sb3: File for SB3's own zip, for other tools.
        settings: Settings of the agent: `{"updates_per_step": 0.5, "learning_starts": 500}`, hyper-parameters of SB3.
        callbacks: SB3 callbacks, for SB3 agents.
        stream: A stream of the same robot, or its folder, for agents that learn from one.
        offline_updates: Updates on the stream before the first environment step; None: the default of the agent.
        pixels: Edge of image observations; 0: the env's own observations.
        arguments: Passed to the constructor of the env, and recorded.

    Returns:
        The trained agent, ready to act; `robossl.load(out)` returns it again.

    Raises:
        UsageError: A name or setting is unknown, or agent, representation, stream and env do not fit.
    """
    request = TrainRequest(
        env, agent, representation, encoder, steps, num_envs, threads, out, seed, device, log, export_sb3,
        settings or {}, callbacks, stream, offline_updates, pixels, arguments,
    )  # fmt: skip
    return train_agent(request, progress or default_progress()).agent


def evaluate(
    model: WorldModel | str | Path,
    stream: Stream | str | Path | None = None,
    env: EnvLike | None = None,
    episodes: int = EvaluateRequest.episodes,
    goal_trials: int = EvaluateRequest.goal_trials,
    goal_horizons: Sequence[int] | None = EvaluateRequest.goal_horizons,
    head_updates: int | Literal["auto"] = EvaluateRequest.head_updates,
    out: str | Path | None = None,
    seed: int = EvaluateRequest.seed,
    device: str = EvaluateRequest.device,
    threads: int = EvaluateRequest.threads,
    progress: ProgressReporter | None = None,
    videos: bool = EvaluateRequest.videos,
    ablate: bool = EvaluateRequest.ablate,
    updates: int | None = None,
    also: Sequence[str] = (),
    **arguments: Any,
) -> EvaluationReport:
    """Evaluate a world model, a run or an agent, and write report.json and report.html.

    Example:
        report = robossl.evaluate("models/reacher", stream="streams/reacher")
        report["control"]["rows"]["planner"]["return"]["mean"]

    Args:
        model: A world model, or the folder of a model, run or agent.
        stream: Stream whose held-out episodes the model is evaluated on; None: the one it was trained on.
        env: Env of the evaluation, as for `train`; None: the one that the folder or stream was made for.
        episodes: Held-out episodes for each row of the control table.
        goal_trials: Pairs of start and goal at each horizon.
        goal_horizons: Steps between start and goal in the held-out episode; None: 10, 25, 50 and 100. Given ones need
            an env with goals.
        head_updates: Gradient steps of the goal heads of a model that has none; auto: as many as the model had, at
            most 1,500; 0: none are fitted.
        out: Folder of the report; must be empty or missing. Default: evaluations/NAME.
        seed: Seed of the evaluation.
        device: auto, cpu, cuda or mps.
        threads: CPU threads; 0: all cores, at most 8.
        progress: Receives the progress.
        videos: Record videos.
        ablate: Also train models with other objectives on the same stream and compare.
        updates: Gradient steps of each of these; None: as many as the model had.
        also: Sections to add that take minutes: robustness, imitation, oracle_gap.
        arguments: Passed to the constructor of `env`.

    Returns:
        The report: a dict as report.json, which a notebook shows as tables; `folder` is where it was written.

    Raises:
        UsageError: The model, stream and env do not fit, or a stream or env is missing.
    """
    request = EvaluateRequest(
        model,
        stream,
        env,
        episodes,
        goal_trials,
        goal_horizons,
        head_updates,
        out,
        seed,
        device,
        threads,
        videos,
        ablate,
        updates,
        also,
        arguments,
    )
    with torch_threads(threads):
        report = run_evaluation(request, progress or default_progress())
    return EvaluationReport(report, report["folder"])
