"""Envs by name: their specs, their packages, and the vector envs that are made of them.

The name of an env is a Gymnasium id, `package:id`, `module:function`, or an MJCF file, with arguments and options as
in `robossl.core.env_ids`. Names read from a file are only looked up; they never import a module.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from robossl.core.env_ids import EnvName, base_id, canonical_id, is_robot_file
from robossl.core.errors import CorruptedFileError, UsageError, one_line
from robossl.core.limits import check_batch_memory, check_memory
from robossl.core.simulation_backends import WARP
from robossl.core.spaces import format_space
from robossl.core.traceback_utils import format_location

NAMESPACE = "robossl"
OBJECT_NAMESPACE = "python"  # of ids that only this process has: envs given as Python objects
MJCF = f"{NAMESPACE}/Mjcf-v0"  # the env of a robot read from an MJCF file
_LISTED_IDS = 12  # of a package, in a message
_MAX_NAME = 4096  # [characters] of an env name in a file
_THIRD_PARTY = "robossl.envs.engine.gymnasium_envs"
_STANDARD, _ACTIONS = "robossl.envs.engine.standard_env", "robossl.envs.engine.action_conversion"
_SETUP = "robossl.envs.engine.mujoco_setup"
_WARP = "robossl.envs.warp.warp_modules"
_BATCH_SETTINGS = ("autoreset_mode", "vectorization")  # of a vector env, not of one env


def env_ids(everything: bool = False) -> list[str]:
    """Return the ids of native envs, built-in ones first, or with `everything` all ids that Gymnasium has."""
    specs = (spec for spec in gymnasium.registry.values() if everything or is_native(spec))
    return [spec.id for spec in sorted(specs, key=lambda spec: (spec.namespace != NAMESPACE, spec.id))]


def is_native(spec: EnvSpec) -> bool:
    """Return whether robossl simulates this env as one MuJoCo batch, whichever package its robot comes from."""
    return importlib.import_module("robossl.envs").is_native(spec)


def is_native_batch(env: str) -> bool:
    """Return whether `make_envs` makes one MuJoCo batch of an env: a native one without wrappers."""
    return is_native(env_spec(env)) and not EnvName.parse(env).changes_parts


# --- trust


def trust_env(env: str, package: bool = False) -> str:
    """Import the package of an env name that the user typed, and the modules of its wrappers; return the name.

    With `package`, a name that names no module is a package itself. Only this function imports a package for an env. It
    must not be called with a name that was read from a file.

    Raises:
        UsageError: If a module cannot be imported.
    """
    modules = EnvName.parse(env).modules
    for module in modules or ([env] if package and re.fullmatch(r"[A-Za-z_][\w.]*", env) else []):
        _import(module, env)
    return env


def check_recorded_env(env: Any, source: str | Path) -> str:
    """Return an env name that was read from the file or folder `source`; it imports nothing.

    Raises:
        UsageError: If the package of the env, or the module of a wrapper, is not imported yet; the message has the
            flag that imports it.
        CorruptedFileError: If it is not a name.
    """
    if not isinstance(env, str) or not 0 < len(env) <= _MAX_NAME or not env.isprintable():
        raise CorruptedFileError(f"{source}: expected the name of an env, got {env!r:.100}")
    _check_imported(env, f"{source} names")
    return env


def _check_imported(env: str, start: str) -> None:
    """Raise UsageError if a module that the env needs is not imported."""
    for module in EnvName.parse(env).modules:
        if module not in sys.modules:
            quoted = f"'{env}'" if re.search(r"[^\w:./-]", env) else env
            raise UsageError(
                f"{start} env {env}, which is not registered, and a name in a file imports nothing; if you trust "
                f"package {module}, pass --trust-env {quoted} to import it, or import it in Python first"
            )


def _import(module: str, env: str) -> None:
    """Import a module for an env. MuJoCo, which it may import, reads the rendering backend at its first import."""
    importlib.import_module(_SETUP).choose_backend()
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        importer = "" if f"{module}.".startswith(f"{error.name}.") else f", which {module} imports,"
        raise UsageError(f"no package {error.name!r}{importer} to import for env {env}") from error
    except (Exception, SystemExit) as error:  # third-party code may raise anything
        message = one_line(error)
        location = format_location(traceback.extract_tb(error.__traceback__))
        raise UsageError(
            f"package {module!r} of env {env} cannot be imported: {type(error).__name__}: {message}"
            f"{f' at {location}' if location else ''}"
        ) from error


# --- specs


def env_spec(env: str) -> EnvSpec:
    """Return the spec of an env with the arguments of its name; of `package:id` if the package is imported.

    Raises:
        UsageError: If the id is unknown (the message has near ids), or if a module is not imported (`trust_env`).
    """
    name = EnvName.parse(env)
    _check_imported(env, "got")
    spec, arguments = _registered(name.base), env_kwargs(env)
    if not arguments:
        return spec
    limit = spec.max_episode_steps
    if "max_episode_steps" in arguments:
        given = arguments.pop("max_episode_steps")
        limit = None if given in (None, -1) else given
    return replace(spec, kwargs={**spec.kwargs, **arguments}, max_episode_steps=limit)


def _registered(base: str) -> EnvSpec:
    """Return the spec of an env name without arguments."""
    if is_robot_file(base):
        return gymnasium.registry[MJCF]
    module, colon, name = base.partition(":")
    env = name if colon else base
    if env in gymnasium.registry:
        return gymnasium.registry[env]
    function = getattr(sys.modules.get(module), env, None) if colon else None
    if not callable(function):
        raise _unknown_env_of(module, env) if colon else _unknown_env(env)
    return EnvSpec(id=base, entry_point=base)


def env_kwargs(env: str) -> dict[str, Any]:
    """Return the constructor arguments that `env` implies: those of its name, and the model of an MJCF file."""
    name = EnvName.parse(env)
    if not is_robot_file(env):
        return dict(name.arguments)
    if not os.path.isfile(name.base):
        raise UsageError(
            f"expected an MJCF file that exists or a Gymnasium id, got {name.base}; check the path"
        )
    return {**name.arguments, "model": os.path.abspath(name.base)}


def env_name(envs: gymnasium.vector.VectorEnv) -> str:
    """Return the name `make_envs` makes these envs from: an MJCF file or an id; without a spec, their class."""
    if (name := getattr(envs, "env_name", None)) is not None:
        return str(name)
    if envs.spec is None:
        return type(envs).__name__
    model = (envs.spec.kwargs or {}).get("model") if envs.spec.id == MJCF else None
    return envs.spec.id if model is None else canonical_id(str(model))


def _unknown_env(env: str) -> UsageError:
    """Return the error for an unknown id: near names among all ids, but a list of the native ones only."""
    if env.startswith(f"{OBJECT_NAMESPACE}/"):
        return UsageError(
            f"no env {env!r}: it was made from a Python object that only its process has; put a function that makes "
            "it into a module and name it module:function, or give it as env="
        )
    same_task = [i for i in env_ids() if _task_name(i) == _task_name(env)]
    near = [repr(i) for i in same_task[:1] or difflib.get_close_matches(env, gymnasium.registry, 3, 0.5)]
    hint = f" did you mean {' or '.join(near)}?" if near else ""
    return UsageError(
        f"no env {env!r};{hint} available: {', '.join(env_ids())}, and {len(gymnasium.registry)} ids in all "
        "(robossl envs --all); write package:id if a package that has to be imported registers it"
    )


def _unknown_env_of(module: str, env: str) -> UsageError:
    """Return the error for an unknown id of an imported package: near ids, and those that it registers."""
    package = module.partition(".")[0]
    ids = [i for i, spec in gymnasium.registry.items() if _entry_package(spec) == package]
    near = difflib.get_close_matches(env, ids, 1, 0.5)
    hint = f" did you mean {near[0]!r}?" if near else ""
    more = f" and {len(ids) - _LISTED_IDS} more" if len(ids) > _LISTED_IDS else ""
    available = (
        f"{', '.join(ids[:_LISTED_IDS])}{more}" if ids else "none; is it another module of the package?"
    )
    return UsageError(f"package {module!r} registers no env {env!r};{hint} available: {available}")


def _entry_package(spec: EnvSpec) -> str:
    """Return the package of the class or function that makes an env."""
    entry = spec.entry_point or spec.vector_entry_point
    name = entry if isinstance(entry, str) else getattr(entry, "__module__", "")
    return re.split(r"[.:]", str(name))[0]


def _task_name(env: str) -> str:
    """Return `reacher` for robossl/Reacher-v0, Reacher-v3 or Reacher."""
    return re.sub(r"-v\d+$", "", env.rpartition("/")[2]).lower()


# --- envs


def make_envs(
    env: str,
    num_envs: int,
    threads: int = 1,
    pixels: int | Sequence[int] | None = None,
    adapter: Any = None,
    **settings: Any,
) -> gymnasium.vector.VectorEnv:
    """Make a vector env of any env name: a native batch, or Gymnasium's own vectorization.

    Args:
        env: Gymnasium id or MJCF file, with arguments and options.
        num_envs: Number of sub-environments.
        threads: CPU threads of a native batch.
        pixels: Edge, or height and width, of image observations; None or 0 observes numbers.
        adapter: Subclass of `EnvAdapter` for a third-party env.
        settings: Further arguments of the env.
    """
    check_memory("num_envs", num_envs)
    spec, implied = env_spec(env), env_kwargs(env)
    settings = implied | settings
    if is_robot_file(env):
        settings["model"] = implied["model"]  # of a file that was moved since a stream recorded it
    pixels = pixels or settings.pop("pixels", None)
    if pixels:
        settings["pixels"] = (pixels, pixels) if isinstance(pixels, int) else tuple(pixels)
        _check_pixels(env, spec)
    if is_native_batch(env):
        return _make_native(env, spec, num_envs, threads, settings)
    check_backend(env, settings.get("backend"))
    given = {name: settings.pop(name) for name in implied if name in settings}  # may have any names
    envs = importlib.import_module(_THIRD_PARTY).make_gymnasium_envs(
        env, num_envs, spec=spec, adapter=adapter, env_arguments=given, **settings
    )
    if 0 in (envs.single_action_space.shape or ()):
        envs.close()
        raise UsageError(
            f"expected an env with actions, got {env}, whose action space is {format_space(envs.single_action_space)}"
        )
    return envs


def check_backend(env: str, backend: str | None, device: str = "auto") -> None:
    """Raise UsageError if an env cannot be simulated on a backend, or the backend not on a device of this machine."""
    if backend != WARP:
        return
    if not is_native_batch(env):
        raise UsageError(
            f"expected an env of robossl without wrappers for backend {WARP!r}, got {env}; leave the backend out, or "
            f"give one of {', '.join(env_ids()[:3])}, ..."
        )
    importlib.import_module(_WARP).warp_device(device)


def _make_native(
    env: str, spec: EnvSpec, num_envs: int, threads: int, settings: dict[str, Any]
) -> gymnasium.vector.VectorEnv:
    """Make one MuJoCo batch; arguments that its constructor does not have are a UsageError."""
    given = EnvName.parse(env).arguments
    if settings.get("backend") == WARP:  # it checks its memory itself
        return gymnasium.make_vec(spec.id, num_envs=num_envs, **{"arrays": "numpy", **settings})

    def make(count: int) -> gymnasium.vector.VectorEnv:
        return gymnasium.make_vec(spec.id, num_envs=count, nthread=threads, **settings)

    try:
        check_batch_memory(make, num_envs)
        return make(num_envs)
    except TypeError as error:
        if not given:
            raise
        known = inspect.signature(load_env_creator(str(spec.vector_entry_point))).parameters
        refused = [name for name in given if name not in known] or list(given)
        names = sorted(set(known) - {"num_envs", "nthread", "self", *_BATCH_SETTINGS})
        raise UsageError(
            f"{base_id(env)} does not take {', '.join(refused)} ({one_line(error)}); "
            f"available: {', '.join(names)}"
        ) from error


def make_env(env: str, **settings: Any) -> gymnasium.Env:
    """Make one env as the sub-environments of `make_envs` are made, for checks; actions and infos are the env's own."""
    return importlib.import_module(_THIRD_PARTY).make_single_env(
        env, env_spec(env), env_kwargs(env) | settings
    )


def describe_actions(space: gymnasium.Space) -> str:
    """Return how actions are converted for agents; "" if they are used as they are.

    Raises:
        UsageError: If no agent can choose them.
    """
    return importlib.import_module(_ACTIONS).convert_actions(space).description


def recorded_parts(space: gymnasium.Space, observe: Sequence[str] = ()) -> tuple[gymnasium.Space, list[str]]:
    """Return the space of the observations that are recorded, and the parts of `space` that cannot be.

    Raises:
        UsageError: If nothing of the observation can be recorded.
    """
    return importlib.import_module(_STANDARD).select_parts(space, observe)


def unusable_number(space: gymnasium.Space, observation: Any, reward: Any) -> str:
    """Return which number of a step ends its episode, because it is not finite or too large; "" if none does."""
    return importlib.import_module(_STANDARD).step_fault(space, observation, reward)


def _check_pixels(env: str, spec: EnvSpec) -> None:
    """Raise UsageError if the constructor of an env has no argument `pixels`."""
    entry = spec.entry_point or spec.vector_entry_point
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    parameters = inspect.signature(creator).parameters.values()  # type: ignore[arg-type]
    if not any(p.name == "pixels" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        text = f"{env} has no image observations: its constructor has no argument pixels=(height, width)"
        raise UsageError(f"{text}; leave pixels out, or register an env that returns images")
