"""Schema of a stream: named fields with dtype, shape, role and unit."""

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
from robossl.core.small_files import checked, checked_ints
from robossl.core.tensor_file import DTYPES

FORMAT = 3  # format of streams that this version writes and reads
ROLES = ("observation", "action", "reward", "flag", "state", "physics", "info")
_DTYPES = [str(dtype) for dtype in DTYPES]
_MAX_DIMENSIONS, _MAX_ELEMENTS = 16, 1 << 32  # of one row of a field
FLAGS = ("terminated", "truncated", "valid", "is_first", "is_last")


@dataclass(frozen=True)
class Field:
    """One column of a stream; `shape` is the shape of one row.

    Example:
        {field.name: (field.shape, field.unit) for field in stream.schema.fields}
    """

    name: str  # for example observation.desired_goal
    dtype: str  # of NumPy
    shape: tuple[int, ...]  # of one row
    role: str  # observation, action, reward, state, info, flag, ...
    unit: str = ""  # for example m/s

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one row."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def is_image(self) -> bool:
        """Return whether the field holds images; these are always read from the file, never cached."""
        return self.dtype == "uint8" and len(self.shape) == 3


@dataclass(frozen=True)
class Schema:
    """All fields of a stream and the spaces (of a single lane) that they come from.

    Example:
        stream.schema.names  # of all fields
        stream.schema.observation_space
    """

    observation_space: Space  # of one sub-environment
    action_space: Space  # likewise
    fields: tuple[Field, ...]  # in the order of the header

    @classmethod
    def from_spaces(
        cls,
        observation_space: Space,
        action_space: Space,
        state: Mapping[str, int] | None = None,
        physics: int | None = None,
        info: Sequence[str] = (),
        units: Mapping[str, str] | None = None,
    ) -> Schema:
        """Return the schema for an env's single spaces.

        Args:
            observation_space: Of one lane.
            action_space: Of one lane.
            state: Size of each vector of privileged state, by name.
            physics: Size of the physics state.
            info: Names of scalar infos, recorded as float32.
            units: Unit by field name.
        """
        fields = []
        for path, leaf in spaces.leaves(observation_space).items():
            fields.append(Field(observation_name(path), str(leaf.dtype), _shape(leaf), "observation"))
        action = spaces.leaves(action_space)
        if set(action) != {""}:
            raise UsageError(
                f"expected a Box or Discrete action space, got {spaces.format_space(action_space)}"
            )
        is_float = np.issubdtype(action[""].dtype, np.floating)
        fields.append(Field("action", "float32" if is_float else "int64", _shape(action[""]), "action"))
        fields.append(Field("reward", "float32", (), "reward"))
        fields += [Field(name, "bool", (), "flag") for name in FLAGS]
        fields += [Field(f"state.{name}", "float64", (k,), "state") for name, k in (state or {}).items()]
        fields += [Field("physics", "float64", (physics,), "physics")] if physics is not None else []
        fields += [Field(f"info.{name}", "float32", (), "info") for name in info]
        return cls(observation_space, action_space, tuple(fields)).with_units(units or {})

    def with_units(self, units: Mapping[str, str]) -> Schema:
        """Return the schema with units by field name; the other fields have none."""
        for name in units:
            if name not in self.names:
                raise unknown_name_error("field", name, self.names)
        fields = (Field(f.name, f.dtype, f.shape, f.role, units.get(f.name, "")) for f in self.fields)
        return Schema(self.observation_space, self.action_space, tuple(fields))

    def __getitem__(self, name: str) -> Field:
        """Return the field with that name; raise UsageError with the available names."""
        for field in self.fields:
            if field.name == name:
                return field
        raise unknown_name_error("field", name, self.names)

    @property
    def names(self) -> list[str]:
        """Return all field names in order."""
        return [field.name for field in self.fields]

    @property
    def observations(self) -> list[str]:
        """Return the names of the observation fields."""
        return [field.name for field in self.fields if field.role == "observation"]

    @cached_property
    def row_bytes(self) -> int:
        """Return the bytes of one row over all fields."""
        return sum(field.row_bytes for field in self.fields)

    @cached_property
    def _dtypes(self) -> dict[str, np.dtype]:
        """The dtype of each field."""
        return {field.name: np.dtype(field.dtype) for field in self.fields}

    @cached_property
    def null_action(self) -> np.ndarray:
        """Return the action stored in rows without one: zeros, or the first choice of a Discrete space."""
        field, first = self["action"], getattr(self.action_space, "start", 0)
        return np.broadcast_to(np.asarray(first, field.dtype), field.shape)

    def check(self, rows: Mapping[str, Any], count: int) -> dict[str, np.ndarray]:
        """Return `count` rows of every field in the schema's dtypes; raise UsageError if a field does not fit."""
        values = {}
        for field in self.fields:
            if field.name not in rows:
                raise UsageError(f"expected rows with the field {field.name!r}; available: {', '.join(rows)}")
            value = np.asarray(rows[field.name])
            if value.shape != (count, *field.shape):
                raise UsageError(
                    f"expected {field.name!r} of shape {(count, *field.shape)}, got {value.shape}"
                )
            if value.dtype == self._dtypes[field.name]:
                values[field.name] = value
                continue
            if not np.can_cast(value.dtype, field.dtype, "same_kind"):
                raise UsageError(f"expected {field.name!r} as {field.dtype}, got {value.dtype}")
            values[field.name] = value.astype(field.dtype, copy=False)
        if len(rows) > len(values):
            raise unknown_name_error("field", next(name for name in rows if name not in values), self.names)
        return values

    def join_observation(self, parts: Mapping[str, Any]) -> Any:
        """Return one observation from arrays by field name: an array, or a dict for Dict spaces."""
        leaves = {
            name.removeprefix("observation").removeprefix("."): parts[name] for name in self.observations
        }
        return spaces.unflatten_by_path(self.observation_space, leaves)

    def to_json(self) -> dict[str, Any]:
        """Return the schema as JSON values."""
        return {
            "observation_space": spaces.to_json(self.observation_space),
            "action_space": spaces.to_json(self.action_space),
            "fields": [{**asdict(field), "shape": list(field.shape)} for field in self.fields],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schema:
        """Return the schema of `to_json`; raise CorruptedFileError if an entry is missing."""
        try:
            fields = tuple(_read_field(entry) for entry in checked(value, "fields", list, "stream.json"))
            if len({field.name for field in fields}) < len(fields):
                raise KeyError("a field occurs twice")
            for name in ("action", "reward", *FLAGS):
                if not any(field.name == name for field in fields):
                    raise KeyError(name)
            observation, action = (spaces.from_json(value[f"{k}_space"]) for k in ("observation", "action"))
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise CorruptedFileError(f"stream.json does not describe a stream: {error}") from error
        return cls(observation, action, fields)


def _read_field(entry: Any) -> Field:
    """Return a field of `to_json`; raise CorruptedFileError if it is malformed."""
    source = "stream.json"
    name, dtype, role, unit = (checked(entry, key, str, source) for key in ("name", "dtype", "role", "unit"))
    shape = checked_ints(entry, "shape", source)
    if role not in ROLES or dtype not in _DTYPES or not name.isprintable():
        raise CorruptedFileError(f"{source} does not describe a stream: field {entry!r:.200}")
    if len(shape) > _MAX_DIMENSIONS or math.prod(shape) > _MAX_ELEMENTS:
        raise CorruptedFileError(f"{source} does not describe a stream: {name!r} has shape {shape!r:.100}")
    return Field(name, dtype, tuple(shape), role, unit)


def observation_name(path: str) -> str:
    """Return the field of the observation leaf at `path`: `observation`, or `observation.<path>`."""
    return f"observation.{path}" if path else "observation"


def _shape(leaf: Space) -> tuple[int, ...]:
    """Return the shape of a leaf space."""
    assert leaf.shape is not None
    return tuple(leaf.shape)
