"""SB3 agents: progress, metrics of SB3's logger, callbacks of the user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from sb3_runs import SETTINGS, AgentRun, make_agent, make_line
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnMaxEpisodes,
)

import robossl
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.core.io import load_tree, save_tree
from robossl.streams import Recorder, Stream


class MetricList:
    """A logger that keeps everything."""

    def __init__(self) -> None:
        self.written: list[tuple[int, dict[str, float]]] = []

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.written.append((step, dict(values)))

    def without_time(self) -> list[tuple[int, dict[str, float]]]:
        """Return everything except wall-clock measurements."""
        return [(s, {k: v for k, v in values.items() if "/time/" not in k}) for s, values in self.written]


class CountSteps(BaseCallback):
    """Counts its calls."""

    count = 0

    def _on_step(self) -> bool:
        self.count += 1
        return True


def test_progress_and_callbacks_are_called_in_every_step(tmp_path):
    class Progress(NullProgress):
        steps, with_return = 0, 0

        def update(self, count: int, **metrics: float) -> None:
            self.steps += count
            self.with_return += "return" in metrics

    progress, always, once = Progress(), CountSteps(), CountSteps()
    run = AgentRun(tmp_path / "s", "sac", make_line("sac"), callbacks=[always])
    run.agent.learn(run.recorder, 60, progress, callbacks=[once])
    assert progress.steps == 60
    assert (always.count, once.count) == (30, 30)
    assert 0 < progress.with_return < 30
    run.agent.learn(run.recorder, 20)
    assert (always.count, once.count) == (40, 30)


@pytest.mark.parametrize("name", SETTINGS)
def test_metrics_of_sb3_are_logged_over_env_steps_and_not_printed(tmp_path, name, capfd):
    logger = MetricList()
    run = AgentRun(tmp_path / "s", name, make_line(name))
    run.agent.learn(run.recorder, 96, logger=logger)
    names = {key for _, values in logger.written for key in values}
    assert {"agent/rollout/ep_rew_mean", "agent/rollout/ep_len_mean", "agent/time/fps"} <= names
    loss = {"dqn": "agent/train/loss", "ppo": "agent/train/value_loss"}.get(name, "agent/train/critic_loss")
    assert loss in names
    steps = [step for step, _ in logger.written]
    assert steps == sorted(steps)
    assert steps[-1] == run.agent.algorithm.num_timesteps
    assert all(np.isfinite(value) for _, values in logger.written for value in values.values())
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_resumed_run_logs_what_an_uninterrupted_run_logs(tmp_path, name):
    loggers = [MetricList(), MetricList()]
    run = AgentRun(tmp_path / "one", name, make_line(name))
    run.agent.learn(run.recorder, 64)
    run.save(tmp_path / "checkpoint")
    run.recorder.stream.close()
    (tmp_path / "two").mkdir()
    for file in (tmp_path / "one").iterdir():
        (tmp_path / "two" / file.name).write_bytes(file.read_bytes())
    run.agent.learn(run.recorder, 64, logger=loggers[0])
    stream = Stream.open(tmp_path / "two")
    stream.truncate(load_tree(tmp_path / "checkpoint")["stream"])
    fresh = AgentRun(tmp_path / "two", name, make_line(name), stream)
    fresh.restore(tmp_path / "checkpoint")
    fresh.agent.learn(fresh.recorder, 64, logger=loggers[1])
    assert loggers[0].without_time() == loggers[1].without_time()
    assert len(loggers[0].written) > 1


def test_eval_callback_evaluates_in_envs_wrapped_by_the_agent(tmp_path):
    def evaluate(agent: Any) -> EvalCallback:
        envs = robossl.make("robossl/Reacher-v0", 2, 1, max_episode_steps=10)
        return EvalCallback(
            agent.wrap_envs(envs), n_eval_episodes=3, eval_freq=10, log_path=str(tmp_path), verbose=0
        )

    envs = robossl.make("robossl/Reacher-v0", 2, 1, autoreset_mode=AutoresetMode.DISABLED)
    recorder = Recorder.create(envs, tmp_path / "s")
    agent = make_agent("sac", recorder, callbacks=[evaluate], **SETTINGS["sac"])
    agent.learn(recorder, 60)
    saved = np.load(tmp_path / "evaluations.npz")
    assert saved["timesteps"].tolist() == [20, 40, 60]
    assert saved["results"].shape == (3, 3)


def test_checkpoint_callback_writes_zips_that_sb3_loads(tmp_path):
    run = AgentRun(tmp_path / "s", "sac", make_line("sac"))
    run.agent.learn(run.recorder, 60, callbacks=[CheckpointCallback(15, str(tmp_path / "zips"))])
    zips = sorted((tmp_path / "zips").iterdir())
    assert [path.name for path in zips] == ["rl_model_30_steps.zip", "rl_model_60_steps.zip"]
    loaded = SAC.load(zips[-1], device="cpu")
    assert loaded.num_timesteps == 60
    action, _ = loaded.predict(run.agent.features(np.ones((2, 2), np.float32)))
    assert action.shape == (2, 1)


def test_callbacks_do_not_change_what_is_learned(tmp_path):
    states = []
    for n, callbacks in enumerate([[], [CountSteps()]]):
        run = AgentRun(tmp_path / str(n), "sac", make_line("sac"), seed=3)
        run.agent.learn(run.recorder, 40, callbacks=callbacks)
        run.agent.learn(run.recorder, 41, callbacks=callbacks)
        save_tree(tmp_path / f"tree{n}", run.agent.get_checkpoint()["training"])
        states.append((tmp_path / f"tree{n}").read_bytes())
    assert states[0] == states[1]


def test_callback_can_stop_one_call_of_learn(tmp_path):
    run = AgentRun(tmp_path / "s", "sac", make_line("sac"))
    run.agent.learn(run.recorder, 1000, callbacks=[StopTrainingOnMaxEpisodes(1)])
    stopped = run.agent.algorithm.num_timesteps
    assert stopped < 100
    run.agent.learn(run.recorder, 10)
    assert (
        stopped + 10 <= run.agent.algorithm.num_timesteps < stopped + 14
    )  # two vector steps between updates


def test_other_objects_are_rejected_as_callbacks(tmp_path):
    run = AgentRun(tmp_path / "s", "sac", make_line("sac"))
    with pytest.raises(UsageError, match="expected SB3 callbacks"):
        run.agent.learn(run.recorder, 10, callbacks=[lambda agent: 3])


def test_train_passes_callbacks_on(tmp_path: Path):
    callback = CountSteps()
    robossl.train(
        "robossl/Reacher-v0", "sac", steps=40, num_envs=2, threads=1, out=tmp_path / "a", device="cpu",
        settings={"learning_starts": 20, "policy_kwargs": {"net_arch": [16]}}, callbacks=[callback],
    )  # fmt: skip
    assert callback.count == 20
