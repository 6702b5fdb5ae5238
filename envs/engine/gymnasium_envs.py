"""Other people's envs: any Gymnasium id as a vector env, vectorised as a short race says."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper

from robossl.core.errors import OperationError, UsageError
from robossl.core.traceback_utils import innermost_env_frame

from .mujoco_setup import choose_backend, load_mujoco

_CHEAP = 1e-3  # [s] a step quicker than this is never worth a process of its own
_PROBE = 32  # steps of one env that tell whether a race is worth while
_RACE = 0.3  # [s] each way


class GymnasiumVectorEnv(VectorWrapper):
    """Gymnasium's own vectorisation of an id, with pictures lane by lane.

    Whatever the env raises becomes a `WorkError` of one line that names the env, as it was `asked` for, and where
    it stood.
    """

    def __init__(self, env: VectorEnv, asked: str) -> None:
        super().__init__(env)
        self._asked = asked

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """All lanes, or those of `options["reset_mask"]`."""
        with _named(self._asked, "reset"):
            return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step of all lanes."""
        with _named(self._asked, "step"):
            return self.env.step(actions)

    def render_frame(self, lane: int) -> np.ndarray | None:
        """(H, W, 3) uint8 of one lane; None where the env draws no pictures.

        Errors as in `render`.
        """
        if self.render_mode != "rgb_array" or not isinstance(self.env, SyncVectorEnv):
            return None
        with _drawn(self._asked):
            return self.env.envs[lane].render()  # type: ignore[return-value]

    def render(self) -> tuple[Any, ...] | None:
        """What each lane shows, None where the env draws nothing.

        RequestError where the env says that a package for drawing is missing.
        """
        with _drawn(self._asked):
            return self.env.render()


class _Maker:
    """Makes one env, here or in another process, without MuJoCo's chatter about old models."""

    def __init__(self, spec: EnvSpec, arguments: dict[str, Any], asked: str) -> None:
        self.spec, self.arguments, self.asked = spec, arguments, asked

    def __call__(self) -> gymnasium.Env:
        with _quiet(self.spec):
            return gymnasium.make(self.spec, **self.arguments)


@contextmanager
def _drawn(asked: str) -> Iterator[None]:
    """As `_named`, and in plain words where there is nothing to draw with."""
    with _named(asked, "render"):
        try:
            yield
        except gymnasium.error.DependencyNotInstalled as error:
            raise UsageError(f"no pictures of this env: {_one_line(error)}") from error


@contextmanager
def _named(asked: str, call: str) -> Iterator[None]:
    """What a stranger's env raises, in one line: which env, in which call, what, and where in its code."""
    try:
        yield
    except (UsageError, OperationError):
        raise
    except Exception as error:
        words = f"{asked} raised {type(error).__name__} in {call}: {_one_line(error)}"
        raise OperationError(f"{words}{_where(error)}; see robossl check {asked}") from error


def _where(error: Exception) -> str:
    """The innermost line that is the env's own: ` (my_env.py:31)`; nothing where none is."""
    frame = innermost_env_frame(traceback.extract_tb(error.__traceback__), but=(__file__,))
    return "" if frame is None else f" ({os.path.basename(frame.filename)}:{frame.lineno})"


def make_gymnasium_envs(
    env_id: str,
    num_envs: int = 1,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    vectorization: str = "auto",
    **arguments: Any,
) -> GymnasiumVectorEnv:
    """`num_envs` lanes of any Gymnasium id ("id" or "module:id"), each with the time limit of its spec.

    `vectorization` is "sync", "async" (a process a lane) or "auto": sync, unless the env is slow and a race
    of a third of a second each shows async ahead. Pictures are drawn in this process only (a GL context does
    not survive a fork): with a render_mode it is sync. `arguments` go to `gymnasium.make`.
    """
    if vectorization not in ("auto", "sync", "async"):
        raise UsageError(f"unknown vectorization {vectorization!r}; there are: auto, sync, async")
    if num_envs < 1:
        raise UsageError(f"expected num_envs >= 1, got {num_envs}")
    if arguments.get("render_mode") is not None:
        if vectorization == "async":
            raise UsageError("pictures need vectorization='sync'; got 'async' with a render_mode")
        vectorization = "sync"
    spec = _find(env_id)
    maker = _Maker(spec, arguments, env_id)
    mode = AutoresetMode(autoreset_mode)
    try:
        envs = _vectorized(maker, num_envs, mode, vectorization)
    except OperationError:
        raise
    except Exception as error:
        raise UsageError(f"the env {env_id!r} cannot be made: {_one_line(error)}") from error
    envs.spec = spec
    return GymnasiumVectorEnv(envs, env_id)


def _vectorized(maker: _Maker, num_envs: int, mode: AutoresetMode, vectorization: str) -> VectorEnv:
    if vectorization == "async":
        return AsyncVectorEnv([maker] * num_envs, autoreset_mode=mode)
    if vectorization == "sync" or num_envs == 1 or _seconds_a_step(maker) < _CHEAP:
        return SyncVectorEnv([maker] * num_envs, autoreset_mode=mode)
    entrants = [kind([maker] * num_envs, autoreset_mode=mode) for kind in (SyncVectorEnv, AsyncVectorEnv)]
    speeds = [_steps_a_second(envs) for envs in entrants]
    winner = int(np.argmax(speeds))
    entrants[1 - winner].close()
    return entrants[winner]


def _seconds_a_step(maker: _Maker) -> float:
    """[s] a step of one env takes, resets included."""
    env = maker()
    env.action_space.seed(0)
    with _named(maker.asked, "its first steps"):
        env.reset(seed=0)
        began = time.perf_counter()
        for _ in range(_PROBE):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
        taken = time.perf_counter() - began
    env.close()
    return taken / _PROBE


def _steps_a_second(envs: VectorEnv) -> float:
    """Vector steps a second, over a third of a second."""
    envs.reset(seed=0)
    envs.action_space.seed(0)
    ended = np.zeros(envs.num_envs, bool)
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < _RACE:
        _, _, terminated, truncated, _ = envs.step(envs.action_space.sample())
        ended = terminated | truncated
        if envs.metadata["autoreset_mode"] == AutoresetMode.DISABLED and ended.any():
            envs.reset(options={"reset_mask": ended})
        steps += 1
    return steps / (time.perf_counter() - began)


def _find(env_id: str) -> EnvSpec:
    """What Gymnasium knows of "id" or "module:id"."""
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UsageError(
                f"the module of env {env_id!r} cannot be imported: {_one_line(error)}"
            ) from error
    if name not in gymnasium.registry:
        near = difflib.get_close_matches(name, gymnasium.registry, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "is the package that registers it imported?"
        raise UsageError(f"no env {name!r} among the {len(gymnasium.registry)} Gymnasium knows; {hint}")
    return gymnasium.registry[name]


@contextmanager
def _quiet(spec: EnvSpec) -> Iterator[None]:
    """Silence MuJoCo's console while an env is made, and its log file for good.

    Gymnasium's MuJoCo models are of an old dialect, of which MuJoCo complains at every compile.
    """
    choose_backend()
    if isinstance(spec.entry_point, str):
        if "mujoco" in spec.entry_point:
            load_mujoco()  # whose import fails with clear words
        load_env_creator(spec.entry_point)  # imports MuJoCo if the env is of that kind
    if "mujoco" not in sys.modules:
        yield
        return
    mujoco = load_mujoco()
    config = mujoco.MjLogConfig.get()
    spoken, config.logto_console = config.logto_console, False
    mujoco.MjLogConfig.set(config)
    try:
        yield
    finally:
        config.logto_console = spoken
        mujoco.MjLogConfig.set(config)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
