"""Laws of the model: saving changes nothing, tensors are arrays, a batch is its members, frozen stays."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from world_model_toys import linear

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.spaces import flatten_by_path, leaves
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer

CONFIG = WorldModelConfig(
    latent_dim=16, encoder_hidden=(32,), dynamics_hidden=(32,), inverse_hidden=(32,), decoder_hidden=(32,), ensemble_size=3, batch_size=32,
    objectives=("forward", "inverse", "multistep_inverse", "reconstruction", "error_prediction"),
)  # fmt: skip
REAL = (-np.inf, np.inf)
OBSERVATIONS = {
    "box": spaces.Box(*REAL, (5,)),
    "matrix": spaces.Box(*REAL, (2, 3)),
    "double": spaces.Box(*REAL, (5,), np.float64),
    "ram": spaces.Box(0, 255, (7,), np.uint8),
    "discrete": spaces.Discrete(4, start=2),
    "binary": spaces.MultiBinary(3),
    "digits": spaces.MultiDiscrete([2, 3]),
    "dict": spaces.Dict({"arm": spaces.Box(*REAL, (3,)), "in": spaces.Dict({"touch": spaces.Discrete(2)})}),
    "tuple": spaces.Tuple([spaces.Box(*REAL, (3,)), spaces.Discrete(2)]),
    "image": spaces.Box(0, 255, (64, 64, 3), np.uint8),
    "seen": spaces.Dict({"eye": spaces.Box(0, 255, (48, 32, 3), np.uint8), "arm": spaces.Box(*REAL, (3,))}),
    "goal": spaces.Dict({k: spaces.Box(*REAL, (n,)) for k, n in
                         (("observation", 4), ("achieved_goal", 2), ("desired_goal", 2))}),
}  # fmt: skip
ACTIONS = {
    "box": spaces.Box(np.array([-1, 0], np.float32), np.array([1, 4], np.float32)),
    "discrete": spaces.Discrete(3, start=1),
}


def model(observation: str = "box", action: str = "box", config: WorldModelConfig = CONFIG) -> WorldModel:
    return WorldModel(config, OBSERVATIONS[observation], ACTIONS[action], seed=0)


def batch(space: spaces.Space, count: int) -> object:
    many = batch_space(space, count)
    many.seed(0)
    return many.sample()


def nth(space: spaces.Space, values: object, index: int) -> object:
    """One member of a batch."""
    if isinstance(space, spaces.Dict):
        return {k: nth(s, values[k], index) for k, s in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(nth(s, v, index) for s, v in zip(space.spaces, values))
    return values[index]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_every_space_is_read_alone_and_in_batches(name: str, action: str) -> None:
    world = model(name, action)
    many = batch(OBSERVATIONS[name], 6)
    z = world.encode(many)
    assert z.shape == (6, 16)
    assert z.dtype == np.float32
    acts = batch(ACTIONS[action], 6)
    after = world.predict(z, acts)
    guessed = world.infer_action(z, after)
    assert all(guessed[i] in ACTIONS[action] for i in range(6))
    for i in range(6):
        alone = world.encode(nth(OBSERVATIONS[name], many, i))
        assert alone.shape == (16,)
        np.testing.assert_allclose(alone, z[i], atol=1e-5)
        np.testing.assert_allclose(world.predict(alone, acts[i]), after[i], atol=1e-5)
        np.testing.assert_allclose(world.infer_action(alone, after[i]), guessed[i], atol=1e-5)


@pytest.mark.parametrize("name", [n for n in OBSERVATIONS if n != "image"])
def test_decoding_gives_the_form_of_an_observation(name: str) -> None:
    world = model(name)
    space = OBSERVATIONS[name]["observation"] if name == "goal" else OBSERVATIONS[name]
    many = batch(OBSERVATIONS[name], 6)
    decoded = flatten_by_path(world.observations.decoded_space, world.decode(world.encode(many)))
    for path, leaf in leaves(space).items():
        if path != "eye":
            assert decoded[path].shape == (6, *(leaf.shape or ()))


def test_images_have_nothing_to_decode() -> None:
    with pytest.raises(UsageError, match="images only"):
        model("image").decode(np.zeros(16, np.float32))


def test_of_a_goal_env_only_the_observation_is_read() -> None:
    world, seen = model("goal"), batch(OBSERVATIONS["goal"], 3)
    wished = {**seen, "desired_goal": seen["desired_goal"] + 1, "achieved_goal": seen["achieved_goal"] - 1}
    np.testing.assert_array_equal(world.encode(seen), world.encode(wished))
    np.testing.assert_array_equal(world.encode(seen), world.encode(seen["observation"]))


def test_an_image_is_seen_with_its_change() -> None:
    world = model("seen")
    seen = batch(OBSERVATIONS["seen"], 3)
    before = {**seen, "eye": 255 - seen["eye"]}
    np.testing.assert_array_equal(world.encode(seen), world.encode(seen, seen))
    assert np.abs(world.encode(seen, before) - world.encode(seen)).max() > 1e-4


def test_arrays_and_tensors_take_the_same_path() -> None:
    world = model()
    seen, acts = np.ones((4, 5), np.float32), np.ones((4, 3, 2), np.float32)
    z = world.encode(torch.from_numpy(seen))
    assert z.requires_grad
    np.testing.assert_array_equal(z.detach().numpy(), world.encode(seen))
    path = world.imagine(z, torch.from_numpy(acts))
    np.testing.assert_array_equal(path.detach().numpy(), world.imagine(world.encode(seen), acts))
    assert world.uncertainty(z, torch.from_numpy(acts[:, 0])).shape == (4,)
    assert (world.uncertainty(z.detach().numpy(), acts[:, 0]) > 0).all()


@pytest.mark.parametrize("heads", ["mean", "first"])
def test_imagining_is_predicting_again_and_again(heads: str) -> None:
    world = model()
    z, acts = np.ones((4, 16), np.float32), np.linspace(0, 1, 4 * 3 * 2, dtype=np.float32).reshape(4, 3, 2)
    path = world.imagine(z, acts, heads)
    assert path.shape == (4, 4, 16)
    np.testing.assert_array_equal(path[:, 0], z)
    for t in range(3):
        np.testing.assert_allclose(path[:, t + 1], world.predict(path[:, t], acts[:, t], heads), atol=1e-5)
    several = world.imagine(z[0], acts[0], heads)
    np.testing.assert_allclose(several, path[0], atol=1e-5)


def test_frozen_has_no_gradient_and_does_not_learn_along() -> None:
    stream = linear()
    learner = WorldModelTrainer(
        WorldModel(CONFIG, stream.observation_space, stream.action_space), stream, device="cpu"
    )
    learner.update(1)
    frozen = learner.publish()
    seen = stream.observation[0]
    before = frozen.encode(seen)
    learner.update(3)
    assert not any(p.requires_grad for p in frozen.parameters())
    assert not frozen.encode(torch.from_numpy(seen)).requires_grad
    np.testing.assert_array_equal(frozen.encode(seen), before)
    assert np.abs(learner.ema_model.encode(seen) - before).max() > 1e-6
    assert all(p.requires_grad for p in learner.ema_model.parameters())
    assert frozen.version == 1
    assert learner.publish().version == 2
    assert frozen.version == 1


@pytest.mark.parametrize("name", ["box", "seen", "goal", "tuple"])
def test_saving_and_loading_change_nothing(name: str, tmp_path) -> None:
    world = model(name, "discrete")
    world.observations.mean.uniform_(-1, 1)
    world.version = 7
    world.save(tmp_path / "model")
    again = WorldModel.load(tmp_path / "model", device="cpu")
    seen = batch(OBSERVATIONS[name], 5)
    np.testing.assert_array_equal(again.encode(seen), world.encode(seen))
    z, acts = world.encode(seen), batch(ACTIONS["discrete"], 5)
    np.testing.assert_array_equal(again.predict(z, acts), world.predict(z, acts))
    np.testing.assert_array_equal(again.infer_action(z, z, 3), world.infer_action(z, z, 3))
    assert (again.version, again.config, again.observation_space) == (7, CONFIG, OBSERVATIONS[name])
    assert "version 7" in (tmp_path / "model" / "card.md").read_text()


def _rewrite(path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_no_model_of_ours_is_refused_with_words(tmp_path) -> None:
    folder = tmp_path / "model"
    model().save(folder)
    with pytest.raises(UsageError, match="no file"):
        WorldModel.load(tmp_path / "elsewhere")
    _rewrite(folder / "config.json", format=99)
    with pytest.raises(UsageError, match="format 99; this robossl reads format 2"):
        WorldModel.load(folder)
    _rewrite(folder / "config.json", format=1)
    with pytest.raises(UsageError, match="reads format 2; learn it again from its stream"):
        WorldModel.load(folder)
    _rewrite(folder / "config.json", format=2, config={**CONFIG.to_json(), "latnet": 3})
    with pytest.raises(UsageError, match="did you mean 'latent'"):
        WorldModel.load(folder)
    _rewrite(folder / "config.json", config={**CONFIG.to_json(), "latent_dim": 8})
    with pytest.raises(UsageError, match="expected"):
        WorldModel.load(folder)
    _rewrite(folder / "config.json", kind="a cake")
    with pytest.raises(UsageError, match="does not hold"):
        WorldModel.load(folder)


def test_a_damaged_file_is_called_damaged(tmp_path) -> None:
    model().save(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(CorruptedFileError, match="damaged"):
        WorldModel.load(tmp_path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CorruptedFileError, match="checksum"):
        WorldModel.load(tmp_path)


def test_same_seed_same_weights() -> None:
    first, second = model().state_dict(), model().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_wrong_shapes_are_answered_with_the_right_ones() -> None:
    with pytest.raises(UsageError, match=r"shape \(4,\); expected \(..., \*\(5,\)\)"):
        model().encode(np.zeros(4))
    with pytest.raises(UsageError, match="this model reads 'observation'"):
        model("goal").encode({"position": np.zeros(4)})
    plain = model(config=WorldModelConfig(**{**CONFIG.to_json(), "objectives": ("forward", "inverse")}))
    with pytest.raises(UsageError, match="over 1 step, not 4"):
        plain.infer_action(np.zeros(16, np.float32), np.zeros(16, np.float32), 4)
    with pytest.raises(UsageError, match="float Box, Discrete"):
        WorldModel(CONFIG, OBSERVATIONS["box"], spaces.MultiBinary(3))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"latent": 0}, "positive int"),
        ({"learning_rate": -1.0}, "positive float"),
        ({"straight": "no"}, "expected True or False"),
        ({"encoder": (64, 0)}, "encoder width"),
        ({"objectives": ()}, "empty"),
        ({"objectives": ("forward", "forward:2")}, "twice"),
        ({"objectives": ("forward:much",)}, "no weight"),
        ({"batch": 2}, "window of its own"),
        ({"image": 32}, "at least 44 pixels"),
    ],
)
def test_a_config_of_nothing_is_refused(wrong: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        WorldModelConfig(**wrong)


def test_an_unknown_objective_is_answered_with_the_near_ones() -> None:
    with pytest.raises(UsageError, match="did you mean 'inverse'"):
        model(config=WorldModelConfig(objectives=("inverze",)))
