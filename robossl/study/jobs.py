"""The jobs of a study: what is made or measured, what each needs, and which cells train together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from robossl import registry
from robossl.core.agent_observation import TRAINED_ENCODERS
from robossl.core.errors import UsageError
from robossl.core.seeding import derive
from robossl.study.protocol import Protocol, Row
from robossl.study.study_folder import Cell, Selection, Study, task_slug
from robossl.study.tasks import TaskTraits, task_traits
from robossl.training.agent_loading import resolve_agent
from robossl.training.agent_settings import check_spaces

# [s] rough costs, from which the order of the jobs follows: the longest first
_SECONDS_PER_UPDATE, _SECONDS_PER_STACKED_UPDATE, _SECONDS_PER_ONLINE_STEP = 8e-3, 1.5e-3, 5e-3
_FIRST = 1e9  # cost of what other jobs need


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        name: Unique name.
        kind: stream, labels, model, goals or cells.
        needs: Names of the jobs that must be done before.
        seed: Stream seed, of all kinds but cells.
        task: Env id, of kind labels.
        model: Name of a representation, of kind model.
        relabel: Whether the task computes rewards of recorded states, of kind labels.
        numbers: In a study from images, observe numbers instead, of kinds stream and labels.
        cells: The cells that train together.
        cost: Rough cost [s].
    """

    name: str
    kind: str
    needs: tuple[str, ...] = ()
    seed: int = 0
    task: str = ""
    model: str = ""
    relabel: bool = True
    numbers: bool = False
    cells: tuple[Cell, ...] = ()
    cost: float = _FIRST

    def to_json(self) -> dict[str, Any]:
        """Return the job as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Job:
        """Return the job that `to_json` stored."""
        return cls(
            **{
                **value,
                "needs": tuple(value["needs"]),
                "cells": tuple(Cell(**cell) for cell in value["cells"]),
            }
        )


@dataclass(frozen=True)
class Plan:
    """The cells of a study, the jobs that are left, and the rows that it cannot have."""

    cells: tuple[Cell, ...]
    jobs: tuple[Job, ...]
    missing: dict[str, str]  # row -> reason


class Planner:
    """Makes the plan of a study."""

    def __init__(self, study: Study, protocol: Protocol) -> None:
        """Read the traits of the tasks."""
        self._study, self._protocol, self._spec = study, protocol, study.spec
        self._selection: Selection = study.selection
        pixels = study.spec.pixels
        self._traits: dict[str, TaskTraits] = {
            task: task_traits(task, pixels) for task in self._selection.tasks
        }
        with closing(registry.make_envs(study.spec.stream_task, 1, pixels=pixels)) as envs:
            self._observation_space = envs.single_observation_space
            self._action_space = envs.single_action_space
        self._jobs: dict[str, Job] = {}

    def plan(self, selection: Selection, retry_failed: bool = False) -> Plan:
        """Return the plan.

        Args:
            selection: The cells that are to be run now; the study may have more.
            retry_failed: Whether cells that have failed are run again.
        """
        missing = {
            name: reason
            for name in self._selection.rows
            if (reason := self._reason(self._protocol.row(name)))
        }
        rows = [self._protocol.row(name) for name in self._selection.rows if name not in missing]
        cells = [cell for row in rows for cell in self._cells(row)]
        open_cells = [cell for cell in cells if selection.has(cell) and self._is_open(cell, retry_failed)]
        for group in self._groups(open_cells):
            self._add_group(group)
        self._add_goals()
        return Plan(tuple(cells), tuple(self._jobs.values()), missing)

    def check(self) -> None:
        """Raise UsageError if the study can have none of its rows."""
        reasons = {name: self._reason(self._protocol.row(name)) for name in self._selection.rows}
        learned = [name for name in self._selection.rows if self._protocol.row(name).kind != "reference"]
        if all(reasons[name] is not None for name in learned):
            texts = "; ".join(f"{name}: {reasons[name]}" for name in learned) or "the reference is not run"
            raise UsageError(f"expected a row that the tasks can have, got none ({texts})")

    # --- rows and cells

    def _reason(self, row: Row) -> str | None:
        """Return why the study cannot have a row; None if it can."""
        traits = next(iter(self._traits.values()))
        if row.observe_state and not self._spec.pixels:
            return "a study without images has the state in the row observation"
        images = traits.images and not row.observe_state
        if row.needs_numbers and images:
            return f"{row.agent} learns from numbers, not from images"
        if images and row.settings.get("observe") == "latent_observation":
            return "observations are images only, which an agent observes through an encoder"
        if row.kind == "reward_free" and not all(task.goals for task in self._traits.values()):
            return "the tasks have no goals, which a policy without reward needs"
        if row.kind == "oracle" and not all(task.sets_states for task in self._traits.values()):
            return "the tasks cannot be set to states, in which an oracle plans"
        if row.agent is not None:
            agent = resolve_agent(row.agent, self._action_space)
            settings = self._protocol.agent_settings(row, agent, self._spec.sizes)
            try:
                check_spaces(agent, self._observation_space, self._action_space, settings)
            except UsageError as error:
                return str(error)
        latent = int(self._spec.sizes.world_model.get("latent_dim", 64))
        if row.representation == "normalized" and images:
            return "it needs numbers, the observation has images"
        if row.representation == "scrambled" and (images or traits.values > latent):
            return f"it needs at most {latent} numbers, the observation has {'images' if images else traits.values}"
        return None

    def _cells(self, row: Row) -> list[Cell]:
        """Return the cells of a row; a row without agent does not depend on the agent seed."""
        if row.kind == "reference":
            return []
        seeds = self._selection.agent_seeds if row.kind in ("offline", "online") else (0,)
        return [
            Cell(row.name, task, stream_seed, agent_seed)
            for stream_seed in self._selection.stream_seeds
            for task in self._selection.tasks
            for agent_seed in seeds
        ]

    def _is_open(self, cell: Cell, retry_failed: bool) -> bool:
        result = self._study.result(cell)
        return result is None or (retry_failed and "error" in result)

    # --- jobs

    def _groups(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        """Return the cells that train together: agents of equal shape, at most `stack`."""
        groups: dict[str, list[list[Cell]]] = {}
        for cell in cells:
            row = self._protocol.row(cell.row)
            same = groups.setdefault(self._shape(row) if self._stacks(row) else cell.id, [[]])
            if len(same[-1]) == self._protocol.stack:
                same.append([])
            same[-1].append(cell)
        return [group for same in groups.values() for group in same]

    def _stacks(self, row: Row) -> bool:
        """Return whether the agents of a row can train as one batched network."""
        if row.kind != "offline" or row.agent is None or row.settings.get("encoder") in TRAINED_ENCODERS:
            return False
        if (
            row.settings.get("observe") == "latent_observation"
        ):  # layers for each part come before the networks
            return False
        return not self._spec.pixels and hasattr(registry.agent(row.agent), "learn_offline_stacked")

    def _shape(self, row: Row) -> str:
        """Return a text that is equal for rows whose agents have networks of equal shape."""
        parts = [row.agent, dict(row.settings), row.representation is None, row.updates_fraction]
        return json.dumps(parts, sort_keys=True)

    def _add_group(self, cells: Sequence[Cell]) -> None:
        """Add the job of a group, and those that it needs."""
        needs: dict[str, None] = {}
        for cell in cells:
            needs |= dict.fromkeys(self._needs(self._protocol.row(cell.row), cell))
        ids = json.dumps([cell.id for cell in cells])
        name = cells[0].id if len(cells) == 1 else f"{cells[0].row}-{len(cells)}-{derive(0, ids) % 16**8:08x}"
        row = self._protocol.row(cells[0].row)
        self._add(Job(name, "cells", tuple(needs), cells=tuple(cells), cost=self._cost(row, len(cells))))

    def _needs(self, row: Row, cell: Cell) -> list[str]:
        """Return the names of the jobs that a cell needs; add those whose folders are missing."""
        seed, needs = cell.stream_seed, []
        if row.representation is not None:
            needs += self._model(seed, row.representation)
        if row.kind in ("offline", "reward_free"):  # a task has its own goals
            needs += self._labels(seed, cell.task, row.observe_state)
        return needs

    def _stream(self, seed: int, numbers: bool) -> list[str]:
        name = f"stream-{seed}{'-numbers' if numbers else ''}"
        return self._prepare(
            Job(name, "stream", seed=seed, numbers=numbers), f"streams/{name.removeprefix('stream-')}"
        )

    def _labels(self, seed: int, task: str, numbers: bool) -> list[str]:
        numbers = numbers and bool(self._spec.pixels)
        relabel = self._traits[task].labels_states
        needs = self._stream(seed, numbers) if relabel or task == self._spec.stream_task else []
        if task == self._spec.stream_task:
            return needs
        name = f"labels-{seed}-{task_slug(task)}{'-numbers' if numbers else ''}"
        job = Job(name, "labels", tuple(needs), seed, task, relabel=relabel, numbers=numbers)
        return self._prepare(job, f"streams/{name.removeprefix('labels-')}")

    def _model(self, seed: int, name: str) -> list[str]:
        job = Job(f"model-{seed}-{name}", "model", tuple(self._stream(seed, False)), seed, model=name)
        return self._prepare(job, f"models/{seed}-{name}")

    def _prepare(self, job: Job, folder: str) -> list[str]:
        """Add a job unless its folder is there; return the names of what has to be done before."""
        if (self._study.folder / folder).is_dir():
            return []
        self._add(job)
        return [job.name]

    def _add(self, job: Job) -> None:
        self._jobs.setdefault(job.name, job)

    def _add_goals(self) -> None:
        """Add goal reaching for each stream seed, if the env has goals and states that can be set."""
        if goal_task(self._study, self._traits) is None:
            return
        for seed in self._selection.stream_seeds:
            if not (self._study.folder / "goals" / f"{seed}.json").is_file():
                needs = dict.fromkeys([*self._stream(seed, False), *self._model(seed, "world_model")])
                self._add(Job(f"goals-{seed}", "goals", tuple(needs), seed, cost=300.0))

    def _cost(self, row: Row, count: int) -> float:
        """Return the rough cost of a group [s]."""
        sizes = self._spec.sizes
        if row.kind == "online":
            return sizes.online_steps * _SECONDS_PER_ONLINE_STEP
        if row.kind != "offline":
            return 10.0
        updates = sizes.offline_updates * row.updates_fraction
        return updates * (_SECONDS_PER_UPDATE if count == 1 else count * _SECONDS_PER_STACKED_UPDATE)


def goal_task(study: Study, traits: dict[str, TaskTraits] | None = None) -> str | None:
    """Return the task of goal reaching: that of the stream, if it has goals and can be set to states."""
    task = study.spec.stream_task
    if study.spec.sizes.goal_trials == 0:
        return None
    found = (traits or {}).get(task) or task_traits(task, study.spec.pixels)
    return task if found.goals and found.sets_states else None


def check_rows(protocol: Protocol, names: Iterable[str]) -> tuple[str, ...]:
    """Return the rows of a command without repetitions; raise UsageError for an unknown one or none."""
    rows = tuple(dict.fromkeys(protocol.row(name).name for name in names))
    if not rows:
        raise UsageError(f"expected one or more rows, got none; available: {', '.join(protocol.rows)}")
    return rows
