"""Laws of what goes in: scaled by train alone, constants are harmless, actions come back as they went."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from world_model_toys import linear

from robossl.core.errors import UsageError
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.action_processor import ActionProcessor
from robossl.world_model.device import resolve
from robossl.world_model.normalizer import fit_normalizer
from robossl.world_model.observation_processor import ObservationProcessor


def test_train_is_scaled_to_zero_mean_and_unit_spread() -> None:
    stream = linear(episodes=300)
    stream.observation = stream.observation * np.array([1, 100, 1e-3, 1], np.float32) + 5
    coder = ObservationProcessor(stream.observation_space)
    fit_normalizer(coder, stream, seed=0)
    train = stream.observation[np.arange(300) % 10 < 7]
    scaled = coder.vector({"": train}).reshape(-1, 4)
    assert scaled.mean(0).abs().max() < 0.05
    assert (scaled.std(0) - 1).abs().max() < 0.05


def test_statistics_do_not_see_what_is_held_out() -> None:
    stream, other = linear(), linear()
    other.observation[np.arange(100) % 10 >= 7] = 1e6
    first, second = (ObservationProcessor(stream.observation_space) for _ in range(2))
    fit_normalizer(first, stream, seed=0)
    fit_normalizer(second, other, seed=0)
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.scale, second.scale)
    assert torch.equal(first.delta_std, second.delta_std)


def test_a_constant_observation_divides_by_nothing() -> None:
    stream = linear()
    stream.observation[..., 2] = 3.0
    coder = ObservationProcessor(stream.observation_space)
    fit_normalizer(coder, stream, seed=0)
    scaled = coder.vector({"": stream.observation})
    assert torch.isfinite(scaled).all()
    assert (scaled[..., 2] == 0).all()


def test_one_hot_codes_are_left_alone() -> None:
    stream = linear()
    stream.observation_space = spaces.Dict({"mode": spaces.Discrete(3), "x": stream.observation_space})
    stream.observation = {"mode": np.ones(stream.observation.shape[:2], np.int64), "x": stream.observation}
    coder = ObservationProcessor(stream.observation_space)
    fit_normalizer(coder, stream, seed=0)
    start = 0 if next(iter(coder.vectors)) == "mode" else 4
    coded = coder.vector(coder.parts({k: v[0] for k, v in stream.observation.items()}))
    assert coded[:, start : start + 3].tolist() == [[0, 1, 0]] * 21


def test_the_scaling_of_an_observation_can_be_undone() -> None:
    space = spaces.Dict(
        {"a": spaces.Box(-9, 9, (2, 2)), "b": spaces.Discrete(3, start=1), "c": spaces.MultiBinary(2)}
    )
    coder = ObservationProcessor(space)
    coder.mean.uniform_(-1, 1)
    coder.scale.uniform_(1, 2)
    seen = space.sample()
    again = coder.restore(coder.vector(coder.parts(seen)))
    np.testing.assert_allclose(again["a"].numpy(), seen["a"], atol=1e-5)
    one_hot = ObservationProcessor(space)
    again = one_hot.restore(one_hot.vector(one_hot.parts(seen)))
    assert int(again["b"]) == seen["b"]
    assert again["c"].tolist() == seen["c"].tolist()


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
def test_actions_come_back_as_they_went(space: spaces.Space) -> None:
    coder = ActionProcessor(space)
    space.seed(0)
    for _ in range(10):
        action = space.sample()
        code = coder(action)
        assert code.shape == (coder.size,)
        np.testing.assert_allclose(coder.decode(code).numpy(), action, atol=1e-5)


def test_bounded_actions_fill_minus_one_to_one_and_come_back_clipped() -> None:
    space = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 8], np.float32))
    coder = ActionProcessor(space)
    assert coder(space.low).tolist() == [-1, -1]
    assert coder(space.high).tolist() == [1, 1]
    assert coder.decode(torch.tensor([5.0, -5.0])).tolist() == [2, 0]
    with pytest.raises(UsageError, match="expected"):
        coder(np.zeros(3))


def test_read_only_arrays_are_welcome() -> None:
    model = WorldModel(WorldModelConfig(), spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,)))
    seen = np.zeros((4, 3), np.float32)
    seen.flags.writeable = False
    assert model.encode(seen).shape == (4, 64)
    assert model.encode(seen[::-1]).shape == (4, 64)


def test_devices_by_name() -> None:
    assert str(resolve("cpu")) == "cpu"
    assert resolve("auto").type in {"cpu", "cuda", "mps"}
    for wrong in ("toaster", "xpu"):
        with pytest.raises(UsageError, match="auto, cpu"):
            resolve(wrong)
