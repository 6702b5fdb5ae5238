"""Robustness: each condition has the same episodes, and what does not reach a policy does not change it."""

import numpy as np
import pytest
import robossl.envs
from evaluation_envs import RandomPolicy, StraightPolicy
from point_goals import RandomPointGoal, make_envs

from robossl import registry
from robossl.core.errors import UsageError
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report.section import load_sections
from robossl.evaluation.robustness import NOISE_STD, DistortedPolicy, _distortions, evaluate_robustness

robossl.envs.register()


class Pushing:
    """Policy that pushes to one side."""

    def act(self, observation, explore=True):
        return np.full((len(observation), 1), 0.5, np.float32)

    def reset(self, mask=None):
        pass


def test_physics_changes_the_return_and_noise_does_not_reach_a_blind_policy():
    context = EvaluationContext(
        env="robossl/CartPoleSwingUp-v0", agents={"observation": Pushing()}, episodes=3
    )
    found = evaluate_robustness(context)
    kinds = set(found["conditions"].values())
    assert kinds == {"unchanged", "observation", "physics"}
    assert not any("light" in name or "camera" in name for name in found["conditions"])
    row = found["rows"]["observation"]
    assert row["observation_noise_added"]["difference"]["mean"] == 0.0
    physics = [name for name, kind in found["conditions"].items() if kind == "physics"]
    assert len(physics) >= 3
    assert any(row[name]["difference"]["mean"] != 0 for name in physics)
    assert all(set(each) == set(found["conditions"]) for each in found["rows"].values())
    section = next(section for section in load_sections()[0] if section.name == "robustness")
    assert "changed conditions" in section.summary(found)[0]


def test_third_party_env_has_noise_alone_and_goals_have_none():
    context = EvaluationContext(
        env="toy", make_envs=make_envs, agents={"observation": StraightPolicy()}, episodes=12
    )
    found = evaluate_robustness(context)
    assert list(found["conditions"]) == ["nominal", "observation_noise_added"]
    assert "robustness.conditions" in context.missing
    row = found["rows"]["observation"]["observation_noise_added"]
    assert row["difference"]["mean"] == 0.0  # it reads the goals alone, which have no noise
    assert row["retained"] == pytest.approx(1)


def test_noise_has_the_declared_size_and_leaves_goals_alone():
    envs = RandomPointGoal(64)
    distort = _distortions(envs, 0)["observation_noise_added"]
    seen = []

    class Watching(RandomPolicy):
        def act(self, observation, explore=True):
            seen.append(observation)
            return super().act(observation)

    observation, _ = envs.reset(seed=0)
    DistortedPolicy(Watching(64), envs.single_observation_space, distort).act(observation)
    assert np.array_equal(seen[0]["desired_goal"], observation["desired_goal"])
    noise = seen[0]["observation"] - observation["observation"]
    assert 0.3 * NOISE_STD < noise.std() < 2 * NOISE_STD  # positions have a standard deviation of about 0.7


def test_images_get_noise_and_a_distractor():
    envs = registry.make_envs("robossl/CartPoleSwingUp-v0", 2, pixels=44)
    try:
        found = _distortions(envs, 0)
        observation, _ = envs.reset(seed=0)
        image = observation["pixels"] if isinstance(observation, dict) else observation
        path = "pixels" if isinstance(observation, dict) else ""
        noisy, covered = (found[name](path, image) for name in ("observation_noise_added", "distractor"))
    finally:
        envs.close()
    assert noisy.dtype == covered.dtype == np.uint8
    assert 5 < np.abs(noisy.astype(int) - image).mean() < 25
    changed = (covered != image).any(-1).mean((1, 2))
    assert (changed <= 0.0625 + 1e-6).all()
    assert changed.max() > 0.03


def test_without_a_policy_there_is_nothing_to_test():
    with pytest.raises(UsageError, match="no agent"):
        evaluate_robustness(EvaluationContext(env="robossl/CartPoleSwingUp-v0", model=None, episodes=1))
