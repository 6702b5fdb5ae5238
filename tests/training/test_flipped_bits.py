"""A flipped bit, a cut or other bytes in any file of a model, an agent, a run or a report ends in one line.

Two hundred changes with fixed seeds, each in a copy of one file.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from robossl import registry
from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import NullProgress
from robossl.core.io import load_tree, save_tree
from robossl.evaluation.report import report_file
from robossl.logging.sinks.jsonl import read_metrics
from robossl.training import agent_loading, config_io, output_dirs
from robossl.training.agent_training import train_agent
from robossl.training.checkpoints import Checkpoints
from robossl.training.collection import collect_stream
from robossl.training.config import LearnConfig
from robossl.training.evaluation_runner import run_evaluation
from robossl.training.pretraining import pretrain_world_model
from robossl.training.requests import CollectRequest, EvaluateRequest, PretrainRequest, TrainRequest
from robossl.world_model import WorldModel, WorldModelConfig

ENV = "robossl/CartPoleSwingUp-v0"
CONFIG = WorldModelConfig(
    latent_dim=4, encoder_hidden=(8,), dynamics_hidden=(8,), inverse_hidden=(8,), decoder_hidden=(8,), ensemble_size=2,
    batch_size=8,
)  # fmt: skip
REFUSED = (UsageError, OperationError)  # CorruptedFileError is one of them


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """A stream, a model, an agent and an evaluation."""
    root = tmp_path_factory.mktemp("folders")
    quiet = NullProgress()
    collect_stream(CollectRequest(ENV, steps=5000, out=root / "stream", num_envs=10, threads=1), quiet)
    request = PretrainRequest(
        root / "stream", 5, CONFIG, root / "model", device="cpu", threads=1, head_updates=2
    )
    pretrain_world_model(request, quiet)
    settings = {"policy_kwargs": {"net_arch": [8]}, "learning_starts": 1000}
    train_agent(
        TrainRequest(
            ENV, representation=root / "model", steps=8, num_envs=2, threads=1, device="cpu", out=root / "agent",
            settings=settings,
        ),
        quiet,
    )  # fmt: skip
    run_evaluation(
        EvaluateRequest(
            root / "model", out=root / "evaluation", episodes=1, goal_trials=0, videos=False, threads=1
        ),
        quiet,
    )
    save_tree(root / "tree.safetensors", {"a": [1, 2.5, "text"], "b": None})
    return root


def _load_agent(folder: Path) -> None:
    envs = registry.make_envs(ENV, 1)
    try:
        agent_loading.load(folder, envs)
    finally:
        envs.close()


# file -> function that reads its folder, and whether every flipped bit must be noticed
FILES: dict[str, tuple[Callable[[Path], object], bool]] = {
    "model/manifest.json": (lambda folder: output_dirs.read_manifest(folder, "model"), True),
    "model/config.json": (WorldModel.load, True),
    "model/model.safetensors": (WorldModel.load, True),
    "agent/manifest.json": (lambda folder: output_dirs.read_manifest(folder, "agent"), True),
    "agent/agent/agent.json": (lambda folder: _load_agent(folder.parent), True),
    "agent/agent/sb3.json": (lambda folder: _load_agent(folder.parent), True),
    "agent/agent/sb3.safetensors": (lambda folder: _load_agent(folder.parent), True),
    "agent/agent/representation/model.safetensors": (lambda folder: _load_agent(folder.parent.parent), True),
    "evaluation/report.json": (report_file.read, True),
    "model/checkpoints/checkpoint-000001.safetensors": (lambda folder: Checkpoints(folder).latest(), True),
    "tree.safetensors": (lambda folder: load_tree(folder / "tree.safetensors"), True),
    "model/metrics.jsonl": (read_metrics, False),
    "config.toml": (
        lambda folder: config_io.parse(LearnConfig, ("x", config_io.from_toml(folder / "config.toml"))),
        False,
    ),
}


def _flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _replace(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.randrange(256)


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _insert(data: bytearray, rng: random.Random) -> None:
    position = rng.randrange(len(data))
    data[position:position] = bytes(rng.choices(b'[]{}",:0\x00\x1b\xff\n', k=rng.randrange(1, 40)))


@pytest.mark.parametrize("name", FILES)
def test_damaged_file_ends_in_one_line(name, folders, tmp_path):
    if name == "config.toml":
        (folders / name).write_text(config_io.to_toml(LearnConfig()))
    read, checked = FILES[name]
    source = folders / name
    top = Path(name).parts[0]
    copy = tmp_path / top
    shutil.copytree(folders / top, copy) if (folders / top).is_dir() else shutil.copy(source, copy)
    path = tmp_path / name
    read(path.parent)
    original, rng = path.read_bytes(), random.Random(name)
    for change in (_flip, _flip, _flip, _flip, _replace, _cut, _insert, _insert):
        for _ in range(2):
            data = bytearray(original)
            change(data, rng)
            if bytes(data) == original:
                continue
            path.write_bytes(data)
            try:
                read(path.parent)
            except REFUSED as error:
                assert "\n" not in str(error)  # noqa: PT017 - not every change is refused
                assert not any(ord(c) < 32 or ord(c) == 127 for c in str(error))  # noqa: PT017
            else:
                assert not checked, (change.__name__, len(data), len(original))
            for damaged in path.parent.glob("damaged-*"):
                damaged.unlink()
            path.write_bytes(original)
