"""Imitation from few episodes: a complete latent reaches the demonstrator, noise does not."""

import gymnasium as gym
import numpy as np
import pytest
from evaluation_envs import StraightPolicy
from point_goals import LIMIT, RandomPointGoal, make_envs, model

from robossl.core.errors import UsageError
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.imitation import evaluate_imitation, record
from robossl.evaluation.report.section import compute_sections, load_sections


def evaluate(name, counts=(5, 20)):
    context = EvaluationContext(
        env="toy",
        model=model(name),
        make_envs=make_envs,
        agents={"observation": StraightPolicy()},
        episodes=16,
    )
    return evaluate_imitation(context, counts)


def test_demonstrations_are_the_episodes_of_the_demonstrator():
    recorded = record(RandomPointGoal(4), StraightPolicy(), 6, seed=0)
    assert sorted(np.unique(recorded.episode)) == [0, 1, 2, 3, 4, 5]
    assert (np.bincount(recorded.episode) == LIMIT).all()
    for episode in range(6):
        rows = np.flatnonzero(recorded.episode == episode)
        now, before = (each["observation"][rows] for each in (recorded.observation, recorded.previous))
        np.testing.assert_array_equal(before[1:], now[:-1])
        np.testing.assert_array_equal(before[0], now[0])
        moved = now[:-1] + RandomPointGoal.STRIDE * recorded.action[rows][:-1]
        np.testing.assert_allclose(now[1:], moved, atol=1e-6)
    first = recorded.first(2)
    assert set(first.episode) == {0, 1}


def test_scrambled_state_imitates_like_the_observation_and_noise_is_far_below():
    good, bad = evaluate("scrambled"), evaluate("noise")
    rows = good["rows"]
    assert good["demonstrator"] == "observation"
    demonstrator, chance = (rows[name]["return"]["mean"] for name in ("demonstrator", "random"))

    def normalized(row):
        return (row["20"]["return"]["mean"] - chance) / (demonstrator - chance)

    assert normalized(rows["observation"]) > 0.85
    assert normalized(rows["latent"]) > 0.85
    assert normalized(bad["rows"]["latent"]) < 0.5 * normalized(rows["latent"])
    assert bad["rows"]["latent"]["20"]["difference"]["high"] < 0
    assert bad["rows"]["latent"]["20"]["success"]["mean"] < 0.2 < rows["latent"]["20"]["success"]["mean"]


def test_without_a_policy_there_is_nothing_to_imitate():
    def make_without_goals(num_envs, threads=1):
        return gym.make_vec("CartPole-v1", num_envs)

    context = EvaluationContext(env="toy", model=model("scrambled"), make_envs=make_without_goals)
    with pytest.raises(UsageError, match="no agent"):
        evaluate_imitation(context)


def test_section_is_computed_on_request_alone():
    context = EvaluationContext(env="toy", model=model("scrambled"), make_envs=make_envs)
    compute_sections(context, ["imitation", "robustness", "oracle_gap"])
    assert all("--also" in context.missing[name] for name in ("imitation", "robustness", "oracle_gap"))
    data = evaluate("scrambled", (5,))
    section = next(section for section in load_sections()[0] if section.name == "imitation")
    assert "Imitation of 5 episodes" in section.summary(data)[0]
    assert section.view(data, {}, None)["references"] == ["demonstrator", "random"]
