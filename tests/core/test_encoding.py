"""Encoding of leaf spaces: decoding inverts encoding, numpy equals torch, and all users encode alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from robossl.agents.sb3.features import FeatureBuilder

from robossl.core.encoding import decode, encode, encoded_dim, is_categorical
from robossl.core.errors import UsageError
from robossl.evaluation.split_data import decoded_mask, decoded_values, observation_values
from robossl.world_model.observation_processor import ObservationProcessor


def random_leaf(random: np.random.Generator) -> spaces.Space:
    """Return a leaf space of random type, shape and first category."""
    shape = tuple(random.integers(1, 4, random.integers(0, 4)).tolist())
    kind = random.integers(4)
    if kind == 0:
        return spaces.Box(-3, 5, shape, random.choice([np.float32, np.float64, np.int16]))
    if kind == 1:
        return spaces.Discrete(int(random.integers(1, 9)), start=int(random.integers(-5, 6)))
    shape = shape or (1,)
    if kind == 2:
        return spaces.MultiBinary(shape)
    return spaces.MultiDiscrete(random.integers(1, 6, shape), start=random.integers(-4, 5, shape))


def sample_batch(leaf: spaces.Space, lead: tuple[int, ...], seed: int) -> np.ndarray:
    """Return values (*lead, *shape) of a leaf."""
    leaf.seed(seed)
    values = np.stack([leaf.sample() for _ in range(int(np.prod(lead)))])
    return values.reshape(*lead, *(leaf.shape or ()))


@pytest.mark.parametrize("seed", range(80))
def test_decoding_inverts_encoding_and_numpy_equals_torch(seed):
    random = np.random.default_rng(seed)
    leaf, lead = random_leaf(random), [(7,), (2, 3), (1, 1, 4)][seed % 3]
    values = sample_batch(leaf, lead, seed)
    columns, tensor = encode(leaf, values), encode(leaf, torch.as_tensor(values))
    assert columns.shape == (*lead, encoded_dim(leaf))
    assert columns.dtype == np.float32
    np.testing.assert_array_equal(columns, tensor.numpy())
    np.testing.assert_array_equal(columns, encode(leaf, values, np.float64).astype(np.float32))
    if is_categorical(leaf):
        assert set(np.unique(columns)) <= {0.0, 1.0}
        np.testing.assert_array_equal(decode(leaf, columns), values, strict=True)
        np.testing.assert_array_equal(decode(leaf, tensor).numpy(), values)
    else:
        np.testing.assert_array_equal(decode(leaf, columns), values.astype(np.float32))
        np.testing.assert_array_equal(decode(leaf, tensor).numpy(), values.astype(np.float32))


def test_each_category_has_its_own_column():
    leaf = spaces.MultiDiscrete([2, 3], start=[-1, 7])
    assert encode(leaf, np.array([[-1, 8], [0, 9]])).tolist() == [[1, 0, 0, 1, 0], [0, 1, 0, 0, 1]]


@pytest.mark.parametrize(
    ("leaf", "value", "expected"),
    [
        (spaces.Discrete(3, start=2), 5, "from 2 to 4, got 5"),
        (spaces.Discrete(3), -1, "from 0 to 2, got -1"),
        (spaces.MultiDiscrete([2, 2], start=[0, 1]), [0, 0], "from 1 to 2, got 0"),
        (spaces.MultiDiscrete([2, 2]), [0, 0, 0], r"expected shape \(\.\.\., \*\(2,\)\), got \(1, 3\)"),
    ],
)
def test_values_outside_the_space_raise(leaf, value, expected):
    with pytest.raises(UsageError, match=expected):
        encode(leaf, np.array([value]))


@pytest.mark.parametrize("seed", range(20))
def test_world_model_evaluation_and_agents_encode_alike(seed):
    random = np.random.default_rng(seed)
    space = spaces.Dict({f"leaf{i}": random_leaf(random) for i in range(3)})
    observation = {name: sample_batch(leaf, (5,), seed) for name, leaf in space.spaces.items()}
    processor = ObservationProcessor(space)
    vector = processor.concatenate(processor.select(observation))
    fields = {f"observation.{name}": values for name, values in observation.items()}
    values, names = observation_values(space, fields)
    assert len(names) == values.shape[1] == processor.vector_dim
    np.testing.assert_array_equal(vector.numpy(), values.astype(np.float32))
    np.testing.assert_array_equal(vector.numpy(), FeatureBuilder(space)(observation))
    decoded = processor.to_observation(processor.normalize_vector(vector))
    np.testing.assert_array_equal(decoded_values(space, decoded), values.astype(np.float32))
    assert decoded_mask(space).all()
