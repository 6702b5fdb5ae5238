"""`pretrain --seeds`: a model folder for each seed as of a training alone, resumed and extended to the same bits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from cli_runner import fail, succeed
from resume_helpers import Interrupting

import robossl
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.core.io import read_json
from robossl.evaluation.report import report_file
from robossl.training import model_training, pretraining_seeds, world_model_phase
from robossl.training.agent_loading import load_model
from robossl.training.collection import collect_stream
from robossl.training.pretraining import pretrain_world_model, resume_pretraining
from robossl.training.pretraining_seeds import pretrain_seeds, resume_pretraining_seeds
from robossl.training.report_pages import write_page
from robossl.training.requests import CollectRequest, PretrainRequest
from robossl.world_model import WorldModelConfig

CONFIG = WorldModelConfig(
    latent_dim=8, encoder_hidden=(16,), dynamics_hidden=(16,), inverse_hidden=(16,), decoder_hidden=(16,),
    ensemble_size=2, batch_size=32,
)  # fmt: skip
SEEDS = (0, 3)
SKILL = {"10": {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 8}}


@pytest.fixture(scope="module")
def stream(tmp_path_factory) -> Path:
    """A recorded stream."""
    folder = tmp_path_factory.mktemp("stream") / "s"
    request = CollectRequest("robossl/CartPoleSwingUp-v0", steps=4000, out=folder, num_envs=8, threads=1)
    collect_stream(request, NullProgress())
    return folder


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Write checkpoints at every chance, and measure the models in no time."""
    monkeypatch.setattr(model_training, "CHECKPOINT_INTERVAL", 0.0)
    monkeypatch.setattr(world_model_phase, "LOG_INTERVAL", 10)
    measured = ({"prediction_skill": SKILL}, {})
    monkeypatch.setattr(pretraining_seeds, "evaluate_world_model", lambda *arguments: measured)


def request(stream: Path, folder: Path, updates: int = 30) -> PretrainRequest:
    return PretrainRequest(stream, updates, CONFIG, folder, device="cpu", threads=2, head_updates=0)


def weights(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("model.safetensors"))}


def test_each_seed_is_an_ordinary_model_folder_as_of_a_training_alone(stream, tmp_path):
    report = pretrain_seeds(request(stream, tmp_path / "all"), SEEDS, NullProgress())
    for seed in SEEDS:
        alone = dataclasses.replace(request(stream, tmp_path / f"alone-{seed}"), seed=seed, threads=1)
        pretrain_world_model(alone, NullProgress())
        folder = tmp_path / "all" / f"seed-{seed}"
        assert weights(folder) == weights(tmp_path / f"alone-{seed}")
        assert load_model(folder).metadata["updates"] == 30
        assert read_json(folder / "manifest.json")["kind"] == "model"
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == len((tmp_path / f"alone-{seed}" / "metrics.jsonl").read_text().splitlines())
    assert report["comparison"]["groups"][0]["seeds"] == list(SEEDS)
    assert resume_pretraining(tmp_path / "all" / "seed-3", NullProgress(), "+5").metadata["updates"] == 35
    with pytest.raises(UsageError, match="seed-3 has 35 gradient steps, more than the 32 of all seeds"):
        resume_pretraining_seeds(tmp_path / "all", NullProgress(), 32)


def test_interrupted_resumed_and_extended_seeds_give_the_same_models(stream, tmp_path):
    pretrain_seeds(request(stream, tmp_path / "whole", 50), SEEDS, NullProgress())
    with pytest.raises(KeyboardInterrupt, match=r"to go on: robossl pretrain --resume .*/m$"):
        pretrain_seeds(request(stream, tmp_path / "m"), SEEDS, Interrupting(14))
    assert load_model(tmp_path / "m" / "seed-0").metadata["updates"] < 30  # of the updates so far
    resume_pretraining_seeds(tmp_path / "m", NullProgress())
    resume_pretraining_seeds(tmp_path / "m", NullProgress(), "+20")
    assert weights(tmp_path / "m") == weights(tmp_path / "whole")


def test_seeds_are_added_to_a_folder_and_finished_ones_are_kept(stream, tmp_path):
    pretrain_seeds(request(stream, tmp_path / "m", 10), [1], NullProgress())
    before = (tmp_path / "m" / "seed-1" / "model.safetensors").stat().st_mtime_ns
    values = vars(request(stream, tmp_path / "m", 10))
    with pytest.raises(UsageError, match="seeds: expected no seed beside them, got seed 3"):
        robossl.pretrain(**{**values, "seed": 3}, seeds=[2])
    report = robossl.pretrain(**values, seeds=[2], progress=NullProgress())
    assert (tmp_path / "m" / "seed-1" / "model.safetensors").stat().st_mtime_ns == before
    assert report["comparison"]["groups"][0]["seeds"] == [1, 2]
    assert report_file.read(tmp_path / "m" / "seed-2")["world_model"]["updates"] == 10
    assert "seed" in write_page([tmp_path / "m"], tmp_path / "page")["text"].lower()
    with pytest.raises(UsageError, match="m has models with updates 10, got 20"):
        pretrain_seeds(request(stream, tmp_path / "m", 20), [3], NullProgress())


def test_wrong_requests_are_one_line(stream, tmp_path):
    arguments = ("pretrain", stream, "--updates", 5, "--out", tmp_path / "x")
    assert "different whole numbers" in fail(tmp_path, *arguments, "--seeds", 1, 1)
    assert "--seeds and --seed" in fail(tmp_path, *arguments, "--seeds", 1, "--seed", 2)
    assert not (tmp_path / "x").exists()


def test_command_trains_seeds_and_resumes_them(stream, tmp_path):
    sizes = [f"--world_model.{name}_hidden" for name in ("encoder", "dynamics", "inverse", "decoder")]
    small = [text for name in sizes for text in (name, "16")]
    arguments = ("--seeds", 0, 1, "--updates", 5, "--out", "m", "--json", "--goals.head_updates", 0, *small)
    first = succeed(tmp_path, "pretrain", stream, *arguments).document
    assert first["comparison"]["groups"][0]["seeds"] == [0, 1]
    again = succeed(tmp_path, "pretrain", "--resume", "m", "--updates", "+5", "--json").document
    assert again["comparison"]["groups"][0]["seeds"] == [0, 1]
    assert "remove --seeds" in fail(tmp_path, "pretrain", "--resume", "m", "--seeds", 4)
    assert "expected a run folder" in fail(tmp_path, "learn", "--resume", "m")
