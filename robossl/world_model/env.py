"""A world model as a Gymnasium vector env; episodes are truncated where the model is uncertain."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from robossl.core.autoreset import parse_autoreset_mode
from robossl.core.errors import UsageError
from robossl.core.seeding import generator, generator_state, restore_generator
from robossl.core.spaces import flatten_by_path, is_goal_space, leaves, unflatten_by_path
from robossl.streams import Stream
from robossl.streams.relabel import RewardFunction
from robossl.world_model.array_types import to_arrays
from robossl.world_model.data_validation import check_spaces_match
from robossl.world_model.encoded_batch import encode_windows
from robossl.world_model.goal_predictor import ACHIEVED, DESIRED, GoalPredictor
from robossl.world_model.model import WorldModel, disagreement
from robossl.world_model.reward_model import RewardModel

HEADS = ("mean", "episode")

_STARTS = 4096  # time steps of the stream at which an episode can start
_THRESHOLD_STEPS = 25  # [steps] longest open-loop prediction for the threshold
_THRESHOLD_QUANTILE = 0.99  # fraction of held-out predictions with a disagreement below the threshold
_THRESHOLD_WINDOWS = 512


class WorldModelEnv(VectorEnv):
    """Imagined rollouts of a world model. Observations are decoded latents, without images.

    An episode starts at a time step of the stream. It is truncated after `horizon` steps, or earlier if the
    disagreement of the ensemble exceeds `max_disagreement`. `terminated` is set where a `RewardModel` of an env without
    goals predicts that the step ends the episode, else never. In a goal env the desired goal is the one recorded at the
    start, and the achieved goal is predicted from the decoded observation (`GoalPredictor`).

    With `heads="episode"` each episode follows one head of the ensemble, drawn at its start: the mean of the heads is
    smoother than any of them, so an agent that trains on it meets a world that no head predicts.

    Infos: `disagreement` (n,) of the last step, 0 after a reset; `truncation_reason` (n,) "horizon" or "uncertainty"
    where an episode was truncated.

    Example:
        envs = robossl.world_model.WorldModelEnv(model, stream, num_envs=64, horizon=25)
        observation, _ = envs.reset(seed=0)
        observation, reward, terminated, truncated, infos = envs.step(envs.action_space.sample())

    Args:
        model: The world model; the env holds a frozen copy.
        stream: The stream with the start states.
        num_envs: Number of sub-environments.
        horizon: Longest episode [steps].
        reward: Function of (observation, action, next observation) that returns rewards (n,); None: rewards are 0.
            A `RewardModel` is evaluated on latents, without decoding, and predicts terminations. If it has
            `goal_reward(achieved, desired)`, that is the env's `compute_reward`, for hindsight relabeling.
        max_disagreement: Truncation threshold; by default the one of `disagreement_threshold`. `inf` disables it.
        seed: Seed of the start states.
        autoreset_mode: Gymnasium's autoreset mode.
        heads: "mean" predicts the mean of the ensemble, "episode" one head for each episode.
        num_starts: Number of time steps of the stream at which an episode can start.
        split: Split of the stream with the start states; None for all.

    Raises:
        UsageError: A size is below 1, or the stream does not fit the model.
    """

    def __init__(
        self,
        model: WorldModel,
        stream: Stream,
        num_envs: int,
        horizon: int = 25,
        reward: RewardFunction | None = None,
        max_disagreement: float | None = None,
        seed: int = 0,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        heads: str = "mean",
        num_starts: int = _STARTS,
        split: str | None = "train",
    ) -> None:
        for name, value in (("num_envs", num_envs), ("horizon", horizon), ("num_starts", num_starts)):
            if value < 1:
                raise UsageError(f"WorldModelEnv: expected {name} of 1 or more, got {value}")
        if heads not in HEADS:
            raise UsageError(f"WorldModelEnv: expected heads of {', '.join(HEADS)}, got {heads!r}")
        check_spaces_match(model, stream.observation_space, stream.action_space, "the stream")
        self.model, self.horizon, self.reward, self.heads = model.frozen_copy(), horizon, reward, heads
        self.num_envs, self.autoreset_mode = num_envs, parse_autoreset_mode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self.single_action_space = model.action_space
        self.single_observation_space = _imagined_space(model)
        self.decoded_space = _without_goals(self.single_observation_space)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.starts, self.goals = _read_starts(self.model, stream, num_starts, split, seed)  # (S, Z)
        self.max_disagreement = (
            disagreement_threshold(self.model, stream, min(horizon, _THRESHOLD_STEPS), seed)
            if max_disagreement is None
            else max_disagreement
        )
        goal_reward = getattr(reward, "goal_reward", None)
        if self.goals is not None and goal_reward is not None:
            self.compute_reward = lambda achieved, desired, _infos: goal_reward(achieved, desired)
        self.generators = [generator(seed, "dream", env_index) for env_index in range(num_envs)]
        self.start_index = np.zeros(num_envs, np.int64)  # into `starts`, of the current episodes
        self.z = self.starts[:1].repeat(num_envs, 1)  # (n, Z)
        self.head = np.zeros(num_envs, np.int64)  # of the ensemble, that the current episodes follow
        self.elapsed = np.zeros(num_envs, np.int64)  # [steps]
        self.ended = np.zeros(num_envs, bool)  # sub-environments whose next step is a reset

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes in all sub-environments, or in those of `options["reset_mask"]` (n,) bool."""
        seeds = [seed + env_index for env_index in range(self.num_envs)] if isinstance(seed, int) else seed
        for env_index, number in enumerate(seeds or []):
            if number is not None:
                self.generators[env_index] = generator(number, "dream")
        mask = (options or {}).get("reset_mask")
        self._start_episodes(np.ones(self.num_envs, bool) if mask is None else np.asarray(mask, bool))
        return self._observe(), self._infos(np.zeros(self.num_envs), np.zeros(self.num_envs, bool))

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Predict one step in every sub-environment; those that ended start a new episode instead (NEXT_STEP)."""
        if self.autoreset_mode == AutoresetMode.DISABLED and self.ended.any():
            raise UsageError(
                f"step: expected running episodes, got ended ones in sub-environments "
                f"{np.flatnonzero(self.ended).tolist()}; reset them first"
            )
        resets, before = self.ended.copy(), None
        with torch.no_grad():
            encoded = self.model.action_processor(np.asarray(actions))
            latent_reward, terminated = self._latent_reward(encoded)
            if self.reward is not None and latent_reward is None:
                before = self._observe()
            predictions = self.model.ensemble_predictions(self.z, encoded)
            self.z = self._next_latents(predictions)
            deviation = disagreement(predictions).cpu().numpy()  # (n,)
        self.elapsed += 1
        self._start_episodes(resets)
        deviation = np.where(resets, 0.0, deviation)
        observation = self._observe()
        rewards = np.zeros(self.num_envs)
        if self.reward is not None:
            predicted = self.reward(before, actions, observation) if latent_reward is None else latent_reward
            rewards = np.where(resets, 0.0, predicted).astype(np.float64)
        terminated &= ~resets
        truncated = ~resets & ((self.elapsed >= self.horizon) | (deviation > self.max_disagreement))
        truncated &= ~terminated
        self.ended = terminated | truncated
        infos = self._infos(deviation, truncated)
        if self.autoreset_mode == AutoresetMode.SAME_STEP and self.ended.any():
            ended = self.ended.copy()
            infos |= self._final_infos(observation, infos, ended)
            self._start_episodes(ended)
            observation = self._observe()
        return observation, rewards, terminated, truncated, infos

    def _latent_reward(self, action: Tensor) -> tuple[np.ndarray | None, np.ndarray]:
        """Return rewards (n,) of a `RewardModel` for encoded actions (n, A), and which actions end the episode (n,).

        With another reward, or with goals, the rewards are None and no action ends the episode.
        """
        if self.goals is not None or not isinstance(self.reward, RewardModel):
            return None, np.zeros(self.num_envs, bool)
        reward, ends = self.reward.of_latents(self.z, action), self.reward.ends_episode(self.z, action)
        return reward.cpu().numpy(), ends.cpu().numpy()

    def _next_latents(self, predictions: Tensor) -> Tensor:
        """Return the next latents (n, Z) of predictions (E, n, Z)."""
        if self.heads == "mean":
            return predictions.mean(0)
        return predictions[torch.from_numpy(self.head), torch.arange(self.num_envs)]

    def _start_episodes(self, mask: np.ndarray) -> None:
        """Start episodes in the sub-environments of `mask`; each draws its start from its own generator."""
        if not mask.any():
            return
        env_ids = np.flatnonzero(mask)
        self.start_index[env_ids] = [int(self.generators[i].integers(len(self.starts))) for i in env_ids]
        if self.heads == "episode":
            heads = self.model.dynamics.num_heads
            self.head[env_ids] = [int(self.generators[i].integers(heads)) for i in env_ids]
        target, source = (
            torch.as_tensor(index, device=self.z.device) for index in (env_ids, self.start_index[env_ids])
        )
        self.z = self.z.index_copy(0, target, self.starts[source])
        self.elapsed[mask], self.ended[mask] = 0, False

    def _observe(self) -> Any:
        """Return the current observations, a value of the observation space."""
        with torch.no_grad():
            decoded = _decode_normalized(self.model, self.z)
            value = to_arrays(
                self.model.observation_processor.to_observation(decoded) if self.model.decoder else decoded
            )
        values = flatten_by_path(self.decoded_space, value)
        observation = unflatten_by_path(
            self.decoded_space,
            {path: _clip_to(leaf, values[path]) for path, leaf in leaves(self.decoded_space).items()},
        )
        if self.goals is None:
            return observation
        achieved = self.goals.achieved(to_arrays(decoded))
        return {
            "observation": observation,
            ACHIEVED: achieved,
            DESIRED: self.goals.desired[self.start_index],
        }

    def _infos(self, deviation: np.ndarray, truncated: np.ndarray) -> dict[str, Any]:
        reason = np.where(deviation > self.max_disagreement, "uncertainty", "horizon")
        return {
            "disagreement": deviation,
            "_disagreement": np.ones(self.num_envs, bool),
            "truncation_reason": np.where(truncated, reason, ""),
            "_truncation_reason": truncated.copy(),
        }

    def _final_infos(self, observation: Any, infos: dict[str, Any], ended: np.ndarray) -> dict[str, Any]:
        """Return the infos of SAME_STEP mode about the last step of ended episodes."""
        final = np.full(self.num_envs, None, dtype=object)
        values = flatten_by_path(self.single_observation_space, observation)
        for env_index in np.flatnonzero(ended):
            final[env_index] = unflatten_by_path(
                self.single_observation_space, {path: v[env_index] for path, v in values.items()}
            )
        return {
            "final_obs": final,
            "_final_obs": ended.copy(),
            "final_info": infos | {"_disagreement": ended.copy()},
            "_final_info": ended.copy(),
        }

    def get_checkpoint(self) -> dict[str, Any]:
        """Return everything that determines the future, given the same model and stream."""
        return {
            "z": self.z.clone(),
            "elapsed": self.elapsed.copy(),
            "ended": self.ended.copy(),
            "starts": self.starts.clone(),
            "start_index": self.start_index.copy(),
            "head": self.head.copy(),
            "goals": None if self.goals is None else self.goals.get_checkpoint(),
            "max_disagreement": float(self.max_disagreement),
            "generators": [generator_state(random) for random in self.generators],
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Restore what `get_checkpoint` returned."""
        self.z, self.starts = (
            torch.tensor(np.asarray(tree[k])).to(self.model.device) for k in ("z", "starts")
        )
        self.elapsed, self.ended = np.array(tree["elapsed"]), np.array(tree["ended"])
        self.start_index, self.head = np.array(tree["start_index"]), np.array(tree["head"])
        self.max_disagreement = float(tree["max_disagreement"])
        if self.goals is not None:
            self.goals.set_checkpoint(tree["goals"])
        for random, state in zip(self.generators, tree["generators"]):
            restore_generator(random, state)


@torch.no_grad()
def disagreement_threshold(
    model: WorldModel, stream: Stream, steps: int, seed: int, quantile: float = _THRESHOLD_QUANTILE
) -> float:
    """Return a quantile of the disagreement over open-loop predictions of recorded windows.

    Args:
        model: The world model.
        stream: Windows come from its validation split, from train if validation is empty, or from all episodes.
        steps: Length of the predictions.
        seed: Seed of the windows.
        quantile: From 0 to 1; 1 is the largest disagreement.
    """
    length = steps + bool(model.observation_processor.images)
    random = generator(seed, "dream", "trust")
    split = next((name for name in ("validation", "train") if _has_window(stream, length, name)), None)
    window = stream.windows(_THRESHOLD_WINDOWS, length, random, split=split)
    batch = encode_windows(model, window, torch.Generator())
    z, deviations = batch.z[:, 0], []
    for t in range(batch.action.shape[1]):
        predictions = model.ensemble_predictions(z, batch.action[:, t])
        deviations.append(disagreement(predictions)[batch.mask[:, t] > 0])
        z = predictions.mean(0)
    return float(torch.cat(deviations).quantile(quantile))


def _has_window(stream: Stream, length: int, split: str) -> bool:
    """Return whether a split has a window of `length` actions."""
    try:
        stream.windows(1, length, generator(0, "dream", "trust"), split=split)
    except UsageError:
        return False
    return True


def _imagined_space(model: WorldModel) -> spaces.Space:
    """Return the space of imagined observations: decoded ones, or latents if all are images; with the goals."""
    decoded: spaces.Space = spaces.Box(-np.inf, np.inf, (model.latent_dim,), np.float32)
    if model.decoder is not None:
        decoded = model.observation_processor.decoded_space
    full = model.observation_space
    if not (is_goal_space(full) and isinstance(full, spaces.Dict)):
        return decoded
    return spaces.Dict({"observation": decoded, ACHIEVED: full[ACHIEVED], DESIRED: full[DESIRED]})


def _without_goals(space: spaces.Space) -> spaces.Space:
    return space["observation"] if is_goal_space(space) and isinstance(space, spaces.Dict) else space


def _decode_normalized(model: WorldModel, z: Tensor) -> Tensor:
    """Return the normalized observations (n, D) that z (n, Z) encodes; z itself if the model has no decoder."""
    return z if model.decoder is None else model.decoder(z)


def _clip_to(leaf: spaces.Space, value: np.ndarray) -> np.ndarray:
    """Return `value` within the bounds and with the dtype of `leaf`."""
    if isinstance(leaf, spaces.Box):
        if np.issubdtype(leaf.dtype, np.integer):
            value = np.rint(value)
        value = np.clip(value, leaf.low, leaf.high)
    return value.astype(leaf.dtype)


@torch.no_grad()
def _read_starts(
    model: WorldModel, stream: Stream, count: int, split: str | None, seed: int
) -> tuple[Tensor, GoalPredictor | None]:
    """Return `count` start latents (S, Z) of a split, and the goals if the env has goals."""
    first = int(bool(model.observation_processor.images))  # the step before it provides the previous images
    window = stream.windows(count, 1 + first, generator(seed, "dream", "starts"), split=split)
    batch = encode_windows(model, window, torch.Generator())
    starts, vectors = batch.z[:, 0], batch.vector[:, 0]
    space = model.observation_space
    if not (is_goal_space(space) and isinstance(space, spaces.Dict)):
        return starts, None
    achieved, desired = (window.observation[goal][:, first] for goal in (ACHIEVED, DESIRED))
    inputs = to_arrays(starts if model.decoder is None else vectors)
    return starts, GoalPredictor(space, inputs, achieved, desired, seed)
