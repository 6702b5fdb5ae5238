"""Pretraining by several processes: rank 0 writes the folder, and the others compute their share of each batch."""

from __future__ import annotations

from robossl.core import interrupts
from robossl.training import world_model_phase
from robossl.training.config import thread_count
from robossl.training.work_context import torch_threads
from robossl.world_model import WorldModel, WorldModelTrainer
from robossl.world_model.data_parallel import ProcessGroup


def threads_of(group: ProcessGroup, threads: int) -> int:
    """Return the CPU threads of each process, so that those of a machine have `threads` together; 0: all cores."""
    return max(thread_count(threads) // group.processes_here, 1)


def synchronize(trainer: WorldModelTrainer) -> None:
    """Wait for the other processes of a trainer, and copy the weights and statistics of rank 0; nothing without."""
    group = trainer.group
    if group is None:
        return
    trainer.prepare()
    group.wait()
    for model in (trainer.model, trainer.ema_model):
        group.broadcast(model.state_dict().values())


def follow(trainer: WorldModelTrainer, total: int, threads: int) -> WorldModel:
    """Train in step with rank 0 up to `total` updates, without writing anything."""
    with torch_threads(threads):
        synchronize(trainer)
        while trainer.updates < total:
            trainer.update(min(world_model_phase.LOG_INTERVAL, total - trainer.updates))
            interrupts.check()
    if trainer.group is not None:
        trainer.group.leave()
    trainer.ema_model.metadata.pop("path", None)
    return trainer.ema_model
