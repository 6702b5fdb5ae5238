"""The grid of a sweep: a command with settings, and axes whose values are combined to cells."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.small_files import as_path, read_toml
from robossl.training import output_dirs
from robossl.training.config_io import dotted_keys

SEED = "seed"  # cells that differ in this axis alone are repetitions
_KEYS = ("command", "out", "settings", "axes")
_MAX_CELLS = 100_000
_MAX_NAME = 80  # [characters] of a cell, without its hash
_REFERENCE = re.compile(r"\{([\w.]+)\}")  # of an axis, in a text


@dataclass(frozen=True)
class SweepCell:
    """One cell: a command with its settings.

    Attributes:
        index: Its number in the grid, from 0.
        name: Name of its folder; it depends on its settings only.
        values: Value of each axis.
        settings: All settings, those of the axes included.
    """

    index: int
    name: str
    values: dict[str, Any]
    settings: dict[str, Any]

    needs: tuple[str, ...] = ()
    cost: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Return the cell as JSON values, for a worker process."""
        return {"index": self.index, "name": self.name, "values": self.values, "settings": self.settings}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SweepCell:
        """Return the cell that `to_json` stored."""
        return cls(value["index"], value["name"], value["values"], value["settings"])


@dataclass(frozen=True)
class Grid:
    """A command, the settings of all cells, and the values of each axis by dotted key."""

    command: str
    settings: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, list[Any]] = field(default_factory=dict)

    def cells(self) -> list[SweepCell]:
        """Return all cells; the last axis changes first."""
        cells = []
        for index, values in enumerate(itertools.product(*self.axes.values())):
            by_axis = dict(zip(self.axes, values))
            settings = {key: _inserted(value, by_axis) for key, value in {**self.settings, **by_axis}.items()}
            cells.append(SweepCell(index, self._name(by_axis, settings), by_axis, settings))
        return cells

    def samples(self) -> list[SweepCell]:
        """Return cells that contain each value of each axis at least once."""
        cells: list[SweepCell] = []
        seen: set[tuple[str, str]] = set()
        for cell in self.cells():
            new = {(axis, json.dumps(value)) for axis, value in cell.values.items()} - seen
            if new or not seen:
                cells.append(cell)
                seen |= new or {("", "")}
        return cells

    def _name(self, values: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
        """Return a readable name with a hash of all settings."""
        text = json.dumps([self.command, settings], sort_keys=True)
        parts = [f"{axis.split('.')[-1]}-{_slug(axis, value)}" for axis, value in values.items()]
        readable = "_".join(parts)[:_MAX_NAME] or self.command
        return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _slug(axis: str, value: Any) -> str:
    """Return a value of an axis for a file name."""
    if isinstance(value, (list, tuple)):
        return "+".join(_slug(axis, part) for part in value) or "none"
    text = output_dirs.slug(value) if isinstance(value, str) and axis == "env" else str(value)
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text)


def _inserted(value: Any, by_axis: Mapping[str, Any]) -> Any:
    """Return a text with `{axis}` replaced by the value of that axis; lists part by part, other values unchanged."""
    if isinstance(value, list):
        return [_inserted(part, by_axis) for part in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[1] not in by_axis:
            raise unknown_name_error("reference", f"{{{match[1]}}}", [f"{{{axis}}}" for axis in by_axis])
        return _slug(match[1], by_axis[match[1]])

    return _REFERENCE.sub(replace, value)


def read_grid(source: str | Path | Mapping[str, Any], commands: tuple[str, ...]) -> tuple[Grid, str | None]:
    """Return the grid of a sweep file, or of the same content as a mapping, and its output folder if it has one.

    Args:
        source: The file, or its content.
        commands: Names of the commands that a cell may be.

    Raises:
        UsageError: A key or command is unknown, an axis is empty, or there are no axes.
    """
    if isinstance(source, Mapping):
        content, name = dict(source), "the sweep"
    else:
        if not as_path(source, "a sweep file, or its content as a dict").exists():
            raise UsageError(f"no sweep file {source}")
        content, name = read_toml(source), str(source)
    for key in content:
        if key not in _KEYS:
            raise UsageError(f"{name}: {unknown_name_error('key', key, _KEYS)}")
    command, out = content.get("command"), content.get("out")
    if not isinstance(command, str):
        raise UsageError(f"{name}: command: expected one of {', '.join(commands)}, got {command!r}")
    if command not in commands:
        raise UsageError(f"{name}: {unknown_name_error('command', command, commands)}")
    if not isinstance(out, (str, type(None), Path)):
        raise UsageError(f"{name}: out: expected a folder, got {out!r}")
    tables = {}
    for key in ("settings", "axes"):
        if not isinstance(content.get(key, {}), Mapping):
            raise UsageError(f"{name}: {key}: expected a table, got {content[key]!r}")
        tables[key] = dotted_keys(content.get(key, {}))
    grid = Grid(command, _plain(tables["settings"], name), _axes(tables["axes"], tables["settings"], name))
    return grid, None if out is None else str(out)


def _axes(axes: Mapping[str, Any], settings: Mapping[str, Any], name: str) -> dict[str, list[Any]]:
    """Return the axes after checking them."""
    checked: dict[str, list[Any]] = {}
    count = 1
    for axis, values in axes.items():
        if not isinstance(values, (list, tuple, range)):
            raise UsageError(f"{name}: axes.{axis}: expected a list of values, got {values!r}")
        checked[axis] = _plain({axis: list(values)}, name)[axis]
        if not checked[axis]:
            raise UsageError(f"{name}: axes.{axis}: expected at least one value, got an empty list")
        texts = [json.dumps(value) for value in checked[axis]]
        if len(set(texts)) < len(texts):
            twice = next(text for text in texts if texts.count(text) > 1)
            raise UsageError(f"{name}: axes.{axis}: expected different values, got {twice} twice")
        if axis in settings:
            raise UsageError(f"{name}: {axis} is an axis and a setting; give one of them")
        count *= len(texts)
    if not checked:
        raise UsageError(f"{name}: expected a table [axes] with at least one axis, such as seed = [0, 1, 2]")
    if count > _MAX_CELLS:
        raise UsageError(f"{name}: expected at most {_MAX_CELLS:,} cells, got {count:,}")
    return checked


def _plain(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a table of plain values as JSON keeps them."""
    try:
        return json.loads(json.dumps(dict(table), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: expected numbers, texts and lists, got another value ({error})") from None
