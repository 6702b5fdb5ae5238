"""The dream: a world model as a Gymnasium vector env that stops where it should no longer be believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.seeding import generator, generator_state, restore_generator
from robossl.core.spaces import flatten_by_path, is_goal_space, leaves, unflatten_by_path
from robossl.world_model import disagreement_limit as trusting
from robossl.world_model.array_types import arrays
from robossl.world_model.data_validation import check_spaces_match
from robossl.world_model.encoded_batch import encode_windows
from robossl.world_model.goal_predictor import ACHIEVED, DESIRED, GoalPredictor
from robossl.world_model.model import WorldModel, disagreement

Reward = Callable[[Any, np.ndarray, Any], np.ndarray]  # (observation, action, next observation) -> (n,)

_STARTS = 4096  # rows of the stream an episode can start from
_STEPS = 25  # [steps] of open loop the limit of trust is measured over


class WorldModelEnv(VectorEnv):
    """`num_envs` lanes of imagination. Observations are decoded latents, without images.

    An episode starts at a row of the stream and is truncated after `horizon` steps, or before,
    where the heads of the ensemble disagree more than they do on 99 of 100 held-out steps
    (`trust`). The model knows no ends and no reward: `terminated` is never set, and `reward` is the
    caller's own function of observation, action and next observation (zero without one).
    In a goal env the goal desired is that of the row, and the goal achieved is told from what is decoded
    (`Wishes`); where the reward is one of goals (`reward.of_goals`), `compute_reward` is it, for hindsight.
    Infos: `disagreement` (n,) of the step just made, 0 at a reset; `ended_by` (n,) "horizon" or "uncertainty"
    where an episode was truncated.
    """

    def __init__(
        self,
        model: WorldModel,
        stream: Any,
        num_envs: int,
        horizon: int = 25,
        reward: Reward | None = None,
        max_disagreement: float | None = None,
        seed: int = 0,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        """`RequestError` for sizes below 1; `trust=inf` never stops before the horizon."""
        if num_envs < 1 or horizon < 1:
            raise UsageError(f"a dream of {num_envs} envs and {horizon} steps; expected at least one of each")
        check_spaces_match(model, stream.observation_space, stream.action_space, "the stream")
        self.model, self.horizon, self.reward = model.frozen_copy(), horizon, reward
        self.num_envs, self.autoreset = num_envs, AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset, "render_modes": []}
        self.single_action_space = model.action_space
        self.single_observation_space = _seen(model)
        self.shown = _without_goals(self.single_observation_space)  # what is decoded
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.starts, self.wishes = _starts(self.model, stream, seed)  # [S, Z]
        self.max_disagreement = (
            trusting.disagreement_threshold(self.model, stream, min(horizon, _STEPS), seed)
            if max_disagreement is None
            else max_disagreement
        )
        of_goals = getattr(reward, "goal_reward", None)
        if self.wishes is not None and of_goals is not None:
            self.compute_reward = lambda achieved, desired, _infos: of_goals(achieved, desired)
        self.randoms = [generator(seed, "dream", lane) for lane in range(num_envs)]
        self.rows = np.zeros(num_envs, np.int64)  # of `starts`, where each lane began
        self.z = self.starts[:1].repeat(num_envs, 1)  # [n, Z]
        self.elapsed = np.zeros(num_envs, np.int64)  # [steps]
        self.ended = np.zeros(num_envs, bool)  # lanes whose next step is a reset

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin anew in all lanes, or in those of `options["reset_mask"]` (n,) bool."""
        seeds = [seed + lane for lane in range(self.num_envs)] if isinstance(seed, int) else seed
        for lane, number in enumerate(seeds or []):
            if number is not None:
                self.randoms[lane] = generator(number, "dream")
        mask = (options or {}).get("reset_mask")
        self._begin(np.ones(self.num_envs, bool) if mask is None else np.asarray(mask, bool))
        return self._observe(), self._infos(np.zeros(self.num_envs), np.zeros(self.num_envs, bool))

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One imagined step in every lane; lanes that ended begin anew instead (NEXT_STEP)."""
        if self.autoreset == AutoresetMode.DISABLED and self.ended.any():
            raise UsageError(f"lanes {np.flatnonzero(self.ended).tolist()} have ended; reset them first")
        before, fresh = self._observe() if self.reward else None, self.ended.copy()
        with torch.no_grad():
            fan = self.model.ensemble_predictions(self.z, self.model.actions(np.asarray(actions)))
            self.z, spread = fan.mean(0), disagreement(fan).cpu().numpy()
        self.elapsed += 1
        self._begin(fresh)
        spread = np.where(fresh, 0.0, spread)
        observation = self._observe()
        rewards = np.zeros(self.num_envs)
        if self.reward:
            rewards = np.where(fresh, 0.0, self.reward(before, actions, observation)).astype(np.float64)
        self.ended = ~fresh & ((self.elapsed >= self.horizon) | (spread > self.max_disagreement))
        truncated, infos = self.ended.copy(), self._infos(spread, self.ended)
        if self.autoreset == AutoresetMode.SAME_STEP and truncated.any():
            infos |= self._final(observation, infos, truncated)
            self._begin(truncated)
            observation = self._observe()
        return observation, rewards, np.zeros(self.num_envs, bool), truncated, infos

    def _begin(self, mask: np.ndarray) -> None:
        """Put the lanes of `mask` at starts that each draws from its own generator."""
        if not mask.any():
            return
        lanes = np.flatnonzero(mask)
        self.rows[lanes] = [int(self.randoms[lane].integers(len(self.starts))) for lane in lanes]
        where, rows = (torch.as_tensor(i, device=self.z.device) for i in (lanes, self.rows[lanes]))
        self.z = self.z.index_copy(0, where, self.starts[rows])
        self.elapsed[mask], self.ended[mask] = 0, False

    def _observe(self) -> Any:
        """What the lanes see, as values of the observation space."""
        with torch.no_grad():
            known = _expected(self.model, self.z)
            value = arrays(self.model.observations.restore(known) if self.model.decoder else known)
        parts = flatten_by_path(self.shown, value)
        seen = unflatten_by_path(
            self.shown, {path: _legal(leaf, parts[path]) for path, leaf in leaves(self.shown).items()}
        )
        if self.wishes is None:
            return seen
        achieved = self.wishes.achieved(arrays(known))
        return {"observation": seen, ACHIEVED: achieved, DESIRED: self.wishes.desired[self.rows]}

    def _infos(self, spread: np.ndarray, ended: np.ndarray) -> dict[str, Any]:
        why = np.where(ended, np.where(spread > self.max_disagreement, "uncertainty", "horizon"), "")
        everywhere = np.ones(self.num_envs, bool)
        return {
            "disagreement": spread,
            "_disagreement": everywhere,
            "truncation_reason": why,
            "_truncation_reason": ended.copy(),
        }

    def _final(self, observation: Any, infos: dict[str, Any], ended: np.ndarray) -> dict[str, Any]:
        """What SAME_STEP keeps of the step that ended an episode."""
        final = np.full(self.num_envs, None, dtype=object)
        parts = flatten_by_path(self.single_observation_space, observation)
        for lane in np.flatnonzero(ended):
            final[lane] = unflatten_by_path(
                self.single_observation_space, {path: v[lane] for path, v in parts.items()}
            )
        return {
            "final_obs": final,
            "_final_obs": ended.copy(),
            "final_info": infos | {"_disagreement": ended.copy()},
            "_final_info": ended.copy(),
        }

    def get_checkpoint(self) -> dict[str, Any]:
        """Everything that decides the future, given the same model and stream."""
        return {
            "z": self.z.clone(),
            "elapsed": self.elapsed.copy(),
            "ended": self.ended.copy(),
            "starts": self.starts.clone(),
            "rows": self.rows.copy(),
            "wishes": None if self.wishes is None else self.wishes.get_checkpoint(),
            "trust": float(self.max_disagreement),
            "randoms": [generator_state(random) for random in self.randoms],
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was."""
        self.z, self.starts = (
            torch.tensor(np.asarray(tree[k])).to(self.model.device) for k in ("z", "starts")
        )
        self.elapsed, self.ended = np.array(tree["elapsed"]), np.array(tree["ended"])
        self.rows, self.max_disagreement = np.array(tree["rows"]), float(tree["trust"])
        if self.wishes is not None:
            self.wishes.set_checkpoint(tree["wishes"])
        for random, state in zip(self.randoms, tree["randoms"]):
            restore_generator(random, state)


def _seen(model: WorldModel) -> spaces.Space:
    """What a lane shows: the decoded observation, or the latent where only images could be decoded; and goals."""
    shown: spaces.Space = spaces.Box(-np.inf, np.inf, (model.latent_dim,), np.float32)
    if model.decoder is not None:
        shown = model.observations.decoded_space
    whole = model.observation_space
    if not (is_goal_space(whole) and isinstance(whole, spaces.Dict)):
        return shown
    return spaces.Dict({"observation": shown, ACHIEVED: whole[ACHIEVED], DESIRED: whole[DESIRED]})


def _without_goals(space: spaces.Space) -> spaces.Space:
    return space["observation"] if is_goal_space(space) and isinstance(space, spaces.Dict) else space


def _expected(model: WorldModel, z: Tensor) -> Tensor:
    """The normalised observation [n, D] that z [n, Z] stands for; z itself where it cannot be decoded."""
    return z if model.decoder is None else model.decoder(z)


def _legal(leaf: spaces.Space, value: np.ndarray) -> np.ndarray:
    """`value` within the bounds and of the dtype of `leaf`."""
    if isinstance(leaf, spaces.Box):
        if np.issubdtype(leaf.dtype, np.integer):
            value = np.rint(value)
        value = np.clip(value, leaf.low, leaf.high)
    return value.astype(leaf.dtype)


@torch.no_grad()
def _starts(model: WorldModel, stream: Any, seed: int) -> tuple[Tensor, GoalPredictor | None]:
    """Latents [S, Z] of rows of the stream that an episode may start from, and their goals where there are any."""
    first = int(bool(model.observations.images))  # the row before it only shows what moves
    window = stream.windows(_STARTS, 1 + first, generator(seed, "dream", "starts"), split="train")
    batch = encode_windows(model, window, torch.Generator())
    starts, seen = batch.z[:, 0], batch.vector[:, 0]
    space = model.observation_space
    if not (is_goal_space(space) and isinstance(space, spaces.Dict)):
        return starts, None
    achieved, desired = (window.observation[goal][:, first] for goal in (ACHIEVED, DESIRED))
    return starts, GoalPredictor(
        space, arrays(starts if model.decoder is None else seen), achieved, desired, seed
    )
