"""The text of the section "control": it opens with what needs no reward, and names what is equal and what is bad."""

import copy

import pytest
from evaluation_reports import complete_report, synthetic_control

from robossl.core.statistics import mean_ci
from robossl.evaluation.control import in_order
from robossl.evaluation.report import page
from robossl.evaluation.report.control_curves import early_returns
from robossl.evaluation.report.control_text import summary
from robossl.evaluation.report.sections.control_section import cards, verdicts
from robossl.evaluation.report.text_summary import text_summary


def control(**returns):
    """Return a control section with these returns; each interval is 5 to each side."""
    section = synthetic_control()
    for name, mean in returns.items():
        if mean is None:
            section["rows"].pop(name, None)
            continue
        row = section["rows"].setdefault(name, {})
        row["return"] = {"mean": mean, "low": mean - 5, "high": mean + 5, "n": 20}
    section["rows"] = in_order(section["rows"])
    return section


def text_of(section):
    return " ".join(summary(section))


def test_report_opens_with_control_without_reward():
    first = text_summary(complete_report())[0]
    assert first.startswith("Without any reward, planning in the world model has a return of")
    assert "the inverse policy has a return of" in first
    assert "random actions have" in first
    assert "20 held-out episodes" in first


def test_cards_open_with_the_policies_without_reward_beside_the_agent():
    labels = [card.label for card in cards(control())]
    assert labels[:2] == [
        "return of planning, without any reward",
        "return of the inverse policy, without any reward",
    ]
    assert labels[2] == "return of SAC on the latent and the observation, 16,000 steps with reward"


def test_only_abbreviations_of_agents_are_in_capitals():
    section = control() | {"agent": "imagination-sac"}
    assert "steps with reward, imagination-sac on the latent" in text_of(section)
    assert cards(section)[2].label.startswith("return of imagination-sac on")


def test_another_agent_of_a_row_is_named():
    section = control(latent_observation=None, latent=186.0, observation=160.0) | {"agent": "imagination-sac"}
    section["rows"]["latent"]["agent"] = "imagination-sac"
    section["rows"]["observation"]["agent"] = "sac"
    text = text_of(section)
    assert "After 16,000 steps with reward, imagination-sac on the latent alone has a return of 186" in text
    assert "Compared with SAC on the observation alone (160" in text
    assert "the return of imagination-sac on the latent alone (186) is higher." in text
    assert cards(section)[2].label.startswith("return of imagination-sac on the latent alone")
    subjects = [verdict.subject for verdict in verdicts(section)]
    assert "imagination-sac on the latent alone over SAC on the observation alone" in subjects
    html = page.render([complete_report() | {"control": section}])
    assert "latent only (imagination-sac)" in html
    assert "observation only (SAC)" in html


def test_main_row_is_one_of_the_main_agent():
    section = control(latent_observation=170.0, latent=150.0) | {"agent": "imagination-sac"}
    section["rows"]["latent"]["agent"] = "imagination-sac"
    section["rows"]["latent_observation"]["agent"] = "sac"
    assert "After 16,000 steps with reward, imagination-sac on the latent alone" in text_of(section)


@pytest.mark.parametrize(
    ("planner", "relation"),
    [
        (100.0, "higher than that of planning"),
        (140.0, "equal to that of planning"),
        (190.0, "lower than that of"),
    ],
)
def test_agent_is_compared_with_planning_by_intervals(planner, relation):
    text = text_of(control(planner=planner, latent_observation=140.0))
    assert relation in text
    assert "After 16,000 steps with reward, SAC on the latent and the observation" in text


def test_success_is_compared_as_well():
    section = control(planner=140.0, inverse_policy=140.0, latent_observation=140.0)
    section["rows"]["latent_observation"]["success"] = {"mean": 0.5, "low": 0.3, "high": 0.7, "n": 20}
    section["rows"]["planner"]["success"] = {"mean": 1.0, "low": 0.84, "high": 1.0, "n": 20}
    section["rows"]["inverse_policy"]["success"] = {"mean": 0.5, "low": 0.3, "high": 0.7, "n": 20}
    text = text_of(section)
    assert "within the intervals equal to that of planning in the world model and the inverse policy" in text
    assert "; its success is lower than that of planning in the world model." in text


def test_rows_that_are_equal_are_named_as_expected():
    text = text_of(control(observation=140.0, latent_observation=141.0, latent=80.0, random_latent=200.0))
    assert "Compared with the same agent on the observation alone" in text
    assert "the latent and the observation (141) is equal within the intervals" in text
    assert "the latent alone (80.0) is lower" in text
    assert "the latent of an untrained encoder (200) is higher" in text
    assert "complete state" in text


def test_complete_state_is_only_named_where_rows_are_equal():
    assert "complete state" not in text_of(control(observation=100.0, latent_observation=140.0))


def test_row_worse_than_random_is_named():
    text = text_of(control(inverse_policy=0.0, random=40.0))
    assert "the inverse policy has a return of 0.00 [−5.00, 5.00]" in text
    assert ", worse than random actions" in text
    assert "Worse than random actions: inverse policy." in text


def test_answers_name_an_agent_that_is_better_than_on_the_observation_but_worse_than_random():
    answers = verdicts(control(latent_observation=60.0, observation=20.0, random=100.0))
    of_agent = {v.subject.rpartition(" over ")[2]: v.outcome for v in answers if v.topic.startswith("SAC")}
    early = of_agent.pop("the observation alone, after 4,000 steps")
    assert (early, of_agent) == ("equal", {"the observation alone": "gain", "random actions": "worse"})


def with_curves(section, latent, observation):
    """Give the rows `latent` and `observation` learning curves; each interval is 5 to each side."""
    for name, curve in (("latent", latent), ("observation", observation)):
        section["rows"][name]["curve"] = [[steps, m, m - 5, m + 5] for steps, m in curve.items()]
    return section


def test_agent_that_starts_better_and_ends_equal_has_both_answers():
    section = control(latent_observation=None, latent=170.0, observation=168.0) | {"agent": "imagination-sac"}
    section["rows"]["latent"]["agent"] = "imagination-sac"
    section["rows"]["observation"]["agent"] = "sac"
    with_curves(section, {4000: 140.0, 16_000: 170.0}, {4000: 25.0, 16_000: 168.0})
    outcomes = {v.topic: v.outcome for v in verdicts(section)}
    assert outcomes["imagination-sac after 4,000 steps"] == "gain"
    assert outcomes["imagination-sac after 16,000 steps with reward"] == "equal"
    assert (
        "After only 4,000 steps with reward, imagination-sac on the latent alone had 140 [135, 145] and SAC on the "
        "observation alone 25.0 [20.0, 30.0]." in text_of(section)
    )


def test_a_start_needs_a_point_in_the_first_half_of_both_curves_and_an_interval():
    late = with_curves(control(latent=1.0), {4000: 1.0, 12_000: 2.0}, {8001: 1.0, 12_000: 2.0})["rows"]
    assert early_returns(late, "latent", "observation", 16_000) is None
    assert early_returns(late, "latent", "observation", None) is None
    assert early_returns(late, "latent", "observation", 24_000).steps == 12_000
    assert early_returns(late, "latent", "observation", 100_000) is None  # the first steps show nothing yet
    late["latent"]["curve"] = [[12_000, 1.0, 1.0, 1.0]]
    assert early_returns(late, "latent", "observation", 24_000) is None


def test_policy_no_better_than_random_is_named():
    assert "no better than random actions" in text_of(control(planner=41.0, random=40.0))


def test_one_episode_is_too_few_to_compare():
    section = control()
    for row in section["rows"].values():
        row["return"] = mean_ci([row["return"]["mean"]])
    assert "too few episodes" in text_of(section)


def test_agents_without_goals_are_compared_with_random_actions():
    section = control(planner=None, inverse_policy=None)
    text = text_of(section)
    assert "Without any reward" not in text
    assert text.startswith("After 16,000 steps with reward, SAC")
    assert "higher than that of random actions" in text
    assert [card.label for card in cards(section)] == [
        "return of SAC on the latent and the observation, 16,000 steps with reward"
    ]


def test_policies_without_reward_need_no_agent():
    section = control(observation=None, latent_observation=None)
    section.pop("agent")
    section.pop("steps")
    assert len(summary(section)) == 2
    report = copy.deepcopy(complete_report()) | {"control": section}
    html = page.render([report])
    assert "steps that no rewarded agent chose" in html
    assert "48,000" in html


def test_rows_are_in_the_order_of_the_table():
    names = [
        "zero_action",
        "latent",
        "planner",
        "own",
        "random",
        "observation",
        "inverse_policy",
        "random_latent",
    ]
    assert list(in_order(dict.fromkeys(names, 0))) == [
        "planner", "inverse_policy", "observation", "latent", "random_latent", "own", "random", "zero_action",
    ]  # fmt: skip
