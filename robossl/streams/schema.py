"""What a stream holds: named fields with dtype, shape, role and unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import Space

from robossl.core import spaces
from robossl.core.errors import CorruptedFileError, UsageError, unknown_name_error

FORMAT = 1  # what this version writes; later ones are refused with words
ROLES = ("observation", "action", "reward", "flag", "state", "physics", "info")
FLAGS = ("terminated", "truncated", "valid", "is_first", "is_last")


@dataclass(frozen=True)
class Field:
    """One column of a stream: `shape` is that of one row."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    role: str
    unit: str = ""

    @property
    def row_bytes(self) -> int:
        """The bytes of one row."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def is_image(self) -> bool:
        """A picture: always read from the file, never kept in memory."""
        return self.dtype == "uint8" and len(self.shape) == 3


@dataclass(frozen=True)
class Schema:
    """All fields of a stream and the spaces (of a single lane) they come from."""

    observation_space: Space
    action_space: Space
    fields: tuple[Field, ...]

    @classmethod
    def of(
        cls,
        observation_space: Space,
        action_space: Space,
        state: Mapping[str, int] | None = None,
        physics: int | None = None,
        info: Sequence[str] = (),
        units: Mapping[str, str] | None = None,
    ) -> Schema:
        """The schema for an env's single spaces, with the sizes of its `state` vectors and `physics` row.

        `info` names are recorded as one float32 each; `units` gives units by field name.
        """
        fields = []
        for path, leaf in spaces.leaves(observation_space).items():
            fields.append(Field(observation_name(path), str(leaf.dtype), _shape(leaf), "observation"))
        action = spaces.leaves(action_space)
        if set(action) != {""}:
            raise UsageError(
                f"an action space {spaces.format_space(action_space)} cannot be recorded; expected Box or Discrete"
            )
        floating = np.issubdtype(action[""].dtype, np.floating)
        fields.append(Field("action", "float32" if floating else "int64", _shape(action[""]), "action"))
        fields.append(Field("reward", "float32", (), "reward"))
        fields += [Field(name, "bool", (), "flag") for name in FLAGS]
        fields += [Field(f"state.{name}", "float64", (k,), "state") for name, k in (state or {}).items()]
        fields += [Field("physics", "float64", (physics,), "physics")] if physics is not None else []
        fields += [Field(f"info.{name}", "float32", (), "info") for name in info]
        units = units or {}
        for name in units:
            if name not in {f.name for f in fields}:
                raise unknown_name_error("field", name, [f.name for f in fields])
        fields = [Field(f.name, f.dtype, f.shape, f.role, units.get(f.name, "")) for f in fields]
        return cls(observation_space, action_space, tuple(fields))

    def __getitem__(self, name: str) -> Field:
        """The field of that name; `RequestError` naming the ones there are."""
        for field in self.fields:
            if field.name == name:
                return field
        raise unknown_name_error("field", name, self.names)

    @property
    def names(self) -> list[str]:
        """All field names in order."""
        return [field.name for field in self.fields]

    @property
    def observations(self) -> list[str]:
        """The names of the observation fields."""
        return [field.name for field in self.fields if field.role == "observation"]

    @cached_property
    def row_bytes(self) -> int:
        """The bytes of one row, all fields together."""
        return sum(field.row_bytes for field in self.fields)

    @property
    def idle(self) -> np.ndarray:
        """The action of a row where none was taken: zeros; of choices the first one."""
        field, first = self["action"], getattr(self.action_space, "start", 0)
        return np.broadcast_to(np.asarray(first, field.dtype), field.shape)

    def check(self, rows: Mapping[str, Any], count: int) -> dict[str, np.ndarray]:
        """`count` rows of every field in the schema's dtypes; `RequestError` naming what does not fit."""
        values = {}
        for field in self.fields:
            if field.name not in rows:
                raise UsageError(f"rows lack the field {field.name!r}; there are: {', '.join(rows)}")
            value = np.asarray(rows[field.name])
            if value.shape != (count, *field.shape):
                raise UsageError(f"{field.name!r} has shape {value.shape}; expected {(count, *field.shape)}")
            if not np.can_cast(value.dtype, field.dtype, "same_kind"):
                raise UsageError(f"{field.name!r} is {value.dtype}; expected {field.dtype}")
            values[field.name] = value.astype(field.dtype, copy=False)
        if len(rows) > len(values):
            raise unknown_name_error("field", next(name for name in rows if name not in values), self.names)
        return values

    def join(self, parts: Mapping[str, Any]) -> Any:
        """Observation arrays by field name become one observation: an array, or a dict for Dict spaces."""
        leaves = {
            name.removeprefix("observation").removeprefix("."): parts[name] for name in self.observations
        }
        return spaces.unflatten_by_path(self.observation_space, leaves)

    def to_json(self) -> dict[str, Any]:
        """The schema as plain JSON."""
        return {
            "observation_space": spaces.to_json(self.observation_space),
            "action_space": spaces.to_json(self.action_space),
            "fields": [{**asdict(field), "shape": list(field.shape)} for field in self.fields],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schema:
        """The inverse of `to_json`; `DamagedFile` where something is missing."""
        try:
            fields = tuple(Field(**{**entry, "shape": tuple(entry["shape"])}) for entry in value["fields"])
            for name in ("action", "reward", *FLAGS):
                if not any(field.name == name for field in fields):
                    raise KeyError(name)
            observation, action = (spaces.from_json(value[f"{k}_space"]) for k in ("observation", "action"))
        except (KeyError, TypeError, AttributeError) as error:
            raise CorruptedFileError(f"stream.json does not describe a stream: {error}") from error
        return cls(observation, action, fields)


def observation_name(path: str) -> str:
    """The field that holds the observation leaf at `path`: `observation`, or `observation.<path>`."""
    return f"observation.{path}" if path else "observation"


def _shape(leaf: Space) -> tuple[int, ...]:
    """The shape of a plain space."""
    assert leaf.shape is not None
    return tuple(leaf.shape)
