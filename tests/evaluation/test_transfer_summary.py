"""Transfer studies: summary of cells, sentences, tables and page, on synthetic cells with known effects."""

import copy
import csv
import io

import numpy as np
import pytest
from test_page import PageReader
from transfer_cells import EFFECTS, RANDOM, REFERENCE, TASKS, failed_cell, make_cells, study_info

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report import page, report_file
from robossl.evaluation.report.number_format import label
from robossl.evaluation.report.study_tables import rows_table, write_tables
from robossl.evaluation.report.table_formats import Table, to_csv, to_latex, to_markdown
from robossl.evaluation.report.text_summary import text_summary
from robossl.evaluation.transfer_summary import summarize


@pytest.fixture(scope="module")
def data():
    """Return a study in which one cell failed."""
    lost = ("latent", TASKS[1], 1, 2)
    keys = ("row", "task", "stream_seed", "agent_seed")
    cells = [cell for cell in make_cells() if tuple(cell[key] for key in keys) != lost]
    return summarize([*cells, failed_cell(*lost)], study_info())


def report_of(data):
    context = EvaluationContext(env=TASKS[0], results={"transfer": data}, seconds={"cells": 90.0})
    return report_file.build(context)


def test_known_rows_are_at_the_top_and_at_chance(data):
    scores = {name: row["score"] for name, row in data["rows"].items()}
    assert scores["scrambled_state"]["low"] > max(
        row["high"] for name, row in scores.items() if name not in ("scrambled_state", "reference")
    )
    for name in ("noise", "random"):
        assert scores[name]["low"] < 0.05
        assert scores[name]["high"] > -0.05
    assert data["rows"]["time_shuffled"]["verdict"] != "gain"
    assert data["rows"]["time_shuffled"]["baseline"] == "random_latent"
    assert data["rows"]["finetune"]["verdict"] == "gain"
    assert data["rows"]["random_latent"]["verdict"] == "worse"
    assert data["rows"]["pca"]["verdict"] == "equal"
    assert "p_improvement" not in data["rows"]["observation"]


def test_estimates_cover_the_true_scores(data):
    for name, effects in EFFECTS.items():
        for task, effect in zip(TASKS, effects):
            assert data["rows"][name]["tasks"][task]["score"]["mean"] == pytest.approx(effect, abs=0.07)


def test_number_of_episodes_of_a_run_does_not_change_its_weight():
    cells = make_cells(effects={"observation": (0.5, 0.3), "latent": (0.6, 0.4)})
    longer = copy.deepcopy(cells)
    for cell in longer[::2]:
        cell["returns"] = cell["returns"] * 5
    one, other = (summarize(each, study_info())["rows"] for each in (cells, longer))
    assert one["latent"]["score"]["mean"] == pytest.approx(other["latent"]["score"]["mean"])
    assert one["latent"]["p_improvement"]["mean"] == pytest.approx(other["latent"]["p_improvement"]["mean"])


def test_order_of_the_cells_does_not_change_a_number():
    cells = make_cells(streams=2, agents=2, effects={"observation": (0.5, 0.3), "latent": (0.6, 0.4)})
    shuffled = [cells[i] for i in np.random.default_rng(1).permutation(len(cells))]
    assert summarize(cells, study_info()) == summarize(shuffled, study_info())


def test_failed_cells_are_named_counted_and_have_no_score(data):
    assert data["cells"] == {"done": 215, "failed": 1}
    row = data["rows"]["latent"]
    assert (row["runs"], row["failed"], row["score"]["n"]) == (17, 1, 17)
    assert row["score_failed_as_random"]["n"] == 18
    assert row["score_failed_as_random"]["mean"] < row["score"]["mean"]
    text = PageReader(page.render([report_of(data)])).text
    assert "1 cell: OperationError: the agent's <weights> are not finite" in text
    assert "latent only, WalkerRun, stream seed 1, agent seed 2" in text
    assert "1 of 216 cells failed" in text_summary(report_of(data))[-1]


def test_row_that_failed_everywhere_is_still_in_the_tables():
    cells = make_cells(effects={"observation": (0.5, 0.3)})
    cells += [failed_cell("latent", task, stream) for task in TASKS for stream in range(3)]
    data = summarize(cells, study_info())
    assert data["rows"]["latent"]["failed"] == 6
    assert "score" not in data["rows"]["latent"]
    assert "latent only" in PageReader(page.render([report_of(data)])).text
    assert text_summary(report_of(data))[0] == "No row could be compared with its baseline."


def test_sentence_states_no_gain_as_plainly_as_gain():
    sentences = {}
    for name, effect in (("gain", 0.8), ("no gain", 0.5), ("worse", 0.2)):
        effects = {"observation": (0.5, 0.5), "latent": (effect, effect)}
        report = report_of(summarize(make_cells(effects=effects), study_info()))
        sentences[name] = text_summary(report)[0]
    assert ": this is a gain." in sentences["gain"]
    assert ": no gain." in sentences["no gain"]
    assert ": this is worse." in sentences["worse"]
    for text in sentences.values():
        assert text.startswith(
            "On 2 tasks of walker (3 stream seeds, 3 agent seeds), latent only has a score of"
        )
        assert "is better with probability" in text


def test_two_runs_of_one_task_are_too_few():
    effects = {"observation": (0.1, 0.1), "latent": (0.9, 0.9)}
    cells = [cell for cell in make_cells(1, 2, effects=effects) if cell["task"] == TASKS[0]]
    data = summarize(cells, study_info(tasks=TASKS[:1]))
    assert data["rows"]["latent"]["verdict"] == "unknown"
    sentence = text_summary(report_of(data))[0]
    assert "too few runs" in sentence
    assert "do not include the variation between streams" in sentence


def test_one_run_of_each_task_has_no_interval():
    effects = {"observation": (0.5, 0.3), "latent": (0.6, 0.4)}
    report = report_of(summarize(make_cells(1, 1, effects=effects), study_info()))
    assert report["transfer"]["rows"]["latent"]["score"]["single"]
    assert "[one run each]" in text_summary(report)[0]
    assert (
        "single" not in summarize(make_cells(1, 2, effects=effects), study_info())["rows"]["latent"]["score"]
    )


def test_task_without_reference_has_returns_and_no_score():
    cells = make_cells(effects={"observation": (0.5, 0.3), "latent": (0.6, 0.4)})
    data = summarize(cells, study_info(reference={TASKS[0]: REFERENCE[TASKS[0]]}))
    entry = data["rows"]["latent"]["tasks"][TASKS[1]]
    assert "score" not in entry
    assert entry["return"]["n"] == 9
    assert data["references"][TASKS[1]] is None
    assert data["rows"]["latent"]["score"]["n"] == 9
    assert "has returns and no scores" in PageReader(page.render([report_of(data)])).text
    sentences = text_summary(report_of(data))
    assert sentences[0].startswith("On 1 of 2 tasks of walker")
    assert any(text.startswith("Without score: WalkerRun, because") for text in sentences)


def test_sentence_names_scores_over_other_tasks_than_those_that_two_rows_share():
    cells = make_cells(effects={"observation": (0.5, 0.3), "latent": (0.6, 0.4)})
    cells = [cell for cell in cells if cell["row"] == "observation" or cell["task"] == TASKS[0]]
    sentence = text_summary(report_of(summarize(cells, study_info())))[0]
    assert sentence.startswith("On 1 of 2 tasks of walker")
    assert "over 2 tasks (interquartile mean" in sentence


def test_random_return_is_measured_if_the_protocol_has_none():
    data = summarize(make_cells(effects={"random": (0.0, 0.0)}), study_info(random={}))
    assert data["references"][TASKS[0]]["random"] == pytest.approx(RANDOM[TASKS[0]], abs=3)
    assert data["rows"]["random"]["mean_score"]["mean"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"protocol": "other"}, UsageError, "expected protocol 3f9c2a71b0d84e55, got other"),
        ({"row": "unknown"}, UsageError, "expected a row of random, zero_action"),
        ({"task": "unknown"}, UsageError, "expected a task of robossl/WalkerWalk-v0"),
        ({"returns": []}, CorruptedFileError, "finite returns"),
        ({"returns": [float("nan")]}, CorruptedFileError, "finite returns"),
        ({"labeled_steps": None}, CorruptedFileError, "expected the key 'labeled_steps'"),
    ],
)
def test_invalid_cell_is_refused_in_one_line(change, error, message):
    cells = make_cells(1, 1)
    with pytest.raises(error, match=message) as raised:
        summarize([{**cells[0], **change}], study_info())
    assert "\n" not in str(raised.value)


def test_page_shows_every_row_task_and_plot(data):
    html = page.render([report_of(data)])
    reader = PageReader(html)
    assert "Transfer to control: walker" in reader.text
    assert "90 s for all cells together" in reader.text
    for name in data["rows"]:
        assert label(name) in reader.text
    assert reader.tags.count("svg") == 5  # rows, labeled steps, all steps, goals, profile
    assert reader.undescribed_images == 0
    assert reader.tags.count("table") == reader.tags.count("caption")
    assert "script" not in reader.tags
    assert all(link.startswith(("#", "data:")) for link in reader.links)
    assert "not available" not in reader.text
    assert "<title>latent only: " in html  # shown while the pointer is at a mark


def test_line_of_the_plot_is_the_baseline_of_the_headline_row(data):
    text = "The dashed line is the baseline “{}”"
    assert text.format("observation only") in page.render([report_of(data)])
    rows = {**data["rows"], "latent": {**data["rows"]["latent"], "baseline": "random_latent"}}
    assert text.format("random encoder") in page.render([report_of({**data, "rows": rows})])


def test_tables_hold_every_number(data, tmp_path):
    paths = write_tables(tmp_path / "tables", data)
    assert [path.name for path in paths] == [
        f"{name}.{ending}" for name in ("rows", "tasks") for ending in ("md", "tex", "csv")
    ]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "tables" / "rows.csv").read_text())))
    score = data["rows"]["latent"]["score"]
    assert float(next(r for r in rows if r["row"] == "latent only")["IQM score mean"]) == score["mean"]
    markdown = (tmp_path / "tables" / "tasks.md").read_text()
    assert markdown.count("\n") == 2 + len(TASKS) * len(EFFECTS)
    table = rows_table(data)
    latent = dict(zip(table.head, next(line for line in table.rows if line[0] == "latent only")))
    row = data["rows"]["latent"]
    for name, key in (
        ("IQM score", "score"),
        ("P(improvement)", "p_improvement"),
        ("mean score", "mean_score"),
    ):
        assert latent[name] == row[key]
    assert latent["difference of IQM"] == row["difference"]
    assert (latent["runs"], latent["failed"]) == (17, 1)
    assert latent["compared with"] == "observation only"


def test_latex_and_markdown_are_escaped():
    table = Table(
        "50 % of a_b",
        ["name", "x & y"],
        [["a|b_c", {"mean": -0.5, "low": -1.0, "high": 0.2, "n": 3}], ["d", None]],
    )
    assert (
        to_markdown(table) == "| name | x & y |\n| --- | ---: |\n| a/b_c | −0.50 [−1.00, 0.20] |\n| d | – |\n"
    )
    latex = to_latex(table)
    assert r"\caption{50 \% of a\_b}" in latex
    assert r"a|b\_c & $-$0.50 [$-$1.00, 0.20] \\" in latex
    assert to_csv(table).splitlines()[1] == "a|b_c,-0.5,-1.0,0.2,3"
