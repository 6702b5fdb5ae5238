"""Comparison of runs, groups of seeds and studies: paired where they match, and honest where they do not."""

import copy

import numpy as np
import pytest
from evaluation_reports import complete_report
from test_page import PageReader
from transfer_cells import RANDOM, REFERENCE, TASKS, make_cells, study_info

from robossl.core.errors import UsageError
from robossl.core.statistics import mean_ci
from robossl.evaluation.comparison import Group, compare
from robossl.evaluation.report import page, report_file
from robossl.evaluation.report.sections.comparison_section import differences_table, results_table
from robossl.evaluation.report.table_formats import to_csv, to_markdown
from robossl.evaluation.report.text_summary import text_summary
from robossl.evaluation.study_comparison import compare_studies
from robossl.evaluation.transfer_summary import summarize

PLANNER = "control.rows.planner.return"


def run_report(seed=0, shift=0.0, noise=1.0, with_episodes=True, env="robossl/Reacher-v0"):
    """Return a report whose planner has the same episodes for the same seed, moved by `shift`."""
    report = complete_report() | {"seed": seed, "env": env}
    shared = np.random.default_rng([seed, 1]).normal(150, 40, 20)
    own = np.random.default_rng([seed, 2, int(10 * shift)]).normal(0, noise, 20)
    row = report["control"]["rows"]["planner"]
    row["return"] = mean_ci(shared + own + shift)
    if with_episodes:
        row["episodes"] = {"return": (shared + own + shift).tolist()}
    return report


def entry(data, key=PLANNER):
    return next(metric for metric in data["metrics"] if metric["key"] == key)


def report_of(data):
    return report_file.build_study("comparison", data, complete_report())


def test_runs_on_the_same_episodes_are_compared_in_pairs():
    paired = entry(compare([Group("a", [run_report()]), Group("b", [run_report(shift=5)])]))["differences"][1]
    assert paired["method"] == "20 episodes, paired"
    assert paired["verdict"] == "higher"
    assert paired["mean"] == pytest.approx(5, abs=1)
    assert paired["high"] - paired["low"] < 3  # the spread of the episodes is 40


def test_runs_on_other_episodes_are_compared_by_their_intervals():
    for other in (run_report(1, shift=5), run_report(0, shift=5, with_episodes=False)):
        found = entry(compare([Group("a", [run_report()]), Group("b", [other])]))["differences"][1]
        assert found["method"] == "intervals, not paired"
        assert found["verdict"] == "equal"
        assert found["high"] - found["low"] > 20


def test_groups_of_the_same_seeds_are_paired_by_seed():
    seeds = range(4)
    base = Group("base", [run_report(seed) for seed in seeds])
    same = entry(compare([base, Group("b", [run_report(seed, 5) for seed in seeds])]))["differences"][1]
    other = entry(compare([base, Group("b", [run_report(seed, 5) for seed in range(10, 14)])]))[
        "differences"
    ][1]
    assert same["method"] == "4 seeds, paired"
    assert same["verdict"] == "higher"
    assert other["method"] == "4 and 4 seeds"
    assert other["verdict"] == "equal"
    assert same["high"] - same["low"] < other["high"] - other["low"]


def test_equal_groups_are_rarely_called_different():
    wrong = 0
    for trial in range(40):
        groups = [
            Group(name, [run_report(100 * trial + seed, shift=0.1 * i, noise=20) for seed in range(3)])
            for i, name in enumerate(("a", "b"))
        ]
        wrong += entry(compare(groups))["differences"][1]["verdict"] != "equal"
    assert wrong <= 6


def test_one_seed_against_several_is_not_judged():
    found = entry(compare([Group("a", [run_report(0), run_report(1)]), Group("b", [run_report(2)])]))
    assert found["differences"][1]["verdict"] == "unknown"
    assert "low" not in found["differences"][1]


def test_runs_of_different_envs_are_shown_but_not_compared():
    data = compare([Group("a", [run_report()]), Group("b", [run_report(env="robossl/PushT-v0")])])
    assert entry(data)["differences"] == [None, None]
    assert all(entry(data)["values"])
    assert "The envs differ" in " ".join(text_summary(report_of(data)))


def test_value_of_a_group_is_the_median_over_seeds_with_its_coverage():
    reports = [run_report(seed) for seed in range(3)]
    value = entry(compare([Group("a", reports)]))["values"][0]
    means = [report["control"]["rows"]["planner"]["return"]["mean"] for report in reports]
    assert value["median"] == np.median(means)
    assert (value["low"], value["high"], value["coverage"]) == (min(means), max(means), 0.75)
    assert list(value["seeds"].values()) == means


def test_agents_of_one_group_are_compared_with_the_observation_row():
    reports = [run_report(seed) for seed in range(3)]
    for seed, report in enumerate(reports):
        rows = report["control"]["rows"]
        rows["observation"]["return"]["mean"] = 100.0 + seed
        rows["latent_observation"]["return"]["mean"] = 90.0 + seed + 0.1 * seed
    data = compare([Group("a", reports)])
    assert entry(data, "control.rows.latent_observation.return")["rivals"][0]["verdict"] == "lower"
    assert "return of latent + observation worse" in " ".join(text_summary(report_of(data)))


def test_rows_of_different_agents_are_named_by_them():
    reports = [run_report(seed) for seed in range(3)]
    for report in reports:
        rows = report["control"]["rows"]
        rows["observation"]["agent"], rows["latent_observation"]["agent"] = "sac", "imagination-sac"
    data = compare([Group("a", reports)])
    labels = [
        entry(data, f"control.rows.{row}.return")["label"] for row in ("observation", "latent_observation")
    ]
    assert labels == [
        "return of observation only (SAC)",
        "return of latent + observation (imagination-sac)",
    ]
    rows["latent_observation"]["agent"] = "sac"  # of an older run
    label = entry(compare([Group("a", reports)]), "control.rows.latent_observation.return")["label"]
    assert label == "return of latent + observation (SAC, imagination-sac)"
    assert "Against the agent on the observation alone" in " ".join(text_summary(report_of(data)))


def test_group_with_a_seed_twice_is_refused():
    with pytest.raises(UsageError, match="group a: expected runs of different seeds, got seeds"):
        compare([Group("a", [run_report(0), run_report(0)])])


def test_page_overlays_curves_and_names_every_metric():
    groups = [
        Group("base", [run_report(s) for s in range(3)]),
        Group("<wide>", [run_report(s, 9) for s in range(3)]),
    ]
    data = compare(groups)
    reader = PageReader(page.render([report_of(data)]))
    for metric in data["metrics"]:
        assert metric["label"] in reader.text
    assert "<wide>" in reader.text
    assert reader.tags.count("svg") == 3  # skill, and the curves of two agents
    assert reader.undescribed_images == 0
    assert "▲ higher" in reader.text
    assert "not available" not in reader.text


def test_tables_have_a_row_for_each_metric():
    data = compare([Group("a", [run_report(s) for s in range(3)])])
    lines = to_markdown(results_table(data)).splitlines()
    assert lines[0] == "| metric | median | each seed | baseline | n |"
    assert len(lines) == 2 + len(data["metrics"])
    assert "random actions" in lines[2]
    assert (
        to_csv(results_table(data)).splitlines()[0]
        == "metric,median mean,median low,median high,median n,each seed,baseline,n"
    )
    several = compare([Group("a", [run_report()]), Group("b", [run_report(shift=5)])])
    assert "difference to a" in to_markdown(differences_table(several))


# --- studies


@pytest.fixture(scope="module")
def studies():
    small = {"observation": (0.5, 0.3), "latent": (0.55, 0.35)}
    better = {"observation": (0.5, 0.3), "latent": (0.85, 0.65)}
    return [summarize(make_cells(effects=effects), study_info()) for effects in (small, better)]


def test_studies_are_compared_row_by_row(studies):
    data = compare_studies(["first", "second"], studies)
    by_row = {metric["key"].split(".")[2]: metric["differences"][1] for metric in data["metrics"]}
    assert by_row["observation"]["verdict"] == "equal"
    assert by_row["latent"]["verdict"] == "higher"
    assert by_row["latent"]["low"] < 0.3 < by_row["latent"]["high"]
    assert by_row["latent"]["method"] == "2 shared tasks, stream seeds paired"
    assert "second against first" in text_summary(report_of(data))[0]
    assert "score of latent only" in PageReader(page.render([report_of(data)])).text


def test_studies_with_other_references_are_compared_on_the_scale_of_the_first():
    effects = {"observation": (0.5, 0.3), "latent": (0.55, 0.35)}
    cells = make_cells(effects=effects)
    twice = {task: RANDOM[task] + 2 * (REFERENCE[task] - RANDOM[task]) for task in TASKS}  # halves all scores
    first, other = summarize(cells, study_info()), summarize(cells, study_info(reference=twice))
    assert other["rows"]["latent"]["score"]["mean"] == pytest.approx(
        first["rows"]["latent"]["score"]["mean"] / 2
    )
    data = compare_studies(["first", "second"], [first, other])
    for metric in data["metrics"]:
        assert metric["values"][1]["mean"] == pytest.approx(metric["values"][0]["mean"])
        assert metric["differences"][1]["mean"] == pytest.approx(0, abs=1e-9)
        assert metric["differences"][1]["verdict"] == "equal"
        assert metric["differences"][1]["method"].endswith("by the references of the first")
    assert data["curves"] == []


def test_studies_of_other_protocols_are_refused_without_the_flag(studies):
    other = copy.deepcopy(studies[1]) | {"protocol": "0123456789abcdef"}
    with pytest.raises(
        UsageError, match=r"expected studies of one protocol, got first .*--mix-protocols"
    ) as error:
        compare_studies(["first", "second"], [studies[0], other])
    assert "\n" not in str(error.value)
    data = compare_studies(["first", "second"], [studies[0], other], mixed=True)
    assert "The protocols differ" in " ".join(text_summary(report_of(data)))
