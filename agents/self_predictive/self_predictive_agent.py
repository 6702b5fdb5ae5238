"""Self-predictive agent: TD3 on a learned state-action embedding, with the recorded stream as replay."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.interfaces import MetricLogger, NullProgress, Observation, ProgressReporter, Representation
from robossl.core.io import load_tree, save_tree
from robossl.core.seeding import derive, generator, generator_state, restore_generator
from robossl.core.spaces import format_space, is_image, model_inputs
from robossl.rollout import StepResult
from robossl.streams import Recorder, Stream
from robossl.streams.env_metadata import env_id
from robossl.world_model import WorldModel
from robossl.world_model.device import resolve

from ..sb3.features import FeatureBuilder
from ..sb3.hindsight import HindsightRelabeler, goal_reward
from ..shared.action_range import action_range
from ..shared.loop_agent import LoopAgent
from ..shared.settings_file import read_settings, write_settings
from .learner import Learner
from .presets import make_config
from .prioritized_replay import Replay
from .training import Training

_HEADER = {"format": 1}  # of self_predictive.json
_STARTS_WITH_STREAM = (
    1000  # [env steps] with random actions where a stream without rewards replaces the others
)


class SelfPredictiveAgent(LoopAgent):
    """Actor-critic on an embedding that is trained to predict its own future, the reward and the termination.

    It replays the lanes of the stream that its envs, a `Recorder`, write; in other envs it only acts. With a recorded
    `stream` it also replays that: half of each batch, as soon as its own lanes hold a window.
    """

    name = "self-predictive"
    replays_own_steps = True
    offline_updates = 2000

    def __init__(
        self,
        envs: VectorEnv,
        representation: Representation | None = None,
        seed: int = 0,
        device: str = "auto",
        stream: Stream | None = None,
        preset: str = "cpu",
        updates_per_step: float | None = None,
        learning_starts: int | None = None,
        stream_reward: bool | None = None,
        **settings: Any,
    ) -> None:
        """Create an agent for `envs`.

        Args:
            envs: The envs to act and learn in.
            representation: A frozen encoder, or None; its latent is one more input of the embedding.
            seed: Seed of weights, exploration and replay.
            device: Device of the networks; `auto` is an accelerator if there is one.
            stream: Recorded stream of envs with the same spaces. It replaces the steps with random actions: without
                rewards it trains the embedding, with rewards all networks.
            preset: `cpu` or `gpu`.
            updates_per_step: Updates for each env step; None: that of the preset.
            learning_starts: Env steps with random actions; None: that of the preset, or with a stream none (with
                rewards) or 1,000.
            stream_reward: Whether the rewards of `stream` are those of this task; None: if it records the same env and
                not all of them are 0.
            settings: Fields of `SelfPredictiveConfig`, in place of those of the preset.

        Raises:
            UsageError: For unknown or invalid settings, actions other than a float Box, or observations with images.
        """
        given = {**settings, "updates_per_step": updates_per_step, "learning_starts": learning_starts}
        self.check_settings({**given, "preset": preset, "stream_reward": stream_reward})
        self.check_spaces(envs.single_observation_space, envs.single_action_space, given)
        space: Any = envs.single_action_space
        self.config = make_config(preset, given)
        super().__init__(envs, seed)
        self._action_space = space
        self.features = FeatureBuilder(envs.single_observation_space, representation)
        self._low, self._high = action_range(space)
        self._random = generator(self.seed, "exploration")
        learner = Learner(
            self.features.size, self._low.size, self.config, derive(self.seed, "weights"), resolve(device)
        )
        recorded = None if stream is None else self._replay(stream, np.arange(stream.lanes), fades=False)
        has_reward = stream is not None and (
            _same_task(stream, envs) if stream_reward is None else stream_reward
        )
        own = None
        if isinstance(envs, Recorder) and envs.stream is not None:
            own = self._replay(envs.stream, envs.lanes)
        self.training = Training(learner, self.config, own, recorded, has_reward, self.seed)
        starts = self.config.learning_starts
        if stream is not None and learning_starts is None:
            starts = 0 if has_reward else min(starts, _STARTS_WITH_STREAM)
        self._starts = starts
        self._due_updates = 0.0  # updates that the steps so far entitle to

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Check names and values of settings.

        Raises:
            UsageError: For an unknown setting or preset, or an invalid value.
        """
        rest = {name: value for name, value in settings.items() if name not in ("preset", "stream_reward")}
        make_config(settings.get("preset", "cpu"), rest)
        if not isinstance(value := settings.get("stream_reward"), (bool, type(None))):
            raise UsageError(f"self-predictive setting stream_reward: expected true or false, got {value!r}")

    @classmethod
    def check_spaces(cls, observations: gym.Space, actions: gym.Space, settings: Mapping[str, Any]) -> None:
        """Raise UsageError for actions other than a float Box, or observations with images."""
        if not isinstance(actions, gym.spaces.Box) or not np.issubdtype(actions.dtype, np.floating):
            raise UsageError(f"self-predictive needs float Box actions; this env has {format_space(actions)}")
        if any(is_image(leaf) for leaf in model_inputs(observations).values()):
            raise UsageError(
                f"self-predictive needs observations without images, got {format_space(observations)}; use an SB3 "
                "agent with an encoder"
            )

    def _replay(self, stream: Stream, lanes: np.ndarray, fades: bool = True) -> Replay:
        reward = goal_reward(self.envs) if self.config.hindsight else None
        relabeler = None if reward is None else HindsightRelabeler(stream, reward, self.config.hindsight)
        return Replay(stream, lanes, self.features, self.config, relabeler, fades)

    # --- acting

    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A); exploring ones are random at first, later those of the policy with noise."""
        inputs = self.features(observation)  # (n, I)
        shape = (len(inputs), self._low.size)
        if explore and self._loop.num_steps < self._starts:
            unit = self._random.uniform(-1, 1, shape)
        else:
            unit = self.training.learner.act(inputs).astype(np.float64)
            if explore:
                unit = unit + self.config.exploration_std * self._random.standard_normal(shape)
        unit = unit.clip(-1, 1).reshape(len(inputs), *self._low.shape)
        action = self._low + (unit + 1) / 2 * (self._high - self._low)
        space = self._action_space
        return action.astype(space.dtype).clip(space.low, space.high)  # sums round

    # --- learning

    def _learn_from_step(self, step: StepResult, logger: MetricLogger | None) -> None:
        """Take the updates of this vector step, once the random steps are over."""
        self.training.add_rewards(step.reward[step.real])
        if self._loop.num_steps > self._starts and self.training.can_update:
            self._due_updates += self.config.updates_per_step * int(step.real.sum())
            while self._due_updates >= 1:
                self._due_updates -= 1
                self.training.update(self._loop.num_steps, logger)

    def _finish_learning(self, logger: MetricLogger | None) -> None:
        """Log the metrics since the last line."""
        self.training.log(self._loop.num_steps, logger)

    def learn_offline(
        self, updates: int, progress: ProgressReporter | None = None, logger: MetricLogger | None = None
    ) -> None:
        """Learn from the recorded stream: all networks, or without rewards the embedding alone."""
        if self.training.recorded is None:
            raise UsageError("self-predictive learns offline from a recorded stream, got none; pass stream")
        progress = progress or NullProgress()
        for _ in range(updates):
            self.training.update_offline(logger)
            progress.update(1)
        self.training.log(self.training.num_offline, logger)

    def set_representation(self, representation: Representation) -> None:
        """Switch to a newer version of the encoder; agents without one ignore the call."""
        if self.features.representation is not None:
            self.features.set_representation(representation)

    # --- checkpoints and files

    def get_checkpoint(self) -> dict[str, Any]:
        """Return everything that determines future actions and updates, except envs and streams."""
        return {
            "training": self.training.get_checkpoint(),
            "exploration": generator_state(self._random),
            "due_updates": self._due_updates,
            "loop": self._loop.get_checkpoint(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`; envs and streams must have been restored as well."""
        self.training.set_checkpoint(tree["training"])
        restore_generator(self._random, tree["exploration"])
        self._due_updates = float(tree["due_updates"])
        self._loop.set_checkpoint(tree["loop"])

    def save(self, folder: str | Path) -> None:
        """Write self_predictive.json and .safetensors, and a world model it observes into `representation`."""
        folder, representation = Path(folder), self.features.representation
        if representation is not None:
            if not isinstance(representation, WorldModel):
                name = type(representation).__name__
                raise UsageError(f"expected a WorldModel to save the agent with, got {name}")
            representation.save(folder / "representation")
        save_tree(folder / "self_predictive.safetensors", self.training.learner.get_state())
        settings = dataclasses.asdict(self.config)
        write_settings(folder / "self_predictive.json", _HEADER, self.seed, settings)

    @classmethod
    def load(cls, folder: str | Path, envs: VectorEnv, device: str = "auto") -> SelfPredictiveAgent:
        """Return the agent that `save` wrote, ready to act in `envs`; in a `Recorder` it can continue to learn."""
        folder = Path(folder)
        path = folder / "self_predictive.json"
        seed, settings = read_settings(path, _HEADER, "a self-predictive agent")
        encoder = folder / "representation"
        representation = WorldModel.load(encoder, device).frozen_copy() if encoder.is_dir() else None
        agent = cls(envs, representation, seed, device, **settings)
        agent._starts = 0  # the random steps are over
        agent.training.learner.set_state(load_tree(folder / "self_predictive.safetensors"))
        return agent


def _same_task(stream: Stream, envs: VectorEnv) -> bool:
    """Return whether a stream records the env of `envs` and rewards other than 0."""
    if stream.header.get("env") != env_id(envs):
        return False
    return any(
        stream.read(lane, 0, int(length), ["reward"])["reward"].any()
        for lane, length in enumerate(stream.lengths)
    )


AGENTS = {"self-predictive": SelfPredictiveAgent}
