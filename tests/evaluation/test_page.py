"""report.html: self-contained, without scripts, accessible, and consistent with report.json."""

import copy
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from evaluation_reports import complete_report, context_with

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.evaluation.report import page, plots, report_file
from robossl.evaluation.report.number_format import label, number, percent
from robossl.evaluation.report.sections.world_model_section import validity_sentence
from robossl.evaluation.report.text_summary import text_summary
from robossl.evaluation.video.frames import write_video

VOID = {"meta", "link", "br", "img", "source", "input", "hr", "wbr"}


class PageReader(HTMLParser):
    """Parses a page: its tags, ids, links and text, and images without a description."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.texts = [], [], [], [], []
        self.undescribed_images = 0
        self.feed(html)
        assert self.open == []

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        described = bool(values.get("aria-label") or values.get("alt"))
        self.tags.append(tag)
        self.links += [values[key] for key in ("href", "src", "poster") if key in values]
        if "id" in values:
            self.ids.append(values["id"])
        if tag in ("svg", "video", "img"):
            in_described = any(image for _, image in self.open)
            self.undescribed_images += not (described or in_described)
        if tag not in VOID:
            self.open.append((tag, described and values.get("role") == "img"))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a video."""
    folder = tmp_path_factory.mktemp("report")
    frames = [np.full((48, 64, 3), 10 * i, np.uint8) for i in range(12)]
    write_video(folder / "imagination.mp4", frames, fps=12)
    return folder


@pytest.fixture(scope="module")
def report():
    return complete_report() | {
        "videos": {
            "imagination": {
                "file": "imagination.mp4",
                "frames": 12,
                "rendered": False,
                "not_rendered_reason": "no <renderer>",
            }
        }
    }


def test_page_is_self_contained(report, folder):
    html = page.render([report], folder=folder)
    reader = PageReader(html)
    assert "script" not in reader.tags
    assert "video" in reader.tags
    assert not re.search(r"\son\w+=", re.sub(r'base64,[^"]+', "", html))
    assert not re.search(r"https?://", html)
    assert all(link.startswith(("#", "data:")) for link in reader.links)
    assert re.search(r"url\((?!#)", html) is None
    assert "@import" not in html


def test_page_is_accessible(report, folder):
    html = page.render([report], folder=folder)
    reader = PageReader(html)
    assert html.startswith('<!doctype html>\n<html lang="en">')
    assert reader.undescribed_images == 0
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.tags.count("h1") == 1
    assert reader.tags.count("table") == reader.tags.count("caption") == 11
    assert "th" in reader.tags
    assert {link[1:] for link in reader.links if link.startswith("#") and len(link) > 1} <= set(reader.ids)
    for feature in ('name="viewport"', "@media print", "prefers-color-scheme:dark", "max-width:34rem"):
        assert feature in html


def test_every_number_of_the_report_is_on_the_page(report, folder):
    text = PageReader(page.render([report], folder=folder)).text
    for section in ("control", "goal_reaching"):
        for name in report[section]["rows"]:
            assert label(name) in text
    for name in (*report["world_model"]["probe_r2"], *report["seconds"], *report["versions"].values()):
        assert label(name) in text
    for horizon, estimate in report["world_model"]["prediction_skill"].items():
        assert f"{horizon} (" in text
        assert number(estimate["mean"]) in text
    for row in report["control"]["rows"].values():
        assert number(row["return"]["mean"]) in text
        assert f"[{number(row['return']['low'])}, {number(row['return']['high'])}]" in text
    assert report["provenance"]["command"] in text
    assert "latent_dim = 64" in text


def test_missing_sections_are_shown_with_their_reason():
    text = PageReader(page.render([complete_report(without_control=True)])).text
    assert "the env has no <goals>" in text  # escaped in the page
    assert "no environment steps were left" in text
    assert "Success by policy" not in text


def test_empty_report_has_a_page():
    text = PageReader(page.render([report_file.build(context_with({}))])).text
    assert "World model: not available (not measured in this run)." in text
    assert "Reacher" in text


def test_summary_has_sentences_with_n_and_baselines_of_every_section(report):
    *control, goals, world_model = text_summary(report)
    assert "where the no-change baseline scores 0" in world_model
    n = report["world_model"]["prediction_skill"]["25"]["n"]
    assert f"{n:,} held-out forecasts" in world_model
    assert "prediction skill, 25 steps ahead" in page.render([report])
    assert goals.startswith("Of 60 goals of held-out episodes 10 steps away, the planner reached")
    assert "random actions reached" in goals
    assert "20 held-out episodes" in control[0]
    assert "over 20 episodes" in " ".join(control[1:])


def test_summary_calls_overlapping_intervals_not_significant(report):
    overlapping = copy.deepcopy(report)
    overlapping["goal_reaching"]["rows"]["random"] = overlapping["goal_reaching"]["rows"]["planner"]
    overlapping["world_model"]["forward_linear"]["25"] = 0.99
    *_, goals, world_model = text_summary(overlapping)
    assert "no better than linear dynamics" in world_model
    assert "not significantly more" in goals


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.00"), (0.9999, ">0.999"), (0.9951, "0.995"), (0.5, "0.50"), (-0.25, "−0.25"), (12.34, "12.3"),
     (123.4, "123"), (12345.6, "12,346")],
)  # fmt: skip
def test_numbers_have_meaningful_digits(value, text):
    assert number(value) == text


def test_percentages_are_never_rounded_to_none_or_all():
    texts = [percent(p).replace("\u00a0", " ") for p in (0.0, 0.001, 0.5, 0.999, 1.0)]
    assert texts == ["0 %", "under 1 %", "50 %", "over 99 %", "100 %"]


def test_negative_percentage_has_a_minus_sign():
    assert percent(-0.05) == "−5\u00a0%"


def test_several_reports_are_shown_side_by_side(report, tmp_path):
    path = page.write(tmp_path, [report, complete_report(without_control=True)], names=["first", "<second>"])
    reader = PageReader(path.read_text())
    assert "first" in reader.text
    assert "<second>" in reader.text
    assert "goals sustained by planner, 10 steps away" in reader.text
    assert "return of latent + observation" in reader.text
    assert "script" not in reader.tags


def test_same_report_gives_the_same_bytes(report, folder):
    assert page.render([report], folder=folder) == page.render([copy.deepcopy(report)], folder=folder)


def test_text_of_a_report_is_escaped(report):
    hostile = copy.deepcopy(report)
    hostile["env"] = "<script>alert(1)</script>"
    hostile["provenance"]["command"] = '"><img src=x onerror=alert(1)>'
    hostile["goal_reaching"]["rows"]["<b>x"] = hostile["goal_reaching"]["rows"]["random"]
    hostile["unknown_section"] = {"text": "<i>x</i>"}
    hostile["missing"]["<u>"] = "<u>"
    reader = PageReader(page.render([hostile]))
    assert not {"script", "img", "b", "i", "u"} & set(reader.tags)


def test_no_report_is_refused():
    with pytest.raises(UsageError, match="at least one report"):
        page.render([])


def test_video_that_is_gone_is_named(report, tmp_path):
    reader = PageReader(page.render([report], folder=tmp_path))
    assert "video" not in reader.tags
    assert "imagination.mp4 is no longer in the folder" in reader.text


def test_video_outside_of_the_folder_is_refused(report, tmp_path):
    hostile = copy.deepcopy(report)
    hostile["videos"]["imagination"]["file"] = "../../etc/passwd"
    with pytest.raises(UsageError):
        page.render([hostile], folder=tmp_path)


@pytest.mark.parametrize("section", ["control", "goal_reaching", "world_model", "videos"])
def test_damaged_section_is_refused_in_one_line(report, section, folder):
    damaged = copy.deepcopy(report) | {section: {"rows": 3, "horizons": [], "prediction_skill": 1, "x": {}}}
    with pytest.raises(
        CorruptedFileError, match=f"section '{section}' of the report cannot be shown"
    ) as error:
        page.render([damaged], folder=folder)
    assert "\n" not in str(error.value)


def test_validity_time_of_mostly_valid_forecasts_is_a_lower_bound():
    time = {"median": 4.0, "low": 4.0, "high": 4.0, "n": 100, "unit": "s", "tolerance": 0.5,
            "censored": 0.87, "horizon": 4.0, "no_change": 0.12}  # fmt: skip
    assert "valid for at least 4.00 s: 87" in validity_sentence(time)
    assert "valid for 1.50 s (median" in validity_sentence(time | {"median": 1.5, "censored": 0.4})


def test_names_of_any_length_stay_within_a_plot():
    names = ["flow_rate_through_the_secondary_valve_cubic_meters_per_second_0", "angle"]
    drawn = plots.probe_scores({name: {"r2": 0.5, "observation": 0.4} for name in names})
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert max(map(len, texts)) <= 30
    assert "flow rate through the secondary valve" in drawn  # while the pointer is over it
    legend = plots.overlaid({"a" * 90: [[0, 1, 1, 1]], "b" * 90: [[0, 2, 2, 2]]}, "steps", "return")
    assert max(map(len, re.findall(r"<text[^>]*>([^<]*)</text>", legend))) <= 50


def test_heading_of_an_env_is_its_id_without_the_module_and_can_be_broken():
    report = complete_report() | {"env": "my_package.of_envs:name<space>/A-v0"}
    html = page.render([report])
    assert "<h1>name&lt;space&gt;/<wbr>A-v0</h1>" in html
