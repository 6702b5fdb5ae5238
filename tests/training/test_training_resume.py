"""`pretrain` and `train` that are interrupted or extended end with the bytes of uninterrupted ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from resume_helpers import Interrupting

import robossl
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.streams import Stream
from robossl.training import agent_training, model_training, world_model_phase
from robossl.training.agent_training import resume_agent_training, train_agent
from robossl.training.collection import collect_stream
from robossl.training.continuation import append_episodes
from robossl.training.pretraining import pretrain_world_model, resume_pretraining
from robossl.training.requests import CollectRequest, PretrainRequest, TrainRequest
from robossl.world_model import WorldModel, WorldModelConfig

ENV = "robossl/CartPoleSwingUp-v0"
CONFIG = WorldModelConfig(
    latent_dim=8, encoder_hidden=(16,), dynamics_hidden=(16,), inverse_hidden=(16,), decoder_hidden=(16,),
    ensemble_size=2, batch_size=16,
)  # fmt: skip
SAC = {"updates_per_step": 0.1, "learning_starts": 40, "policy_kwargs": {"net_arch": [16]}}


@pytest.fixture(scope="module")
def stream(tmp_path_factory) -> Path:
    """A recorded stream."""
    folder = tmp_path_factory.mktemp("stream") / "s"
    collect_stream(CollectRequest(ENV, steps=4000, out=folder, num_envs=8, threads=1), NullProgress())
    return folder


@pytest.fixture(autouse=True)
def checkpoints_at_every_chance(monkeypatch):
    """Write a checkpoint whenever there may be one."""
    for module in (model_training, agent_training):
        monkeypatch.setattr(module, "CHECKPOINT_INTERVAL", 0.0)
    monkeypatch.setattr(agent_training, "_SHARE", 1e9)
    monkeypatch.setattr(agent_training, "SLICE", 50)
    monkeypatch.setattr(world_model_phase, "LOG_INTERVAL", 10)


def _weights(folder: Path) -> dict[str, bytes]:
    paths = [p for p in sorted(folder.rglob("*.safetensors")) if "checkpoints" not in p.parts]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def _pretrain(stream: Path, folder: Path, updates: int = 50, after: float = 1e9, **more: Any) -> WorldModel:
    request = PretrainRequest(stream, updates, CONFIG, folder, device="cpu", threads=1, **more)
    return pretrain_world_model(request, Interrupting(after))


def test_resumed_and_extended_pretraining_gives_the_same_model(stream, tmp_path):
    _pretrain(stream, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match=r"to go on: robossl pretrain --resume .*/m$"):
        _pretrain(stream, tmp_path / "m", 30, after=15)
    assert resume_pretraining(tmp_path / "m", NullProgress()).metadata["updates"] == 30
    resume_pretraining(tmp_path / "m", NullProgress(), "+20")
    assert _weights(tmp_path / "m") == _weights(tmp_path / "whole")
    assert (tmp_path / "m" / "metrics.jsonl").read_text().count('"world_model/updates": 50.0') == 1
    with pytest.raises(UsageError, match=r"expected more than the 50 gradient steps"):
        resume_pretraining(tmp_path / "m", NullProgress(), 50)


def test_pretraining_begins_with_another_model(stream, tmp_path):
    first = _pretrain(stream, tmp_path / "first")
    before = _weights(tmp_path / "first")
    second = _pretrain(stream, tmp_path / "second", 10, from_model=tmp_path / "first")
    assert second.version == first.version + 1
    assert _weights(tmp_path / "first") == before
    fresh = _pretrain(stream, tmp_path / "fresh", 10)
    start = first.encoder.state_dict()
    distance = [
        sum(float((a - b).abs().sum()) for a, b in zip(start.values(), m.encoder.state_dict().values()))
        for m in (second, fresh)
    ]
    assert distance[0] < 0.5 * distance[1]


def test_pretraining_on_a_stream_that_has_grown_is_refused_or_accepted(tmp_path):
    folder = tmp_path / "s"
    collect_stream(CollectRequest(ENV, steps=5000, out=folder, num_envs=8, threads=1), NullProgress())
    _pretrain(folder, tmp_path / "m", 10)
    append_episodes(folder, NullProgress(), 800, policy="random")
    with pytest.raises(UsageError, match=r"rows of the stream [\d]+ -> [\d]+; to go on"):
        resume_pretraining(tmp_path / "m", NullProgress(), "+10")
    resume_pretraining(tmp_path / "m", NullProgress(), "+10", accept_changes=True)


def _train(folder: Path, env: str, steps: int, after: float = 1e9, **more: Any) -> None:
    request = TrainRequest(env, steps=steps, num_envs=2, threads=1, device="cpu", out=folder, **more)
    train_agent(request, Interrupting(after))


@pytest.mark.parametrize(
    ("env", "settings"),
    [(ENV, SAC), ("CartPole-v1", {"learning_starts": 40, "policy_kwargs": {"net_arch": [16]}})],
)
def test_resumed_and_extended_training_gives_the_same_agent(env, settings, tmp_path):
    _train(tmp_path / "whole", env, 400, settings=settings)
    with pytest.raises(KeyboardInterrupt, match=r"to go on: robossl train --resume .*/a$"):
        _train(tmp_path / "a", env, 300, after=255, settings=settings)
    resume_agent_training(tmp_path / "a", NullProgress())
    assert Stream.open(tmp_path / "a" / "stream").transitions >= 300
    resume_agent_training(tmp_path / "a", NullProgress(), "+100")
    assert _weights(tmp_path / "a") == _weights(tmp_path / "whole")


def test_training_on_a_stream_and_a_model_is_resumed(stream, tmp_path):
    _pretrain(stream, tmp_path / "m", 10)
    more: dict[str, Any] = {
        "agent": "offline-td3", "stream": stream, "representation": tmp_path / "m", "offline_updates": 100,
        "settings": {"batch_size": 16},
    }  # fmt: skip
    _train(tmp_path / "whole", ENV, 0, **more)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "a", ENV, 0, after=75, **more)
    resume_agent_training(tmp_path / "a", NullProgress())
    assert _weights(tmp_path / "a") == _weights(tmp_path / "whole")


def test_resume_takes_a_folder_of_any_kind(stream, tmp_path):
    folder = tmp_path / "s"
    collect_stream(CollectRequest(ENV, steps=80, out=folder, num_envs=8, threads=1), NullProgress())
    assert robossl.resume(folder, "+80", progress=NullProgress()).transitions == 160
    _pretrain(stream, tmp_path / "m", 10)
    assert robossl.resume(tmp_path / "m", 20, progress=NullProgress()).metadata["updates"] == 20
    with pytest.raises(UsageError, match=r"updates: expected a whole number or \+N, got unlimited"):
        robossl.resume(tmp_path / "m", "unlimited", progress=NullProgress())
