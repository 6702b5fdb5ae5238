"""Envs given as Python objects: their names, under which everything else makes and records them.

An object that Gymnasium can make again is named by its id and arguments, and a function of a module by
`module:function`. Anything else is registered as `python/NAME-v0`, which only this process has.
"""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, WrapperSpec
from gymnasium.vector import VectorEnv

from robossl.core.env_ids import canonical_id, with_options
from robossl.core.errors import UsageError, one_line
from robossl.env_registry import MJCF, OBJECT_NAMESPACE, is_native, make_envs, trust_env

EnvLike = str | EnvSpec | gymnasium.Env | VectorEnv | Callable[..., gymnasium.Env]
_OF_THE_BATCH = (
    "num_envs",
    "vectorization_mode",
    "vector_kwargs",
    "wrappers",
    "render_mode",
    "nthread",
    "autoreset_mode",
)
_registered: dict[str, Any] = {}  # id -> the object that was registered under it


def name_of(env: EnvLike, **arguments: Any) -> str:
    """Return the name of an env, under which `make_envs` makes it.

    Args:
        env: A name, an `EnvSpec`, an env (it is copied), a vector env, or a function that makes an env.
        arguments: Further arguments of its constructor.

    Raises:
        UsageError: If the env cannot be made a second time.
    """
    if isinstance(env, str):
        name = trust_env(env)
        if not arguments or is_json(arguments):
            return with_options(name, arguments) if arguments else name
        return _register(name, lambda **more: make_envs(name, 1, **arguments, **more).unwrapped.envs[0])  # type: ignore[attr-defined]
    if isinstance(env, EnvSpec):
        name = _name_of_spec(env)
    elif isinstance(env, VectorEnv):
        name = _name_of_vector_env(env)
    elif isinstance(env, gymnasium.Env):
        name = _name_of_env(env)
    elif callable(env):
        name = _name_of_function(env)
    else:
        raise UsageError(
            f"expected an env id, a function that makes an env, an env, a vector env or a spec, got {env!r:.100}"
        )
    return name_of(name, **arguments) if arguments else name


def is_json(value: Any) -> bool:
    """Return whether a value comes back from JSON as it is; tuples as lists."""
    try:
        return json.loads(json.dumps(value, allow_nan=False)) == _as_lists(value)
    except (TypeError, ValueError):
        return False


def _as_lists(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_as_lists(part) for part in value]
    return {k: _as_lists(v) for k, v in value.items()} if isinstance(value, dict) else value


def _name_of_spec(spec: EnvSpec) -> str:
    """Return the name of a spec; its own registration, where it differs from the registered one."""
    registered = gymnasium.registry.get(spec.id)
    wrap = [_wrapper_text(wrapper) for wrapper in spec.additional_wrappers]
    kwargs = {name: value for name, value in (spec.kwargs or {}).items() if name not in _OF_THE_BATCH}
    if registered is not None and registered.entry_point == spec.entry_point and None not in wrap:
        given = {
            k: v for k, v in kwargs.items() if k not in registered.kwargs or registered.kwargs[k] is not v
        }
        given = {k: v for k, v in given.items() if not _is_same(v, registered.kwargs.get(k, ...))}
        if given.get("max_episode_steps") == registered.max_episode_steps:  # `make_vec` adds it
            given.pop("max_episode_steps", None)
        if spec.max_episode_steps != registered.max_episode_steps:
            given["max_episode_steps"] = -1 if spec.max_episode_steps is None else spec.max_episode_steps
        if registered.id == MJCF and "model" in given:
            model = str(given.pop("model"))
            if is_json(given):
                return canonical_id(with_options(model, given, [text for text in wrap if text]))
        if is_native(registered):  # the stream has the arguments that change its observations
            given = {"max_episode_steps": given["max_episode_steps"]} if "max_episode_steps" in given else {}
        if is_json(given):
            return with_options(spec.id, given, [text for text in wrap if text])
    if None in wrap:
        raise UsageError(
            f"expected wrappers of {spec.id} that can be made again, got one without "
            "gymnasium.utils.RecordConstructorArgs; give a function that makes the env: "
            "env=lambda: MyWrapper(gymnasium.make(...))"
        )
    return _register(spec.id, lambda **more: gymnasium.make(spec, **more))


def _is_same(value: Any, other: Any) -> bool:
    try:
        return bool(value == other)
    except Exception:  # noqa: BLE001 - values of third-party code may compare as they like
        return False


def _wrapper_text(wrapper: WrapperSpec) -> str | None:
    """Return a wrapper as `module:Wrapper?argument=value`; None if it cannot be written so."""
    if wrapper.kwargs is None or not is_json(dict(wrapper.kwargs)):
        return None
    return with_options(wrapper.entry_point, wrapper.kwargs) if wrapper.kwargs else wrapper.entry_point


def _name_of_vector_env(envs: VectorEnv) -> str:
    if (name := getattr(envs, "env_name", None)) is not None:
        return str(name)
    functions = getattr(envs.unwrapped, "env_fns", None)
    wrappers = (envs.spec.kwargs or {}).get("wrappers") if envs.spec is not None else None
    if envs.spec is not None and not wrappers and envs.spec.id in gymnasium.registry:
        return _name_of_spec(envs.spec)
    if functions:
        return _name_of_function(functions[0])
    raise UsageError(
        f"{type(envs.unwrapped).__name__} cannot be made a second time; give a function that makes one env, or "
        "register the vector env with Gymnasium (vector_entry_point)"
    )


def _name_of_env(env: gymnasium.Env) -> str:
    """Return the name of an env: that of its spec, or of a copy of the object."""
    spec = env.spec
    registered = spec is not None and spec.id in gymnasium.registry
    if registered and all(_wrapper_text(wrapper) for wrapper in spec.additional_wrappers):  # type: ignore[union-attr]
        return _name_of_spec(spec)  # type: ignore[arg-type]
    try:
        prototype = copy.deepcopy(env)
    except Exception as error:  # third-party code may raise anything
        raise UsageError(
            f"{type(env.unwrapped).__name__} cannot be copied ({type(error).__name__}); give a function that makes the "
            "env: env=lambda: MyEnv(...)"
        ) from error

    def make(render_mode: str | None = None) -> gymnasium.Env:
        made = copy.deepcopy(prototype)
        if render_mode is not None:
            made.unwrapped.render_mode = render_mode
        return made

    return _register(type(env.unwrapped).__name__, make, env)


def _name_of_function(function: Callable[..., gymnasium.Env]) -> str:
    """Return `module:function` of a function that can be imported, else the id that it is registered under."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module not in (None, "__main__") and name.isidentifier():
        found = getattr(importlib.import_module(str(module)), name, None)
        if found is function:
            return f"{module}:{name}"
    label = name.rpartition("<locals>.")[2]
    return _register("" if label == "<lambda>" else label, function)


def _register(label: str, make: Callable[..., gymnasium.Env], key: Any = None) -> str:
    """Register a function under a new id of this process; the same object gets the same id.

    Its time limit is that of the env it makes. Without a label the class of that env is the name.
    """
    key = make if key is None else key
    for env_id, known in _registered.items():
        if known is key:
            return env_id
    try:
        env = make()
    except Exception as error:  # third-party code may raise anything
        raise UsageError(
            f"the function {label or make} made no env: {type(error).__name__}: {one_line(error)}"
        ) from error
    if not isinstance(env, gymnasium.Env):
        raise UsageError(
            f"expected a function that makes a gymnasium.Env, got one that makes a {type(env).__name__}"
        )
    label = label.rpartition("/")[2] or type(env.unwrapped).__name__
    label = "".join(c if c.isalnum() or c in "_-" else "-" for c in label)
    versions = (f"{OBJECT_NAMESPACE}/{label}-v{n}" for n in range(len(_registered) + 1))
    env_id = next(name for name in versions if name not in _registered)
    limit = _time_limit(env)
    if key is make:
        env.close()
    gymnasium.registry[env_id] = EnvSpec(id=env_id, entry_point=make, max_episode_steps=limit)
    _registered[env_id] = key
    return env_id


def _time_limit(env: gymnasium.Env) -> int | None:
    """Return the shortest time limit among the wrappers of an env [steps]."""
    limits = [getattr(layer, "_max_episode_steps", None) for layer in _layers(env)]
    known = [limit for limit in limits if isinstance(limit, int)]
    return min(known, default=None)


def _layers(env: gymnasium.Env) -> Iterator[gymnasium.Env]:
    yield env
    while isinstance(env, gymnasium.Wrapper):
        env = env.env
        yield env
