"""Saving the world model of a run."""

from __future__ import annotations

from types import SimpleNamespace

from robossl.core.interfaces import NullProgress
from robossl.training.config import LearnConfig
from robossl.training.world_model_phase import save_model
from robossl.world_model.diagnostics import NO_PROBLEMS


class Messages(NullProgress):
    """The messages of a run."""

    def __init__(self):
        self.texts = []

    def message(self, text):
        self.texts.append(text)


def messages_of_saving(found, folder):
    trainer = SimpleNamespace(
        diagnose=lambda: {"messages": found}, ema_model=SimpleNamespace(save=lambda to: to.mkdir())
    )
    logger = SimpleNamespace(scalars=lambda step, values: None)
    run = SimpleNamespace(
        trainer=trainer, logger=logger, progress=Messages(), folder=folder, config=LearnConfig()
    )
    save_model(run, 0, "model")
    return run.progress.texts


def test_only_problems_of_the_model_are_reported(tmp_path):
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
    assert messages_of_saving([NO_PROBLEMS], tmp_path / "good") == []
    assert messages_of_saving(["it collapsed"], tmp_path / "bad") == ["world model: it collapsed"]
