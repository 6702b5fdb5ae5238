"""Training of several world models at once: stacked in one network on a GPU, one in each thread on a CPU.

On a CPU the matrix products of one model occupy a core; a stack of them is not faster (docs/scale.md), and a thread for
each model needs no waiting between operations. A model gets the bits that it gets alone with one CPU thread.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np
import torch

from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.world_model.stacked_trainer import StackedTrainer, reason_not_stackable, stack_key
from robossl.world_model.trainer import WorldModelTrainer

MODES = ("auto", "stacked", "threads")
_TURN = 10  # [updates] of a model before a thread takes the model that is furthest behind
_POLL = 0.1  # [s] between two progress reports

Losses = dict[str, float]


class TrainerGroup(Protocol):
    """Trainers that are trained at once."""

    trainers: list[WorldModelTrainer]

    def run_to(self, target: int, progress: ProgressReporter | None = None) -> list[Losses]:
        """Train each model up to its `target`-th gradient step; return the mean losses of the last ones of each."""


class ThreadedTrainers:
    """Training of several world models in threads, with one CPU thread each."""

    def __init__(self, trainers: Sequence[WorldModelTrainer], threads: int) -> None:
        """Take trainers of any kind; at most `threads` are trained at the same time."""
        if threads < 1:
            raise UsageError(f"threads: expected 1 or more, got {threads}")
        if not trainers:
            raise UsageError("training in threads: expected one trainer or more, got none")
        self.trainers, self.threads = list(trainers), min(threads, len(trainers))
        self._windows = threading.Lock()  # a stream is read by one thread at a time
        for trainer in self.trainers:
            trainer.window_lock = self._windows

    def run_to(self, target: int, progress: ProgressReporter | None = None) -> list[Losses]:
        """Train each model up to its `target`-th gradient step.

        After an error or a Ctrl-C each model is whole, after a number of updates of its own.

        Args:
            target: Total number of gradient steps of each model.
            progress: Receives the gradient steps of a model, the mean over the models.

        Returns:
            The mean losses of the last updates of each model; empty for one that has had them before.
        """
        progress, before = progress or NullProgress(), torch.get_num_threads()
        work = _Work(self.trainers, target)
        threads = [threading.Thread(target=work.run, daemon=True) for _ in range(self.threads)]
        reported = 0
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                threads[0].join(_POLL)
                if (done := work.updates_done()) > reported:
                    progress.update(done - reported, **work.mean_loss())
                    reported = done
        finally:
            work.stop()
            for thread in threads:
                if thread.is_alive():  # after a Ctrl-C some may not have been started
                    thread.join()
            torch.set_num_threads(before)  # MKL has one number for all threads
        if work.error is not None:
            raise work.error
        if (done := work.updates_done()) > reported:
            progress.update(done - reported, **work.mean_loss())
        return work.losses


class _Work:
    """Gradient steps of several trainers, which threads share among them."""

    def __init__(self, trainers: Sequence[WorldModelTrainer], target: int) -> None:
        self.trainers, self._start = trainers, [trainer.updates for trainer in trainers]
        self.losses: list[Losses] = [{} for _ in trainers]
        self._left = [max(target - trainer.updates, 0) for trainer in trainers]
        self._busy, self._lock = set[int](), threading.Condition()
        self._stopped = False
        self.error: BaseException | None = None

    def run(self) -> None:
        """Train until nothing is left; called by each thread."""
        torch.set_num_threads(1)  # of this thread
        while (taken := self._take()) is not None:
            number, count = taken
            try:
                losses = self.trainers[number].update(count)
            except BaseException as error:  # noqa: BLE001 - raised again in the main thread
                self.error = self.error or error
                self.stop()
                return
            with self._lock:
                self.losses[number] = losses
                self._left[number] -= count
                self._busy.discard(number)
                self._lock.notify_all()

    def _take(self) -> tuple[int, int] | None:
        """Return the trainer that is furthest behind and its next number of updates; None at the end."""
        with self._lock:
            while not self._stopped and any(self._left):
                free = [n for n, left in enumerate(self._left) if left and n not in self._busy]
                if free:
                    number = max(free, key=lambda n: self._left[n])
                    self._busy.add(number)
                    return number, min(_TURN, self._left[number])
                self._lock.wait()
            return None

    def stop(self) -> None:
        """Let the threads end after their current updates."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def updates_done(self) -> int:
        """Return the gradient steps so far, the mean over the models."""
        done = [trainer.updates - start for trainer, start in zip(self.trainers, self._start)]
        return sum(done) // len(done)

    def mean_loss(self) -> dict[str, float]:
        """Return the mean of the newest losses, if there are any."""
        found = [losses["loss"] for losses in list(self.losses) if losses]
        return {"loss": float(np.mean(found))} if found else {}


class _Alone:
    """A trainer that is trained alone."""

    def __init__(self, trainer: WorldModelTrainer) -> None:
        self.trainers = [trainer]

    def run_to(self, target: int, progress: ProgressReporter | None = None) -> list[Losses]:
        trainer = self.trainers[0]
        return [trainer.run(max(target - trainer.updates, 0), progress)]


def group_trainers(
    trainers: Sequence[WorldModelTrainer],
    threads: int,
    progress: ProgressReporter | None = None,
    mode: str = "auto",
) -> list[TrainerGroup]:
    """Divide trainers into groups that are trained one after the other.

    Args:
        trainers: The trainers.
        threads: CPU threads.
        progress: Receives why models are not stacked.
        mode: "stacked", "threads", or "auto": stacked on a GPU.

    Raises:
        UsageError: There is no such mode, or no trainer.
    """
    if mode not in MODES:
        raise UsageError(f"mode of several trainers: expected one of {', '.join(MODES)}, got {mode!r}")
    if not trainers:
        raise UsageError("several trainers: expected one or more, got none")
    progress = progress or NullProgress()
    on_cpu = all(trainer.model.device.type == "cpu" for trainer in trainers)
    if len(trainers) == 1:
        return [_Alone(trainers[0])]
    if mode == "threads" or (mode == "auto" and on_cpu):
        return [ThreadedTrainers(trainers, threads)]
    groups: dict[Hashable, list[WorldModelTrainer]] = {}
    reasons = [reason_not_stackable(trainer) for trainer in trainers]
    for number, (trainer, reason) in enumerate(zip(trainers, reasons)):
        groups.setdefault(stack_key(trainer) if reason is None else number, []).append(trainer)
    for reason in dict.fromkeys(filter(None, reasons)):
        progress.message(f"{reasons.count(reason)} models are trained one after the other: {reason}")
    if len(groups) > 1 and not any(reasons):
        progress.message(
            f"{len(trainers)} models are trained in {len(groups)} groups of equal shape and length, one after the other"
        )
    return [_Alone(group[0]) if len(group) == 1 else StackedTrainer(group) for group in groups.values()]


def train_together(
    trainers: Sequence[WorldModelTrainer],
    updates: int,
    progress: ProgressReporter | None = None,
    threads: int = 1,
    mode: str = "auto",
    task: str = "train",
) -> None:
    """Train several world models at once.

    Args:
        trainers: The trainers.
        updates: Gradient steps of each; one that has had fewer before than others of its group catches up with them.
        progress: Receives the gradient steps of a model, group by group.
        threads: CPU threads.
        mode: As for `group_trainers`.
        task: Name of the work in the progress.
    """
    progress = progress or NullProgress()
    for group in group_trainers(trainers, threads, progress, mode):
        target = max(trainer.updates for trainer in group.trainers) + updates
        progress.start(f"{task}: {len(group.trainers)} world models", updates, "updates")
        group.run_to(target, progress)
        progress.stop()
