"""Agents of sb3-contrib: TQC and CrossQ learn, resume, save and load; the package is optional."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from agent_toys import Line, model_of
from sb3_runs import AgentRun, make_line
from test_sb3_agent import check_resume

from robossl import registry
from robossl.core.errors import UsageError
from robossl.training.agent_settings import check_settings

pytest.importorskip("sb3_contrib")
NAMES = ("tqc", "crossq")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoded", [False, True])
def test_resumed_agent_continues_to_the_bit(tmp_path, name, encoded):
    model = model_of(make_line(name)) if encoded else None
    check_resume(tmp_path, name, lambda: make_line(name), 64, 64, representation=model, seed=4)


@pytest.mark.parametrize("name", NAMES)
def test_agent_learns_and_loaded_agent_acts_the_same(tmp_path, name):
    run = AgentRun(tmp_path / "s", name, make_line(name))
    run.learn(300)
    assert run.agent.algorithm._n_updates == pytest.approx(70, abs=3)
    run.agent.save(tmp_path / "agent")
    other = Line(3)
    loaded = registry.agent(name).load(tmp_path / "agent", other, "cpu")
    observation, _ = other.reset(seed=3)
    np.testing.assert_array_equal(
        loaded.act(observation, explore=False), run.agent.act(observation, explore=False)
    )


def test_tqc_trains_an_encoder_and_crossq_rejects_it(tmp_path):
    run = AgentRun(tmp_path / "s", "tqc", make_line("tqc"), encoder="scratch")
    encoder = run.agent.algorithm.critic.features_extractor.encoder
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    run.learn(64)
    assert any((value != before[name]).any() for name, value in encoder.state_dict().items())
    with pytest.raises(
        UsageError, match="crossq cannot train an encoder; expected encoder none, random or frozen"
    ):
        AgentRun(tmp_path / "t", "crossq", make_line("crossq"), encoder="scratch")
    with pytest.raises(UsageError, match="crossq cannot train an encoder"):
        check_settings("crossq", {}, encoder="finetune")


@pytest.mark.parametrize("name", NAMES)
def test_settings_of_the_algorithm_are_known(name):
    with pytest.raises(UsageError, match=f"no 'n_stepz' among the {name} settings.*batch_size"):
        registry.agent(name).check_settings({"n_stepz": 3})


@pytest.mark.parametrize("name", NAMES)
def test_missing_package_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(UsageError, match=rf"{name} needs the package sb3-contrib.*robossl\[contrib\]"):
        registry.agent(name)(make_line(name))
