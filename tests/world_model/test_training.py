"""Training learns what is learnable, stays at the baseline on noise, ignores rewards, and is reproducible."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from world_model_toys import SMALL_CONFIG, linear, make_trainer, noise

from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import NullProgress
from robossl.core.io import load_tree, save_tree
from robossl.world_model import WorldModelConfig, WorldModelTrainer


def weight_bytes(trainer: WorldModelTrainer) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in trainer.ema_model.state_dict().items()}


def make_encoder_constant(trainer: WorldModelTrainer) -> None:
    with torch.no_grad():
        trainer.ema_model.encoder.trunk.mlp[-1].weight.zero_()
        trainer.ema_model.encoder.trunk.skip.weight.zero_()


@pytest.mark.parametrize("discrete", [False, True], ids=["box", "discrete"])
def test_linear_system_is_learned(discrete: bool) -> None:
    config = WorldModelConfig(
        latent_dim=32,
        encoder_hidden=(128,),
        dynamics_hidden=(128,),
        inverse_hidden=(128,),
        decoder_hidden=(128,),
    )
    trainer = make_trainer(linear(episodes=400, discrete=discrete), config)
    trainer.run(500)
    diagnostics = trainer.diagnose()
    assert diagnostics["forward_skill_1"] > 0.9
    assert diagnostics["forward_skill_10"] > 0.9
    assert diagnostics["shuffled_skill_1"] < 0.2
    assert diagnostics["inverse_r2"] > 0.9
    assert diagnostics["inverse_r2_from_z"] < 0.2  # random actions do not depend on the state
    assert diagnostics["effective_rank"] > 2
    assert diagnostics["messages"][0].startswith("no problems found")


def test_noise_stays_at_the_baseline_and_is_reported() -> None:
    trainer = make_trainer(noise(episodes=3000))
    trainer.run(300)
    diagnostics = trainer.diagnose()
    assert abs(diagnostics["inverse_r2"]) < 0.1
    assert abs(diagnostics["forward_skill_1"] - diagnostics["shuffled_skill_1"]) < 0.02
    # predicting the mean of noise has half the error of the no-change baseline
    assert diagnostics["forward_skill_1"] < 0.55
    assert any("infer the action" in text for text in diagnostics["messages"])
    assert any("other actions" in text for text in diagnostics["messages"])


def test_constant_encoder_has_rank_one_and_is_reported_as_collapsed() -> None:
    trainer = make_trainer(linear())
    make_encoder_constant(trainer)
    diagnostics = trainer.diagnose()
    assert diagnostics["effective_rank"] == pytest.approx(1.0)
    assert diagnostics["dead_dimensions"] == trainer.ema_model.latent_dim
    assert diagnostics["messages"][0].startswith("COLLAPSED")
    assert trainer.ema_model.metadata["messages"] == diagnostics["messages"]


def test_low_rank_observations_do_not_count_as_collapse() -> None:
    stream = linear(axes=1)
    stream.observation[..., 0] += 6 * stream.observation[..., 1]  # two correlated numbers
    trainer = make_trainer(stream)
    trainer.run(200)
    diagnostics = trainer.diagnose()
    assert diagnostics["variance_rank"] < 2, "the test needs a low rank"
    assert not any("COLLAPSED" in text for text in diagnostics["messages"])
    make_encoder_constant(trainer)
    assert trainer.diagnose()["messages"][0].startswith("COLLAPSED")


def test_inverse_dynamics_keep_latents_apart_that_forward_alone_contracts() -> None:
    alone, both = (
        make_trainer(linear(), replace(SMALL_CONFIG, objectives=objectives))
        for objectives in (("forward",), ("forward", "inverse"))
    )
    alone.run(400)
    both.run(400)
    assert alone.diagnose()["no_change_error"] < 0.7 * both.diagnose()["no_change_error"]


def test_same_seed_gives_same_bytes_and_another_seed_others() -> None:
    first, second, other = (make_trainer(linear(), seed=seed) for seed in (3, 3, 4))
    for trainer in (first, second, other):
        trainer.update(5)
    assert weight_bytes(first) == weight_bytes(second)
    assert weight_bytes(first) != weight_bytes(other)


def test_global_random_state_is_neither_used_nor_changed() -> None:
    torch.manual_seed(1)
    first = make_trainer(linear())
    before = torch.get_rng_state()
    first.update(3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    second = make_trainer(linear())
    second.update(3)
    assert weight_bytes(first) == weight_bytes(second)


def test_weights_do_not_depend_on_rewards() -> None:
    stream, without_reward = linear(), linear()
    without_reward.reward[:] = 0.0
    first, second = make_trainer(stream), make_trainer(without_reward)
    first.update(5)
    second.update(5)
    assert weight_bytes(first) == weight_bytes(second)


def test_resumed_training_equals_uninterrupted_training(tmp_path) -> None:
    uninterrupted = make_trainer(linear())
    uninterrupted.update(12)
    uninterrupted.publish()
    uninterrupted.update(5)

    first = make_trainer(linear())
    first.update(12)
    first.publish()
    save_tree(tmp_path / "checkpoint.safetensors", first.get_checkpoint())
    resumed = make_trainer(linear(), seed=99)
    resumed.set_checkpoint(load_tree(tmp_path / "checkpoint.safetensors"))
    resumed.update(5)
    assert weight_bytes(resumed) == weight_bytes(uninterrupted)
    assert resumed.ema_model.version == uninterrupted.ema_model.version == 1
    assert resumed.updates == 17


def test_checkpoint_of_another_model_is_rejected() -> None:
    other = make_trainer(linear(), replace(SMALL_CONFIG, latent_dim=8))
    other.update(1)
    with pytest.raises(UsageError, match="the checkpoint: expected shape"):
        make_trainer(linear()).set_checkpoint(other.get_checkpoint())


def test_run_equals_single_updates() -> None:
    once, often = make_trainer(linear()), make_trainer(linear())
    once.run(25)
    for _ in range(25):
        often.update()
    assert weight_bytes(once) == weight_bytes(often)


def test_run_reports_every_update_and_calls_checkpoint() -> None:
    class Progress(NullProgress):
        updates = 0
        metrics: ClassVar[dict[str, float]] = {}

        def update(self, count: int, **metrics: float) -> None:
            self.updates, self.metrics = self.updates + count, metrics

    progress, checkpoints = Progress(), []
    make_trainer(linear()).run(25, progress, lambda: checkpoints.append(1))
    assert progress.updates == 25
    assert len(checkpoints) == 3
    assert {"loss", "forward", "inverse", "reconstruction"} <= set(progress.metrics)


def test_bfloat16_products_train_as_well_as_float32() -> None:
    full, half = make_trainer(linear(episodes=200)), make_trainer(linear(episodes=200))
    half.use_bf16 = True
    assert half.update(1)["loss"] == pytest.approx(full.update(1)["loss"], rel=0.02)
    full.update(99), half.update(99)
    assert half.update(5)["inverse"] == pytest.approx(full.update(5)["inverse"], rel=0.3)
    assert all(p.dtype == torch.float32 for p in half.ema_model.parameters())


def test_non_finite_loss_stops_training() -> None:
    trainer = make_trainer(linear())
    trainer.update(1)
    with torch.no_grad():
        trainer.model.inverse.mlp[-1].bias.fill_(np.nan)
    with pytest.raises(OperationError, match="not finite"):
        trainer.update(1)


def test_diagnostics_do_not_change_training() -> None:
    first, second = make_trainer(linear()), make_trainer(linear())
    first.update(2)
    second.update(2)
    first.diagnose()
    first.update(2)
    second.update(2)
    assert weight_bytes(first) == weight_bytes(second)
