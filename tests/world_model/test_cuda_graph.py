"""A step that is recorded and played back is the step: same bits, same checkpoints, or it says that it cannot be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from world_model_toys import ToyStream, dots, linear

from robossl.core.errors import UsageError
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer
from robossl.world_model.cuda_graph import CudaGraphStep

SMALL = WorldModelConfig(
    latent_dim=8,
    encoder_hidden=(16,),
    dynamics_hidden=(16,),
    inverse_hidden=(16,),
    decoder_hidden=(16,),
    ensemble_size=2,
    batch_size=24,
    unroll_steps=3,
)


class Tape:
    """Records as a CUDA graph does: what it is given to record is not run, and reads the same memory when played."""

    def __init__(self, losses: int, fails: bool = False) -> None:
        self.losses, self.fails, self.recordings, self.played = losses, fails, 0, 0

    def __call__(self, step):
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        self.recordings += 1
        result = torch.zeros(self.losses)

        def play():
            self.played += 1
            result.copy_(step())

        return play, result


def learner(
    stream: ToyStream, config: WorldModelConfig = SMALL, tape: Tape | None = None
) -> WorldModelTrainer:
    made = WorldModelTrainer(
        WorldModel(config, stream.observation_space, stream.action_space), stream, device="cpu"
    )
    if tape is not None:
        made._train_step = CudaGraphStep(made._gradient_step, torch.device("cpu"), made.random, tape)
    return made


def same(one: WorldModelTrainer, other: WorldModelTrainer) -> bool:
    states = (m.state_dict() for m in (one.model, one.ema_model, other.model, other.ema_model))
    online, average, other_online, other_average = states
    return all(
        torch.equal(a[name], b[name])
        for a, b in ((online, other_online), (average, other_average))
        for name in a
    )


@pytest.mark.parametrize("stream", [linear(), linear(discrete=True), dots()], ids=["box", "discrete", "seen"])
def test_played_back_it_moves_the_weights_to_the_same_bits(stream):
    tape, config = Tape(5), dataclasses.replace(SMALL, image_size=44)
    plain, recorded = learner(stream, config), learner(stream, config, tape)
    for _ in range(2):
        assert plain.update(4) == recorded.update(4)
    assert same(plain, recorded)
    assert (tape.recordings, tape.played) == (1, 5)


def test_a_checkpoint_is_taken_up_by_a_step_recorded_anew():
    stream, tape = linear(), Tape(5)
    plain, recorded = learner(stream), learner(stream, tape=tape)
    plain.update(6), recorded.update(6)
    saved = recorded.get_checkpoint()
    recorded.update(3)
    recorded.set_checkpoint(saved)
    plain.update(6), recorded.update(6)
    assert same(plain, recorded)
    assert tape.recordings == 2


def test_windows_of_another_shape_are_recorded_anew():
    stream, tape = linear(), Tape(5)
    plain, recorded = learner(stream), learner(stream, tape=tape)
    for batch in (24, 30):
        for one in (plain, recorded):
            one.config = dataclasses.replace(SMALL, batch_size=batch)
            one.update(5)
    assert same(plain, recorded)
    assert tape.recordings == 2


def test_a_step_that_draws_on_the_cpu_is_not_recorded():
    config = dataclasses.replace(SMALL, objectives=("forward", "inverse", "masked_latent"))
    stream, tape = linear(), Tape(5)
    plain, recorded = learner(stream, config), learner(stream, config, tape)
    plain.update(8), recorded.update(8)
    assert same(plain, recorded)
    assert tape.recordings == 0


def test_a_step_that_cannot_be_recorded_says_so_and_goes_on():
    stream = linear()
    plain, recorded = learner(stream), learner(stream, tape=Tape(5, fails=True))
    plain.update(8)
    with pytest.warns(
        RuntimeWarning, match=r"could not be recorded \(operation not permitted when stream is capturing\)"
    ):
        recorded.update(8)
    assert same(plain, recorded)


def test_half_precision_learns_the_same_to_its_precision():
    stream = linear()
    plain, half = learner(stream), learner(stream)
    half.use_bf16 = True  # products in 16 bits, as on CUDA
    losses = [one.update(20) for one in (plain, half)]
    for name, value in losses[0].items():
        assert losses[1][name] == pytest.approx(value, rel=0.05)
    assert all(p.dtype == torch.float32 for p in half.ema_model.parameters())


def test_a_way_of_stepping_that_is_none_is_refused():
    stream = linear()
    model = WorldModel(SMALL, stream.observation_space, stream.action_space)
    with pytest.raises(UsageError, match="there are: auto, eager, graph"):
        WorldModelTrainer(model, stream, device="cpu", execution="fast")
    with pytest.raises(UsageError, match="needs a CUDA device; this is cpu"):
        WorldModelTrainer(model, stream, device="cpu", execution="graph")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_recorded_step_learns_as_the_plain_one_does():
    stream, losses = linear(), []
    for stepping in ("eager", "graph"):
        model = WorldModel(SMALL, stream.observation_space, stream.action_space)
        losses.append(WorldModelTrainer(model, stream, device="cuda", execution=stepping).run(100))
    np.testing.assert_allclose(list(losses[0].values()), list(losses[1].values()), rtol=0.05)
