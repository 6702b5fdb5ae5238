"""What is learnable gets learned; noise stays at its baseline; nobody looks at the reward."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from world_model_toys import ToyStream, linear, noise

from robossl.core.errors import OperationError, UsageError
from robossl.core.io import load_tree, save_tree
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer

SMALL = WorldModelConfig(
    latent_dim=16,
    encoder_hidden=(64,),
    dynamics_hidden=(64,),
    inverse_hidden=(64,),
    decoder_hidden=(64,),
    ensemble_size=3,
    batch_size=96,
    unroll_steps=3,
)


def learner(stream: ToyStream, config: WorldModelConfig = SMALL, seed: int = 0) -> WorldModelTrainer:
    model = WorldModel(config, stream.observation_space, stream.action_space, seed)
    return WorldModelTrainer(model, stream, seed, device="cpu")


def weights(of: WorldModelTrainer) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in of.ema_model.state_dict().items()}


@pytest.mark.parametrize("discrete", [False, True], ids=["box", "discrete"])
def test_a_linear_world_is_learned(discrete: bool) -> None:
    config = WorldModelConfig(
        latent_dim=32,
        encoder_hidden=(128,),
        dynamics_hidden=(128,),
        inverse_hidden=(128,),
        decoder_hidden=(128,),
    )
    taught = learner(linear(episodes=400, discrete=discrete), config)
    taught.run(500)
    health = taught.health()
    assert health["forward_skill_1"] > 0.9
    assert health["forward_skill_10"] > 0.9
    assert health["shuffled_skill_1"] < 0.2
    assert health["inverse_r2"] > 0.9
    assert health["inverse_r2_from_z"] < 0.2  # actions were random: where it is tells nothing
    assert health["effective_rank"] > 2
    assert health["words"][0].startswith("well")


def test_noise_stays_at_its_baseline_and_is_called_so() -> None:
    taught = learner(noise(episodes=3000))
    taught.run(300)
    health = taught.health()
    assert abs(health["inverse_r2"]) < 0.1
    assert abs(health["forward_skill_1"] - health["shuffled_skill_1"]) < 0.02
    assert health["forward_skill_1"] < 0.55  # the mean of what never repeats is worth 1/2 beside the last
    assert any("which action" in word for word in health["words"])
    assert any("other actions" in word for word in health["words"])


def test_a_constant_encoder_has_rank_one_and_is_called_collapsed() -> None:
    taught = learner(linear())
    with torch.no_grad():
        taught.ema_model.encoder.trunk.mlp[-1].weight.zero_()
        taught.ema_model.encoder.trunk.skip.weight.zero_()
    health = taught.health()
    assert health["effective_rank"] == pytest.approx(1.0)
    assert health["dead_dimensions"] == taught.ema_model.latent_dim
    assert health["words"][0].startswith("COLLAPSED")
    assert "next to nothing" in str(taught.ema_model.metadata["messages"])


def test_a_world_of_two_numbers_is_not_called_collapsed_until_it_is() -> None:
    world = linear(axes=1)
    world.observation[..., 0] += 6 * world.observation[..., 1]  # two numbers that mostly go together
    taught = learner(world)
    taught.run(200)
    health = taught.health()
    assert health["effective_rank"] < 2, "else this shows nothing"
    assert not any("COLLAPSED" in words for words in health["words"])
    with torch.no_grad():
        taught.ema_model.encoder.trunk.mlp[-1].weight.zero_()
        taught.ema_model.encoder.trunk.skip.weight.zero_()
    assert taught.health()["words"][0].startswith("COLLAPSED")


def test_forward_alone_moves_together_what_inverse_keeps_apart() -> None:
    alone = learner(linear(), WorldModelConfig(**{**SMALL.to_json(), "objectives": ("forward",)}))
    both = learner(linear(), WorldModelConfig(**{**SMALL.to_json(), "objectives": ("forward", "inverse")}))
    alone.run(400)
    both.run(400)
    assert alone.health()["no_motion_error"] < 0.7 * both.health()["no_motion_error"]


def test_same_seed_same_bytes_other_seed_others() -> None:
    first, second, other = (learner(linear(), seed=s) for s in (3, 3, 4))
    for one in (first, second, other):
        one.update(5)
    assert weights(first) == weights(second)
    assert weights(first) != weights(other)


def test_the_state_of_global_generators_plays_no_part() -> None:
    torch.manual_seed(1)
    first = learner(linear())
    before = torch.get_rng_state()
    first.update(3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    second = learner(linear())
    second.update(3)
    assert weights(first) == weights(second)


def test_rewards_are_never_looked_at() -> None:
    rewarded, blind = linear(), linear()
    blind.reward[:] = 0.0
    first, second = learner(rewarded), learner(blind)
    first.update(5)
    second.update(5)
    assert weights(first) == weights(second)


def test_interrupted_equals_uninterrupted(tmp_path) -> None:
    straight = learner(linear())
    straight.update(12)
    straight.publish()
    straight.update(5)

    begun = learner(linear())
    begun.update(12)
    begun.publish()
    save_tree(tmp_path / "checkpoint.safetensors", begun.get_checkpoint())
    resumed = learner(linear(), seed=99)
    resumed.set_checkpoint(load_tree(tmp_path / "checkpoint.safetensors"))
    resumed.update(5)
    assert weights(resumed) == weights(straight)
    assert resumed.ema_model.version == straight.ema_model.version == 1
    assert resumed.updates == 17


def test_a_checkpoint_of_another_model_is_refused() -> None:
    other = learner(linear(), WorldModelConfig(**{**SMALL.to_json(), "latent_dim": 8}))
    other.update(1)
    with pytest.raises(UsageError, match="expected"):
        learner(linear()).set_checkpoint(other.get_checkpoint())


def test_one_run_of_updates_equals_many_small_ones() -> None:
    once, often = learner(linear()), learner(linear())
    once.run(25)
    for _ in range(25):
        often.update()
    assert weights(once) == weights(often)


def test_run_tells_progress_and_offers_checkpoints() -> None:
    class Ear:
        count, figures, offers = 0, {}, 0

        def start(self, phase, total, unit):
            pass

        def update(self, count, **figures):
            Ear.count, Ear.figures = Ear.count + count, figures

        def stop(self):
            pass

    def offer() -> None:
        Ear.offers += 1

    learner(linear()).run(25, Ear(), offer)
    assert Ear.count == 25
    assert Ear.offers == 3
    assert {"loss", "forward", "inverse", "reconstruction"} <= set(Ear.figures)


def test_products_in_half_precision_teach_as_much() -> None:
    """What a GPU does by itself, here on the CPU: the losses stay in full precision and fall alike."""
    full, half = learner(linear(episodes=200)), learner(linear(episodes=200))
    half.use_bf16 = True
    assert half.update(1)["loss"] == pytest.approx(full.update(1)["loss"], rel=0.02)
    full.update(99), half.update(99)
    assert half.update(5)["inverse"] == pytest.approx(full.update(5)["inverse"], rel=0.3)
    assert all(p.dtype == torch.float32 for p in half.ema_model.parameters())


def test_a_loss_that_is_no_number_stops_the_work() -> None:
    stream = linear()
    taught = learner(stream)
    taught.update(1)
    with torch.no_grad():
        taught.model.inverse.mlp[-1].bias.fill_(np.nan)
    with pytest.raises(OperationError, match="stopped being a number"):
        taught.update(1)


def test_health_looks_without_touching() -> None:
    looked, blind = learner(linear()), learner(linear())
    looked.update(2)
    blind.update(2)
    looked.health()
    looked.update(2)
    blind.update(2)
    assert weights(looked) == weights(blind)
