"""Stable-Baselines3's algorithms as agents: they act on a representation and learn from the stream."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.interfaces import MetricLogger, NullProgress, ProgressReporter, Representation
from robossl.core.io import write_bytes_atomic
from robossl.core.seeding import derive, generator_state, restore_generator
from robossl.streams import Recorder

from . import files
from .algorithms import check, device_for, make
from .features import FeatureBuilder
from .hindsight import HindsightRelabeler, goal_reward
from .replay import StreamReplayBuffer
from .rng import IsolatedGlobalRNG
from .training_state import get_training_state, set_training_state
from .vec_env import SB3VecEnv

_MODES = ("frozen", "raw", "random")


class Sb3Agent:
    """One of SB3's algorithms, with a frozen representation (or raw observations) in front of it.

    SB3 sees one flat vector: concat(z, the observation's numbers, goals), see `Features`. Off-policy
    algorithms replay the stream that `envs`, a `Recorder`, writes; in other envs they can only act.
    Everything SB3 draws from the global random generators is kept apart from the rest of the process.
    The algorithm itself is `algorithm`.
    """

    def __init__(
        self,
        name: str,
        envs: Any,
        representation: Representation | None = None,
        seed: int = 0,
        device: str = "auto",
        updates_per_step: float = 0.25,
        learning_starts: int = 500,
        hindsight: float = 0.8,
        mode: str = "frozen",
        **settings: Any,
    ) -> None:
        """The algorithm called `name` (sac, td3, ppo, dqn), to act and learn in `envs`.

        `updates_per_step`: gradient steps for each environment step, whatever `num_envs` is (ppo has its own
        rhythm); `learning_starts`: environment steps before the first; `hindsight`: the share of replayed
        transitions of a goal env that get another goal; `mode` names what `representation` is. `settings`
        go to SB3, as plain numbers, words, lists and dicts; `RequestError` says which there are.
        """
        check(name, envs.single_action_space, settings)
        if mode not in _MODES:
            raise unknown_name_error("mode", mode, _MODES)
        if mode == "raw" and representation is not None:
            raise UsageError("mode is raw, and a representation was given; expected none")
        if not 0 <= hindsight <= 1 or updates_per_step <= 0:
            raise UsageError(
                f"hindsight is {hindsight}, expected 0 to 1; "
                f"updates_per_step is {updates_per_step}, expected more than 0"
            )
        self.name, self.seed = name, int(seed)
        pace: dict[str, Any] = {"updates_per_step": updates_per_step, "learning_starts": learning_starts}
        self.settings: dict[str, Any] = {**pace, "hindsight": hindsight, **settings}
        self.features = FeatureBuilder(envs.single_observation_space, representation)
        self._envs = SB3VecEnv(envs, self.features, self.features.box)
        self._asked = 0  # environment steps to have learned for, in all
        replay = None if name == "ppo" else self._replay(envs, hindsight)
        where = device_for(name, device)
        self._randomness = IsolatedGlobalRNG(self.seed, where)
        with self._randomness.active():
            given = copy.deepcopy(settings)  # SB3 writes into its policy_kwargs
            self.algorithm = make(name, self._envs, given, self.seed, where, replay=replay, **pace)

    def _replay(self, envs: Any, hindsight: float) -> dict[str, Any] | None:
        """What the replay is made with: the lanes that `envs` records into; None where it records nothing."""
        if not isinstance(envs, Recorder) or envs.stream is None:
            return None
        reward = goal_reward(envs) if hindsight else None
        return {
            "stream": envs.stream,
            "features": self.features,
            "first_lane": int(envs.lanes[0]),
            "seed": self.seed,
            "hindsight": None if reward is None else HindsightRelabeler(envs.stream, reward, hindsight),
        }

    # --- the contract of an agent

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """Actions (n, *A) or (n,) for observations as the vector env returned them."""
        seen = self.features(observation)
        if not explore:  # nothing is drawn
            return self._envs.native(self.algorithm.predict(seen, deterministic=True)[0])
        with self._randomness.active():
            return self._envs.native(self.algorithm.predict(seen)[0])

    def reset(self, mask: np.ndarray | None = None) -> None:
        """It remembers nothing from step to step."""

    def learn(
        self,
        envs: Any,
        steps: int,
        progress: ProgressReporter | None = None,
        logger: MetricLogger | None = None,
        callbacks: Sequence[BaseCallback] = (),
    ) -> None:
        """SB3's own `learn` for `steps` more environment steps, all lanes together, in the envs it was made with.

        Steps come num_envs at a time, those of ppo a rollout at a time; what a call takes too many, the next
        ones take less, so that learning for N and then for M is learning for N + M.
        """
        if envs is not self._envs.envs:
            raise UsageError("an SB3 agent learns in the envs it was made with")
        if isinstance(self.algorithm, OffPolicyAlgorithm):
            if self._buffer is None:
                raise UsageError(
                    f"{self.name} replays a stream; its envs must be a Recorder: Recorder.create(envs, path)"
                )
            if self._buffer.empty:  # at the start, in another stream, or in one that lost rows
                least = self.algorithm.num_timesteps + 2 * envs.num_envs
                self.algorithm.learning_starts = max(self.algorithm.learning_starts, least)
        self._asked += steps
        remaining = self._asked - self.algorithm.num_timesteps
        if remaining <= 0:
            return
        told: list[BaseCallback] = [
            ProgressCallback(progress or NullProgress()),
            *callbacks,
        ]
        with self._randomness.active():
            self.algorithm.learn(remaining, callback=CallbackList(told), reset_num_timesteps=False)

    def set_representation(self, representation: Representation) -> None:
        """Go on with a newer version: the next action and the next batch are encoded by it."""
        self.features.set_representation(representation)
        if self.algorithm._last_obs is not None:
            self.algorithm._last_obs = self._envs.present()

    def reset_envs(self, envs: Any) -> None:
        """Reset the envs before the next step, to episodes that were not lived before."""
        self.algorithm._last_obs = None
        self._envs.seed(derive(self.seed, "begin again", self.algorithm.num_timesteps) % 2**31)

    # --- going on after an end

    @property
    def _buffer(self) -> StreamReplayBuffer | None:
        buffer = getattr(self.algorithm, "replay_buffer", None)
        return buffer if isinstance(buffer, StreamReplayBuffer) else None

    def get_checkpoint(self) -> dict[str, Any]:
        """Everything that decides its future, but for envs and stream; of ppo at the end of a `learn` only."""
        algorithm, running = self.algorithm, self.algorithm._last_obs is not None
        return {
            "learned": get_training_state(algorithm),
            "asked": self._asked,
            "randomness": self._randomness.get_checkpoint(),
            "actions": generator_state(algorithm.action_space.np_random),
            "replay": None if self._buffer is None else self._buffer.get_checkpoint(),
            "envs": self._envs.get_checkpoint() if running else None,
            "starts": np.array(algorithm._last_episode_starts) if running else None,
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was; envs and stream must have been brought there as well."""
        algorithm = self.algorithm
        set_training_state(algorithm, tree["learned"])
        self._asked = int(tree["asked"])
        self._randomness.set_checkpoint(tree["randomness"])
        restore_generator(algorithm.action_space.np_random, tree["actions"])
        if self._buffer is not None:
            self._buffer.set_checkpoint(tree["replay"])
        algorithm._last_obs = None
        if tree["envs"] is not None:
            self._envs.set_checkpoint(tree["envs"])
            algorithm._last_obs = self._envs.present()
            algorithm._last_episode_starts = np.array(tree["starts"], bool)
        algorithm.ep_info_buffer, algorithm.ep_success_buffer = None, None  # figures of the last episodes

    # --- files

    def save(self, folder: str | Path) -> None:
        """Write agent.json, agent.safetensors and, with a world model in front, its folder `representation`."""
        files.save(
            folder, self.name, self.seed, self.settings, self.features, self._envs.envs, self.algorithm
        )

    @classmethod
    def load(cls, folder: str | Path, envs: Any, device: str = "auto") -> Sb3Agent:
        """The agent in a folder, ready to act in `envs`, a vector env of the same spaces.

        In a `Recorder` it can go on learning, from what it lives there.
        """
        card, representation = files.read(folder, envs, device)
        agent = cls(card["agent"], envs, representation, card["seed"], device, **card["settings"])
        set_training_state(agent.algorithm, files.read_learned(folder))
        agent._asked = agent.algorithm.num_timesteps
        return agent

    def export_zip(self, path: str | Path) -> None:
        """SB3's own zip, whole or not at all, for other tools: an agent that acts on `features`. We read none."""
        algorithm = copy.copy(self.algorithm)
        algorithm._last_obs = algorithm._last_episode_starts = None
        left_out = ["ep_info_buffer", "ep_success_buffer", "_last_original_obs"]
        if isinstance(algorithm, OffPolicyAlgorithm):
            left_out += ["replay_buffer_class", "replay_buffer_kwargs", "buffer_size"]
        archive = io.BytesIO()
        algorithm.save(archive, exclude=left_out)
        write_bytes_atomic(
            Path(path) if Path(path).suffix else Path(path).with_suffix(".zip"), archive.getvalue()
        )


class ProgressCallback(BaseCallback):
    """Tells the progress of every step."""

    def __init__(self, progress: ProgressReporter) -> None:
        super().__init__()
        self._progress = progress
        self._ended = True  # an episode, at the last step
        self._figures: dict[str, float] = {}

    def _on_step(self) -> bool:
        if self._ended and self.model.ep_info_buffer:  # which SB3 fills after this
            self._figures = {"return": float(np.mean([e["r"] for e in self.model.ep_info_buffer]))}
        self._ended = bool(np.any(self.locals["dones"]))
        self._progress.update(self.training_env.num_envs, **self._figures)
        return True


AGENTS = {"dqn": Sb3Agent, "ppo": Sb3Agent, "sac": Sb3Agent, "td3": Sb3Agent}
