"""Learning tests: a few labels of random actions are enough to act far better than at random."""

from __future__ import annotations

import numpy as np
import pytest
from robossl.agents.imagination_sac import ImaginationSac
from robossl.agents.mpc import MpcAgent
from robossl.agents.noise import RandomPolicy
from world_model_toys import SMALL_CONFIG

from robossl.core.interfaces import NullProgress
from robossl.env_checker.agent_under_test import make_envs
from robossl.evaluation.control import evaluate_returns
from robossl.rollout import collect_steps
from robossl.streams import Recorder, Stream
from robossl.world_model import WorldModel, WorldModelTrainer

SETTINGS = {
    "labeled_steps": 200,
    "reward_updates": 300,
    "hidden": [64, 64],
    "num_imagined_envs": 32,
    "batch_size": 64,
}


@pytest.mark.slow
@pytest.mark.parametrize("env_kind", ["continuous", "goals"])
def test_few_labels_are_enough(env_kind, tmp_path) -> None:
    recorder = Recorder.create(make_envs(8, env_kind), tmp_path / "stream")
    random = RandomPolicy(recorder.single_action_space, 8)
    collect_steps(recorder, random, 4000, 0, NullProgress())
    recorder.finish()
    stream = Stream.open(tmp_path / "stream")
    spaces = recorder.single_observation_space, recorder.single_action_space
    trainer = WorldModelTrainer(WorldModel(SMALL_CONFIG, *spaces), stream, device="cpu")
    trainer.update(300)
    model, envs = trainer.publish(), make_envs(8, env_kind)
    agents = {
        "imagination": ImaginationSac(envs, model, 0, "cpu", stream, **SETTINGS),
        "value": MpcAgent(envs, model, 0, "cpu", stream, **SETTINGS),
        "no value": MpcAgent(
            envs, model, 0, "cpu", stream, **SETTINGS, value=False, policy_samples=0, horizon=6
        ),
    }
    baseline = evaluate_returns(envs, random, 40, 1).returns.mean()
    for name, agent in agents.items():
        agent.learn_offline(0 if name == "no value" else 400)
        achieved = evaluate_returns(envs, agent, 40, 1).returns.mean()
        assert achieved > 0.4 * baseline, (
            f"{name}: {achieved:.1f}, random {baseline:.1f}"
        )  # returns are negative
        assert np.isfinite(achieved)
