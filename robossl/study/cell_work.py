"""Training and evaluation of cells; the results are written, an error of a cell is its result."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from robossl import registry
from robossl.core.agent_observation import images_only
from robossl.core.errors import OperationError, UsageError, error_line
from robossl.core.interfaces import NullProgress, Policy, ProgressReporter
from robossl.core.seeding import derive
from robossl.evaluation.context import EVALUATION_SEED
from robossl.evaluation.control import Episodes, evaluate_returns
from robossl.evaluation.oracle_planner import OraclePlanner
from robossl.evaluation.policy_wrappers import FiniteObservationGuard
from robossl.evaluation.reward_free import reward_free_policies
from robossl.streams import Recorder
from robossl.study.preparation import Preparation
from robossl.study.protocol import Protocol, Row
from robossl.study.study_folder import Cell, Study, is_disk_full
from robossl.training.agent_loading import resolve_agent
from robossl.training.agent_runner import AgentRunner
from robossl.training.agent_settings import accepted_settings

_MAX_ENVS = 32  # sub-environments that share the held-out episodes
Result = dict[str, Any]


class CellWork:
    """Runs cells of a study."""

    def __init__(
        self,
        study: Study,
        protocol: Protocol,
        preparation: Preparation,
        progress: ProgressReporter,
        threads: int,
    ) -> None:
        """Prepare to run cells with `threads` CPU threads."""
        self._study, self._protocol, self._preparation = study, protocol, preparation
        self._progress, self._threads, self._sizes = progress, threads, study.spec.sizes

    def run(self, name: str, cells: Sequence[Cell]) -> None:
        """Run cells that train together, and write their results.

        Raises:
            OperationError: The disk is full; nothing is written.
        """
        row = self._protocol.row(cells[0].row)
        work = self._study.folder / "work"
        work.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work) as folder:
            results: dict[Cell, Result] = {}
            with errors_of(results, cells):
                results |= (
                    self._offline(cells, Path(folder))
                    if row.kind == "offline"
                    else self._single(row, cells[0], Path(folder))
                )
        if len(cells) == 1:
            self._study.write_result(cells[0], results[cells[0]])
        else:
            self._study.write_group(name, results)

    # --- kinds of rows

    def _single(self, row: Row, cell: Cell, folder: Path) -> dict[Cell, Result]:
        """Return the result of a row that trains alone, or not at all."""
        if row.kind == "online":
            return {cell: self._online(row, cell, folder)}
        start = time.perf_counter()
        pretraining = self._sizes.stream_steps if row.representation is not None else 0
        episodes = self._evaluate(cell, lambda envs: self._policy(row, cell, envs), row)
        return {cell: _result(episodes, [], 0, pretraining, time.perf_counter() - start)}

    def _policy(self, row: Row, cell: Cell, envs: VectorEnv) -> Policy:
        """Return the policy of a row that does not learn from rewards."""
        seed = agent_seed(cell)
        if row.kind == "policy":
            return registry.policy(str(row.policy))(envs.single_action_space, envs.num_envs, seed=seed)
        if row.kind == "oracle":
            return OraclePlanner(envs, self._threads, seed, **row.settings)
        model = self._preparation.goal_model(cell.stream_seed, str(row.representation), cell.task)
        policies, reasons = reward_free_policies(envs, model, seed, [row.name])
        if row.name in reasons:
            raise UsageError(reasons[row.name])
        return policies[row.name]

    def _online(self, row: Row, cell: Cell, folder: Path) -> Result:
        """Return the result of an agent that learns in the env."""
        start, curve, done = time.perf_counter(), [], 0
        pretraining = self._sizes.stream_steps if row.representation is not None else 0
        with ExitStack() as stack:
            runner = self._runner(row, cell, folder, stack)
            for point in self._protocol.online_points(self._sizes.online_steps):
                runner.learn(point - done, self._progress)
                done = point
                episodes = self._evaluate(cell, runner.agent, row)
                curve.append(_point(episodes, point, point + pretraining))
        return _result(episodes, curve, done, done + pretraining, time.perf_counter() - start)

    def _offline(self, cells: Sequence[Cell], folder: Path) -> dict[Cell, Result]:
        """Return the results of agents of equal shape that learn from labeled streams."""
        start = time.perf_counter()
        results: dict[Cell, Result] = {}
        curves: dict[Cell, list[Result]] = {cell: [] for cell in cells}
        last: dict[Cell, Episodes] = {}
        with ExitStack() as stack:
            runners: dict[Cell, AgentRunner] = {}
            for cell in cells:
                with errors_of(results, [cell]):
                    runners[cell] = self._runner(self._protocol.row(cell.row), cell, folder, stack)
            row, done = self._protocol.row(cells[0].row), 0
            updates = max(int(self._sizes.offline_updates * row.updates_fraction), 1)
            for point in self._protocol.offline_points(updates) if runners else ():
                self._learn_offline([runner.agent for runner in runners.values()], point - done)
                done = point
                for cell in list(runners):
                    with errors_of(results, [cell]):
                        agent = runners[cell].agent
                        last[cell] = self._evaluate(cell, agent, self._protocol.row(cell.row))
                        labeled, all_steps = self._offline_steps(cell)
                        curves[cell].append({"updates": point, **_point(last[cell], labeled, all_steps)})
        seconds = (time.perf_counter() - start) / len(cells)
        for cell in runners:
            if cell not in results:
                results[cell] = _result(last[cell], curves[cell], *self._offline_steps(cell), seconds)
        return results

    def _learn_offline(self, agents: Sequence[Any], updates: int) -> None:
        """Let agents learn as one batched network, if their factory can, else one after the other."""
        stacked = getattr(type(agents[0]), "learn_offline_stacked", None)
        if len(agents) > 1 and stacked is not None:
            stacked(agents, updates, self._progress)
            return
        for agent in agents:
            agent.learn_offline(updates, self._progress)

    def _offline_steps(self, cell: Cell) -> tuple[int, int]:
        """Return the labeled steps of an offline cell, and all its steps.

        Both are those of the stream, unless the task has a stream of its own.
        """
        row, steps = self._protocol.row(cell.row), self._sizes.stream_steps
        source = (
            self._preparation.stream_path(cell.stream_seed, cell.task, row.observe_state) / "manifest.json"
        )
        relabeled = cell.task == self._study.spec.stream_task or "relabeled_from" in source.read_text(
            encoding="utf-8"
        )
        return steps, steps if relabeled or row.representation is None else 2 * steps

    # --- parts

    def _runner(self, row: Row, cell: Cell, folder: Path, stack: ExitStack) -> AgentRunner:
        """Return the agent of a cell, with envs to act in."""
        protocol, pixels = self._protocol, 0 if row.observe_state else self._study.spec.pixels
        envs = registry.make_envs(
            cell.task,
            protocol.agent_envs,
            threads=self._threads,
            pixels=pixels,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        stack.callback(envs.close)
        name = resolve_agent(str(row.agent), envs.single_action_space)
        model = None
        if row.representation is not None:
            model = self._preparation.model(cell.stream_seed, row.representation)
            model.observation_space = (
                envs.single_observation_space
            )  # the goals of the task may have other sizes
        offline = row.kind == "offline"
        stream = self._preparation.stream(cell.stream_seed, cell.task, row.observe_state) if offline else None
        if stream is not None:
            stack.callback(stream.close)
        settings = protocol.agent_settings(row, name, self._sizes)
        encoder = settings.pop("encoder", None)
        if encoder == "none" and images_only(envs.single_observation_space):
            encoder, settings["observe"] = "scratch", "latent"  # end to end
        recorder = Recorder.create(envs, folder / cell.id, policy=name, seed=agent_seed(cell))
        stack.callback(recorder.finish)
        given = accepted_settings(name, {} if encoder is None else {"encoder": encoder}, settings)
        return AgentRunner(name, recorder, agent_seed(cell), model, device="cpu", stream=stream, **given)

    def _evaluate(self, cell: Cell, policy: Policy | Callable[[VectorEnv], Policy], row: Row) -> Episodes:
        """Return held-out episodes, the same for all rows with the seeds of the cell."""
        pixels, count = 0 if row.observe_state else self._study.spec.pixels, self._sizes.episodes
        envs = registry.make_envs(cell.task, min(count, _MAX_ENVS), threads=self._threads, pixels=pixels)
        try:
            acting = policy if isinstance(policy, Policy) else policy(envs)
            guarded = FiniteObservationGuard(acting, envs)
            return evaluate_returns(envs, guarded, count, seed=evaluation_seed(cell), progress=NullProgress())
        finally:
            envs.close()


def agent_seed(cell: Cell) -> int:
    """Return the seed of the agent of a cell, the same for all rows and tasks."""
    return derive(cell.stream_seed, "transfer agent", cell.agent_seed) % 2**31


def evaluation_seed(cell: Cell) -> int:
    """Return the seed of the held-out episodes of a cell, the same for all rows."""
    return derive(EVALUATION_SEED, "transfer", cell.stream_seed, cell.agent_seed) % 2**31


def _point(episodes: Episodes, labeled_steps: int, all_steps: int) -> Result:
    return {"labeled_steps": labeled_steps, "all_steps": all_steps, "returns": _numbers(episodes)}


def _result(
    episodes: Episodes, curve: list[Result], labeled_steps: int, all_steps: int, seconds: float
) -> Result:
    return {
        "labeled_steps": labeled_steps,
        "all_steps": all_steps,
        "returns": _numbers(episodes),
        "success": None if episodes.successes is None else [bool(value) for value in episodes.successes],
        "curve": curve,
        "seconds": round(seconds, 2),
    }


def _numbers(episodes: Episodes) -> list[float]:
    if not np.isfinite(episodes.returns).all():
        raise OperationError("expected finite returns, got others")
    return [float(value) for value in episodes.returns]


@contextmanager
def errors_of(results: dict[Cell, Result], cells: Sequence[Cell]) -> Any:
    """Store an error inside the block as the result of the cells; raise it if the disk is full.

    Raises:
        OperationError: The disk is full.
    """
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            raise OperationError(f"the disk is full: {error}") from error
        results.update({cell: {"error": error_line(error)} for cell in cells})
