"""Goals of goal-reaching agents: those of the env, or one observation to reach, as goal heads or latents use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.interfaces import Observation
from robossl.core.spaces import format_space, is_goal_space
from robossl.world_model.goal_heads import GoalHeads

from .observation_encoder import ObservationEncoder


class GoalSource:
    """Goals of the sub-environments: normalized goals (m, G) for goal heads of a goal env, else latents (m, Z)."""

    def __init__(
        self,
        envs: VectorEnv,
        heads: GoalHeads | None,
        goal_observation: np.ndarray | Sequence[float] | None = None,
    ) -> None:
        """Create the goals of an agent.

        Args:
            envs: The envs of the agent.
            heads: Goal heads of the model; None: goals are latents.
            goal_observation: Observation (D,) or (n, D) to reach. None: the goals of the env.

        Raises:
            UsageError: The env has no goals that `heads` or a latent distance can use.
        """
        self.heads, self._envs = heads, envs
        self._given: np.ndarray | None = None  # (1, D) for all sub-environments, or (n, D)
        self._to_observation: Callable[[np.ndarray], Any] | None = None
        if goal_observation is not None:
            self._given = _given_observations(envs, goal_observation)
        elif not is_goal_space(envs.single_observation_space):
            raise UsageError(
                "expected an env with goals, got one whose observation has no desired_goal; pass goal_observation, an "
                "observation to reach"
            )
        elif not self.in_goal_space:
            self._to_observation = getattr(envs.unwrapped, "goal_observation", None)
            if self._to_observation is None:
                raise UsageError(
                    f"{type(envs.unwrapped).__name__} has no method goal_observation (goals to observations); fit goal "
                    "heads to the model (robossl.world_model.goal_heads.fit_goal_heads), or pass goal_observation, an "
                    "observation to reach"
                )

    @property
    def in_goal_space(self) -> bool:
        """Whether goals are normalized goals of the env, not latents."""
        return self.heads is not None and self.heads.has_goals

    def goals(self, observation: Observation, env_ids: np.ndarray, encoder: ObservationEncoder) -> Tensor:
        """Return the goals of the sub-environments `env_ids` (m,), given the observation of all n."""
        if self._given is not None:
            shared = len(self._given) == 1
            z = encoder.encode(self._given, env_ids=np.zeros_like(env_ids) if shared else env_ids)
            return z if self.heads is None else self.heads.achieved(z)
        desired = np.asarray(observation["desired_goal"])[env_ids]
        if self._to_observation is not None:
            return encoder.encode(self._to_observation(desired))
        assert self.heads is not None
        return self.heads.normalize_goal(desired)

    def check_size(self, num_envs: int) -> None:
        """Raise UsageError if each sub-environment has a given observation, and there are not `num_envs`."""
        if self._given is not None and len(self._given) not in (1, num_envs):
            raise UsageError(
                f"expected observations of {len(self._given)} sub-environments, which have goals of their own, "
                f"got {num_envs}"
            )

    def saved(self) -> list[Any] | None:
        """Return the given observation as JSON; None if there is none."""
        if self._given is None:
            return None
        return (self._given[0] if len(self._given) == 1 else self._given).tolist()


def goal_determines_posture(envs: VectorEnv) -> bool:
    """Return whether the env gives an observation for each goal, and goals have more numbers than actions.

    Otherwise a goal, such as the position of a hand or of a point, leaves the posture or the velocity open. The latent
    of the one observation measures these as well: its distance is no distance to the goal (docs/control.md).
    """
    space, action = envs.single_observation_space, envs.single_action_space
    if not (hasattr(envs.unwrapped, "goal_observation") and isinstance(space, spaces.Dict)):
        return False
    goal = space["desired_goal"]
    return int(np.prod(goal.shape or ())) > int(np.prod(action.shape or ()))


def _given_observations(envs: VectorEnv, value: np.ndarray | Sequence[float]) -> np.ndarray:
    """Return observations (1, D), or (n, D) if they differ."""
    space = envs.single_observation_space
    space = space["observation"] if is_goal_space(space) else space  # type: ignore[index]
    if not isinstance(space, spaces.Box):
        raise UsageError(f"goal_observation: expected Box observations, got {format_space(space)}")
    given = np.asarray(value, space.dtype)
    if given.shape not in (space.shape, (envs.num_envs, *space.shape)):
        raise UsageError(
            f"goal_observation: expected shape {space.shape} or {(envs.num_envs, *space.shape)}, got {given.shape}"
        )
    given = given.reshape(-1, *space.shape)
    return given[:1] if (given == given[:1]).all() else given
