"""Report section "videos": who acts in each video, and what has no video."""

import functools

import imageio.v3 as iio
import numpy as np
import pytest

import robossl
from robossl import registry
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report import page, report_file
from robossl.evaluation.report.section import compute_sections
from robossl.evaluation.report.sections import videos_section

REACHER, CARTPOLE = "robossl/Reacher-v0", "robossl/CartPoleSwingUp-v0"


@pytest.fixture
def short(monkeypatch):
    """Videos of 10 steps."""
    record = functools.partial(videos_section.record_agent, seconds=0.4)
    monkeypatch.setattr(videos_section, "record_agent", record)


def computed(env, folder, **options):
    context = EvaluationContext(env=env, folder=folder, **options)
    compute_sections(context, ["videos"])
    return context


def test_planner_has_its_own_video_beside_that_of_the_agent(short, tmp_path):
    model = robossl.from_pretrained("reacher")
    envs = registry.make_envs(REACHER, 1)
    agent = registry.policy("random")(envs.single_action_space, 1, seed=0)
    envs.close()
    context = computed(REACHER, tmp_path, model=model, agents={"observation": agent}, agent="sac")
    videos = context.results["videos"]
    assert {name: data["row"] for name, data in videos.items()} == {
        "planner": "planner",
        "agent": "observation",
    }
    frames = {name: iio.imread(tmp_path / data["file"]) for name, data in videos.items()}
    assert len(frames["planner"]) == len(frames["agent"]) == 11
    assert not np.array_equal(frames["planner"], frames["agent"])
    html = page.render([report_file.build(context)], folder=tmp_path)
    assert "The planner, without reward." in html
    assert html.count("data:video/mp4") == 2


@pytest.mark.parametrize(
    ("env", "name", "options"),
    [
        (CARTPOLE, "cartpole", {}),  # has no goals
        (REACHER, "reacher", {"reward_free_control": False}),
        (REACHER, "reacher", {"agent": "planner"}),  # the agent is the planner
    ],
)
def test_planner_without_a_row_of_its_own_is_neither_shown_nor_missing(env, name, options, tmp_path):
    context = computed(env, tmp_path, model=robossl.from_pretrained(name), **options)
    assert "videos.planner" not in context.missing
    assert not (tmp_path / "planner.mp4").exists()


def test_planner_that_cannot_be_made_has_its_reason(short, tmp_path, monkeypatch):
    def refuse(*arguments, **settings):
        return {}, {"planner": "no planner today"}

    monkeypatch.setattr(videos_section, "reward_free_policies", refuse)
    context = computed(REACHER, tmp_path, model=robossl.from_pretrained("reacher"))
    assert context.missing["videos.planner"] == "no planner today"
