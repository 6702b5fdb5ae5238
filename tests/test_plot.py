"""robossl.plot: each figure draws the numbers of its report, and refuses what it cannot draw in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib import pyplot
from small_report import small_report

import robossl
from robossl import UsageError, plot
from robossl.training import output_dirs


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def test_skill_draws_the_curve_of_the_report_beside_linear_dynamics():
    report = small_report()
    ax = plot.skill(report)
    assert labels(ax) == ["model", "encoder bound", "linear dynamics"]
    assert np.allclose(ax.lines[0].get_ydata(), report["world_model"]["forward_curve"]["model"])


def test_several_reports_have_one_labeled_line_each():
    ax = plot.skill({"a": small_report(), "b": small_report()})
    assert labels(ax) == ["a", "b"]


def test_goals_have_one_labeled_line_for_each_row_and_its_intervals():
    report = small_report()
    ax = plot.goals(report)
    assert len(labels(ax)) == len(report["goal_reaching"]["rows"])
    assert [t.get_text() for t in ax.get_xticklabels()] == list(report["goal_reaching"]["horizons"])


def test_returns_name_every_row():
    ax = plot.returns(small_report())
    assert "random actions" in [t.get_text() for t in ax.get_yticklabels()]


def test_curves_of_runs_are_smoothed_means(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        lines = [f'{{"step": {step}, "world_model/loss": {step % 2}}}\n' for step in range(10)]
        (tmp_path / name / "metrics.jsonl").write_text("".join(lines))
    ax = plot.curves([tmp_path / "a", str(tmp_path / "b")], smooth=2)
    assert np.allclose(ax.lines[0].get_ydata(), 0.5)
    assert len(ax.lines) == 2
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("environment steps", "loss of the world model")
    with pytest.raises(UsageError, match="available: world_model/loss"):
        plot.curves(tmp_path / "a", "world_model/los")
    with pytest.raises(UsageError, match=r"metrics\.jsonl"):
        plot.curves(tmp_path)


def test_losses_of_the_world_model_are_drawn_over_gradient_steps(tmp_path):
    lines = [
        f'{{"step": 100, "world_model/loss": {3 - i}, "world_model/updates": {10 * i}}}\n' for i in range(3)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(lines) + '{"step": 100, "time/seconds": 1.0}\n')
    ax = plot.curves(tmp_path, "world_model/loss")
    assert ax.lines[0].get_xdata().tolist() == [0, 10, 20]
    assert ax.get_xlabel() == "gradient steps"
    assert plot.curves(tmp_path, "time/seconds").get_ylabel() == "time, seconds"
    assert plot.curves(tmp_path, "world_model/updates").get_xlabel() == "environment steps"
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "metrics.jsonl").write_text('{"step": 100, "world_model/loss": 1.0}\n')
    ax = plot.curves([tmp_path, tmp_path / "old"], "world_model/loss")  # the latter does not know its updates
    assert (len(ax.lines), ax.get_xlabel()) == (2, "environment steps")


def test_latents_are_colored_by_a_field_and_drawn_in_the_given_axes(tmp_path):
    stream = robossl.collect(
        "robossl/CartPoleSwingUp-v0", "random", 2000, tmp_path / "s", num_envs=4, threads=1
    )
    model = robossl.WorldModel(robossl.WorldModelConfig(), stream.observation_space, stream.action_space)
    model.save(tmp_path / "m")
    _, ax = pyplot.subplots()
    assert plot.latents(tmp_path / "m", tmp_path / "s", "state.cart_position", points=100, ax=ax) is ax
    assert len(ax.collections[0].get_offsets()) == 100
    with pytest.raises(UsageError, match="did you mean 'reward'"):
        plot.latents(model, stream, "rewards")


@pytest.mark.parametrize("draw", [plot.skill, plot.goals, plot.returns])
def test_report_without_the_section_is_refused_in_one_line(draw):
    with pytest.raises(UsageError, match="expected a report with") as caught:
        draw({"format": 2, "missing": {}})
    with pytest.raises(UsageError, match="without it: no goals"):
        draw({"format": 2, "missing": dict.fromkeys(("world_model", "goal_reaching", "control"), "no goals")})
    assert "\n" not in str(caught.value)


def test_unknown_criterion_lists_the_known_ones():
    with pytest.raises(UsageError, match="available: reached_any"):
        plot.goals(small_report(), "reached")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot.skill({}), "one or more to plot, got none"),
        (lambda: plot.curves([]), "one or more to plot, got none"),
        (lambda: plot.curves(5), "expected a run, or the folder of .*, got 5"),
        (lambda: plot.curves(".", smooth=0), "smooth: expected 1 or more, got 0"),
        (lambda: plot.goals([small_report()]), "expected one report.*plot.skill draws several"),
        (lambda: plot.returns({"a": small_report()}), "expected one report.*plot.skill draws several"),
        (lambda: plot.latents(None, "."), "expected a world model or the folder of one, got None"),
    ],
)
def test_what_cannot_be_plotted_is_one_line_and_opens_no_figure(draw, message):
    with pytest.raises(UsageError, match=message) as caught:
        draw()
    assert "\n" not in str(caught.value)
    assert pyplot.get_fignums() == []


def test_reports_in_a_list_or_one_with_a_label_keep_their_names():
    assert labels(plot.skill({"ours": small_report()}))[0] == "ours"
    assert labels(plot.skill([small_report(), {**small_report(), "folder": "b"}])) == ["1", "b"]


def test_folder_of_seeds_has_one_line_for_each_run(tmp_path):
    for seed in (0, 1):
        (tmp_path / f"seed-{seed}").mkdir()
        line = {"step": 1, "world_model/loss": 1.0}
        (tmp_path / f"seed-{seed}" / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    output_dirs.write_manifest(tmp_path, "seeds", seeds=[0, 1])
    assert labels(plot.curves(tmp_path, "world_model/loss")) == ["seed-0", "seed-1"]
    with pytest.raises(UsageError, match="expected one report, run or path, got several"):
        plot.goals(tmp_path)
