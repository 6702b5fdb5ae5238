"""Several world models at once, stacked or in threads: each learns what it learns alone."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import torch
from world_model_toys import TINY_CONFIG, WorldModelTrainer, linear

from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import NullProgress
from robossl.core.io import load_tree, save_tree
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model import trainer as trainer_module
from robossl.world_model.baselines import baseline_config
from robossl.world_model.objective import Objective
from robossl.world_model.parallel_trainers import ThreadedTrainers, group_trainers, train_together
from robossl.world_model.stacked_trainer import StackedTrainer

DEFAULT = WorldModelConfig().objectives
OBJECTIVES = [
    DEFAULT,
    ("forward",),
    ("inverse", "forward_detached"),
    ("forward", "sigreg"),
    ("sigreg", "masked_latent", "forward:2", "vicreg"),
    ("contrastive", "multistep_inverse", "autoencoding", "inverse:0.5", "error_prediction"),
]
Settings = dict[str, object]


class Messages(NullProgress):
    """Progress that keeps its messages and counts updates."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.updates = 0

    def message(self, text: str) -> None:
        self.texts.append(text)

    def update(self, count: int, **metrics: float) -> None:
        self.updates += count


@pytest.fixture(scope="module")
def stream():
    return linear(episodes=60)


def make(stream, seed: int = 0, **settings) -> WorldModelTrainer:
    config = replace(TINY_CONFIG, **settings)
    model = WorldModel(config, stream.observation_space, stream.action_space, seed)
    return WorldModelTrainer(model, stream, seed, device="cpu")


def checkpoint(trainer: WorldModelTrainer) -> dict[str, torch.Tensor]:
    """Return all numbers of a trainer by name."""
    tree = trainer.get_checkpoint()
    numbers = {f"{k}.{n}": v for k in ("model", "ema_model") for n, v in tree[k].items()}
    numbers |= {f"adam.{i}.{n}": v for i, state in tree["optimizer"].items() for n, v in state.items()}
    return numbers | {name: tree[name] for name in ("inverse_error_ema", "random")}


def use_objective(monkeypatch, replaced: str, custom: Objective) -> None:
    """Let trainers use an objective in place of a known one."""
    known = trainer_module.objective
    monkeypatch.setattr(trainer_module, "objective", lambda name: custom if name == replaced else known(name))


def assert_close(first: WorldModelTrainer, second: WorldModelTrainer) -> None:
    numbers, others = checkpoint(first), checkpoint(second)
    assert numbers.keys() == others.keys()  # an untrained weight has no optimizer state
    for name, value in numbers.items():
        torch.testing.assert_close(value, others[name], atol=2e-6, rtol=1e-4, msg=name)
    assert first.updates == second.updates
    assert first.window_rng.bit_generator.state == second.window_rng.bit_generator.state


def assert_equal(first: WorldModelTrainer, second: WorldModelTrainer) -> None:
    numbers, others = checkpoint(first), checkpoint(second)
    assert numbers.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in numbers.items())


def assert_stack_learns_the_same(alone: list, stacked: list) -> StackedTrainer:
    losses = [trainer.update(12) for trainer in alone]
    trainer = StackedTrainer(stacked)
    found = trainer.update(12)
    trainer.write_back()
    for first, second, expected, actual in zip(alone, stacked, losses, found):
        assert_close(first, second)
        assert expected.keys() == actual.keys()
        assert all(abs(expected[name] - actual[name]) < 1e-4 for name in expected)
        first.update(3)  # from the states that the stack has written
        second.update(3)
        assert_close(first, second)
    return trainer


def test_stacked_seeds_learn_what_each_learns_alone(stream) -> None:
    alone, stacked = ([make(stream, seed) for seed in range(3)] for _ in "ab")
    trainer = assert_stack_learns_the_same(alone, stacked)
    assert not trainer.losses.not_stacked
    weights = [next(trainer.ema_model.encoder.parameters()) for trainer in stacked]
    assert not torch.allclose(weights[0], weights[1], atol=1e-2)


@pytest.mark.parametrize("discrete", [False, True], ids=["box", "discrete"])
def test_stacked_objectives_learn_what_each_learns_alone(discrete: bool) -> None:
    stream = linear(episodes=60, discrete=discrete)
    settings: list[Settings] = [{"objectives": objectives} for objectives in OBJECTIVES]
    settings.append({"encoder_objectives": ("inverse",)})
    alone, stacked = ([make(stream, i, **s) for i, s in enumerate(settings)] for _ in "ab")
    trainer = assert_stack_learns_the_same(alone, stacked)
    assert trainer.losses.not_stacked == ["sigreg", "masked_latent"]  # they draw random numbers


def test_stacked_baselines_learn_what_each_learns_alone(stream) -> None:
    for name in ("normalized", "pca", "noise"):
        config = baseline_config(name, TINY_CONFIG, stream.observation_space)
        settings = {key: getattr(config, key) for key in ("encoder", "encoder_objectives", "latent_dim")}
        alone, stacked = ([make(stream, seed, **settings) for seed in (1, 2)] for _ in "ab")
        assert_stack_learns_the_same(alone, stacked)


def test_interrupted_stack_equals_an_uninterrupted_one(stream, tmp_path) -> None:
    def trainers():
        return [make(stream, i, objectives=o) for i, o in enumerate(OBJECTIVES[:4])]

    whole, interrupted, resumed = trainers(), trainers(), trainers()
    StackedTrainer(whole).run(13)
    StackedTrainer(interrupted).run(8)
    for number, (before, after) in enumerate(zip(interrupted, resumed)):
        save_tree(tmp_path / f"{number}.safetensors", before.get_checkpoint())
        after.set_checkpoint(load_tree(tmp_path / f"{number}.safetensors"))
    StackedTrainer(resumed).run(5)
    for first, second in zip(whole, resumed):
        assert_equal(first, second)


def test_models_in_threads_get_the_bits_of_each_alone(stream) -> None:
    settings: list[Settings] = [{}, {"objectives": OBJECTIVES[3]}, {"latent_dim": 6}]  # shapes may differ
    alone, together = ([make(stream, i, **s) for i, s in enumerate(settings)] for _ in "ab")
    losses = [trainer.update(20) for trainer in alone]
    progress = Messages()
    group = ThreadedTrainers(together, threads=2)
    group.run_to(10, progress)
    found = group.run_to(20, progress)
    for first, second in zip(alone, together):
        assert_equal(first, second)
    assert progress.updates == 20
    assert [sorted(each) for each in found] == [sorted(each) for each in losses]
    assert torch.get_num_threads() == 1


def test_an_error_in_a_thread_ends_all_and_is_raised(stream) -> None:
    trainers = [make(stream), make(stream, 1, learning_rate=1e30)]
    with pytest.raises(OperationError, match="not finite"):
        ThreadedTrainers(trainers, 2).run_to(5000)
    assert trainers[0].updates < 5000


def test_interrupt_while_threads_are_started_is_raised(stream, monkeypatch) -> None:
    trainers, start = [make(stream, seed) for seed in range(2)], threading.Thread.start
    calls = []

    def interrupted(thread) -> None:
        calls.append(thread)
        if len(calls) == 2:
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ThreadedTrainers(trainers, 2).run_to(5000)
    assert not calls[0].is_alive()
    assert trainers[0].updates < 5000


def test_loss_that_is_not_finite_in_a_stack_names_the_seed(stream) -> None:
    trainers = [make(stream, seed, learning_rate=1e30) for seed in (4, 5)]
    with pytest.raises(OperationError, match="of seed 4 is not finite"):
        StackedTrainer(trainers).run(20)


def test_cpu_uses_threads_and_other_shapes_are_not_stacked(stream) -> None:
    trainers = [make(stream, 0), make(stream, 1), make(stream, 2, latent_dim=6)]
    assert [type(group) for group in group_trainers(trainers, 2)] == [ThreadedTrainers]
    progress = Messages()
    groups = group_trainers(trainers, 2, progress, "stacked")
    assert [len(group.trainers) for group in groups] == [2, 1]
    assert "3 models are trained in 2 groups of equal shape" in progress.texts[0]
    train_together(trainers, 2, progress, mode="stacked")
    assert [trainer.updates for trainer in trainers] == [2, 2, 2]
    with pytest.raises(UsageError, match="equal shape"):
        StackedTrainer(trainers)
    with pytest.raises(UsageError, match="auto, stacked, threads"):
        group_trainers(trainers, 2, mode="both")
    with pytest.raises(UsageError, match="expected one or more, got none"):
        train_together([], 2)
    for train_at_once in (StackedTrainer, lambda none: ThreadedTrainers(none, 2)):
        with pytest.raises(UsageError, match="expected one trainer or more, got none"):
            train_at_once([])


def test_what_cannot_be_stacked_is_trained_alone_with_the_reason(stream) -> None:
    progress = Messages()
    shuffled = [make(stream, seed, shuffle_time=True) for seed in range(2)]
    train_together(shuffled, 1, progress, mode="stacked")
    assert progress.texts == [
        "2 models are trained one after the other: models of shuffled time are not stacked"
    ]
    assert [trainer.updates for trainer in shuffled] == [1, 1]
    with pytest.raises(UsageError, match="shuffled time"):
        StackedTrainer(shuffled)


def test_an_objective_that_vmap_cannot_compute_is_computed_for_each_model(stream, monkeypatch) -> None:
    def loss(batch):
        scale = float(batch.z.detach().abs().mean())  # no number under vmap
        return batch.model.inverse(batch.z[:, :2].flatten(1)).square().mean() * (scale > 0)

    use_objective(monkeypatch, "vicreg", Objective(loss, prevents_collapse=True))
    alone, stacked = (
        [make(stream, seed, objectives=("forward", "vicreg")) for seed in range(2)] for _ in "ab"
    )
    assert assert_stack_learns_the_same(alone, stacked).losses.not_stacked == ["vicreg"]


def test_an_objective_that_reads_weights_of_a_network_without_calling_it_is_trained(
    stream, monkeypatch
) -> None:
    def loss(batch):
        layers = [p for p in batch.model.inverse.parameters() if p.ndim == 2]
        return (layers[0] ** 2).mean() + batch.z.square().mean()

    use_objective(monkeypatch, "vicreg", Objective(loss, prevents_collapse=True))
    alone, stacked = (
        [make(stream, seed, objectives=("forward", "vicreg")) for seed in range(2)] for _ in "ab"
    )
    assert assert_stack_learns_the_same(alone, stacked).losses.not_stacked == ["vicreg"]


def test_an_error_of_an_objective_is_raised(stream, monkeypatch) -> None:
    def loss(batch):
        raise TypeError("wrong objective")

    use_objective(monkeypatch, "vicreg", Objective(loss, prevents_collapse=True))
    with pytest.raises(TypeError, match="wrong objective"):
        StackedTrainer([make(stream, seed, objectives=("forward", "vicreg")) for seed in range(2)])


def test_step_of_a_stack_has_no_number_that_a_cuda_graph_would_repeat(stream) -> None:
    alone, stacked = ([make(stream, seed) for seed in range(2)] for _ in "ab")
    captured = StackedTrainer(stacked)
    step = captured._train_step

    def replay(window):
        """Run the step as a replay does: with the Python numbers of the first one."""
        now, captured.updates = captured.updates, 0
        try:
            return step(window)
        finally:
            captured.updates = now

    captured._train_step = replay
    captured.run(6)
    for first, second in zip(alone, stacked):
        first.update(6)
        assert_close(first, second)


@pytest.mark.parametrize("encoder", ["network", "pca"])
def test_stream_is_read_by_one_thread_at_a_time(stream, monkeypatch, encoder) -> None:
    reading, overlaps = threading.Lock(), []
    windows = type(stream).windows

    def watched(self, *args, **kwargs):
        free = reading.acquire(blocking=False)
        overlaps.append(not free)
        try:
            time.sleep(0.002)
            return windows(self, *args, **kwargs)
        finally:
            if free:
                reading.release()

    monkeypatch.setattr(type(stream), "windows", watched)
    ThreadedTrainers([make(stream, seed, encoder=encoder) for seed in range(3)], threads=3).run_to(4)
    assert len(overlaps) > 12
    assert not any(overlaps)
