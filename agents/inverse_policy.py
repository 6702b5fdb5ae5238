"""Goal-conditioned inverse policy: one network call for an action towards a goal, trained without reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.interfaces import Observation
from robossl.streams import Stream
from robossl.world_model import WorldModel
from robossl.world_model.device import resolve
from robossl.world_model.goal_heads import DEFAULT_UPDATES, GoalHeads, fit_goal_heads

from .shared.goal_source import GoalSource
from .shared.loop_agent import LoopAgent
from .shared.observation_encoder import ObservationEncoder, batch_size
from .shared.settings_file import read_settings, write_settings

_HEADER = {"format": 1}  # of inverse_policy.json


class InversePolicy(LoopAgent):
    """Agent that acts by the inverse policy of the goal heads of a world model.

    The policy has learned which recorded action led from a latent to the goal achieved k steps later. It has nothing to
    train in the env: `learn` acts, so that its steps can be recorded.
    """

    name = "inverse-policy"
    needs_representation = True

    def __init__(
        self,
        envs: VectorEnv,
        representation: WorldModel | None = None,
        seed: int = 0,
        device: str = "auto",
        stream: Stream | None = None,
        goal_observation: np.ndarray | Sequence[float] | None = None,
        head_updates: int = DEFAULT_UPDATES,
    ) -> None:
        """Create a policy for `envs`.

        Args:
            envs: The envs to act in.
            representation: A world model with goal heads.
            seed: Seed of the resets in `learn`, and of the heads if they are fitted here.
            device: Device of the world model; `auto` does not move it.
            stream: If the model has no goal heads of its version, they are fitted to this stream.
            goal_observation: Observation (D,) or (n, D) to reach. None: the goals of the env.
            head_updates: Gradient steps of the heads if they are fitted here.

        Raises:
            UsageError: No model, no goal heads, no goals, or an invalid setting.
        """
        if representation is None:
            raise UsageError("the inverse policy needs a world model with goal heads: expected one, got none")
        if device != "auto":
            representation = representation.to(resolve(device))
        super().__init__(envs, seed)
        self.head_updates = int(head_updates)
        self._stream, self._goal_observation = stream, goal_observation
        self._action_space = envs.single_action_space
        self._encoders: dict[int, ObservationEncoder] = {}  # by number of sub-environments
        self._use(representation)

    def _use(self, model: WorldModel) -> None:
        """Act by the heads of a model; fit them if they are missing and there is a stream."""
        heads: GoalHeads | None = getattr(model, "goal_heads", None)
        if self._stream is not None and (heads is None or heads.version != model.version):
            heads = fit_goal_heads(model, self._stream, self.head_updates, self.seed)
        if heads is None:
            raise UsageError(
                "the inverse policy needs a world model: expected one with goal heads, got none; fit them with "
                "robossl.world_model.goal_heads.fit_goal_heads, or give a recorded stream"
            )
        heads.check_version(model.version)
        self.model, self.heads = model, heads
        self._goals = GoalSource(self.envs, heads, self._goal_observation)
        self._encoders.clear()

    def _encoder(self, num_envs: int) -> ObservationEncoder:
        if num_envs not in self._encoders:
            self._goals.check_size(num_envs)
            space = self.envs.single_observation_space
            self._encoders[num_envs] = ObservationEncoder(self.model, space, num_envs)
        return self._encoders[num_envs]

    # --- acting

    @torch.inference_mode()
    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A) for any n; they are deterministic, also with `explore`."""
        num_envs = batch_size(observation)
        encoder, all_envs = self._encoder(num_envs), np.arange(num_envs)
        inputs, previous = encoder.step(observation)
        z = encoder.encode(inputs, previous).to(self.heads.device)
        goal = self._goals.goals(observation, all_envs, encoder).to(self.heads.device)
        achieved = self.heads.normalize_goal(observation["achieved_goal"]) if self.heads.has_goals else z
        actions = self.model.action_processor.decode(self.heads.act(z, achieved, goal)).cpu().numpy()
        return actions.astype(self._action_space.dtype)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes in the sub-environments of `mask` (n,) bool, or in all."""
        if mask is None:
            self._encoders.clear()
        else:
            self._encoder(len(mask)).reset(mask)

    # --- the agent protocol

    def set_representation(self, representation: WorldModel) -> None:
        """Switch to a newer version of the model, which has goal heads; with a stream they are fitted if missing."""
        self._use(representation)

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the previous images and the state of `learn`."""
        return {
            "encoder": self._encoder(self.envs.num_envs).get_checkpoint(),
            "loop": self._loop.get_checkpoint(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`, to the same bits."""
        self._encoder(self.envs.num_envs).set_checkpoint(tree["encoder"])
        self._loop.set_checkpoint(tree["loop"])

    def save(self, folder: str | Path) -> None:
        """Write inverse_policy.json and the world model with its goal heads, in the subfolder `representation`."""
        self.model.save(Path(folder) / "representation")
        settings = {
            "goal_observation": self._goals.saved(),
            "head_updates": self.head_updates,
        }
        write_settings(Path(folder) / "inverse_policy.json", _HEADER, self.seed, settings)

    @classmethod
    def load(cls, folder: str | Path, envs: VectorEnv, device: str = "auto") -> InversePolicy:
        """Return the policy that `save` wrote, ready to act in `envs`."""
        path = Path(folder) / "inverse_policy.json"
        seed, settings = read_settings(path, _HEADER, "an inverse policy")
        model = WorldModel.load(Path(folder) / "representation", device).frozen_copy()
        return cls(envs, model, seed, **settings)


AGENTS = {"inverse-policy": InversePolicy}
