"""Gymnasium wrappers that replace observations by the latent of a frozen encoder, for any RL library."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from robossl.core.agent_observation import observed_leaves, resolve_observed
from robossl.core.encoding import encode, encoded_dim
from robossl.core.errors import UsageError
from robossl.core.interfaces import Representation
from robossl.core.spaces import flatten_by_path, format_space, is_image, model_inputs
from robossl.world_model.model import WorldModel

Observed = Literal["latent", "latent_observation"]


class _Features:
    """Conversion of observations (n, ...) of an env to features (n, F): the latent, then numbers of the observation.

    Of images the encoder also reads those one step earlier, which are kept for each sub-environment.
    """

    def __init__(
        self, space: gym.Space, model: Representation, observed: Observed | None, num_envs: int
    ) -> None:
        if not isinstance(model, Representation):
            raise UsageError(
                f"expected a world model, or an object with latent_dim, version and encode, got "
                f"{type(model).__name__}; load a folder with robossl.load(folder)"
            )
        self._check_space(space, model)
        self.model = model.frozen_copy() if isinstance(model, WorldModel) else model
        self.space, self.num_envs = space, num_envs
        resolved = resolve_observed("frozen", observed, space)
        self._vectors = observed_leaves(space, resolved)
        self.size = self.model.latent_dim + sum(encoded_dim(leaf) for leaf in self._vectors.values())  # F
        images = any(is_image(leaf) for leaf in model_inputs(space).values())
        self._keeps_previous = images and isinstance(model, WorldModel)  # others encode no previous images
        self._last: Any = None  # the last observation
        self._before_last: Any = None  # the one before it, or itself in new episodes

    @staticmethod
    def _check_space(space: gym.Space, model: Representation) -> None:
        expected = getattr(model, "observation_space", space)
        if expected != space:
            raise UsageError(
                f"expected an env with observations {format_space(expected)}, which the model was made for, "
                f"got {format_space(space)}"
            )

    def restart(self) -> None:
        """Begin new episodes in all sub-environments."""
        self._last = self._before_last = None

    def __call__(self, observation: Any, first: np.ndarray | None = None) -> np.ndarray:
        """Return features (n, F) float32 of the next observation, and keep its images.

        Args:
            observation: Of all sub-environments.
            first: (n,) bool: those whose observation is the first one of an episode.
        """
        return self._features_after(self._last, observation, first)

    def after_reset_of(self, mask: np.ndarray, observation: Any) -> np.ndarray:
        """Return features (n, F) after a reset of the sub-environments of `mask` (n,); the others took no step."""
        return self._features_after(self._before_last, observation, mask)

    def _features_after(self, previous: Any, observation: Any, first: np.ndarray | None) -> np.ndarray:
        if not self._keeps_previous:
            return self.of(observation)
        if previous is not None and first is not None and first.any():
            previous = _where(first, observation, previous)
        self._before_last, self._last = (
            _copy(observation) if previous is None else previous,
            _copy(observation),
        )
        return self.of(observation, previous)

    def of(self, observation: Any, previous: Any = None) -> np.ndarray:
        """Return features (n, F) float32 of observations and those one step earlier."""
        arguments = (observation,) if previous is None else (observation, previous)
        z = np.asarray(self.model.encode(*arguments), np.float32)
        parts = flatten_by_path(self.space, observation)
        columns = [encode(leaf, parts[path]) for path, leaf in self._vectors.items()]
        return np.concatenate([z, *columns], axis=-1, dtype=np.float32)

    def of_final(self, observation: Any, env_index: int) -> np.ndarray:
        """Return features (F,) of the last observation of an episode, which was not among those of `__call__`."""
        previous = None if self._last is None else _map(lambda value: value[env_index], self._last)
        return self.of(observation, previous)


class RepresentationWrapper(gym.ObservationWrapper, gym.utils.RecordConstructorArgs):
    """An env whose observations are the latent of a frozen encoder, and by default also the numbers of the observation.

    The observation is a Box (F,) float32, which every RL library takes. Of a goal env it always has the desired goal,
    which no latent contains.

    Example:
        model = robossl.from_pretrained("reacher")
        env = robossl.RepresentationWrapper(gymnasium.make("robossl/Reacher-v0"), model)
        stable_baselines3.SAC("MlpPolicy", env).learn(5000)
    """

    def __init__(self, env: gym.Env, model: Representation, observed: Observed | None = None) -> None:
        """Wrap an env.

        Args:
            env: An env with the observations that the model was made for.
            model: A world model, or an object with `latent_dim`, `version` and `encode`; it is copied and not trained.
            observed: "latent", or "latent_observation" for latent and numbers; None: both, of images the latent alone.

        Raises:
            UsageError: The model was made for other observations.
        """
        if not isinstance(env, gym.Env):
            other = (
                "; wrap a vector env with RepresentationVectorWrapper" if isinstance(env, VectorEnv) else ""
            )
            raise UsageError(f"expected a Gymnasium env, got {type(env).__name__}{other}")
        gym.utils.RecordConstructorArgs.__init__(self, model=model, observed=observed)
        gym.ObservationWrapper.__init__(self, env)
        self._features = _Features(env.observation_space, model, observed, 1)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (self._features.size,), np.float32)

    @property
    def model(self) -> Representation:
        """The frozen encoder."""
        return self._features.model

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Reset the env; see `gymnasium.Env.reset`."""
        self._features.restart()
        return super().reset(seed=seed, options=options)

    def observation(self, observation: Any) -> np.ndarray:
        """Return the features (F,) of an observation."""
        return self._features(observation)


class RepresentationVectorWrapper(VectorWrapper):
    """A vector env whose observations are features (n, F), as those of `RepresentationWrapper`.

    All autoreset modes are supported; `final_obs` of the infos is converted too.

    Example:
        envs = gymnasium.make_vec("robossl/Reacher-v0", num_envs=16)
        envs = robossl.RepresentationVectorWrapper(envs, robossl.from_pretrained("reacher"))
    """

    def __init__(self, env: VectorEnv, model: Representation, observed: Observed | None = None) -> None:
        """Wrap a vector env.

        Args:
            env: A vector env with the observations that the model was made for.
            model: A world model, or an object with `latent_dim`, `version` and `encode`; it is copied and not trained.
            observed: "latent", or "latent_observation" for latent and numbers; None: both, of images the latent alone.

        Raises:
            UsageError: The model was made for other observations.
        """
        if not isinstance(env, VectorEnv):
            other = "; wrap a single env with RepresentationWrapper" if isinstance(env, gym.Env) else ""
            raise UsageError(f"expected a vector env of Gymnasium, got {type(env).__name__}{other}")
        super().__init__(env)
        self._features = _Features(env.single_observation_space, model, observed, env.num_envs)
        shape = (self._features.size,)
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (env.num_envs, *shape), np.float32)
        self._mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._ended = np.zeros(env.num_envs, bool)  # (n,) episodes that ended in the last step

    @property
    def model(self) -> Representation:
        """The frozen encoder."""
        return self._features.model

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """When a sub-environment is reset after its episode; TorchRL reads it."""
        return AutoresetMode(self._mode)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Reset the sub-environments; see `gymnasium.vector.VectorEnv.reset`."""
        mask = (
            None if options is None else options.get("reset_mask")
        )  # before the env takes it out of the options
        observation, infos = self.env.reset(seed=seed, options=options)
        self._ended[:] = False
        if mask is not None:
            return self._features.after_reset_of(np.asarray(mask, bool), observation), infos
        self._features.restart()
        return self._features(observation), infos

    def step(self, actions: Any) -> tuple[np.ndarray, Any, Any, Any, dict[str, Any]]:
        """Step the sub-environments; see `gymnasium.vector.VectorEnv.step`."""
        observation, reward, terminated, truncated, infos = self.env.step(actions)
        done = np.logical_or(terminated, truncated)
        if "final_obs" in infos:
            infos = {**infos, "final_obs": self._final(infos["final_obs"], done)}
        first = done if self._mode == AutoresetMode.SAME_STEP else self._ended
        self._ended = done if self._mode == AutoresetMode.NEXT_STEP else np.zeros_like(done)
        return self._features(observation, first), reward, terminated, truncated, infos

    def _final(self, observations: Any, done: np.ndarray) -> np.ndarray:
        """Return the features of the last observations of episodes, None where no episode ended."""
        final = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(done):
            last = _map(lambda values: values[i], observations)  # noqa: B023 - an array of observations, or a batch
            final[i] = self._features.of_final(last, int(i))
        return final


def _map(function: Any, value: Any, *others: Any) -> Any:
    if isinstance(value, dict):
        return {key: _map(function, value[key], *(other[key] for other in others)) for key in value}
    if isinstance(value, tuple):
        return tuple(_map(function, *parts) for parts in zip(value, *others))
    return function(value, *others)


def _copy(observation: Any) -> Any:
    return _map(np.copy, observation)


def _where(mask: np.ndarray, now: Any, before: Any) -> Any:
    """Return `now` in the sub-environments of `mask` (n,), else `before`."""
    return _map(lambda a, b: np.where(mask.reshape(-1, *[1] * (np.ndim(a) - 1)), a, b), now, before)
