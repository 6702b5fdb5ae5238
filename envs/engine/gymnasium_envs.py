"""Third-party envs: any Gymnasium id as a vector env, in one process or in several, whichever is faster."""

from __future__ import annotations

import copy
import difflib
import functools
import importlib
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper

from robossl.core.autoreset import parse_autoreset_mode
from robossl.core.call_watch import HungCallError, watched
from robossl.core.env_ids import EnvName, parse_wrapper
from robossl.core.errors import OperationError, UsageError, one_line
from robossl.core.limits import MAX_PROCESSES, check_memory, guarded
from robossl.core.rendered_frame import as_frame
from robossl.core.seeding import env_seed
from robossl.core.spaces import is_image, leaves

from .batched_envs import AsyncEnvs, SyncEnvs
from .env_adapter import AdaptedEnvs
from .env_errors import close_tolerantly, describe_error, translate_errors, translate_render_errors
from .info_trial import recordable_infos
from .mujoco_setup import QuietConsole, choose_backend, load_mujoco
from .standard_env import StandardEnv
from .stuck_envs import stuck_env
from .vector_entry import SingleOfVector, make_vector_entry

_logger = logging.getLogger(__name__)
_reported: set[str] = set()  # envs whose left-out parts were logged

_CHEAP_STEP = 1e-3  # [s] an env with a faster step never gains from separate processes
_PROBE_STEPS = 32  # of one env, to measure its step
FRAME_MODES = ("rgb_array", "rgb_array_list")  # render modes that give frames
_TRIAL_TIME = 0.3  # [s] of each vectorization


class GymnasiumVectorEnv(VectorWrapper):
    """Gymnasium's vectorization of an id, which can render one sub-environment.

    Errors of the env become an `OperationError` of one line with the env, the call and the line in the env's code.

    Example:
        envs = robossl.envs.make_gymnasium_envs("Pendulum-v1", num_envs=8)

    Args:
        env: Gymnasium's vector env.
        env_name: The env as the user named it, for messages.
        make_env: Makes one sub-environment.
    """

    def __init__(self, env: VectorEnv, env_name: str, make_env: EnvMaker) -> None:
        super().__init__(env)
        self.env_name = env_name
        self._make_env = make_env
        self._step_name = f"{env_name}: step"  # of messages
        self._hangs = False
        self._trial: gymnasium.Env | None = None  # closed last: closing one env ends others in some packages

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all sub-environments, or those of `options["reset_mask"]`.

        A seed is reduced to 31 bits (`env_seed`): many envs seed generators that take no more.
        """
        seed = env_seed(int(seed), self.num_envs) if isinstance(seed, (int, np.integer)) else seed
        try:
            with watched(f"{self.env_name}: reset", self._stuck), translate_errors(self.env_name, "reset"):
                return self.env.reset(seed=seed, options=options)
        except HungCallError:
            self._hangs = True
            raise

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Advance all sub-environments by one step."""
        try:
            with watched(self._step_name, self._stuck), translate_errors(self.env_name, "step"):
                return self.env.step(actions)
        except HungCallError:
            self._hangs = True
            raise

    def _stuck(self, thread: int) -> str:
        """Return which sub-environment hangs in a thread."""
        return stuck_env(self.env, thread)

    def close(self, **kwargs: Any) -> None:
        """Close the envs; end the processes of envs that hang."""
        if not self._hangs:
            close_tolerantly(self.env_name, lambda: self.env.close(**kwargs))
            if self._trial is not None:
                close_tolerantly(self.env_name, self._trial.close)
        elif isinstance(self.env, AsyncEnvs):
            with warnings.catch_warnings():  # that a call is pending
                warnings.simplefilter("ignore")
                self.env.close(terminate=True)

    def recorded_infos(self) -> list[str]:
        """Return the keys of the infos to record, from a trial of one more sub-environment."""
        with translate_errors(self.env_name, "its first steps"):
            self._trial = self._trial or self._make_env()
            return recordable_infos(self._trial, EnvName.parse(self.env_name).info)

    def render_frame(self, env_index: int) -> np.ndarray | None:
        """Return a frame (H, W, 3) uint8 of one sub-environment; None if the env renders no frames.

        Raises:
            UsageError: A package that the env needs for rendering is not installed.
        """
        if self.render_mode not in FRAME_MODES or not isinstance(self.env, SyncVectorEnv):
            return None
        with translate_render_errors(self.env_name):
            rendered = self.env.envs[env_index].render()
            return None if rendered is None else as_frame(rendered)

    def render(self) -> tuple[Any, ...] | None:
        """Return a frame of each sub-environment; None if the env renders none.

        Raises:
            UsageError: A package that the env needs for rendering is not installed.
        """
        with translate_render_errors(self.env_name):
            return self.env.render()


class EnvMaker:
    """Makes one env, here or in another process, without MuJoCo's messages about old models.

    Args:
        env_name: The env as the user named it, with wrappers and options.
        spec: Its spec, with the arguments of the name.
        arguments: Further arguments of `gymnasium.make`.
    """

    def __init__(self, env_name: str, spec: EnvSpec, arguments: dict[str, Any]) -> None:
        self.env_name, self.spec, self.arguments = env_name, spec, arguments

    def make(self) -> gymnasium.Env:
        """Return the env with its wrappers, as it comes."""
        with _quiet_mujoco(self.spec):
            if self.spec.entry_point is None:
                env: gymnasium.Env = SingleOfVector(self.spec, self.arguments)
            else:
                # without Gymnasium's passive checker, which takes longer than a step of a small env
                env = self._make_single()
            for wrapper in EnvName.parse(self.env_name).wrap:
                entry_point, wrapper_arguments = parse_wrapper(wrapper)
                make_wrapper: Any = load_env_creator(entry_point)
                env = make_wrapper(env, **wrapper_arguments)
        return env

    def _make_single(self) -> gymnasium.Env:
        """Return the env without wrappers; one that only renders lists of frames renders these."""
        arguments = dict(self.arguments)
        if arguments.get("render_mode", "") is None:  # not every constructor knows the argument
            del arguments["render_mode"]
        if arguments.get("render_mode") == FRAME_MODES[0]:
            creator: Any = self.spec.entry_point
            creator = load_env_creator(creator) if isinstance(creator, str) else creator
            metadata = getattr(creator, "metadata", None)
            modes = metadata.get("render_modes") or [] if isinstance(metadata, dict) else []
            if FRAME_MODES[0] not in modes and FRAME_MODES[1] in modes:
                arguments["render_mode"] = FRAME_MODES[1]
        try:
            return gymnasium.make(copy.copy(self.spec), disable_env_checker=True, **arguments)
        except TypeError as error:
            if "unexpected keyword argument 'render_mode'" in str(error):
                raise UsageError(
                    f"{self.env_name} cannot be rendered: its constructor has no argument render_mode"
                ) from error
            raise

    def __call__(self) -> gymnasium.Env:
        """Return the env as agents and streams expect it."""
        name = EnvName.parse(self.env_name)
        return StandardEnv(self.make(), name.observe, name.success)


def make_single_env(env_name: str, spec: EnvSpec, arguments: dict[str, Any]) -> gymnasium.Env:
    """Make one env as it comes, with its wrappers, but without conversions."""
    return EnvMaker(env_name, spec, _without_kwargs_of(spec, arguments)).make()


def _without_kwargs_of(spec: EnvSpec, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that the spec does not have already."""
    known = ["max_episode_steps", *(n for n, value in spec.kwargs.items() if arguments.get(n) is value)]
    return {name: value for name, value in arguments.items() if name not in known}


def make_gymnasium_envs(
    env_id: str,
    num_envs: int = 1,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    vectorization: str = "auto",
    spec: EnvSpec | None = None,
    adapter: Any = None,
    env_arguments: dict[str, Any] | None = None,
    **arguments: Any,
) -> GymnasiumVectorEnv:
    """Make a vector env of any Gymnasium id, with the time limit of its spec.

    Example:
        envs = robossl.envs.make_gymnasium_envs("Pendulum-v1", num_envs=8, g=9.81)

    Args:
        env_id: "id" or "module:id", with arguments and options as in `robossl.core.env_ids`.
        num_envs: Number of sub-environments.
        autoreset_mode: Gymnasium's autoreset mode.
        vectorization: "sync", "async" (a process for each sub-environment), or "auto": async if the env is slow and
            async was faster in a short trial of both. With a render_mode it is sync, because a GL context does not
            survive a fork.
        spec: Spec of the env; None: that of Gymnasium, after the import of the module.
        adapter: Subclass of `EnvAdapter`, with which the vector env is a `PhysicsStateEnv`; it is sync then.
        env_arguments: Arguments of `gymnasium.make` that may have the names of those above.
        **arguments: Further ones.
    """
    arguments |= env_arguments or {}
    if vectorization not in ("auto", "sync", "async"):
        raise UsageError(f"unknown vectorization {vectorization!r}; available: auto, sync, async")
    check_memory("num_envs", num_envs)
    if arguments.get("render_mode") is not None:
        if vectorization == "async":
            raise UsageError("expected vectorization='sync' with a render_mode, got 'async'")
        vectorization = "sync"
    spec = spec or _find_spec(env_id)
    arguments = _without_kwargs_of(spec, arguments)
    make_env = EnvMaker(env_id, spec, arguments)
    mode = parse_autoreset_mode(autoreset_mode)
    try:
        with watched(f"{env_id}: the start of the env"):
            envs = (
                _vectorize(make_env, num_envs, mode, vectorization)
                if adapter is None
                else AdaptedEnvs(guarded(make_env, num_envs), adapter, autoreset_mode=mode)
            )
    except (OperationError, UsageError):
        raise
    except (Exception, SystemExit) as error:
        hint = "; give it with --env.NAME VALUE" if "required positional argument" in str(error) else ""
        raise UsageError(f"cannot make the env {env_id!r}: {describe_error(error)}{hint}") from error
    envs.spec = _spec_with(spec, arguments)
    _report_left_out(env_id, envs)
    return GymnasiumVectorEnv(envs, env_id, make_env)


def _report_left_out(env_id: str, envs: VectorEnv) -> None:
    """Log once which parts of the observation are left out because they cannot be recorded."""
    env = envs.envs[0] if isinstance(envs, SyncEnvs) else None
    if isinstance(env, StandardEnv) and env.left_out and env_id not in _reported:
        _reported.add(env_id)
        _logger.warning(
            "%s: parts of the observation that cannot be recorded are left out: %s",
            env_id,
            ", ".join(env.left_out),
        )


def _spec_with(spec: EnvSpec, arguments: dict[str, Any]) -> EnvSpec:
    """Return a spec whose kwargs have the arguments that the envs were made with, without the render mode."""
    given = {name: value for name, value in arguments.items() if name != "render_mode"}
    if not given:
        return spec
    spec = copy.copy(spec)
    spec.kwargs = {**spec.kwargs, **given}
    return spec


def _vectorize(make_env: EnvMaker, num_envs: int, mode: AutoresetMode, vectorization: str) -> VectorEnv:
    if make_env.spec.entry_point is None and not EnvName.parse(make_env.env_name).changes_parts:
        with _quiet_mujoco(make_env.spec):
            if (envs := make_vector_entry(make_env.spec, num_envs, mode, make_env.arguments)) is not None:
                return envs
    if vectorization == "async":
        return AsyncEnvs([make_env] * num_envs, autoreset_mode=mode)
    if vectorization == "sync" or not 1 < num_envs <= MAX_PROCESSES or not _gains_from_processes(make_env):
        return SyncEnvs(guarded(make_env, num_envs), autoreset_mode=mode)
    sync = SyncEnvs(guarded(make_env, num_envs), autoreset_mode=mode)
    rate = _steps_per_second(sync)
    processes: VectorEnv | None = None
    try:
        processes = AsyncEnvs([make_env] * num_envs, autoreset_mode=mode)
        processes_rate = _steps_per_second(processes)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - such as infos that cannot be sent
        _logger.info("%s runs in one process: %s", make_env.env_name, describe_error(error))
        if processes is not None:
            close_tolerantly(make_env.env_name, functools.partial(processes.close, terminate=True))
        return sync
    slower, faster = (sync, processes) if processes_rate > rate else (processes, sync)
    close_tolerantly(make_env.env_name, slower.close)
    return faster


def _gains_from_processes(make_env: EnvMaker) -> bool:
    """Return whether an env is slow enough, resets included, and observes no images.

    An env that renders its observations opens OpenGL in this trial, and OpenGL does not survive a fork.
    """
    env = make_env()
    if any(is_image(leaf) for leaf in leaves(env.observation_space).values()):
        close_tolerantly(make_env.env_name, env.close)
        return False
    env.action_space.seed(0)
    with translate_errors(make_env.env_name, "its first steps"):
        env.reset(seed=0)
        start = time.perf_counter()
        for _ in range(_PROBE_STEPS):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
        duration = time.perf_counter() - start
    close_tolerantly(make_env.env_name, env.close)
    return duration / _PROBE_STEPS >= _CHEAP_STEP


def _steps_per_second(envs: VectorEnv) -> float:
    """Return the vector steps per second over `_TRIAL_TIME`."""
    envs.reset(seed=0)
    envs.action_space.seed(0)
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < _TRIAL_TIME:
        _, _, terminated, truncated, _ = envs.step(envs.action_space.sample())
        ended = terminated | truncated
        if envs.metadata["autoreset_mode"] == AutoresetMode.DISABLED and ended.any():
            envs.reset(options={"reset_mask": ended})
        steps += 1
    return steps / (time.perf_counter() - start)


def _find_spec(env_id: str) -> EnvSpec:
    """Return Gymnasium's spec of "id" or "module:id"."""
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UsageError(f"cannot import the module of env {env_id!r}: {one_line(error)}") from error
    if name not in gymnasium.registry:
        near = difflib.get_close_matches(name, gymnasium.registry, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "import the package that registers it"
        raise UsageError(f"unknown env {name!r} among {len(gymnasium.registry)} Gymnasium ids; {hint}")
    return gymnasium.registry[name]


@contextmanager
def _quiet_mujoco(spec: EnvSpec) -> Iterator[None]:
    """Suppress MuJoCo's console messages while an env is made; Gymnasium's models use old MJCF syntax."""
    choose_backend()
    if isinstance(spec.entry_point, str):
        if "mujoco" in spec.entry_point:
            load_mujoco()  # a failed import then has a clear message
        load_env_creator(spec.entry_point)  # imports MuJoCo if the env needs it
    if "mujoco" not in sys.modules:
        yield
        return
    with QuietConsole():
        yield
