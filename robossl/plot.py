"""Figures of reports, runs and latents with matplotlib: `robossl.plot.skill(report)`.

Every function draws into the axes that it is given, or into a new figure, and returns the axes, so that title, size and
file are the caller's: `robossl.plot.goals("runs/reacher").figure.savefig("goals.pdf")`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.limits import check_count
from robossl.core.seeding import generator
from robossl.core.small_files import as_path, read_json
from robossl.evaluation.report.number_format import label
from robossl.evaluation.report.report_file import missing_reason
from robossl.evaluation.results import as_report
from robossl.logging.sinks.jsonl import FILE_NAME, read_metrics
from robossl.streams import Stream
from robossl.world_model import WorldModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["curves", "goals", "latents", "returns", "skill"]

_SIZE = (6.0, 3.6)  # [in] of a new figure
_FEWEST_POINTS, _MAX_POINTS = 3, 4000  # of `latents`
_MARKERS = "osD^vPX*"
_LOSSES, _UPDATES = "world_model/", "world_model/updates"
_METRICS = {
    "agent/rollout/ep_rew_mean": "return while learning",
    "agent/episodes/return": "return of an episode",
    "world_model/loss": "loss of the world model",
    "world_model/forward": "loss of prediction",
}  # names of axes


def skill(report: Any, ax: Axes | None = None) -> Axes:
    """Plot the prediction skill over the steps ahead: 1 is perfect, 0 is a model in which nothing changes.

    Example:
        robossl.plot.skill({"seed 0": "runs/a", "seed 1": "runs/b"})

    Args:
        report: A report, a run or the path of one; or several by label or in a list, of which only the models are
            drawn.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The axes.

    Raises:
        UsageError: A report has no prediction skill.
    """
    curves = {
        name: _part(as_report(source), "world_model.forward_curve", "the prediction skill of a world model")
        for name, source in _by_label(report).items()
    }
    ax = _axes(ax)
    for name, curve in curves.items():
        for row in ["model"] if len(curves) > 1 else ["model", "encoder_bound", "linear"]:
            if row in curve:
                text = {"model": name or "model", "linear": "linear dynamics"}.get(row, label(row))
                ax.plot(curve["steps"], curve[row], label=text)
    ax.axhline(0, color="0.5", linewidth=0.8)
    ax.set(xlabel="steps ahead", ylabel="prediction skill", ylim=(min(0, *ax.get_ylim()), 1.03))
    return _finished(ax)


def goals(report: Any, criterion: str = "reached_any", ax: Axes | None = None) -> Axes:
    """Plot the share of goals reached over the distance between start and goal, with 95 % intervals.

    Example:
        robossl.plot.goals("runs/reacher").figure.savefig("goals.pdf")

    Args:
        report: A report, a run or the path of one.
        criterion: reached_any (at any step), reached_final (at the last step) or sustained.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The axes.

    Raises:
        UsageError: Goals were not measured, or the criterion is unknown.
    """
    section = _part(_one(report), "goal_reaching", "goal reaching")
    horizons = list(section["horizons"])
    known = ("reached_any", "reached_final", "sustained")
    if criterion not in known:
        raise unknown_name_error("measure of goals", criterion, known)
    ax = _axes(ax)
    rows = section["rows"]
    for i, (name, row) in enumerate(rows.items()):
        at = [h for h in horizons if h in row]
        estimates = [row[h][criterion] for h in at]
        means = np.array([100 * e["mean"] for e in estimates])
        ends = np.array([[100 * e["low"], 100 * e["high"]] for e in estimates]).reshape(-1, 2)
        shift = 0.06 * (i - (len(rows) - 1) / 2)  # intervals of several rows stay visible
        ax.errorbar(
            [horizons.index(h) + shift for h in at],
            means,
            np.abs(ends.T - means),
            marker=_MARKERS[i % len(_MARKERS)],
            capsize=2,
            label=label(name),
        )
    ax.set_xticks(range(len(horizons)), horizons)
    ax.set(xlabel="steps between start and goal", ylabel=f"goals {label(criterion)} [%]", ylim=(-3, 103))
    return _finished(ax)


def returns(report: Any, ax: Axes | None = None) -> Axes:
    """Plot the return of every row of the control table with its 95 % interval.

    Example:
        robossl.plot.returns("runs/reacher").figure.savefig("returns.pdf")

    Args:
        report: A report, a run or the path of one.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The axes.

    Raises:
        UsageError: Control was not measured.
    """
    rows = _part(_one(report), "control", "control")["rows"]
    ax = _axes(ax)
    for j, row in enumerate(rows.values()):
        estimate = row["return"]
        ax.plot([estimate["low"], estimate["high"]], [j, j], color="C0", linewidth=2, alpha=0.5)
        ax.plot(estimate["mean"], j, "o", color="C0")
    ax.set_yticks(range(len(rows)), [label(name) for name in rows])
    ax.invert_yaxis()
    ax.set(xlabel="return")
    ax.grid(True, axis="x", alpha=0.3)
    return ax


def curves(run: Any, metric: str | None = None, smooth: int = 1, ax: Axes | None = None) -> Axes:
    """Plot a metric of metrics.jsonl, for one run or several.

    A loss of the world model is drawn over gradient steps, which are taken between environment steps, if all runs have
    recorded them; all others over environment steps.

    Example:
        robossl.plot.curves(["runs/a", "runs/b"], "agent/rollout/ep_rew_mean", smooth=5)

    Args:
        run: A run, the folder of a run, model or agent; a list of them, or several by label.
        metric: Name of the metric; None: the first of return, agent loss and model loss that the runs have.
        smooth: Number of neighboring records whose mean is drawn.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The axes.

    Raises:
        UsageError: A folder has no metrics, or no run has this metric.
    """
    check_count("smooth", smooth)
    records = {name: _records(one) for name, one in _by_label(run).items()}
    names = {key for many in records.values() for record in many for key in record} - {"step"}
    defaults = ("agent/rollout/ep_rew_mean", "agent/episodes/return", "world_model/loss")
    metric = metric or next((name for name in defaults if name in names), None)
    if metric not in names:
        raise unknown_name_error("metric", str(metric), names)
    ax = _axes(ax)
    drawn = [record for many in records.values() for record in many if record.get(metric) is not None]
    over_updates = (
        metric.startswith(_LOSSES) and metric != _UPDATES and all(_UPDATES in each for each in drawn)
    )
    axis, axis_text = (_UPDATES, "gradient steps") if over_updates else ("step", "environment steps")
    for name, many in records.items():
        points = [(r[axis], r[metric]) for r in many if r.get(metric) is not None and r.get(axis) is not None]
        if points:
            steps, values = np.array(points, float).T
            width = min(int(smooth), len(values))
            kernel = np.ones(width) / width
            smoothed = np.convolve(values, kernel, "valid")
            ax.plot(steps[len(steps) - len(smoothed) :], smoothed, label=name or None)
    ax.set(xlabel=axis_text, ylabel=_METRICS.get(metric, metric.replace("/", ", ").replace("_", " ")))
    return _finished(ax)


def latents(
    model: WorldModel | str | Path,
    stream: Stream | str | Path,
    color: str = "reward",
    points: int = 2000,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Plot the latents of held-out time steps in their first two principal components.

    Example:
        robossl.plot.latents(model, "streams/reacher", color="state.fingertip")

    Args:
        model: A world model without image observations, or its folder.
        stream: A stream with its observations, or the folder of one.
        color: Field whose first element colors the points, for example reward or observation.observation.
        points: Number of time steps, at most 4,000.
        seed: Seed of their choice.
        ax: Axes to draw into; None: a new figure.

    Returns:
        The axes; their labels state the share of the variance of each component.

    Raises:
        UsageError: The field is unknown, or the stream does not fit the model.
    """
    if not isinstance(model, WorldModel):
        model = WorldModel.load(as_path(model, "a world model or the folder of one"))
    stream = stream if isinstance(stream, Stream) else Stream.open(stream)
    check_count("points", points, minimum=_FEWEST_POINTS)
    if stream.observation_space != model.observation_space:
        raise UsageError(
            f"expected a stream with the observations of the model, got {stream.path} with others"
        )
    name = stream.schema[color].name
    split = "test" if stream.counts["test"] else None
    window = stream.windows(
        min(points, _MAX_POINTS), 1, generator(seed, "plot", "latents"), split, fields=[name]
    )
    first = _first_step(window.observation)
    z = np.asarray(model.encode(first))  # (n, Z)
    values = np.asarray(window.fields[name])[:, 0].reshape(len(z), -1)[:, 0]
    centered = z - z.mean(0)
    _, scale, directions = np.linalg.svd(centered, full_matrices=False)
    share = scale**2 / max(float((scale**2).sum()), 1e-12)
    projected = centered @ directions[:2].T  # (n, 2)
    ax = _axes(ax)
    drawn = ax.scatter(projected[:, 0], projected[:, 1], c=values, s=6, alpha=0.7, linewidths=0)
    ax.figure.colorbar(drawn, ax=ax, label=name)
    ax.set(xlabel=f"component 1 ({share[0]:.0%} of the variance)", ylabel=f"component 2 ({share[1]:.0%})")
    return ax


def _axes(ax: Axes | None) -> Axes:
    """Return the given axes, or those of a new figure."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=_SIZE, layout="constrained")[1]


def _finished(ax: Axes) -> Axes:
    ax.grid(True, alpha=0.3)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False, fontsize="small")
    return ax


def _one(report: Any) -> Mapping[str, Any]:
    """Return a report; several are refused."""
    if list(_by_label(report)) != [""]:
        raise UsageError("expected one report, run or path, got several; plot.skill draws several")
    return as_report(report)


def _part(report: Mapping[str, Any], key: str, expected: str) -> Mapping[str, Any]:
    """Return a part of a report; one without it is refused with the reason."""
    reason = missing_reason({"missing": {}, **report}, key)
    if reason is not None:
        raise UsageError(f"expected a report with {expected}, got one without it: {reason}")
    value: Any = report
    for part in key.split("."):
        value = value[part]
    return value


def _by_label(source: Any) -> dict[str, Any]:
    """Return what is plotted by label: one without a label, a list or mapping of several, or the runs of all seeds."""
    if isinstance(source, (str, Path)) and _kind(Path(source)) == "seeds":
        source = {run.name: run for run in sorted(Path(source).glob("seed-*"))}
    if isinstance(source, Mapping) and "format" not in source:
        several = {str(name): one for name, one in source.items()}
    elif isinstance(source, Sequence) and not isinstance(source, str):
        several = {_label_of(one, str(number)): one for number, one in enumerate(source, 1)}
    else:
        return {"": source}
    if not several:
        raise UsageError("expected one or more to plot, got none")
    return several


def _kind(folder: Path) -> str:
    """Return the kind of a folder of robossl; empty if it names none."""
    path = folder / "manifest.json"
    manifest = read_json(path) if path.is_file() else {}
    return str(manifest.get("kind", "")) if isinstance(manifest, dict) else ""


def _label_of(source: Any, number: str) -> str:
    """Return the folder of a run or report, or its number in the list."""
    if isinstance(source, (str, Path)):
        return str(source)
    return str(
        source.get("folder", number) if isinstance(source, Mapping) else getattr(source, "folder", number)
    )


def _records(run: Any) -> list[dict[str, float | None]]:
    folder = getattr(run, "folder", run)
    folder = as_path(folder, "a run, or the folder of a run, model or agent")
    if not (folder / FILE_NAME).is_file():
        raise UsageError(
            f"{folder}: expected a folder with {FILE_NAME}, which learn, train and pretrain write, got none"
        )
    return read_metrics(folder)


def _first_step(observation: Any) -> Any:
    """Return the first time step (n, ...) of observations (n, T, ...)."""
    if isinstance(observation, Mapping):
        return {key: _first_step(value) for key, value in observation.items()}
    return observation[:, 0]
