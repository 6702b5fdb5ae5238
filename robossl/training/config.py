"""What a run can be told: defaults, then a TOML file, then flags, each joined by type."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import tomllib
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import UsageError, unknown_name_error
from robossl.world_model.config import WorldModelConfig


@dataclass(frozen=True)
class ExploreConfig:
    """How the first part of a stream is made."""

    policy: str = "colored_noise"  # how it moves before it knows anything: random, pink, zero
    num_envs: int = 64  # lanes that explore at once
    fraction: float = 0.75  # of all environment steps, how many are spent exploring before the agent acts


@dataclass(frozen=True)
class PretrainConfig:
    """How long the world model learns, before and between the agent's rounds."""

    updates: int = 1200  # gradient steps on what was explored
    updates_per_iteration: int = 100  # gradient steps after each round of acting


@dataclass(frozen=True)
class AgentConfig:
    """Who acts on the representation."""

    name: str = "auto"  # auto: sac for continuous actions, dqn for discrete ones
    num_envs: int = 8  # lanes the agent acts in
    num_iterations: int = 4  # act and learn, relearn the world, publish, adopt: this many times
    updates_per_step: float = 0.25  # gradient steps for each environment step, whatever num_envs is
    learning_starts: int = 500  # environment steps before the first gradient step


@dataclass(frozen=True)
class GoalsConfig:
    """Reaching goals with the world model alone."""

    horizon: int = 25  # [steps] how far away a goal is in the held-out episode it is taken from
    trials: int = 100  # start-goal pairs


@dataclass(frozen=True)
class EvaluateConfig:
    """How much is measured."""

    episodes: int = 20  # held-out episodes for each row of the control table at the end
    curve_episodes: int = 8  # held-out episodes for each point of the learning curve
    videos: bool = True


@dataclass(frozen=True)
class LearnConfig:
    """Everything `robossl learn` can be told."""

    env: str = "robossl/Reacher-v0"
    seed: int = 0
    steps: int = 64_000  # environment steps, all lanes together: exploring and acting
    threads: int = 0  # CPU threads for physics and networks; 0: all cores, at most 8
    device: str = "auto"  # where networks run: auto, cpu, cuda, mps
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    goals: GoalsConfig = field(default_factory=GoalsConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    def __post_init__(self) -> None:
        for name, value, least in (
            ("steps", self.steps, 1),
            ("threads", self.threads, 0),
            ("explore.num_envs", self.explore.num_envs, 1),
            ("pretrain.updates", self.pretrain.updates, 1),
            ("pretrain.updates_per_iteration", self.pretrain.updates_per_iteration, 0),
            ("agent.num_envs", self.agent.num_envs, 1),
            ("agent.num_iterations", self.agent.num_iterations, 0),
            ("agent.learning_starts", self.agent.learning_starts, 0),
            ("goals.horizon", self.goals.horizon, 1),
            ("goals.trials", self.goals.trials, 0),
            ("evaluate.episodes", self.evaluate.episodes, 1),
            ("evaluate.curve_episodes", self.evaluate.curve_episodes, 1),
            ("seed", self.seed, 0),
        ):
            if value < least:
                raise UsageError(f"{name} is {value}; expected {least} or more")
        if not 0 < self.explore.fraction <= 1:
            raise UsageError(f"explore.fraction is {self.explore.fraction}; expected more than 0, at most 1")
        if self.agent.updates_per_step <= 0:
            raise UsageError(f"agent.updates_per_step is {self.agent.updates_per_step}; expected more than 0")

    @property
    def explore_steps(self) -> int:
        """Environment steps spent exploring: whole rows of all lanes."""
        lanes = self.explore.num_envs
        return max(int(self.steps * self.explore.fraction) // lanes, 1) * lanes

    @property
    def iteration_steps(self) -> int:
        """Environment steps of one round of acting: whole rows of all lanes."""
        if self.agent.num_iterations == 0:
            return 0
        lanes = self.agent.num_envs
        return max(self.steps - self.explore_steps, 0) // self.agent.num_iterations // lanes * lanes


def flatten_fields(config: type) -> dict[str, tuple[Any, Any]]:
    """Every key a config knows, dotted, with its type and default."""
    hints = typing.get_type_hints(config)
    found: dict[str, tuple[Any, Any]] = {}
    for entry in dataclasses.fields(config):
        kind = hints[entry.name]
        if dataclasses.is_dataclass(kind):
            found |= {
                f"{entry.name}.{name}": value
                for name, value in flatten_fields(typing.cast(type, kind)).items()
            }
        else:
            default = entry.default
            if default is dataclasses.MISSING and entry.default_factory is not dataclasses.MISSING:
                default = entry.default_factory()
            found[entry.name] = (kind, default)
    return found


def to_dict(config: Any) -> dict[str, Any]:
    """A config as nested plain values."""
    return {
        entry.name: to_dict(value) if dataclasses.is_dataclass(value) else value
        for entry in dataclasses.fields(config)
        for value in [getattr(config, entry.name)]
    }


def to_toml(config: Any) -> str:
    """A config as TOML that `parse` reads back to the same config; or a dict of settings."""
    lines: list[str] = []
    tables: list[str] = []
    entries = config if isinstance(config, dict) else to_dict(config)
    for name, value in entries.items():
        if isinstance(value, dict):
            tables.append(f"\n[{name}]\n{to_toml(value)}")
        elif value is not None:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n" + "".join(tables)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def from_toml(path: str | Path) -> dict[str, Any]:
    """The keys of a TOML file, dotted."""
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UsageError(f"no config file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    return _dotted(table)


def _dotted(table: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= _dotted(value, f"{above}{name}.")
        else:
            found[above + name] = value
    return found


def _words(value: Any) -> list[str]:
    """A value as the words a command line would hold."""
    if isinstance(value, (list, tuple)):
        return [str(v) for v in value]
    return [str(value)]


def _arguments(config: type, given: dict[str, Any], origin: str) -> list[str]:
    known = flatten_fields(config)
    words: list[str] = []
    for name, value in given.items():
        if name not in known:
            raise _unknown_key(name, known, origin)
        if typing.get_origin(known[name][0]) is tuple and isinstance(value, str):
            value = [v for v in value.replace(",", " ").split() if v]
        words += [f"--{name}", *_words(value)]
    return words


def _unknown_key(name: str, known: dict[str, Any], origin: str) -> UsageError:
    return UsageError(f"{origin}: {unknown_name_error('config key', name, known)}")


def split_args(words: Sequence[str], flags: set[str]) -> tuple[list[str], list[str]]:
    """A command line as (words with the verb's own `flags`, settings: other flags with their values)."""
    known, own, settings = flatten_fields(LearnConfig), [], []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word.partition("=")[0] in flags:
            own.append(word)
            if word in flags and rest and not rest[0].startswith("--"):
                own.append(rest.pop(0))  # its value; or a word after a switch, which stays in its place
            continue
        settings.append(word)
        many = typing.get_origin(known.get(word[2:].replace("-", "_"), ("", ""))[0]) is tuple
        if "=" not in word and rest and not rest[0].startswith("--"):
            settings.append(rest.pop(0))
            while many and rest and not rest[0].startswith("--"):
                settings.append(rest.pop(0))
    return own, settings


def parse_overrides(words: Sequence[str], config: type) -> dict[str, Any]:
    """`--world_model.latent_dim 512 --agent.name=td3` as a dict of dotted keys; a flag that does not exist is named."""
    known = flatten_fields(config)
    given: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if not word.startswith("--"):
            raise UsageError(f"{word!r} is one word too many; flags begin with --")
        if name not in known:
            raise _unknown_key(name, known, "command line")
        values = [value] if equals else []
        many = typing.get_origin(known[name][0]) is tuple
        while not equals and rest and not rest[0].startswith("--") and (many or not values):
            values.append(rest.pop(0))
        if not values:
            raise UsageError(f"--{name} has no value; its default is {known[name][1]!r}")
        if known[name][0] is bool and values[0] in ("true", "false"):  # as TOML and JSON write them
            values = [values[0].capitalize()]
        given[name] = ",".join(values) if many else values[0]
    return given


def parse(config: type, *layers: tuple[str, dict[str, Any]]) -> Any:
    """A config from its defaults and layers (where from, dotted keys), later ones over earlier ones.

    Values are joined by type; a key that does not exist, or a value of another type, is one line.
    """
    import tyro

    merged: dict[str, tuple[str, Any]] = {}
    for origin, given in layers:
        _arguments(config, given, origin)  # names first: the wrong name is more telling than the wrong value
        merged |= {name: (origin, value) for name, value in given.items()}
    try:
        return _parse(tyro, config, _arguments(config, {n: v for n, (_, v) in merged.items()}, ""))
    except SystemExit:
        known = flatten_fields(config)
        for name, (origin, value) in merged.items():
            try:
                _parse(tyro, config, _arguments(config, {name: value}, origin))
            except SystemExit:
                kind = getattr(known[name][0], "__name__", None) or str(known[name][0])
                kind = str(known[name][0]) if typing.get_origin(known[name][0]) else kind
                raise UsageError(f"{origin}: {name} is {value!r}; expected {kind}") from None
        raise


def _parse(tyro: Any, config: type, words: list[str]) -> Any:
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return tyro.cli(
            config,
            args=words,
            config=(tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands),
            use_underscores=True,
        )


def thread_count(threads: int) -> int:
    """CPU threads to use: what was asked for, or all cores up to 8."""
    import os

    return threads or min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8
    )


def check_count(name: str, value: float, least: int = 1) -> None:
    """A count that makes sense, or one line."""
    if value < least or not np.isfinite(value):
        raise UsageError(f"{name} is {value}; expected {least} or more")
