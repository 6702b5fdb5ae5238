"""Control without reward in `learn` and `evaluate`: on any goal env, before a rewarded agent acts, or with a reason."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import thirdparty_envs
from gymnasium import spaces
from resume_helpers import DEFAULT_AGENT, tiny

import robossl
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.streams import Stream
from robossl.training.agent_settings import accepted_settings
from robossl.training.config import head_update_count
from robossl.training.pretrained import pretrained_folder
from robossl.world_model import WorldModel
from robossl.world_model.goal_heads.fit import DEFAULT_UPDATES

SHORT = {
    "goals.control": True,
    "steps": 1000,
    "agent.num_iterations": 1,
    "explore.fraction": 0.8,
    "agent.learning_starts": 40,
}
REWARD_FREE = ["planner", "inverse_policy"]


class DiscreteActionGoals(thirdparty_envs.GoalEnv):
    """A goal env with three discrete actions."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.action_space = spaces.Discrete(3)

    def push(self, action: Any) -> float:
        return float(action) - 1.0


class ZeroRewardGoals(thirdparty_envs.GoalEnv):
    """A goal env whose rewards are all 0."""

    def reward(self) -> float:
        return 0.0


class EqualRewardGoals(thirdparty_envs.GoalEnv):
    """A goal env whose rewards are all -1."""

    def reward(self) -> float:
        return -1.0


class CategoryGoals(thirdparty_envs.GoalEnv):
    """A goal env whose goals are categories."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        category = spaces.Discrete(2)
        self.observation_space = spaces.Dict(
            {**self.observation_space.spaces, "achieved_goal": category, "desired_goal": category}
        )

    def observe(self) -> Any:
        observation = super().observe()
        return {
            "observation": observation["observation"],
            "achieved_goal": np.int64(self.position > 0),
            "desired_goal": np.int64(self.goal[0] > 0),
        }

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        return np.equal(achieved_goal, desired_goal).astype(float)


ENVS = (DiscreteActionGoals, ZeroRewardGoals, EqualRewardGoals, CategoryGoals)


@pytest.fixture(scope="module", autouse=True)
def goal_envs():
    """Register the envs of this file."""
    thirdparty_envs.register_thirdparty_envs()
    for env in ENVS:
        gym.register(f"goals/{env.__name__}-v0", entry_point=env, max_episode_steps=40)
    yield
    for env in ENVS:
        gym.registry.pop(f"goals/{env.__name__}-v0")


def learn(env: str, folder: Any, **settings: Any) -> dict[str, Any]:
    return robossl.learn(tiny(env, **{**SHORT, **settings}), folder / "run", progress=NullProgress())


@pytest.mark.parametrize("env", ["thirdparty/GoalEnv-v0", "goals/DiscreteActionGoals-v0"])
def test_goal_env_is_controlled_without_reward_and_without_restoring_physics(env, tmp_path):
    report = learn(env, tmp_path)
    rows = report["control"]["rows"]
    assert list(rows) == [*REWARD_FREE, "observation", "latent_observation", "random", "zero_action"]
    assert {row["return"]["n"] for row in rows.values()} == {2}
    assert all(rows[name]["ms_per_decision"] > 0 for name in REWARD_FREE)
    assert "cannot be set to a recorded state" in report["missing"]["goal_reaching"]


def test_agent_that_acts_on_latents_stands_beside_the_default_agent(tmp_path):
    few = {"reward_updates": 10, "hidden": [8], "num_imagined_envs": 8, "batch_size": 16}
    report = learn(
        "thirdparty/GoalEnv-v0",
        tmp_path,
        agent__name="imagination-sac",
        **{f"agent__settings__{name}": value for name, value in few.items()},
        agent__rows=("observation", "latent"),
    )
    rows = report["control"]["rows"]
    assert list(rows) == [*REWARD_FREE, "observation", "latent", "random", "zero_action"]
    names = {name: row.get("agent") for name, row in rows.items()}
    assert names == {**dict.fromkeys(rows), "observation": "sac", "latent": "imagination-sac"}
    assert report["control"]["agent"] == "imagination-sac"
    again = robossl.evaluate(tmp_path / "run", out=tmp_path / "again", progress=NullProgress())["control"][
        "rows"
    ]
    assert {name: again[name].get("agent") for name in rows} == names


@pytest.mark.parametrize("agent", ["imagination-sac", "mpc", "self-predictive"])
def test_every_agent_gets_the_gradient_steps_of_the_run(agent):
    defaults = {"updates_per_step": 0.25, "learning_starts": 500}
    assert accepted_settings(agent, defaults, {}) == defaults


def test_more_gradient_steps_than_the_agent_takes_are_refused_before_the_exploration(tmp_path):
    with pytest.raises(UsageError, match="updates_per_step: expected more than 0 and at most 4, got 9"):
        learn("thirdparty/GoalEnv-v0", tmp_path, agent__name="imagination-sac", agent__updates_per_step=9)
    assert not (tmp_path / "run").exists()


def test_rewards_that_are_all_zero_leave_the_rows_without_reward(tmp_path):
    report = learn("goals/ZeroRewardGoals-v0", tmp_path)
    assert list(report["control"]["rows"]) == [*REWARD_FREE, "random", "zero_action"]
    assert "steps" not in report["control"]
    for row in ("observation", "latent_observation"):
        assert "the reward was 0 at all 800 explored steps" in report["missing"][f"control.{row}"]
    assert "the reward was 0" in report["missing"]["continual"]


def test_equal_rewards_are_named_for_an_agent_that_fits_a_reward_model(tmp_path):
    class Messages(NullProgress):
        found: list[str] = []  # noqa: RUF012

        def message(self, text: str) -> None:
            self.found.append(text)

    config = tiny("goals/EqualRewardGoals-v0", **SHORT, **DEFAULT_AGENT, goals__control=False, agent__rows=())
    report = robossl.learn(config, tmp_path / "run", progress=Messages())
    (line,) = [text for text in Messages.found if "the reward was" in text]
    assert line.startswith(
        "the reward was -1 at all 800 explored steps: imagination-sac takes random actions"
    )
    assert report["control"]["rows"]["latent"]["return"]["n"] == 2


def test_goals_that_are_no_box_have_a_reason(tmp_path):
    report = learn("goals/CategoryGoals-v0", tmp_path)
    assert list(report["control"]["rows"]) == ["observation", "latent_observation", "random", "zero_action"]
    for key in ("goal_reaching", "control.planner", "control.inverse_policy"):
        assert report["missing"][key] == "desired_goal: expected a Box of numbers, got Discrete(2)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a goal env; two rows of agents, and heads."""
    folder = tmp_path_factory.mktemp("goals")
    learn("robossl/Reacher-v0", folder, agent__rows=("latent", "random_latent"), agent__encoder="none")
    return folder / "run"


def test_every_section_has_the_model_that_was_trained_on_exploration_only(run):
    from robossl.evaluation.report import report_file

    report = report_file.read(run)
    model = WorldModel.load(run / "model")
    explored = 800
    assert model.version == 1
    assert model.metadata["transitions"] == explored
    assert report["world_model"]["transitions"] == explored
    for section in ("goal_reaching", "control"):
        assert report[section]["model"] == {"version": 1, "updates": 20, "transitions": explored}
    assert model.goal_heads is not None
    latest = WorldModel.load(run / "latest-model")
    assert (latest.version, latest.metadata["updates"]) == (2, 25)
    assert latest.metadata["transitions"] > explored


def test_agents_are_named_by_what_they_observe(run):
    from robossl.evaluation.report import report_file

    rows = report_file.read(run)["control"]["rows"]
    assert [name for name in rows if "curve" in rows[name]] == ["observation", "latent", "random_latent"]
    assert {p.name for p in run.glob("*agent")} == {"agent", "latent-agent", "random-latent-agent"}
    assert all(Stream.open(run / f"{row}-stream").transitions == 200 for row in ("latent", "random-latent"))


def test_evaluation_of_a_run_measures_the_same_model_on_the_same_episodes(run, tmp_path):
    from robossl.evaluation.report import report_file

    first = report_file.read(run)
    found = robossl.evaluate(
        run, episodes=2, goal_trials=2, goal_horizons=(5, 10), videos=False, threads=1, out=tmp_path / "e"
    )
    for key in ("prediction_skill", "inverse_r2", "transitions"):
        assert found["world_model"][key] == first["world_model"][key]
    assert list(found["control"]["rows"]) == list(first["control"]["rows"])
    assert found["control"]["model"] == first["control"]["model"]
    assert list(found["goal_reaching"]["rows"]) == list(first["goal_reaching"]["rows"])


def test_model_alone_is_evaluated_without_reward(run, tmp_path):
    found = robossl.evaluate(
        run / "model", episodes=2, goal_trials=0, videos=False, threads=1, out=tmp_path / "e"
    )
    assert list(found["control"]["rows"]) == [*REWARD_FREE, "random", "zero_action"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"env": "robossl/PointMaze-v0"}, "the env robossl/PointMaze-v0"),
        ({"goal_horizons": (25, 10)}, "goal_horizons: expected increasing numbers of steps"),
        ({"goal_horizons": (0,)}, "goal_horizons: expected increasing numbers of steps"),
        ({"head_updates": -1}, "head_updates: expected 0 or more"),
    ],
)
def test_invalid_evaluation_is_one_line_and_writes_nothing(settings, message, run, tmp_path):
    with pytest.raises(UsageError, match=message) as caught:
        robossl.evaluate(run / "model", out=tmp_path / "e", threads=1, **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "e").exists()


def test_goal_horizons_for_an_env_without_goals_are_refused(tmp_path):
    stream = robossl.collect("CartPole-v1", steps=640, out=tmp_path / "s")
    model = robossl.pretrain(stream, 5, tiny().world_model, tmp_path / "m", threads=1)
    assert model.goal_heads is None
    with pytest.raises(
        UsageError, match="goal_horizons: the env has no goals: its observation has no desired_goal"
    ):
        robossl.evaluate(tmp_path / "m", goal_horizons=(10,), out=tmp_path / "e", threads=1)
    with pytest.raises(UsageError, match="planner acts on goals: the env has no goals"):
        learn("CartPole-v1", tmp_path, agent__name="planner")
    assert not (tmp_path / "e").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("agent", ["sac", "offline-td3", "self-predictive", "imagination-sac", "mpc"])
def test_agent_that_does_not_support_the_actions_is_refused_before_the_exploration(tmp_path, agent):
    with pytest.raises(UsageError, match=r"Box actions.*Discrete\(2\)"):
        learn("CartPole-v1", tmp_path, agent__name=agent)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("agent", ["imagination-sac", "mpc", "planner"])
def test_agent_that_acts_on_the_world_model_is_refused_without_encoder(tmp_path, agent):
    with pytest.raises(UsageError, match="acts on the world model; expected frozen or random, got none"):
        learn("thirdparty/GoalEnv-v0", tmp_path, agent__name=agent, agent__encoder="none")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("agent", "message"), [("ppo", "ppo cannot train an encoder"), ("sac", "give --stream")]
)
def test_stream_for_cotrain_is_requested_where_the_agent_can_use_it(agent, message):
    model = pretrained_folder("reacher")
    with pytest.raises(UsageError, match=message):
        robossl.train("robossl/Reacher-v0", agent, model, encoder="cotrain", steps=100)


def test_heads_get_as_many_updates_as_the_model_and_at_most_their_default():
    counts = [head_update_count(*values) for values in (("auto", 20), ("auto", 5000), (7, 5000), (0, 20))]
    assert counts == [20, DEFAULT_UPDATES, 7, 0]


@pytest.mark.parametrize("rows", [("latents",), ("planner",)])
def test_unknown_agent_row_is_refused(rows):
    with pytest.raises(UsageError, match="available: latent, latent_observation, observation, random_latent"):
        tiny(agent__rows=rows)
