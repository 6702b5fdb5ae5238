"""Stable-Baselines3's algorithms as agents: they act on a representation and learn from the stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from robossl.core import spaces
from robossl.core.contracts import Progress, Representation, Silent
from robossl.core.errors import RequestError, unknown
from robossl.core.files import load_tree, read_json, save_tree, write_json
from robossl.core.seeding import generator_state, restore_generator
from robossl.streams import Recorder

from .bridge import SB3VecEnv
from .features import Features
from .hindsight import Hindsight, goal_reward
from .randomness import Randomness
from .stream_replay import StreamReplayBuffer

_ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"sac": SAC, "td3": TD3, "ppo": PPO, "dqn": DQN}
_FITS = {"sac": "Box", "td3": "Box", "ppo": "Box or Discrete", "dqn": "Discrete"}
_FORMAT = 1


class Sb3Agent:
    """One of SB3's algorithms, with a frozen representation (or raw observations) in front of it.

    SB3 sees one flat vector: concat(z, the observation's numbers, goals), see `Features`. Off-policy
    algorithms replay the stream that `envs`, a `Recorder`, writes. Everything SB3 draws from the global
    random generators is kept apart from the rest of the process.
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
        mode: str = "frozen",
        **settings: Any,
    ) -> None:
        """`updates_per_step` is the number of gradient steps for each environment step, whatever `num_envs` is
        (ppo has its own rhythm); `settings` go to SB3 as they are."""
        if name not in _ALGORITHMS:
            raise unknown("SB3 agent", name, _ALGORITHMS)
        _check_actions(name, envs.single_action_space)
        if mode not in ("frozen", "raw", "random"):
            raise unknown("mode", mode, ("frozen", "raw", "random"))
        self.name, self.seed = name, int(seed)
        self._settings = {
            "updates_per_step": updates_per_step,
            "learning_starts": learning_starts,
            **settings,
        }
        self.features = Features(envs.single_observation_space, representation)
        self._envs = SB3VecEnv(envs, self.features, self.features.box)
        self._randomness = Randomness(self.seed)
        with self._randomness.lent():
            self.algorithm = self._build(envs, device, updates_per_step, learning_starts, settings)

    def _build(
        self, envs: Any, device: str, updates_per_step: float, learning_starts: int, settings: dict[str, Any]
    ) -> BaseAlgorithm:
        count = envs.num_envs
        common: dict[str, Any] = {"seed": self.seed % 2**31, "device": device, **settings}
        if self.name == "ppo":
            common.setdefault("n_steps", max(2048 // count, 16))
            return PPO("MlpPolicy", self._envs, **common)
        if not isinstance(envs, Recorder) or envs.stream is None:
            raise RequestError(
                f"{self.name} replays a stream; its envs must be a Recorder: Recorder.create(envs, path)"
            )
        reward = goal_reward(envs)
        common |= {
            "learning_starts": max(learning_starts, 2 * count),  # a first row must be in the stream
            "train_freq": 1,
            "gradient_steps": max(round(updates_per_step * count), 1),
            "buffer_size": count,
            "replay_buffer_class": StreamReplayBuffer,
            "replay_buffer_kwargs": {
                "stream": envs.stream,
                "features": self.features,
                "first_lane": int(envs.lanes[0]),
                "seed": self.seed,
                "hindsight": None if reward is None else Hindsight(envs.stream, reward),
            },
        }
        if self.name == "td3":
            width = int(np.prod(envs.single_action_space.shape))
            common.setdefault("action_noise", NormalActionNoise(np.zeros(width), np.full(width, 0.1)))
        if self.name == "dqn":  # an exploration that does not depend on how long a round is
            common |= {"exploration_initial_eps": 0.1, "exploration_final_eps": 0.1}
        return _ALGORITHMS[self.name]("MlpPolicy", self._envs, **common)

    # --- the contract of an agent

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """Actions (n, A) or (n,) for observations as the vector env returned them."""
        with self._randomness.lent():
            action, _ = self.algorithm.predict(self.features(observation), deterministic=not explore)
        return action

    def reset(self, mask: np.ndarray | None = None) -> None:
        """It remembers nothing from step to step."""

    def learn(self, envs: Any, steps: int, progress: Progress | None = None) -> None:
        """SB3's own `learn` for `steps` more environment steps, all lanes together, in the envs it was made with."""
        if envs is not self._envs.envs:
            raise RequestError("an SB3 agent learns in the envs it was made with")
        with self._randomness.lent():
            self.algorithm.learn(
                steps, callback=_Told(progress or Silent()), reset_num_timesteps=False, log_interval=None
            )

    def adopt(self, representation: Representation) -> None:
        """Go on with a newer version: the next action and the next batch are encoded by it."""
        self.features.adopt(representation)
        if self._envs.observation is not None:
            self.algorithm._last_obs = self._envs.present()

    def begin_episodes(self, envs: Any) -> None:
        """Reset the envs before the next step."""
        self.algorithm._last_obs = None

    # --- going on after an end

    def get_checkpoint(self) -> dict[str, Any]:
        """Weights, optimisers, counters, the latest observation and all randomness."""
        algorithm = self.algorithm
        tree: dict[str, Any] = {
            "policy": dict(algorithm.policy.state_dict()),
            "optimisers": {n: o.state_dict()["state"] for n, o in self._optimisers().items()},
            "steps": algorithm.num_timesteps,
            "updates": algorithm._n_updates,
            "episodes": algorithm._episode_num,
            "randomness": self._randomness.get_checkpoint(),
            "actions": generator_state(algorithm.action_space.np_random),
            "observation": None,
        }
        if algorithm._last_obs is not None:
            tree["observation"] = spaces.split(self.features.space, self._envs.observation)
            tree["starts"] = np.asarray(algorithm._last_episode_starts)
            tree["returns"], tree["lengths"] = self._envs.running()
        if hasattr(algorithm, "log_ent_coef"):
            tree["log_entropy"] = algorithm.log_ent_coef
        if hasattr(algorithm, "_n_calls"):
            tree["calls"] = algorithm._n_calls
        if isinstance(algorithm, OffPolicyAlgorithm):
            assert isinstance(algorithm.replay_buffer, StreamReplayBuffer)
            tree["replay"] = algorithm.replay_buffer.get_checkpoint()
        return tree

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was; the envs must have been brought there as well."""
        self._set_learned(tree)
        algorithm = self.algorithm
        self._randomness.set_checkpoint(tree["randomness"])
        restore_generator(algorithm.action_space.np_random, tree["actions"])
        if isinstance(algorithm, OffPolicyAlgorithm):
            assert isinstance(algorithm.replay_buffer, StreamReplayBuffer)
            algorithm.replay_buffer.set_checkpoint(tree["replay"])
        if tree["observation"] is not None:
            self._envs.go_on(
                spaces.join(self.features.space, tree["observation"]), tree["returns"], tree["lengths"]
            )
            algorithm._last_obs = self._envs.present()
            algorithm._last_episode_starts = np.asarray(tree["starts"], bool)
            algorithm.ep_info_buffer, algorithm.ep_success_buffer = None, None

    def _set_learned(self, tree: dict[str, Any]) -> None:
        """Weights, optimisers and counters."""
        algorithm = self.algorithm
        policy = {n: torch.from_numpy(np.array(v)) for n, v in tree["policy"].items()}
        ours = algorithm.policy.state_dict()
        if {n: tuple(v.shape) for n, v in policy.items()} != {n: tuple(v.shape) for n, v in ours.items()}:
            raise RequestError(
                f"the saved {self.name} has other weights than this one; it was made for other observations "
                "or actions, or with other settings"
            )
        algorithm.policy.load_state_dict(policy)
        if "log_entropy" in tree:
            with torch.no_grad():
                algorithm.log_ent_coef.copy_(torch.from_numpy(np.array(tree["log_entropy"])))
        for name, optimiser in self._optimisers().items():
            state = {
                i: {k: torch.from_numpy(np.array(v)) for k, v in entry.items()}
                for i, entry in tree["optimisers"][name].items()
            }
            optimiser.load_state_dict(
                {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
            )
        algorithm.num_timesteps, algorithm._n_updates = int(tree["steps"]), int(tree["updates"])
        algorithm._episode_num = int(tree["episodes"])
        if "calls" in tree:
            algorithm._n_calls = int(tree["calls"])

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """All optimisers of the algorithm by where they hang."""
        algorithm = self.algorithm
        found = {
            "policy": getattr(algorithm.policy, "optimizer", None),
            "actor": getattr(getattr(algorithm, "actor", None), "optimizer", None),
            "critic": getattr(getattr(algorithm, "critic", None), "optimizer", None),
            "entropy": getattr(algorithm, "ent_coef_optimizer", None),
        }
        return {name: optimiser for name, optimiser in found.items() if optimiser is not None}

    # --- files

    def save(self, folder: str | Path) -> None:
        """Write agent.json, agent.safetensors and, with a world model in front, its folder `representation`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        representation = self.features.representation
        write_json(
            folder / "agent.json",
            {
                "format": _FORMAT,
                "agent": self.name,
                "seed": self.seed,
                "settings": self._settings,
                "representation": None if representation is None else "representation",
                "observation_space": spaces.to_json(self.features.space),
                "action_space": spaces.to_json(self._envs.envs.single_action_space),
            },
        )
        save_tree(folder / "agent.safetensors", self.get_checkpoint())
        if representation is not None:
            representation.save(folder / "representation")  # type: ignore[attr-defined]

    @classmethod
    def load(cls, folder: str | Path, envs: Any, device: str = "auto") -> Sb3Agent:
        """The agent in a folder, ready to act in `envs`, a vector env of the same spaces."""
        from robossl.world import WorldModel

        folder = Path(folder)
        card = read_json(folder / "agent.json")
        if not isinstance(card, dict) or card.get("format") != _FORMAT:
            raise RequestError(f"{folder / 'agent.json'} does not describe an agent of format {_FORMAT}")
        for what, space in (
            ("observation", envs.single_observation_space),
            ("action", envs.single_action_space),
        ):
            theirs = spaces.from_json(card[f"{what}_space"])
            if theirs != space:
                raise RequestError(
                    f"the agent in {folder} was made for {what}s {theirs}; this env has {space}"
                )
        model = WorldModel.load(folder / "representation").freeze() if card["representation"] else None
        agent = cls.acting(card["agent"], envs, model, card["seed"], device, card["settings"])
        agent._set_learned(load_tree(folder / "agent.safetensors"))
        return agent

    @classmethod
    def acting(
        cls, name: str, envs: Any, model: Any, seed: int, device: str, settings: dict[str, Any]
    ) -> Sb3Agent:
        """An agent that acts in `envs` without recording; it cannot learn off-policy there."""
        agent = cls.__new__(cls)
        agent.name, agent.seed, agent._settings = name, seed, dict(settings)
        agent.features = Features(envs.single_observation_space, model)
        agent._envs = SB3VecEnv(envs, agent.features, agent.features.box)
        agent._randomness = Randomness(seed)
        rest = {k: v for k, v in settings.items() if k not in ("updates_per_step", "learning_starts")}
        if name != "ppo":
            rest["buffer_size"] = 1
        with agent._randomness.lent():
            agent.algorithm = _ALGORITHMS[name](
                "MlpPolicy", agent._envs, seed=seed % 2**31, device=device, **rest
            )
        return agent

    def export_zip(self, path: str | Path) -> None:
        """SB3's own zip, for other tools. robossl never reads one."""
        self.algorithm.save(path, exclude=["replay_buffer", "env", "replay_buffer_kwargs"])


class _Told(BaseCallback):
    """Tells the progress of every step."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def _on_step(self) -> bool:
        figures = {}
        if self.model.ep_info_buffer:
            figures["return"] = float(np.mean([e["r"] for e in self.model.ep_info_buffer]))
        self._progress.advance(self.training_env.num_envs, **figures)
        return True


def _check_actions(name: str, space: gym.Space) -> None:
    kind = type(space).__name__
    if kind not in _FITS[name]:
        fitting = [n for n, kinds in _FITS.items() if kind in kinds]
        raise RequestError(
            f"{name} needs {_FITS[name]} actions; this env has {space}; "
            f"what fits: {', '.join(fitting) or 'nothing'}"
        )


AGENTS = dict.fromkeys(_ALGORITHMS, Sb3Agent)
