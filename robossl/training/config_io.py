"""Reading and writing configurations: TOML files, and layers of dotted keys merged over the defaults.

tyro converts values to the types of the dataclass. Names, layers and messages are handled here, because tyro reports a
mistake in a box of several lines, and an error of robossl is one line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.field_comments import field_comments
from robossl.core.small_files import read_toml

Layer = tuple[str, Mapping[str, Any]]  # (where the values come from, values by dotted key)
# Keys below these are not checked here: every agent has its own settings, every robot its own parameters.
FREE_PREFIXES = ("agent.settings.", "variation.randomization.")


def flatten_fields(config: type) -> dict[str, tuple[Any, Any]]:
    """Return dotted key -> (type, default) for all fields of a config class."""
    hints = typing.get_type_hints(config)
    flat: dict[str, tuple[Any, Any]] = {}
    for entry in dataclasses.fields(config):
        field_type = hints[entry.name]
        if dataclasses.is_dataclass(field_type):
            nested = flatten_fields(typing.cast(type, field_type))
            flat |= {f"{entry.name}.{name}": value for name, value in nested.items()}
        else:
            default = entry.default
            if default is dataclasses.MISSING and entry.default_factory is not dataclasses.MISSING:
                default = entry.default_factory()
            flat[entry.name] = (field_type, default)
    return flat


def field_descriptions(config: type) -> dict[str, str]:
    """Return dotted key -> the comment beside the field, for all fields of a config class that have one."""
    hints = typing.get_type_hints(config)
    comments = field_comments(config)
    flat: dict[str, str] = {}
    for entry in dataclasses.fields(config):
        if dataclasses.is_dataclass(hints[entry.name]):
            nested = field_descriptions(typing.cast(type, hints[entry.name]))
            flat |= {f"{entry.name}.{name}": text for name, text in nested.items()}
        elif entry.name in comments:
            flat[entry.name] = comments[entry.name]
    return flat


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as nested plain values."""
    return {
        entry.name: to_dict(value) if dataclasses.is_dataclass(value) else value
        for entry in dataclasses.fields(config)
        for value in [getattr(config, entry.name)]
    }


def flatten(config: Any) -> dict[str, Any]:
    """Return the values of a config by dotted key."""
    flat: dict[str, Any] = {}
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if dataclasses.is_dataclass(value):
            flat |= {f"{entry.name}.{name}": nested for name, nested in flatten(value).items()}
        else:
            flat[entry.name] = value
    return flat


def to_toml(config: Any) -> str:
    """Return a config, or a dict of nested plain values, as TOML that `from_toml` and `parse` read back."""
    return _tables(config if isinstance(config, Mapping) else to_dict(config))


def _tables(entries: Mapping[str, Any], prefix: str = "") -> str:
    lines = [
        f"{_key(k)} = {_literal(v)}"
        for k, v in entries.items()
        if v is not None and not isinstance(v, Mapping)
    ]
    tables = [
        f"\n[{prefix}{_key(name)}]\n{_tables(value, f'{prefix}{_key(name)}.')}"
        for name, value in entries.items()
        if isinstance(value, Mapping)
    ]
    return "\n".join(lines) + "\n" + "".join(tables)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _literal(name)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_literal(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_literal(v)}" for k, v in value.items()) + "}"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def from_toml(path: str | Path) -> dict[str, Any]:
    """Return the values of a TOML file by dotted key."""
    if not Path(path).exists():
        raise UsageError(f"no config file {path}")
    return dotted_keys(read_toml(path))


def dotted_keys(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one dict with dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat |= dotted_keys(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inverse of `dotted_keys`."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        table = tree
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise UsageError(f"{name}: {parent} is a value and a table; give one of them")
        table[last] = value
    return tree


def unknown_key_error(name: str, known: Mapping[str, Any], origin: str) -> UsageError:
    """Return the error for an unknown config key, with near names."""
    return UsageError(f"{origin}: {unknown_name_error('config key', name, known)}")


def parse(config: type, *layers: Layer) -> Any:
    """Return a config: the defaults, overridden by the first layer, overridden by the second, and so on.

    Args:
        config: A dataclass.
        layers: Values by dotted key, each with a name for messages.

    Raises:
        UsageError: For an unknown key, or a value that its type does not accept; one line.
    """
    known = flatten_fields(config)
    merged: dict[str, tuple[str, Any]] = {}
    free: dict[str, dict[str, Any]] = {}  # prefix -> values by the rest of their key
    for origin, values in layers:
        for name, value in values.items():
            prefix = free_prefix(name, known)
            if prefix is not None:
                free.setdefault(prefix, {})[name.removeprefix(prefix)] = value
            elif name not in known:
                raise unknown_key_error(name, known, origin)
            elif f"{name}." in FREE_PREFIXES:
                raise UsageError(f"{origin}: {name}: expected a table, one key for each value, got {value!r}")
            else:
                merged[name] = (origin, value)
    try:
        parsed = _convert(config, {name: value for name, (_, value) in merged.items()}, known)
    except SystemExit:
        for name, (origin, value) in merged.items():
            try:
                _convert(config, {name: value}, known)
            except SystemExit:
                expected = _format_type(known[name][0])
                raise UsageError(f"{origin}: {name}: expected {expected}, got {value!r}") from None
        raise
    for prefix, values in free.items():
        section, field = prefix.rstrip(".").split(".")
        part = dataclasses.replace(getattr(parsed, section), **{field: _nested(values)})
        parsed = dataclasses.replace(parsed, **{section: part})
    return parsed


def free_prefix(name: str, known: Mapping[str, Any]) -> str | None:
    """Return the prefix of FREE_PREFIXES that a key begins with, if the config has it; else None."""
    prefixes = (p for p in FREE_PREFIXES if name.startswith(p) and p.rstrip(".") in known)
    return next(prefixes, None)


def _format_type(value_type: Any) -> str:
    """Return the text of a type, for a message: `int or 'unlimited'`."""
    origin, parts = typing.get_origin(value_type), typing.get_args(value_type)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_format_type, parts))
    if origin is typing.Literal:
        return " or ".join(map(repr, parts))
    return str(value_type) if origin is not None else getattr(value_type, "__name__", str(value_type))


def _list_parts(text: str) -> list[str]:
    """Return the parts of a list, with or without the brackets and quotes of TOML.

    >>> _list_parts("5, 10"), _list_parts('["latent", "observation"]')
    (['5', '10'], ['latent', 'observation'])
    """
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return [part.strip("\"'") for part in text.replace(",", " ").split()]


def _convert(config: type, values: Mapping[str, Any], known: Mapping[str, tuple[Any, Any]]) -> Any:
    """Return a config from values of any type; tyro raises SystemExit for a wrong one."""
    import tyro

    args: list[str] = []
    for name, value in values.items():
        if typing.get_origin(known[name][0]) is tuple and isinstance(value, str):
            value = _list_parts(value)
        args += [f"--{name}", *(map(str, value) if isinstance(value, (list, tuple)) else [str(value)])]
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return tyro.cli(
            config,
            args=args,
            config=(tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands),
            use_underscores=True,
        )
