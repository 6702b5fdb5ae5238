"""`robossl.load`: open a stream, model, agent, run or report from its folder; and `Run`, a run on disk."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from robossl import registry
from robossl.core.display import dataframe, html_table, one_line
from robossl.core.errors import UsageError, shell_path
from robossl.core.interfaces import Agent
from robossl.core.small_files import as_path
from robossl.evaluation.report import report_file
from robossl.evaluation.results import EvaluationReport
from robossl.logging.sinks.jsonl import FILE_NAME, read_metrics
from robossl.streams import Stream
from robossl.streams.stream_header import HEADER
from robossl.training import agent_loading, config_io, output_dirs
from robossl.training.agent_rows import AGENT, STREAM
from robossl.training.config import LearnConfig
from robossl.world_model import WorldModel

_REPORTS = ("evaluation", "comparison", "study", "seeds")  # kinds of folders whose content is a report
_MODEL_FILE = "model.safetensors"


def load(path: str | Path, num_envs: int = 1) -> Any:
    """Open anything that robossl wrote.

    Example:
        robossl.load("streams/reacher")   # Stream
        robossl.load("models/reacher")    # WorldModel
        robossl.load("agents/reacher")    # an agent, ready to act in envs of the env it was trained in
        robossl.load("runs/reacher")      # Run: its config, streams, model, agent, metrics and report
        robossl.load("evaluations/reacher")  # EvaluationReport
        robossl.load("runs/seeds")        # of `learn --seeds` and of `report A B`: EvaluationReport over all runs

    Args:
        path: A folder that a command or function of robossl wrote, or a file report.json. No code in it is run.
        num_envs: Sub-environments of the envs of an agent.

    Returns:
        The object; what it is depends on the folder.

    Raises:
        UsageError: The path is not of robossl, or of a version that cannot be read; one line names what was found.
    """
    path = as_path(path, "a folder of robossl (a stream, model, agent, run, evaluation or study)")
    if path.is_file() and path.name == report_file.NAME:
        return EvaluationReport.load(path)
    if (path / HEADER).is_file():
        return Stream.open(path)
    if (path / _MODEL_FILE).is_file():
        return WorldModel.load(path)
    if path.is_file():
        raise UsageError(
            f"expected a folder of robossl (a stream, model, agent, run, evaluation or study) or a {report_file.NAME}, "
            f"got the file {path}"
        )
    if path.name == AGENT and output_dirs.manifest_of(path.parent).get("kind") == "run":
        return load_agent(path.parent, num_envs)
    kind = output_dirs.read_manifest(path, "run", "agent", "model", "stream", *_REPORTS)["kind"]
    if kind == "run":
        return Run(path)
    if kind == "agent":
        return load_agent(path, num_envs)
    if kind in _REPORTS:
        if not (path / report_file.NAME).is_file():
            raise UsageError(f"{path}: expected a finished {kind} with {report_file.NAME}, got none yet")
        return EvaluationReport.load(path)
    missing = HEADER if kind == "stream" else _MODEL_FILE
    raise UsageError(f"{path}: expected the {kind} with its file {missing}, got a folder without it")


def load_agent(path: str | Path, num_envs: int = 1) -> Agent:
    """Return the agent of a run or agent folder, with envs like those it was trained in.

    Args:
        path: A run or agent folder.
        num_envs: Sub-environments of the envs.
    """
    envs = registry.make_envs(agent_loading.env_of(path), num_envs, **agent_loading.env_settings(path))
    try:
        return agent_loading.load(path, envs)
    except BaseException:
        envs.close()
        raise


class Run:
    """A run of `robossl learn` on disk, finished or not; everything is read when it is first used.

    Example:
        run = robossl.load("runs/reacher")
        run.report["control"]["rows"]["planner"]["return"]["mean"]
        run.to_dataframe()["agent/rollout/ep_rew_mean"].dropna().plot()

    Attributes:
        folder: Folder of the run.
        manifest: What reproduces the run: command, versions, git revision.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open a run.

        Args:
            folder: Folder of the run.
        """
        self.folder = Path(folder)
        self.manifest = output_dirs.read_manifest(folder, "run")

    @property
    def env(self) -> str:
        """Name of the env."""
        return str(self.manifest.get("env"))

    @cached_property
    def config(self) -> LearnConfig:
        """Configuration of the run."""
        path = self.folder / "config.toml"
        return config_io.parse(LearnConfig, (str(path), config_io.from_toml(path)))

    @property
    def finished(self) -> bool:
        """Whether the run has a report."""
        return (self.folder / report_file.NAME).is_file()

    @property
    def report(self) -> EvaluationReport:
        """Report of a finished run."""
        if not self.finished:
            raise UsageError(
                f"{self.folder} has no report yet; continue it: robossl learn --resume {shell_path(self.folder)}"
            )
        return EvaluationReport.load(self.folder)

    @cached_property
    def stream(self) -> Stream:
        """Stream of the run: exploration, then the steps of the agent."""
        return Stream.open(self.folder / STREAM)

    @cached_property
    def model(self) -> WorldModel:
        """World model that was trained on exploration alone."""
        return agent_loading.load_model(self.folder)

    def agent(self, num_envs: int = 1) -> Agent:
        """Return the agent of the run, ready to act in `num_envs` sub-environments."""
        return load_agent(self.folder, num_envs)

    def metrics(self) -> list[dict[str, float | None]]:
        """Return the records of metrics.jsonl, oldest first: `step`, and values by name."""
        return read_metrics(self.folder) if (self.folder / FILE_NAME).is_file() else []

    def to_dataframe(self) -> Any:
        """Return the metrics as a pandas DataFrame: one row for each record, one column for each name."""
        records = self.metrics()
        names = dict.fromkeys(name for record in records for name in record)
        return dataframe({name: [record.get(name) for record in records] for name in names})

    def __repr__(self) -> str:
        state = "finished" if self.finished else "not finished"
        has_agent = "with an agent" if (self.folder / AGENT).is_dir() else None
        return one_line("Run", self.env, state, has_agent, self.folder)

    def _repr_html_(self) -> str:
        """Return the report of a finished run, or the newest metrics of another one, as HTML."""
        if self.finished:
            return self.report._repr_html_()
        newest: dict[str, Any] = {}
        for record in self.metrics():
            newest |= record
        return html_table(
            repr(self), [(name, f"{value:.4g}") for name, value in newest.items() if value is not None]
        )
