"""Stepping vector envs: the only loop that steps one under a policy, in all three of Gymnasium's autoreset modes.

A sub-environment whose episode ended begins a new one in the next step (NEXT_STEP; that step is not real: its action
is ignored), within the same step (SAME_STEP; the last observation is in the infos), or when it is reset by the
caller (DISABLED). See https://farama.org/Vector-Autoreset-Mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv

from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress, Observation, Policy, ProgressReporter
from robossl.core.seeding import derive
from robossl.core.spaces import flatten_by_path, unflatten_by_path

_SUCCESS = ("is_success", "success")  # keys of infos; the first one that is there counts


class StepResult(NamedTuple):
    """One step of n sub-environments. Where `real` is false, a new episode began and nothing else counts."""

    real: np.ndarray  # (n,) bool
    action: np.ndarray  # (n, *A)
    reward: np.ndarray  # (n,) float64
    terminated: np.ndarray  # (n,) bool
    truncated: np.ndarray  # (n,) bool
    done: np.ndarray  # (n,) bool: terminated or truncated
    success: np.ndarray | None  # (n,) bool, after this step; None if the env does not report it
    next_observation: Observation  # after this step; where an episode ended, its last observation
    observation: Observation  # input of the next action; where an episode begins, its first observation
    begins: np.ndarray  # (n,) bool: a new episode begins with `observation`


def steps(
    envs: VectorEnv,
    policy: Policy,
    observation: Observation,
    explore: bool = False,
    ended: np.ndarray | None = None,
    reset_policy: bool = True,
) -> Iterator[StepResult]:
    """Step `envs` under `policy` until the caller stops.

    Args:
        envs: Vector env in any autoreset mode.
        policy: Chooses the actions.
        observation: Of all sub-environments now, from `envs.reset` or from the last `StepResult`.
        explore: Passed to `policy.act`.
        ended: (n,) bool, `done` of the last step, to continue after an earlier call; then `policy` keeps its state.
        reset_policy: Reset the policy in the sub-environments where an episode begins.

    Yields:
        The result of each step. Arrays of the env may be overwritten by the next step.
    """
    mode = autoreset_mode(envs)
    none, every = np.zeros(envs.num_envs, bool), np.ones(envs.num_envs, bool)
    if ended is None:
        ended = none.copy()
        if reset_policy:
            policy.reset(None)
    while True:
        real = ~ended if mode is AutoresetMode.NEXT_STEP else every.copy()
        action = policy.act(observation, explore=explore)
        observation, reward, terminated, truncated, infos = envs.step(action)
        terminated, truncated = np.asarray(terminated, bool) & real, np.asarray(truncated, bool) & real
        done = terminated | truncated
        replaced = done if mode is AutoresetMode.SAME_STEP else none
        success, last = successes(infos, replaced), observation
        if mode is not AutoresetMode.NEXT_STEP and np.count_nonzero(done):
            last = final_observations(envs.single_observation_space, observation, infos, replaced)
            if mode is AutoresetMode.DISABLED:
                observation, _ = reset_done(envs, done)
        begins = ended if mode is AutoresetMode.NEXT_STEP else done
        if reset_policy and np.count_nonzero(begins):
            policy.reset(begins.copy())
        ended = done
        reward = np.asarray(reward, np.float64)
        yield StepResult(
            real, action, reward, terminated, truncated, done, success, last, observation, begins
        )


def collect_steps(
    recorder: VectorEnv, policy: Policy, num_steps: int, seed: int, progress: ProgressReporter
) -> int:
    """Reset a recorder and step it under an exploring policy for at least `num_steps` steps.

    Args:
        recorder: Vector env that records its steps; the steps of all sub-environments count.
        policy: Chooses the actions.
        num_steps: Real env steps; up to num_envs - 1 more are taken, since all sub-environments step together.
        seed: Of the reset.
        progress: Updated with the real steps.

    Returns:
        The number of real steps.
    """
    loop = StepLoop(recorder, seed, reset_at_end=True)
    for _ in loop.steps(policy, num_steps, progress):
        pass
    return loop.num_steps


class StepLoop:
    """The steps of an agent with its own training loop: its envs, the last observation, and the steps requested so far.

    `agent.learn(envs, N)` and then `agent.learn(envs, M)` step the envs as `agent.learn(envs, N + M)` does.
    """

    def __init__(self, envs: VectorEnv, seed: int, reset_at_end: bool = False) -> None:
        """Step `envs`; the first reset has this seed.

        Args:
            envs: Vector env in any autoreset mode.
            seed: Of the first reset.
            reset_at_end: Reset the policy where an episode ends, before the ignored action of NEXT_STEP, so that it
                draws for that action as well; else where an episode begins.
        """
        self.envs, self.seed, self._reset_at_end = envs, int(seed), reset_at_end
        self.num_steps = 0  # env steps taken, summed over the sub-environments
        self._requested_steps = 0
        self._observation: Observation | None = None  # None: reset before the next step
        self._ended = np.zeros(envs.num_envs, bool)

    def steps(
        self, agent: Policy, num_steps: int, progress: ProgressReporter | None = None
    ) -> Iterator[StepResult]:
        """Yield the results of `num_steps` more steps under the exploring agent.

        All sub-environments step together; steps beyond `num_steps` are subtracted in the next call.
        """
        progress = progress or NullProgress()
        self._requested_steps += num_steps
        if self.num_steps >= self._requested_steps:
            return
        if self._observation is None:
            seed = derive(self.seed, "begin again", self.num_steps) if self.num_steps else self.seed
            self._observation, _ = self.envs.reset(seed=seed % 2**31)
            self._ended = np.zeros(self.envs.num_envs, bool)
            agent.reset()
        reset_policy = not self._reset_at_end
        envs, ended = self.envs, self._ended
        for step in steps(
            envs, agent, self._observation, explore=True, ended=ended, reset_policy=reset_policy
        ):
            self._observation, self._ended = step.observation, step.done
            if self._reset_at_end and np.count_nonzero(step.done):
                agent.reset(step.done)
            count = int(np.count_nonzero(step.real))
            self.num_steps += count
            progress.update(count)
            yield step
            if self.num_steps >= self._requested_steps:
                return

    def reset_envs(self) -> None:
        """Reset the envs before the next step, to new episodes."""
        self._observation = None

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the last observation and the counters; the envs are saved separately."""
        space = self.envs.single_observation_space
        parts = None if self._observation is None else flatten_by_path(space, self._observation)
        return {
            "observation": None if parts is None else {path: np.array(v) for path, v in parts.items()},
            "ended": self._ended.copy(),
            "num_steps": self.num_steps,
            "requested_steps": self._requested_steps,
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        self._observation = None
        if tree["observation"] is not None:
            parts = {path: np.array(value) for path, value in tree["observation"].items()}
            self._observation = unflatten_by_path(self.envs.single_observation_space, parts)
        self._ended = np.array(tree["ended"], bool)
        self.num_steps, self._requested_steps = int(tree["num_steps"]), int(tree["requested_steps"])


def autoreset_mode(envs: VectorEnv, required: bool = False) -> AutoresetMode:
    """Return the autoreset mode of a vector env; without one, NEXT_STEP (Gymnasium's default).

    Raises:
        UsageError: If a mode is `required` and the metadata contain none.
    """
    mode = envs.metadata.get("autoreset_mode")
    if mode is None and required:
        name = type(envs).__name__ if envs.spec is None else envs.spec.id
        raise UsageError(
            f'expected metadata["autoreset_mode"] of {name} to be one of {", ".join(m.name for m in AutoresetMode)}, '
            "got none; set it in the class of the vector env"
        )
    return AutoresetMode.NEXT_STEP if mode is None else AutoresetMode(mode)


def reset_done(envs: VectorEnv, done: np.ndarray) -> tuple[Observation, dict[str, Any]]:
    """Reset the sub-environments `done` (n,) bool, and only these; autoreset must be disabled."""
    return envs.reset(options={"reset_mask": done.copy()})


def final_observations(
    space: Space, observation: Observation, infos: Mapping[str, Any], done: np.ndarray
) -> Observation:
    """Return a copy of `observation` (n, ...) with the last observations of the episodes that ended.

    Args:
        space: Of one sub-environment.
        observation: As `step` returned it.
        infos: As `step` returned them; `final_obs` holds the last observations (SAME_STEP).
        done: (n,) bool, sub-environments that were reset within the step.
    """
    parts = {path: np.array(values) for path, values in flatten_by_path(space, observation).items()}
    for index in np.flatnonzero(done).tolist():
        for path, value in flatten_by_path(space, final_observation(infos, index)).items():
            parts[path][index] = value
    return unflatten_by_path(space, parts)


def final_observation(infos: Mapping[str, Any], env_index: int) -> Observation:
    """Return the last observation of the episode that ended in one sub-environment (SAME_STEP)."""
    if "final_obs" not in infos:
        raise UsageError(
            "expected infos['final_obs'] of an env that resets within the step (SAME_STEP), got none"
        )
    return _of_index(infos["final_obs"], env_index)


def _of_index(batch: Any, index: int) -> Any:
    """Return one value of an array of values, or of a dict or tuple of arrays."""
    if isinstance(batch, Mapping):
        return {name: _of_index(value, index) for name, value in batch.items()}
    return tuple(_of_index(value, index) for value in batch) if isinstance(batch, tuple) else batch[index]


def successes(infos: Mapping[str, Any], replaced: np.ndarray) -> np.ndarray | None:
    """Return the success (n,) after a step; in `replaced` sub-environments, of the episode that just ended."""
    final = infos.get("final_info", {})
    key = next((key for key in _SUCCESS if key in infos or key in final), None)
    if key is None:
        return None
    missing = np.zeros(len(replaced), bool)
    now = np.asarray(infos.get(key, missing)).astype(bool)
    last = np.asarray(final.get(key, now)).astype(bool)
    return np.where(replaced, last, now)
