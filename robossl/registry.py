"""Names to objects: the one place that knows where the leaves hang.

A file in `envs/` or `agents/` is a plug-in. A stranger's package joins through the entry-point groups
`robossl.envs` (a function that registers its environments with Gymnasium), `robossl.agents` (a table of
agents or policies) and `robossl.objectives` (an objective).
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import traceback
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import gymnasium

from robossl.core.env_ids import canonical_id, is_mjcf_path
from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.spaces import format_space
from robossl.core.traceback_utils import format_location

_NAMESPACE = "robossl"
_MJCF = f"{_NAMESPACE}/Mjcf-v0"  # the env that a file makes a robot


def _joined(group: str) -> list[tuple[EntryPoint, Any]]:
    """What strangers' packages offer in a group; a broken one is named and does not stop the others."""
    found = []
    for point in entry_points(group=group):
        try:
            found.append((point, point.load()))
        except Exception as error:  # noqa: BLE001 - a stranger's import may raise anything; it is named, not hidden
            warnings.warn(
                f"plug-in {point.name!r} ({point.value}) of group {group} cannot be loaded: "
                f"{type(error).__name__}: {error}",
                stacklevel=3,
            )
    return found


def register_envs() -> None:
    """Register our environments, and those of plug-ins, with Gymnasium."""
    importlib.import_module("robossl.envs").register()
    for point, register in _joined("robossl.envs"):
        try:
            register()
        except Exception as error:  # noqa: BLE001 - as above
            warnings.warn(
                f"plug-in {point.name!r} ({point.value}) cannot register its environments: "
                f"{type(error).__name__}: {error}",
                stacklevel=2,
            )


def env_ids(everything: bool = False) -> list[str]:
    """The ids of native batches, ours first and then those of plug-ins; or all that Gymnasium knows."""
    chosen = (spec for spec in gymnasium.registry.values() if everything or is_native(spec))
    return [spec.id for spec in sorted(chosen, key=lambda spec: (spec.namespace != _NAMESPACE, spec.id))]


def is_native(spec: gymnasium.envs.registration.EnvSpec) -> bool:
    """Its lanes are one MuJoCo batch: ours, or a body that a plug-in has brought."""
    return importlib.import_module("robossl.envs").is_native(spec)


def env_spec(env: str) -> gymnasium.envs.registration.EnvSpec:
    """The spec of an env id, or of the MJCF file `env`; `package:id` imports the package first.

    `RequestError` with the near names, or with what the package raised.
    """
    if is_mjcf_path(env):
        env_kwargs(env)
        return gymnasium.registry[_MJCF]
    if ":" in env:
        package, env = env.split(":", 1)
        _import(package, env)
    if env not in gymnasium.registry:
        raise _unknown_env(env)
    return gymnasium.registry[env]


def env_kwargs(env: str) -> dict[str, Any]:
    """What the env is to be made with beyond its id: the model, where `env` is an MJCF file."""
    if not is_mjcf_path(env):
        return {}
    if not os.path.isfile(env):
        raise UsageError(f"no MJCF file {env}; expected a file that is there, or a Gymnasium id")
    return {"model": os.path.abspath(env)}


def name_of(envs: gymnasium.vector.VectorEnv) -> str:
    """What these envs are asked for by: their MJCF file or their id; the name of their class where they have none."""
    if envs.spec is None:
        return type(envs).__name__
    model = (envs.spec.kwargs or {}).get("model") if envs.spec.id == _MJCF else None
    return envs.spec.id if model is None else canonical_id(str(model))


def _import(package: str, env: str) -> None:
    """Import a stranger's package, which may raise anything: it is named, not hidden."""
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        own = f"{package}.".startswith(f"{error.name}.")
        asked = "" if own else f", which {package} imports,"
        raise UsageError(f"no package {error.name!r}{asked} to import for env {package}:{env}") from error
    except (Exception, SystemExit) as error:
        words = " ".join(str(error).split())
        where = format_location(traceback.extract_tb(error.__traceback__))
        raise UsageError(
            f"package {package!r} of env {package}:{env} cannot be imported: {type(error).__name__}: {words}"
            f"{f' at {where}' if where else ''}"
        ) from error


def _unknown_env(env: str) -> UsageError:
    """Near names among all ids; the list shows ours, since Gymnasium's own would fill the screen."""
    meant = [i for i in env_ids() if _bare(i) == _bare(env)]
    near = unknown_name_error("env", env, gymnasium.registry)
    hint = (
        f"no {env!r} among the envs; did you mean {meant[0]!r}?"
        if meant
        else str(near).split(" there are:")[0]
    )
    return UsageError(
        f"{hint} there are: {', '.join(env_ids())}, and {len(gymnasium.registry)} ids in all (robossl envs --all)"
    )


def _bare(env: str) -> str:
    """`reacher` for robossl/Reacher-v0, Reacher-v3 or Reacher."""
    return re.sub(r"-v\d+$", "", env.rpartition("/")[2]).lower()


def make_envs(env: str, num_envs: int, threads: int = 1, **settings: Any) -> gymnasium.vector.VectorEnv:
    """A vector env of any Gymnasium id or MJCF file: a native batch, or Gymnasium's own vectorisation."""
    if num_envs < 1:
        raise UsageError(f"num_envs is {num_envs}; expected 1 or more")
    spec, settings = env_spec(env), settings | env_kwargs(env)  # a file that is asked for is the one
    if is_native(spec):
        return gymnasium.make_vec(spec.id, num_envs=num_envs, nthread=threads, **settings)
    envs = importlib.import_module("robossl.envs.engine.gymnasium_envs").make_foreign(
        env, num_envs, **settings
    )
    if 0 in (envs.single_action_space.shape or ()):
        envs.close()
        raise UsageError(
            f"{env} has no actions: its action space is {format_space(envs.single_action_space)}"
        )
    return envs


def _tables(name: str) -> dict[str, Any]:
    """The tables called `name` (AGENTS, POLICIES) of every file in agents/, and of plug-ins, as one."""
    package = importlib.import_module("robossl.agents")
    table: dict[str, Any] = {}
    for module in pkgutil.iter_modules(package.__path__):
        table |= getattr(importlib.import_module(f"robossl.agents.{module.name}"), name, {})
    for point, offered in _joined("robossl.agents"):
        if isinstance(offered, dict) and name == "AGENTS":
            table |= offered
        elif name == "AGENTS":
            table[point.name] = offered
    return table


def agent(name: str) -> Callable[..., Any]:
    """What makes an agent of that name."""
    table = _tables("AGENTS")
    if name not in table:
        raise unknown_name_error("agent", name, table)
    return table[name]


def policy(name: str) -> Callable[..., Any]:
    """What makes an exploration policy of that name."""
    table = _tables("POLICIES")
    if name not in table:
        raise unknown_name_error("policy", name, table) if table else UsageError("there are no policies")
    return table[name]


def objectives() -> None:
    """Let strangers' objectives join ours; called again, it changes nothing."""
    registry = importlib.import_module("robossl.world_model.objectives")
    for point, objective in _joined("robossl.objectives"):
        registry.extend({point.name: objective})
