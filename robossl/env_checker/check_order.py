"""The probes in the order they are tried, and what each needs to have worked before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from robossl import registry
from robossl.env_checker import (
    api_checks,
    batch_consistency,
    determinism,
    goal_checks,
    gymnasium_checker,
    render_checks,
    space_checks,
    vector_envs,
)
from robossl.env_checker.check_result import CheckResult, check_failed, check_passed
from robossl.env_checker.env_under_test import EnvUnderTest
from robossl.env_checker.observation_checks import senses
from robossl.env_checker.random_rollout import random_rollout
from robossl.env_checker.rewards_and_endings import outcomes, physics

_STEPS = 250


@dataclass(frozen=True)
class Probe:
    """Something to try, on an env of its own."""

    name: str  # also the name of its finding where it raises or hangs
    run: Callable[[EnvUnderTest], Iterator[CheckResult]]
    needs: tuple[str, ...] = ()  # names of findings without which it is not tried


def life(case: EnvUnderTest) -> Iterator[CheckResult]:
    """Several episodes of random actions, and everything that can be read from them."""
    env = case.make()
    lived = random_rollout(case, env, _STEPS, seed=0, seconds=case.watch.seconds)
    if lived.fault is not None:
        moment = lived.moments[-1] if lived.moments else None
        after = f"after {moment.name}: " if moment else ""
        yield check_failed(
            "lives",
            f"{after}{lived.fault}",
            "a run stops there",
            "look at that line; an episode that cannot go on ends: terminated = True",
        )
    else:
        episodes = len({moment.episode for moment in lived.moments})
        yield check_passed("lives", f"{len(lived.steps)} steps of random actions in {episodes} episodes")
    if lived.steps:
        yield from senses(env.observation_space, lived)
        yield from outcomes(lived, case.spec.max_episode_steps)
        if registry.is_native(case.spec):
            yield physics(lived)
    if lived.fault is None:
        case.close(env)


_BEGINS = ("made", "actions", "observations", "reset", "step")
PROBES = (
    Probe("made", api_checks.made),
    Probe("actions", space_checks.actions, ("made",)),
    Probe("observations", space_checks.observations, ("made",)),
    Probe("reset", api_checks.reset, ("made",)),
    Probe("step", api_checks.step, ("made", "reset")),
    Probe("lives", life, _BEGINS),
    Probe("same seed, same life", determinism.seeds, (*_BEGINS, "lives")),
    Probe("gymnasium check_env", gymnasium_checker.official, ("made", "reset", "step")),
    Probe("renders", render_checks.renders, ("made", "reset")),
    Probe("compute_reward", goal_checks.goal_reward, (*_BEGINS, "lives", "observation form")),
    Probe("batches", vector_envs.batches, (*_BEGINS, "lives")),
    Probe("batch, as robossl makes it", vector_envs.as_robossl, (*_BEGINS, "lives")),
    Probe("lanes live alone", batch_consistency.lanes, (*_BEGINS, "lives", "batch, as robossl makes it")),
)
