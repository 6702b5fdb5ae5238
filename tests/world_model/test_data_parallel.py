"""Several processes with a share of each batch train what one process trains with the joined batch."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from torch import nn
from world_model_toys import TINY_CONFIG, linear, make_trainer, scenes

from robossl.core.errors import UsageError
from robossl.world_model import WorldModelConfig
from robossl.world_model.data_parallel import ProcessGroup, process_count

CONFIG = replace(
    TINY_CONFIG,
    random_shift=2,
    image_size=44,
    objectives=("forward", "inverse", "image_reconstruction", "error_prediction", "contrastive", "rotation", "vicreg"),
)  # fmt: skip


class ThreadGroup(ProcessGroup):
    """A group of threads in place of processes."""

    def __init__(self, rank: int, size: int, shared: dict) -> None:
        self.rank, self.size, self.processes_here, self.shared = rank, size, size, shared

    def gather(self, share):
        self.shared[self.rank] = share.detach()
        self.wait()
        parts = [self.shared[rank] for rank in range(self.size)]
        self.wait()
        return torch.cat(parts)

    def average_gradients(self, parameters):
        found = [p for p in parameters if p.grad is not None]
        self.shared[self.rank] = [p.grad.clone() for p in found]
        self.wait()
        for number, parameter in enumerate(found):
            parameter.grad = sum(self.shared[rank][number] for rank in range(self.size)) / self.size
        self.wait()

    def wait(self):
        self.shared["barrier"].wait(60)


def train_in_threads(stream, config: WorldModelConfig, size: int, updates: int) -> list[tuple]:
    """Return trainer and losses of each rank."""
    shared, results = {"barrier": threading.Barrier(size)}, [()] * size
    trainers = [make_trainer(stream, config, group=ThreadGroup(rank, size, shared)) for rank in range(size)]

    def train(rank: int) -> None:
        torch.set_num_threads(1)
        results[rank] = trainers[rank], trainers[rank].update(updates)

    threads = [threading.Thread(target=train, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("kind", ["images", "vectors"])
def test_shares_have_losses_and_weights_of_the_joined_batch(kind: str) -> None:
    stream = linear() if kind == "vectors" else scenes("patrol", episodes=12)
    config = TINY_CONFIG if kind == "vectors" else CONFIG
    alone = make_trainer(stream, config)
    expected = alone.update(2)
    results = train_in_threads(stream, config, 2, 2)
    for trainer, losses in results:
        assert losses == pytest.approx(expected, rel=1e-4)
        for first, second in zip(alone.ema_model.parameters(), trainer.ema_model.parameters()):
            torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)
    weights = [torch.cat([p.flatten() for p in trainer.model.parameters()]) for trainer, _ in results]
    assert torch.equal(*weights)  # all processes have the same model


def test_processes_must_divide_the_batch_and_have_no_batch_norm() -> None:
    group = ThreadGroup(0, 5, {})
    with pytest.raises(UsageError, match=r"divides world_model\.batch_size=24, got 5"):
        group.check(nn.Linear(2, 2), 24)
    with pytest.raises(UsageError, match="batch normalization"):
        group.check(nn.BatchNorm1d(2), 25)


def test_one_process_without_torchrun(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # of another tool
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert process_count() == 1
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert process_count() == 4
