"""Settings on the command line: `--world_model.latent_dim 512 --agent.name=td3`, over `--config FILE.toml`.

tyro could parse these flags too, but it prints a mistake as a box of several lines, and its `--help` of LearnConfig
takes 0.2 s. Here a mistake is one line, and help appears within half a second.
"""

from __future__ import annotations

import textwrap
import tomllib
import typing
from argparse import Namespace
from collections.abc import Collection, Sequence
from typing import Any

from robossl.core.errors import UsageError
from robossl.training.config import LearnConfig
from robossl.training.config_io import (
    Layer,
    field_descriptions,
    flatten_fields,
    free_prefix,
    from_toml,
    unknown_key_error,
)

_EXAMPLES = {  # keys with free keys below them -> one with a value
    "agent.settings": "learning_rate 3e-4",
    "variation.randomization": "gravity 1.3",
}
COMMON_FLAGS = {  # flags with the same meaning in several commands -> keys of LearnConfig
    "env": "env",
    "seed": "seed",
    "steps": "steps",
    "threads": "threads",
    "pixels": "pixels",
    "device": "device",
    "log": "log",
    "num_envs": "explore.num_envs",
    "backend": "explore.backend",
    "workers": "explore.workers",
    "engine": "explore.engine",
    "updates": "pretrain.updates",
}


def split_args(args: Sequence[str], flags: Collection[str]) -> tuple[list[str], list[str]]:
    """Split a command line into (arguments of the command, settings).

    Args:
        args: The command line after the command.
        flags: The command's own flags; all others are settings, with their values.
    """
    known, command_args, settings = flatten_fields(LearnConfig), [], []
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        if not arg.startswith("--") or arg.partition("=")[0] in flags:
            command_args.append(arg)
            if arg in flags and rest and not rest[0].startswith("--"):
                command_args.append(rest.pop(0))  # its value, or after a switch the next positional argument
            continue
        settings.append(arg)
        is_list = typing.get_origin(known.get(arg[2:].replace("-", "_"), ("", ""))[0]) is tuple
        if "=" not in arg and rest and not rest[0].startswith("--"):
            settings.append(rest.pop(0))
            while is_list and rest and not rest[0].startswith("--"):
                settings.append(rest.pop(0))
    return command_args, settings


def parse_overrides(args: Sequence[str], config: type) -> dict[str, Any]:
    """Return the values of `--world_model.latent_dim 512 --agent.name=td3` by dotted key.

    Raises:
        UsageError: For an unknown key or a missing value; one line.
    """
    known = flatten_fields(config)
    values: dict[str, Any] = {}
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        name, equals, value = arg.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        is_free = free_prefix(name, known) is not None
        if not arg.startswith("--"):
            raise UsageError(f"unexpected argument {arg!r}; flags begin with --")
        if not is_free and name not in known:
            raise unknown_key_error(name, known, "command line")
        value_type = str if is_free else known[name][0]
        is_list = typing.get_origin(value_type) is tuple
        parts = [value] if equals else []
        while not equals and rest and not rest[0].startswith("--") and (is_list or not parts):
            parts.append(rest.pop(0))
        if not parts:
            default = "" if is_free else f"; its default is {known[name][1]!r}"
            raise UsageError(f"--{name} has no value{default}")
        if is_free:
            values[name] = _literal_or_text(parts[0])
        elif value_type is bool and parts[0] in ("true", "false"):  # as in TOML and JSON
            values[name] = parts[0].capitalize()
        else:
            values[name] = ",".join(parts) if is_list else parts[0]
    return values


def _literal_or_text(text: str) -> Any:
    """Return the value of a TOML literal: `3e-4`, `true`, `[64, 64]`, `{net_arch = [64]}`; else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def layers_of(options: Namespace, allowed: Collection[str] | None = None) -> list[Layer]:
    """Return the config layers of a command line: the file of `--config`, then its flags and settings.

    Args:
        options: Parsed flags, with the unparsed settings in `overrides`.
        allowed: Keys and prefixes (`agent.`) that the command takes; None: all.
    """
    flags = {
        key: getattr(options, name)
        for name, key in COMMON_FLAGS.items()
        if getattr(options, name, None) is not None
    }
    layers: list[Layer] = [("command line", flags | parse_overrides(options.overrides, LearnConfig))]
    if options.config:
        layers.insert(0, (options.config, from_toml(options.config)))
    for origin, values in layers if allowed is not None else ():
        for name in values:
            if not any(name == key or (key.endswith(".") and name.startswith(key)) for key in allowed or ()):
                expected = ", ".join(f"{key}*" if key.endswith(".") else key for key in allowed or ())
                raise UsageError(f"{origin}: expected a setting of this command ({expected}), got {name!r}")
    return layers


def settings_help(prefixes: Sequence[str]) -> str:
    """Return the settings below these prefixes with their defaults and a sentence each, for `--help`."""
    descriptions = field_descriptions(LearnConfig)
    lines = []
    for name, (_, default) in flatten_fields(LearnConfig).items():
        if any(name.startswith(prefix) for prefix in prefixes):
            value = f".{_EXAMPLES[name]} (one flag a key)" if name in _EXAMPLES else f" {_text(default)}"
            text = textwrap.fill(
                descriptions.get(name, ""), 92, initial_indent=" " * 6, subsequent_indent=" " * 6
            )
            lines += [f"  --{name}{value}", *([text] if text else [])]
    return "settings and their defaults (also in --config FILE.toml):\n" + "\n".join(lines)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
