"""What is measured, of a run or by itself: goals reached, returns, the model, videos, the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from robossl import registry
from robossl.core import spaces
from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import PhysicsStateEnv, Policy, ProgressReporter
from robossl.core.system_info import system_info
from robossl.evaluation import control, model_metrics
from robossl.evaluation import goal_reaching as reaching
from robossl.evaluation.report import page
from robossl.evaluation.report import report_file as reports
from robossl.evaluation.report.embedded_video import EmbeddedVideo
from robossl.streams import Stream

EVALUATION_SEED = 7_000_000  # plus the run's seed; training seeds are 63-bit hashes, so they do not meet
# Settings of an env that decide what a model sees, beyond its id.
_MADE_WITH = ("model", "pixels", "proprioception", "camera", "substeps")
_LANES = 16  # of the control table: its episodes are shared out among so many

Section = dict[str, Any]


@dataclass
class EvaluationResults:
    """What a report is made of; a section that does not apply has its reason in `absent`."""

    env: str
    seed: int
    seconds: dict[str, float] = field(default_factory=dict)  # [s] by phase
    world: Section = field(default_factory=dict)
    goals: Section = field(default_factory=dict)
    control: Section = field(default_factory=dict)
    health: Section = field(default_factory=dict)
    ablation: Section = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    films: list[EmbeddedVideo] = field(default_factory=list)
    device: str = "cpu"


def goals(
    env: str,
    models: dict[str, Any],
    stream: Stream,
    offset: int,
    pairs: int,
    seed: int,
    threads: int,
    progress: ProgressReporter,
) -> Section:
    """The section "goals": planning in each model, by row, beside random and doing nothing.

    The envs are made as those that the stream records. `RequestError` says why not.
    """
    if pairs == 0:
        raise UsageError("no pairs were asked for (goals.trials is 0)")
    if not spaces.is_goal_space(stream.observation_space):
        raise UsageError("the env has no goals: its observation has no desired_goal")
    envs = registry.make_envs(env, pairs, threads=threads, **recorded_settings(stream))
    try:
        if not isinstance(envs.unwrapped, PhysicsStateEnv):
            raise UsageError(
                "the env cannot be put into a recorded state, so held-out starts cannot be taken up"
            )
        policies: dict[str, Policy] = {
            **{row: registry.agent("planner")(m.frozen_copy(), envs, seed=seed) for row, m in models.items()},
            "random": registry.policy("random")(envs.single_action_space, envs.num_envs, seed=seed),
        }
        return reaching.reach_goals(envs, stream, policies, offset, pairs, seed, progress)
    finally:
        envs.close()


def recorded_settings(stream: Stream) -> dict[str, Any]:
    """What the envs that a stream records observe, beyond what their id says: pixels, a camera."""
    known = stream.header.get("env_kwargs") or {}
    return {name: known[name] for name in _MADE_WITH if known.get(name)}


def evaluate_policies(
    env: str,
    agents: dict[str, Policy],
    chance: bool,
    episodes: int,
    seed: int,
    threads: int,
    absent: dict[str, str],
) -> Section:
    """The rows of a control table; with `chance` also of policies that know nothing.

    A row that cannot be measured has its reason in `absent`.
    """
    lanes, rows = min(episodes, _LANES), {}
    envs = registry.make_envs(env, lanes, threads=threads)
    try:
        policies = dict(agents)
        for row, name in {"random": "random", "do_nothing": "zero"}.items() if chance else ():
            policies[row] = registry.policy(name)(envs.single_action_space, lanes, seed=seed)
        for row, policy in policies.items():
            try:
                seeing = _FiniteObservationGuard(policy, envs)
                rows[row] = dict(control.evaluate_returns(envs, seeing, episodes, seed).summary(seed))
            except UsageError as error:
                absent[f"control.{row}"] = str(error)
    finally:
        envs.close()
    return rows


class _FiniteObservationGuard:
    """A policy that refuses to act on numbers that are not finite."""

    def __init__(self, policy: Policy, envs: gym.vector.VectorEnv) -> None:
        self._policy, self._space = policy, envs.single_observation_space
        self.reset = policy.reset

    def act(self, observation: Any, explore: bool = True) -> Any:
        for path, values in spaces.flatten_by_path(self._space, observation).items():
            wrong = np.argwhere(~np.isfinite(values))
            if len(wrong):
                raise UsageError(
                    f"the env gave numbers that are not finite as {path or 'observation'} in lane {wrong[0][0]}"
                )
        return self._policy.act(observation, explore=explore)


def evaluate_world_model(
    model: Any, stream: Stream, env: str, seed: int, updates: int, progress: ProgressReporter
) -> tuple[Section, dict[str, str]]:
    """The section "world", and what of it is absent."""
    seconds = step_seconds(env, **recorded_settings(stream))
    section, absent = model_metrics.diagnose(model, stream, seconds, seed, progress)
    if section:
        section |= {"updates": updates, "rows": stream.transitions, "latent": model.latent_dim}
    return section, absent


def step_seconds(env: str, **settings: Any) -> float | None:
    """The length of one action [s]; None where nobody knows."""
    envs = registry.make_envs(env, 1, **settings)
    try:
        if envs.spec is not None and registry.is_native(envs.spec):
            return float(envs.metadata["step_seconds"])
        inner = getattr(envs.unwrapped, "envs", [None])[0]
        seconds = getattr(inner.unwrapped, "dt", None) if isinstance(inner, gym.Env) else None
        return float(seconds) if isinstance(seconds, (int, float)) else None
    finally:
        envs.close()


def write(folder: Path, measures: EvaluationResults, config: str) -> Section:
    """report.json and report.html in `folder`; returns the report."""
    machine = system_info()
    report = reports.build(
        env=measures.env,
        seed=measures.seed,
        versions=machine["versions"],
        device=measures.device,
        seconds=measures.seconds,
        world=measures.world or None,
        goals=measures.goals or None,
        control=measures.control or None,
        health=measures.health or None,
        ablation=measures.ablation or None,
        made={**machine, "config": config},
        absent=measures.absent,
    )
    reports.write(folder, report)
    page.write(folder, [report], videos=measures.films)
    return report


def record_videos(
    folder: Path,
    env: str,
    model: Any,
    stream: Stream,
    agent: Policy | None,
    seed: int,
    absent: dict[str, str],
) -> list[EmbeddedVideo]:
    """Videos in `folder`: the dream beside reality, the agent. What cannot be filmed has its reason in `absent`."""
    from robossl.training import videos

    found = []
    try:
        path, drawn = videos.record_imagination(folder / "dream.mp4", env, model, stream, seed)
        found.append(
            EmbeddedVideo(
                path,
                "The dream beside reality",
                "A held-out episode. The model sees its first moment and the actions, and imagines the rest: "
                f"{drawn['frames'] - 1} steps. The first curve is its error; under it what was seen, and dashed "
                "what was imagined.",
            )
        )
    except (UsageError, OperationError) as error:
        absent["videos.dream"] = str(error)
    if agent is None:
        absent["videos.agent"] = "no agent was trained"
        return found
    try:
        path = videos.record_agent(folder / "agent.mp4", env, agent, seed)
        found.append(
            EmbeddedVideo(path, "The agent", "The agent's first held-out episodes, not its best ones.")
        )
    except (UsageError, OperationError) as error:
        absent["videos.agent"] = str(error)
    return found
