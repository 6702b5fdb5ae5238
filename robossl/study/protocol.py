"""The pre-registered protocol of `protocol.toml`: robots with their tasks, rows, sizes, and the hash of a study."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from robossl import registry
from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.small_files import read_json, read_toml

_FILE = Path(__file__).parent / "protocol.toml"
_REFERENCES = Path(__file__).parent / "references.json"
KINDS = ("policy", "reward_free", "offline", "online", "oracle", "reference")
_SELECTION = ("stream_seeds", "agent_seeds", "tasks", "rows")  # of a budget: what is run, not how


@dataclass(frozen=True)
class Row:
    """A row of the table: what learns the tasks, from what.

    Attributes:
        name: Name of the row.
        kind: One of KINDS.
        agent: Name of the agent in the registry.
        policy: Name of the policy in the registry, of kind `policy`.
        representation: Name of what it observes through, or None.
        settings: Settings of the agent.
        baseline: Row that it is compared with.
        updates_fraction: Updates over the offline updates of the budget.
        observe_state: In a study from images, observe numbers.
        needs_numbers: The row is not available from images.
    """

    name: str
    kind: str
    agent: str | None = None
    policy: str | None = None
    representation: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    baseline: str = "observation"
    updates_fraction: float = 1.0
    observe_state: bool = False
    needs_numbers: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_name_error("row kind", self.kind, KINDS)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a study; they are part of the protocol hash."""

    policies: tuple[str, ...]  # each records an equal part of the stream
    stream_steps: int  # env steps of the reward-free stream
    model_updates: int  # gradient steps of the world model and of each trained baseline
    offline_updates: int  # of an agent that learns from the labeled stream
    online_steps: int  # env steps of an agent that learns in the env
    episodes: int  # held-out episodes of an evaluation
    hidden: int  # width of the networks of the agents
    batch_size: int  # of the agents
    goal_trials: int  # start-goal pairs at each distance; 0: no goal reaching
    goal_horizons: tuple[int, ...]  # [steps] between start and goal
    world_model: Mapping[str, Any]  # settings that differ from the default world model


SIZE_FLAGS = tuple(
    entry.name for entry in dataclasses.fields(Sizes) if entry.type == "int"
)  # that a user may override


@dataclass(frozen=True)
class Budget:
    """Default selection and sizes of a budget."""

    name: str
    rows: tuple[str, ...]
    tasks: int  # number of tasks; 0: all
    stream_seeds: int
    agent_seeds: int  # for each stream seed
    sizes: Sizes


class Protocol:
    """The settings of `protocol.toml`."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        """Read the content of the file."""
        self.content = dict(content)
        self.rows = {name: Row(name, **values) for name, values in content["rows"].items()}
        self.robots: dict[str, list[str]] = dict(content["robots"])
        self.stream_envs = int(content["stream"]["num_envs"])
        self.agent_envs = int(content["training"]["num_envs"])
        self.stack = int(content["training"]["stack"])
        self.representations: dict[str, dict[str, Any]] = dict(content["representations"])
        self.budgets = {name: _budget(name, values) for name, values in content["budgets"].items()}

    def budget(self, name: str) -> Budget:
        """Return a budget; raise UsageError for an unknown name."""
        if name not in self.budgets:
            raise unknown_name_error("budget", name, self.budgets)
        return self.budgets[name]

    def row(self, name: str) -> Row:
        """Return a row; raise UsageError for an unknown name."""
        if name not in self.rows:
            raise unknown_name_error("row", name, self.rows)
        return self.rows[name]

    def baseline_among(self, row: str, rows: Collection[str]) -> str:
        """Return the row of `rows` that a row is compared with: its baseline, or else the baseline of that."""
        other = self.row(row).baseline
        while other not in rows and self.row(other).baseline != other:
            other = self.row(other).baseline
        return other

    def agent_settings(self, row: Row, agent: str, sizes: Sizes) -> dict[str, Any]:
        """Return the settings of the agent of a row: those of the row, and those that follow from the sizes."""
        of_agent = self.content["agents"].get(agent, {})
        return {**_insert(of_agent, dataclasses.asdict(sizes)), **row.settings}

    def offline_points(self, updates: int) -> list[int]:
        """Return the numbers of updates at which an offline agent is evaluated; the last one is `updates`."""
        points = {max(int(updates * fraction), 1) for fraction in self.content["curve"]["offline"]}
        return sorted({*points, updates})

    def online_points(self, steps: int) -> list[int]:
        """Return the env steps at which an online agent is evaluated; the last one is `steps`."""
        return sorted({steps, *(point for point in self.content["curve"]["online"] if point < steps)})

    def hash(self, sizes: Sizes, stream_task: str, pixels: int) -> str:
        """Return the hash of all that decides the results of a study, except the selection of cells."""
        settings = {name: value for name, value in self.content.items() if name not in ("budgets", "robots")}
        parts = [settings, dataclasses.asdict(sizes), stream_task, pixels]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _budget(name: str, values: Mapping[str, Any]) -> Budget:
    sizes = {key: value for key, value in values.items() if key not in _SELECTION}
    sizes |= {name: tuple(sizes[name]) for name in ("goal_horizons", "policies")}
    return Budget(
        name,
        tuple(values["rows"]),
        values["tasks"],
        values["stream_seeds"],
        values["agent_seeds"],
        Sizes(**sizes),
    )


def _insert(value: Any, sizes: Mapping[str, Any]) -> Any:
    """Return a copy in which "$name" is the size of this name."""
    if isinstance(value, Mapping):
        return {key: _insert(inner, sizes) for key, inner in value.items()}
    if isinstance(value, list):
        return [_insert(inner, sizes) for inner in value]
    return sizes[value[1:]] if isinstance(value, str) and value.startswith("$") else value


@cache
def load_protocol() -> Protocol:
    """Return the protocol of this version of robossl."""
    return Protocol(read_toml(_FILE))


@cache
def reference_returns() -> dict[str, dict[str, float]]:
    """Return {"random", "reference"} by env id: the mean returns of docs/environments.md."""
    return read_json(_REFERENCES)


def check_policies(policies: Sequence[str]) -> None:
    """Raise UsageError if an exploration policy of a stream is unknown, listed twice, or if there is none."""
    if isinstance(policies, str) or not policies or len(set(policies)) < len(policies):
        raise UsageError(f"policies: expected different names of exploration policies, got {policies!r}")
    for name in policies:
        registry.policy(name)


def override(sizes: Sizes, values: Mapping[str, Any], policies: Sequence[str] | None = None) -> Sizes:
    """Return sizes with other values and exploration policies; raise UsageError for an unknown or invalid size."""
    for name, value in values.items():
        if name not in SIZE_FLAGS:
            raise unknown_name_error("size", name, SIZE_FLAGS)
        minimum = 0 if name == "goal_trials" else 1
        if type(value) is not int or value < minimum:
            raise UsageError(f"{name}: expected a whole number of {minimum} or more, got {value!r}")
    kept = sizes.policies if policies is None else tuple(policies)
    return dataclasses.replace(sizes, **values, policies=kept)
