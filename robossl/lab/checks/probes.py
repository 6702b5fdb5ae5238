"""The probes in the order they are tried, and what each needs to have worked before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from robossl.lab import plugins
from robossl.lab.checks import batches, goals, lanes, offers, official, promises, rendering, seeds
from robossl.lab.checks.case import Case
from robossl.lab.checks.finding import Finding, bad, good
from robossl.lab.checks.life import live
from robossl.lab.checks.outcomes import outcomes, physics
from robossl.lab.checks.senses import senses

_STEPS = 250


@dataclass(frozen=True)
class Probe:
    """Something to try, on an env of its own."""

    name: str  # also the name of its finding where it raises or hangs
    run: Callable[[Case], Iterator[Finding]]
    needs: tuple[str, ...] = ()  # names of findings without which it is not tried


def life(case: Case) -> Iterator[Finding]:
    """Several episodes of random actions, and everything that can be read from them."""
    env = case.make()
    lived = live(case, env, _STEPS, seed=0, seconds=case.watch.seconds)
    if lived.fault is not None:
        moment = lived.moments[-1] if lived.moments else None
        after = f"after {moment.name}: " if moment else ""
        yield bad(
            "lives",
            f"{after}{lived.fault}",
            "a run stops there",
            "look at that line; an episode that cannot go on ends: terminated = True",
        )
    else:
        episodes = len({moment.episode for moment in lived.moments})
        yield good("lives", f"{len(lived.steps)} steps of random actions in {episodes} episodes")
    if lived.steps:
        yield from senses(env.observation_space, lived)
        yield from outcomes(lived, case.spec.max_episode_steps)
        if plugins.native(case.spec):
            yield physics(lived)
    if lived.fault is None:
        case.close(env)


_BEGINS = ("made", "actions", "observations", "reset", "step")
PROBES = (
    Probe("made", promises.made),
    Probe("actions", offers.actions, ("made",)),
    Probe("observations", offers.observations, ("made",)),
    Probe("reset", promises.reset, ("made",)),
    Probe("step", promises.step, ("made", "reset")),
    Probe("lives", life, _BEGINS),
    Probe("same seed, same life", seeds.seeds, (*_BEGINS, "lives")),
    Probe("gymnasium check_env", official.official, ("made", "reset", "step")),
    Probe("renders", rendering.renders, ("made", "reset")),
    Probe("compute_reward", goals.goal_reward, (*_BEGINS, "lives", "observation form")),
    Probe("batches", batches.batches, (*_BEGINS, "lives")),
    Probe("batch, as robossl makes it", batches.as_robossl, (*_BEGINS, "lives")),
    Probe("lanes live alone", lanes.lanes, (*_BEGINS, "lives", "batch, as robossl makes it")),
)
