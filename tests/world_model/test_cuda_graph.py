"""A captured gradient step gives the same bits as an eager one; steps that cannot be captured run eagerly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from world_model_toys import TINY_CONFIG, ToyStream, linear, make_trainer, moving_square

from robossl.core.errors import UsageError
from robossl.world_model import WorldModelConfig, WorldModelTrainer
from robossl.world_model.cuda_graph import CudaGraphStep


class FakeCapture:
    """Captures like a CUDA graph: the captured function does not run, and reads the same memory at each replay."""

    def __init__(self, losses: int = 5, fails: bool = False) -> None:
        self.losses, self.fails, self.captures, self.replays = losses, fails, 0, 0

    def __call__(self, step):
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        self.captures += 1
        result = torch.zeros(self.losses)

        def replay():
            self.replays += 1
            result.copy_(step())

        return replay, result


def make_captured(
    stream: ToyStream, capture: FakeCapture, config: WorldModelConfig = TINY_CONFIG
) -> WorldModelTrainer:
    trainer = make_trainer(stream, config)
    trainer._train_step = CudaGraphStep(trainer._gradient_step, torch.device("cpu"), trainer.random, capture)
    return trainer


def same_weights(first: WorldModelTrainer, second: WorldModelTrainer) -> bool:
    pairs = ((first.model, second.model), (first.ema_model, second.ema_model))
    return all(
        torch.equal(value, b.state_dict()[name]) for a, b in pairs for name, value in a.state_dict().items()
    )


@pytest.mark.parametrize(
    "stream", [linear(), linear(discrete=True), moving_square()], ids=["box", "discrete", "images"]
)
def test_replayed_steps_give_the_bits_of_eager_steps(stream: ToyStream) -> None:
    capture, config = FakeCapture(), replace(TINY_CONFIG, image_size=44)
    eager, captured = make_trainer(stream, config), make_captured(stream, capture, config)
    for _ in range(2):
        assert eager.update(4) == captured.update(4)
    assert same_weights(eager, captured)
    assert (capture.captures, capture.replays) == (1, 5)


def test_step_is_captured_again_after_a_checkpoint() -> None:
    stream, capture = linear(), FakeCapture()
    eager, captured = make_trainer(stream, TINY_CONFIG), make_captured(stream, capture)
    eager.update(6), captured.update(6)
    checkpoint = captured.get_checkpoint()
    captured.update(3)
    captured.set_checkpoint(checkpoint)
    eager.update(6), captured.update(6)
    assert same_weights(eager, captured)
    assert capture.captures == 2


def test_step_is_captured_again_for_windows_of_another_shape() -> None:
    stream, capture = linear(), FakeCapture()
    eager, captured = make_trainer(stream, TINY_CONFIG), make_captured(stream, capture)
    for batch_size in (24, 30):
        for trainer in (eager, captured):
            trainer.config = replace(TINY_CONFIG, batch_size=batch_size)
            trainer.update(5)
    assert same_weights(eager, captured)
    assert capture.captures == 2


def test_step_that_draws_on_the_cpu_is_not_captured() -> None:
    config = replace(TINY_CONFIG, objectives=("forward", "inverse", "masked_latent"))
    stream, capture = linear(), FakeCapture()
    eager, captured = make_trainer(stream, config), make_captured(stream, capture, config)
    eager.update(8), captured.update(8)
    assert same_weights(eager, captured)
    assert capture.captures == 0


def test_failed_capture_warns_and_runs_eagerly() -> None:
    stream = linear()
    eager, captured = make_trainer(stream, TINY_CONFIG), make_captured(stream, FakeCapture(fails=True))
    eager.update(8)
    with pytest.warns(RuntimeWarning, match=r"\(operation not permitted when stream is capturing\)"):
        captured.update(8)
    assert same_weights(eager, captured)


def test_unknown_or_unavailable_execution_is_rejected() -> None:
    with pytest.raises(UsageError, match="expected one of auto, eager, graph, got 'fast'"):
        make_trainer(linear(), TINY_CONFIG, execution="fast")
    with pytest.raises(UsageError, match="expected a CUDA device, got cpu"):
        make_trainer(linear(), TINY_CONFIG, execution="graph")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_losses_on_a_gpu_are_the_same_with_and_without_a_graph() -> None:
    losses = [
        make_trainer(linear(), TINY_CONFIG, device="cuda", execution=execution).run(100)
        for execution in ("eager", "graph")
    ]
    np.testing.assert_allclose(list(losses[0].values()), list(losses[1].values()), rtol=0.05)
