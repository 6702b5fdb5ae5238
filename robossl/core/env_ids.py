"""Names of environments: an id or MJCF file, with arguments, wrappers and what is read of it, as one string.

`kinds/Push-v0?size=6&+wrap=gymnasium.wrappers:TimeLimit?max_episode_steps%3D30&+observe=state` is one env: everything
that records or makes it needs this string only. Values are JSON, or plain text where that is no JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from robossl.core.errors import UsageError

_ROBOT_SUFFIXES = (".xml", ".mjcf", ".urdf", ".mjb")
_OPTIONS = ("wrap", "observe", "success", "info", "adapter")  # keys of a query with a + before them
_LIST_OPTIONS = ("wrap", "observe", "info")
_SINGLE_OPTIONS = ("success", "adapter")
_WORDS = {"True": True, "False": False, "None": None}  # Python's spelling of JSON values


@dataclass(frozen=True)
class EnvName:
    """An env taken apart; `str()` puts it together again."""

    base: str  # Gymnasium id, `package:id`, `module:function`, or an MJCF file
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the constructor, JSON values
    wrap: tuple[str, ...] = ()  # wrappers `module:Wrapper?argument=value`, the innermost first
    observe: tuple[str, ...] = ()  # parts of the observation that are kept; empty: all that can be recorded
    success: str | None = None  # key of the info that reports that the task is solved
    info: tuple[str, ...] = ()  # keys of further infos that are recorded
    adapter: str | None = None  # registered name of the adapter that saves and sets the state

    @classmethod
    def parse(cls, text: str) -> EnvName:
        """Return the parts of an env name.

        Raises:
            UsageError: If a part has no name, or an unknown one.
        """
        base, arguments, options = _split(text)
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown:
            raise UsageError(
                f"env {base}: unknown option +{unknown[0]}; available: {', '.join(f'+{o}' for o in _OPTIONS)}"
            )
        lists = {name: tuple(options.get(name, ())) for name in _LIST_OPTIONS}
        singles = {name: options[name][-1] if name in options else None for name in _SINGLE_OPTIONS}
        return cls(base, arguments, **lists, **singles)  # type: ignore[arg-type]

    def __str__(self) -> str:
        pairs = [(name, _value_text(value)) for name, value in self.arguments.items()]
        pairs += [(f"+{name}", value) for name in _LIST_OPTIONS for value in getattr(self, name)]
        pairs += [(f"+{name}", getattr(self, name)) for name in _SINGLE_OPTIONS if getattr(self, name)]
        query = "&".join(f"{_escaped(name, '=')}={_escaped(value)}" for name, value in pairs)
        return f"{self.base}?{query}" if query else self.base

    @property
    def modules(self) -> list[str]:
        """Modules that must be imported before the env can be made: its package, and those of its wrappers."""
        names = [] if is_robot_file(self.base) else [self.base]
        return [name.split(":", 1)[0] for name in (*names, *self.wrap) if ":" in name]

    @property
    def changes_parts(self) -> bool:
        """Whether a single env is changed before it is batched: by wrappers, or in what is read of it."""
        return bool(self.wrap or self.observe or self.success or self.adapter)


def _split(text: str) -> tuple[str, dict[str, Any], dict[str, list[str]]]:
    """Return base, arguments and options of `base?key=value&+option=value`."""
    base, mark, query = text.partition("?")
    if not mark or (text.lower().endswith(_ROBOT_SUFFIXES) and os.path.isfile(text)):
        return text, {}, {}
    arguments: dict[str, Any] = {}
    options: dict[str, list[str]] = {}
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        name, value = unquote(name), unquote(value)
        if not equals or not name.strip("+"):
            raise UsageError(f"env {base}: expected KEY=VALUE after the question mark, got {part!r}")
        if name.startswith("+"):
            options.setdefault(name[1:], []).append(value)
        else:
            arguments[name] = read_value(value)
    return base, arguments, options


def parse_wrapper(text: str) -> tuple[str, dict[str, Any]]:
    """Return entry point and arguments of a wrapper `module:Wrapper?argument=value`.

    Raises:
        UsageError: If it names no module.
    """
    entry_point, arguments, options = _split(text)
    module, colon, name = entry_point.partition(":")
    if not (module and colon and name) or options:
        raise UsageError(
            f"expected a wrapper as module:Wrapper or module:Wrapper?argument=value, got {text!r}"
        )
    return entry_point, arguments


def read_value(text: str) -> Any:
    """Return the value of a text: JSON, or `True`, `False` and `None`; anything else is the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _value_text(value: Any) -> str:
    """Return the text from which `read_value` reads a value."""
    if isinstance(value, str) and read_value(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _escaped(text: str, also: str = "") -> str:
    """Return text without the characters that separate the parts of a name."""
    return re.sub(rf"[%&\s\x00-\x1f\x7f{also}]", lambda c: "".join(f"%{b:02X}" for b in c[0].encode()), text)


def with_options(
    env: str,
    arguments: Mapping[str, Any] | None = None,
    wrap: Iterable[str] = (),
    observe: Iterable[str] = (),
    success: str | None = None,
    info: Iterable[str] = (),
    adapter: str | None = None,
) -> str:
    """Return the name of an env with more arguments and options; those given replace the ones of the name.

    Args:
        env: Name of an env.
        arguments: Constructor arguments by name; a dotted name is one entry of a dict: `config.cars`.
        wrap: Wrappers `module:Wrapper?argument=value`, put around those of the name.
        observe: Parts of the observation to keep.
        success: Key of the info that reports that the task is solved.
        info: Keys of infos to record.
        adapter: Registered name of an adapter.
    """
    name = EnvName.parse(env)
    merged = dict(name.arguments)
    for key, value in (arguments or {}).items():
        _set_nested(merged, key.split("."), value, key)
    for wrapper in wrap:
        parse_wrapper(wrapper)
    changed = dataclasses.replace(
        name,
        arguments=merged,
        wrap=(*name.wrap, *wrap),
        observe=tuple(observe) or name.observe,
        success=success or name.success,
        info=tuple(info) or name.info,
        adapter=adapter or name.adapter,
    )
    return str(changed)


def _set_nested(table: dict[str, Any], path: Sequence[str], value: Any, key: str) -> None:
    if not all(path):
        raise UsageError(f"expected the name of an argument of the env, got {key!r}")
    for part in path[:-1]:
        inner = table.get(part, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{key}: {part} is a value and a table; give one of them")
        table[part] = table = dict(inner)
    table[path[-1]] = value


def base_id(env: str) -> str:
    """Return the id or MJCF file of an env name, without arguments and options."""
    return _split(env)[0]


def is_robot_file(env: str) -> bool:
    """Return whether `env` is the path of a robot file (MJCF, URDF, MJB); the file need not exist."""
    return base_id(env).lower().endswith(_ROBOT_SUFFIXES)


def canonical_id(env: str) -> str:
    """Return the name to store: with the absolute path of a robot file, a Gymnasium id unchanged."""
    name = EnvName.parse(env)
    return (
        str(dataclasses.replace(name, base=os.path.abspath(name.base))) if is_robot_file(env) else str(name)
    )


def display_name(env: str) -> str:
    """Return the name for a heading.

    >>> display_name("/robots/arm.xml"), display_name("my_package:kinds/Push-v0?size=6&+wrap=my_env:Noise")
    ('arm.xml', 'kinds/Push-v0 (size 6, wrap my_env:Noise)')
    """
    name = EnvName.parse(env)
    base = os.path.basename(name.base) if is_robot_file(env) else name.base.rpartition(":")[2]
    parts = [f"{key} {_value_text(value)}" for key, value in name.arguments.items()]
    parts += [f"{key} {value}" for key in _LIST_OPTIONS for value in getattr(name, key)]
    parts += [f"{key} {getattr(name, key)}" for key in _SINGLE_OPTIONS if getattr(name, key)]
    return f"{base} ({', '.join(parts)})" if parts else base
