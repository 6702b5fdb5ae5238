"""collect, learn and check on MuJoCo Warp: whole, resumable, and refused in one line where it is not possible."""

import numpy as np
import pytest
from resume_helpers import Interrupting, outcome, tiny

from robossl import registry
from robossl.core.env_ids import with_options
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.env_checker.check import check
from robossl.streams import Stream
from robossl.training.collection import collect_stream
from robossl.training.config import ExploreConfig, LearnConfig
from robossl.training.continuation import resume_collection
from robossl.training.phases import learn
from robossl.training.requests import CollectRequest

pytestmark = pytest.mark.slow

ENV = "robossl/CartPoleSwingUp-v0"
SHORT = f"{ENV}?max_episode_steps=20"


def _collect(folder, steps, **settings):
    arguments = {"backend": "warp", "device": "cpu", "num_envs": 4, "record_envs": 2, "seed": 1, **settings}
    request = CollectRequest(SHORT, "colored_noise", steps, folder, **arguments)
    return collect_stream(request, NullProgress())


def test_recording_that_is_resumed_equals_an_uninterrupted_one(tmp_path):
    whole = _collect(tmp_path / "whole", 240)
    _collect(tmp_path / "cut", 120)
    resumed = resume_collection(tmp_path / "cut", NullProgress(), 240)
    assert resumed.lanes == 2
    for lane in range(2):
        rows = [s.read(lane, 0, int(s.lengths[lane])) for s in (whole, resumed)]
        for name, value in rows[0].items():
            np.testing.assert_array_equal(value, rows[1][name])


def test_recording_is_that_of_c_but_for_rounding(tmp_path):
    warp, own = _collect(tmp_path / "warp", 80), _collect(tmp_path / "own", 80, backend="mujoco")
    for name in ("observation", "action", "reward"):
        one, other = (s.read(0, 0, 20)[name] for s in (warp, own))
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_learn_trains_on_the_ring_and_reports(tmp_path):
    explore = ExploreConfig(num_envs=8, steps=1600, backend="warp", record_envs=6, ring_steps=50)
    config = LearnConfig(env=SHORT, steps=1600, device="cpu", explore=explore)
    values = {"pretrain": {"updates": 4}, "agent": {"num_iterations": 0}, "goals": {"trials": 0},
              "evaluate": {"episodes": 1, "videos": False}}  # fmt: skip
    import dataclasses

    parts = {name: dataclasses.replace(getattr(config, name), **new) for name, new in values.items()}
    report = learn(dataclasses.replace(config, **parts), tmp_path / "run", progress=NullProgress())
    stream = Stream.open(tmp_path / "run" / "stream")
    assert stream.lanes == 6 + config.agent.num_envs
    assert stream.transitions >= 1500 * 6 // 8
    assert report["folder"]
    assert not (tmp_path / "run" / "ring.safetensors").exists()  # the world model is trained


@pytest.mark.parametrize("after", [600, 1655], ids=["explore", "pretrain"])
def test_learn_that_is_interrupted_equals_an_uninterrupted_one(tmp_path, after):
    config = tiny(env=SHORT, **{"explore.backend": "warp"})
    learn(config, tmp_path / "whole", progress=NullProgress())
    with pytest.raises(KeyboardInterrupt):
        learn(config, tmp_path / "stopped", progress=Interrupting(after))
    learn(resume=tmp_path / "stopped", progress=NullProgress())
    whole, resumed = outcome(tmp_path / "whole"), outcome(tmp_path / "stopped")
    assert whole == resumed


def test_check_has_no_complaint():
    results = check(f"{SHORT}&backend=warp&device=cpu", 60.0)
    assert [f"{r.name}: {r.message}" for r in results if r.ok is False] == []


@pytest.mark.parametrize(
    "env", ["CartPole-v1", with_options(ENV, {}, ["gymnasium.wrappers:NormalizeReward"])]
)
def test_env_that_warp_cannot_simulate_is_refused_before_the_run(env, tmp_path):
    registry.trust_env(env)
    message = "expected an env of robossl without wrappers for backend 'warp'"
    with pytest.raises(UsageError, match=message) as error:
        registry.make_envs(env, 2, backend="warp")
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match=message):
        learn(
            LearnConfig(env=env, explore=ExploreConfig(backend="warp")),
            tmp_path / "run",
            progress=NullProgress(),
        )
    assert not (tmp_path / "run").exists()


def test_ring_needs_sub_environments_that_are_not_recorded():
    with pytest.raises(
        UsageError, match=r"explore\.ring_steps: expected sub-environments that are not recorded"
    ):
        LearnConfig(explore=ExploreConfig(ring_steps=10))
    with pytest.raises(UsageError, match=r"explore\.record_envs: expected at most the 4"):
        LearnConfig(explore=ExploreConfig(num_envs=4, record_envs=5))
    with pytest.raises(UsageError, match=r"explore\.backend: expected mujoco with pixels"):
        LearnConfig(pixels=64, explore=ExploreConfig(backend="warp"))
    with pytest.raises(UsageError, match="unknown backend 'gpu'; available: mujoco, warp"):
        LearnConfig(explore=ExploreConfig(backend="gpu"))
