"""report.html: whole, self-contained, without scripts, and true to report.json."""

import copy
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from evaluation_reports import whole

from robossl.core.errors import UsageError
from robossl.evaluation.report import page
from robossl.evaluation.report.embedded_video import EmbeddedVideo
from robossl.evaluation.report.text import number, percent, text_summary, validity_sentence
from robossl.evaluation.video.encoding import write_video

VOID = {"meta", "link", "br", "img", "source", "input", "hr"}


class Reader(HTMLParser):
    """Reads a page and remembers what an auditor asks."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.words = [], [], [], [], []
        self.unnamed_figures = 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.links += [given[key] for key in ("href", "src", "poster") if key in given]
        if "id" in given:
            self.ids.append(given["id"])
        if tag in ("svg", "video", "img"):
            self.unnamed_figures += not (given.get("aria-label") or given.get("alt"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def report():
    return whole()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "toy.mp4"
    write_video(path, [np.full((48, 64, 3), 10 * i, np.uint8) for i in range(12)], fps=12)
    return EmbeddedVideo(path, "A toy", "It grows <lighter>.")


def test_the_page_stands_alone(report, film):
    text = page.render([report], videos=[film])
    read = Reader(text)
    assert "script" not in read.tags
    assert not re.search(r"\son\w+=", re.sub(r'base64,[^"]+', "", text))
    assert not re.search(r"https?://", text)
    assert all(link.startswith(("#", "data:")) for link in read.links)
    assert re.search(r"url\((?!#)", text) is None
    assert "@import" not in text


def test_the_page_can_be_read_by_all(report, film):
    text = page.render([report], videos=[film])
    read = Reader(text)
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert read.unnamed_figures == 0
    assert len(read.ids) == len(set(read.ids))
    assert read.tags.count("h1") == 1
    assert read.tags.count("table") == read.tags.count("caption") == 8
    assert "th" in read.tags
    assert {link[1:] for link in read.links if link.startswith("#") and len(link) > 1} <= set(read.ids)
    for wanted in ('name="viewport"', "@media print", "prefers-color-scheme:dark", "max-width:34rem"):
        assert wanted in text


def test_every_row_of_the_report_is_on_the_page(report):
    words = " ".join(Reader(page.render([report])).words)
    for section in ("control", "goals"):
        for name in report[section]["rows"]:
            assert name.replace("_", " ") in words
    for name in (*report["world"]["probe_r2"], *report["seconds"], *report["versions"].values()):
        assert name.replace("_", " ") in words
    for horizon, value in report["world"]["forward_skill"].items():
        assert f"{horizon} (" in words
        assert number(value) in words
    for row in report["control"]["rows"].values():
        assert number(row["return"]["mean"]) in words
        assert f"[{number(row['return']['low'])}, {number(row['return']['high'])}]" in words
    assert report["made"]["command"] in words
    assert "latent = 64" in words


def test_what_is_absent_is_said_with_its_reason():
    words = " ".join(Reader(page.render([whole(absent=True)])).words)
    assert "the env has no <goals>" in words  # escaped in the page, whole for the reader
    assert "no environment steps were left" in words
    assert "Goals without reward" not in words


def test_an_empty_report_is_still_a_page():
    from robossl.evaluation.report.report_file import build

    words = " ".join(Reader(page.render([build("Toy-v0", 0, {}, "cpu", {})])).words)
    assert "not measured in this run" in words
    assert "Toy-v0" in words


def test_the_summary_is_three_sentences_with_n_and_baselines(report):
    world, goals, control = text_summary(report)
    assert "where “nothing moves” scores 0" in world
    assert f"{report['world']['forward_interval']['25']['n']:,} held-out forecasts" in world
    assert "prediction skill, 25 steps ahead" in page.render([report])
    assert "random actions touched" in goals
    assert "of 60 held-out goals" in goals
    assert "over 20 episodes" in control
    assert "which is less" in control
    assert "random actions earn" in control


def test_the_summary_claims_nothing_inside_the_doubt(report):
    doubtful = copy.deepcopy(report)
    rows = doubtful["control"]["rows"]
    rows["raw"]["return"] = dict(rows["representation"]["return"])
    doubtful["goals"]["rows"]["random"] = doubtful["goals"]["rows"]["planner"]
    doubtful["world"]["forward_linear"]["25"] = 0.99
    world, goals, control = text_summary(doubtful)
    assert "no better than linear dynamics" in world
    assert "no better than chance can be claimed" in goals
    assert "a difference within the doubt" in control
    rows["raw"]["return"] = {"mean": 999.0, "low": 990.0, "high": 1010.0, "n": 20}
    assert "which is more" in text_summary(doubtful)[2]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.00"), (0.9999, ">0.999"), (0.9951, "0.995"), (0.5, "0.50"), (-0.25, "−0.25"), (12.34, "12.3"),
     (123.4, "123"), (12345.6, "12,346")],
)  # fmt: skip
def test_numbers_for_people(value, text):
    assert number(value) == text


def test_shares_never_round_to_none_or_all():
    shown = [percent(p).replace("\u00a0", " ") for p in (0.0, 0.001, 0.5, 0.999, 1.0)]
    assert shown == ["0 %", "under 1 %", "50 %", "over 99 %", "100 %"]


def test_several_reports_side_by_side(report, tmp_path):
    path = page.write(tmp_path, [report, whole(absent=True)], names=["first", "<second>"])
    read = Reader(path.read_text())
    words = " ".join(read.words)
    assert "first" in words
    assert "<second>" in words
    assert "goals held, planner" in words
    assert "script" not in read.tags


def test_the_same_report_gives_the_same_bytes(report, film):
    assert page.render([report], videos=[film]) == page.render([copy.deepcopy(report)], videos=[film])


def test_nothing_in_a_report_can_become_markup(report):
    evil = copy.deepcopy(report)
    evil["env"] = "<script>alert(1)</script>"
    evil["made"]["command"] = '"><img src=x onerror=alert(1)>'
    evil["goals"]["rows"]["<b>x"] = evil["goals"]["rows"]["random"]
    read = Reader(page.render([evil]))
    assert not {"script", "img", "b"} & set(read.tags)


def test_nothing_to_show_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no reports"):
        page.render([])
    with pytest.raises(UsageError, match="no video"):
        page.render([whole(absent=True)], videos=[EmbeddedVideo(tmp_path / "none.mp4", "x", "y")])


def test_a_time_that_was_not_seen_to_end_is_a_least_time():
    time = {"median": 4.0, "low": 4.0, "high": 4.0, "n": 100, "unit": "s", "tolerance": 0.5,
            "censored": 0.87, "horizon": 4.0, "nothing_moves": 0.12}  # fmt: skip
    assert "believed for at least 4.00 s: 87" in validity_sentence(time)
    assert "believed for 1.50 s (median" in validity_sentence(time | {"median": 1.5, "censored": 0.4})


def test_what_is_below_zero_has_a_minus():
    assert percent(-0.05) == "−5\u00a0%"
