"""Normalization uses the train split only, tolerates constants, and is inverted exactly; actions round-trip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from world_model_toys import ToyStream, linear

from robossl.core.errors import UsageError
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.action_processor import ActionProcessor
from robossl.world_model.device import resolve
from robossl.world_model.observation_processor import ObservationProcessor, fit_normalizer


def fitted(stream: ToyStream) -> ObservationProcessor:
    processor = ObservationProcessor(stream.observation_space)
    fit_normalizer(processor, stream, seed=0)
    return processor


def test_train_split_is_normalized_to_zero_mean_and_unit_variance() -> None:
    stream = linear(episodes=300)
    stream.observation = stream.observation * np.array([1, 100, 1e-3, 1], np.float32) + 5
    train = stream.observation[np.arange(300) % 10 < 7]
    normalized = fitted(stream).normalize({"": train}).reshape(-1, 4)
    assert normalized.mean(0).abs().max() < 0.05
    assert (normalized.std(0) - 1).abs().max() < 0.05


def test_statistics_do_not_depend_on_held_out_episodes() -> None:
    stream, other = linear(), linear()
    other.observation[np.arange(100) % 10 >= 7] = 1e6
    first, second = fitted(stream), fitted(other)
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.scale, second.scale)
    assert torch.equal(first.delta_std, second.delta_std)


def test_constant_observation_is_normalized_to_zero() -> None:
    stream = linear()
    stream.observation[..., 2] = 3.0
    normalized = fitted(stream).normalize({"": stream.observation})
    assert torch.isfinite(normalized).all()
    assert (normalized[..., 2] == 0).all()


def test_one_hot_codes_are_not_normalized() -> None:
    stream = linear()
    stream.observation_space = spaces.Dict({"mode": spaces.Discrete(3), "x": stream.observation_space})
    stream.observation = {"mode": np.ones(stream.observation.shape[:2], np.int64), "x": stream.observation}
    processor = fitted(stream)
    start = 0 if next(iter(processor.vectors)) == "mode" else 4
    leaves = processor.select({key: value[0] for key, value in stream.observation.items()})
    assert processor.normalize(leaves)[:, start : start + 3].tolist() == [[0, 1, 0]] * 21


def test_to_observation_inverts_normalize() -> None:
    space = spaces.Dict(
        {"a": spaces.Box(-9, 9, (2, 2)), "b": spaces.Discrete(3, start=1), "c": spaces.MultiBinary(2)}
    )
    processor = ObservationProcessor(space)
    processor.mean.uniform_(-1, 1)
    processor.scale.uniform_(1, 2)
    observation = space.sample()
    decoded = processor.to_observation(processor.normalize(processor.select(observation)))
    np.testing.assert_allclose(decoded["a"].numpy(), observation["a"], atol=1e-5)
    processor = ObservationProcessor(space)
    decoded = processor.to_observation(processor.normalize(processor.select(observation)))
    assert int(decoded["b"]) == observation["b"]
    assert decoded["c"].tolist() == observation["c"].tolist()


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(np.array([-2, 0], np.float32), np.array([2, 8], np.float32)),
        spaces.Box(-np.inf, np.inf, (3,)),
        spaces.Box(-1, 1, (2, 2)),
        spaces.Discrete(4, start=-1),
    ],
    ids=str,
)
def test_decode_inverts_the_action_encoding(space: spaces.Space) -> None:
    processor = ActionProcessor(space)
    space.seed(0)
    for _ in range(10):
        action = space.sample()
        encoded = processor(action)
        assert encoded.shape == (processor.dim,)
        np.testing.assert_allclose(processor.decode(encoded).numpy(), action, atol=1e-5)


def test_bounded_actions_are_scaled_to_unit_range_and_decoded_within_bounds() -> None:
    space = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 8], np.float32))
    processor = ActionProcessor(space)
    assert processor(space.low).tolist() == [-1, -1]
    assert processor(space.high).tolist() == [1, 1]
    assert processor.decode(torch.tensor([5.0, -5.0])).tolist() == [2, 0]
    with pytest.raises(UsageError, match="expected shape"):
        processor(np.zeros(3))


def test_read_only_and_reversed_arrays_are_accepted() -> None:
    model = WorldModel(WorldModelConfig(), spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,)))
    observation = np.zeros((4, 3), np.float32)
    observation.flags.writeable = False
    assert model.encode(observation).shape == (4, 64)
    assert model.encode(observation[::-1]).shape == (4, 64)


def test_unavailable_device_lists_the_available_ones() -> None:
    assert str(resolve("cpu")) == "cpu"
    assert resolve("auto").type in {"cpu", "cuda", "mps"}
    for wrong in ("toaster", "xpu"):
        with pytest.raises(UsageError, match="available: auto, cpu"):
            resolve(wrong)
