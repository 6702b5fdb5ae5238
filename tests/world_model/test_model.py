"""Saving, array types, batching and freezing do not change what a model computes; invalid input is rejected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from world_model_toys import linear, make_trainer

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import read_json, write_json
from robossl.core.spaces import flatten_by_path, leaves
from robossl.world_model import WorldModel, WorldModelConfig

CONFIG = WorldModelConfig(
    latent_dim=16,
    encoder_hidden=(32,),
    dynamics_hidden=(32,),
    inverse_hidden=(32,),
    decoder_hidden=(32,),
    ensemble_size=3,
    batch_size=32,
    objectives=("forward", "inverse", "multistep_inverse", "reconstruction", "error_prediction"),
)
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
    "camera_and_arm": spaces.Dict(
        {"arm": spaces.Box(*REAL, (3,)), "camera": spaces.Box(0, 255, (48, 32, 3), np.uint8)}
    ),
    "goal": spaces.Dict(
        {
            "observation": spaces.Box(*REAL, (4,)),
            "achieved_goal": spaces.Box(*REAL, (2,)),
            "desired_goal": spaces.Box(*REAL, (2,)),
        }
    ),
}
ACTIONS = {
    "box": spaces.Box(np.array([-1, 0], np.float32), np.array([1, 4], np.float32)),
    "discrete": spaces.Discrete(3, start=1),
}


def make_model(
    observation: str = "box", action: str = "box", config: WorldModelConfig = CONFIG
) -> WorldModel:
    return WorldModel(config, OBSERVATIONS[observation], ACTIONS[action], seed=0)


def sample_batch(space: spaces.Space, count: int) -> object:
    batched = batch_space(space, count)
    batched.seed(0)
    return batched.sample()


def member(space: spaces.Space, values: object, index: int) -> object:
    """Return one member of a batch."""
    if isinstance(space, spaces.Dict):
        return {key: member(inner, values[key], index) for key, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(member(inner, value, index) for inner, value in zip(space.spaces, values))
    return values[index]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_batch_equals_its_members_for_every_space(name: str, action: str) -> None:
    model = make_model(name, action)
    observations, actions = sample_batch(OBSERVATIONS[name], 6), sample_batch(ACTIONS[action], 6)
    z = model.encode(observations)
    assert z.shape == (6, 16)
    assert z.dtype == np.float32
    after = model.predict(z, actions)
    inferred = model.infer_action(z, after)
    assert all(inferred[i] in ACTIONS[action] for i in range(6))
    for i in range(6):
        single = model.encode(member(OBSERVATIONS[name], observations, i))
        assert single.shape == (16,)
        np.testing.assert_allclose(single, z[i], atol=1e-5)
        np.testing.assert_allclose(model.predict(single, actions[i]), after[i], atol=1e-5)
        np.testing.assert_allclose(model.infer_action(single, after[i]), inferred[i], atol=1e-5)


@pytest.mark.parametrize("name", [name for name in OBSERVATIONS if name != "image"])
def test_decoded_observation_has_the_shapes_of_its_space(name: str) -> None:
    model = make_model(name)
    space = OBSERVATIONS[name]["observation"] if name == "goal" else OBSERVATIONS[name]
    z = model.encode(sample_batch(OBSERVATIONS[name], 6))
    decoded = flatten_by_path(model.observation_processor.decoded_space, model.decode(z))
    for path, leaf in leaves(space).items():
        if path != "camera":
            assert decoded[path].shape == (6, *(leaf.shape or ()))


def test_decoding_a_model_with_images_only_is_rejected() -> None:
    with pytest.raises(UsageError, match="images only"):
        make_model("image").decode(np.zeros(16, np.float32))


def test_latent_of_a_goal_env_does_not_depend_on_goals() -> None:
    model, observation = make_model("goal"), sample_batch(OBSERVATIONS["goal"], 3)
    other = {key: value + (key != "observation") for key, value in observation.items()}
    np.testing.assert_array_equal(model.encode(observation), model.encode(other))
    np.testing.assert_array_equal(model.encode(observation), model.encode(observation["observation"]))


def test_latent_depends_on_the_previous_image() -> None:
    model, observation = make_model("camera_and_arm"), sample_batch(OBSERVATIONS["camera_and_arm"], 3)
    before = {**observation, "camera": 255 - observation["camera"]}
    np.testing.assert_array_equal(model.encode(observation), model.encode(observation, observation))
    assert np.abs(model.encode(observation, before) - model.encode(observation)).max() > 1e-4


def test_tensors_and_arrays_give_the_same_values() -> None:
    model = make_model()
    observation, actions = np.ones((4, 5), np.float32), np.ones((4, 3, 2), np.float32)
    z = model.encode(torch.from_numpy(observation))
    assert z.requires_grad
    np.testing.assert_array_equal(z.detach().numpy(), model.encode(observation))
    latents = model.imagine(z, torch.from_numpy(actions))
    np.testing.assert_array_equal(latents.detach().numpy(), model.imagine(model.encode(observation), actions))
    assert model.uncertainty(z, torch.from_numpy(actions[:, 0])).shape == (4,)
    assert (model.uncertainty(z.detach().numpy(), actions[:, 0]) > 0).all()


@pytest.mark.parametrize("heads", ["mean", "first"])
def test_imagine_repeats_predict(heads: str) -> None:
    model = make_model()
    z, actions = np.ones((4, 16), np.float32), np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 3, 2)
    latents = model.imagine(z, actions, heads)
    assert latents.shape == (4, 4, 16)
    np.testing.assert_array_equal(latents[:, 0], z)
    for t in range(3):
        following = model.predict(latents[:, t], actions[:, t], heads)
        np.testing.assert_allclose(latents[:, t + 1], following, atol=1e-5)
    np.testing.assert_allclose(model.imagine(z[0], actions[0], heads), latents[0], atol=1e-5)


def test_published_model_has_no_gradients_and_does_not_change() -> None:
    stream = linear()
    trainer = make_trainer(stream, CONFIG)
    trainer.update(1)
    published = trainer.publish()
    observation = stream.observation[0]
    before = published.encode(observation)
    trainer.update(3)
    assert not any(p.requires_grad for p in published.parameters())
    assert not published.encode(torch.from_numpy(observation)).requires_grad
    np.testing.assert_array_equal(published.encode(observation), before)
    assert np.abs(trainer.ema_model.encode(observation) - before).max() > 1e-6
    assert all(p.requires_grad for p in trainer.model.parameters())
    assert published.version == 1
    assert trainer.publish().version == 2
    assert published.version == 1


@pytest.mark.parametrize("name", ["box", "camera_and_arm", "goal", "tuple"])
def test_loaded_model_equals_the_saved_one(name: str, tmp_path) -> None:
    model = make_model(name, "discrete")
    model.observation_processor.mean.uniform_(-1, 1)
    model.version = 7
    model.save(tmp_path / "model")
    loaded = WorldModel.load(tmp_path / "model", device="cpu")
    observation, actions = sample_batch(OBSERVATIONS[name], 5), sample_batch(ACTIONS["discrete"], 5)
    z = model.encode(observation)
    np.testing.assert_array_equal(loaded.encode(observation), z)
    np.testing.assert_array_equal(loaded.predict(z, actions), model.predict(z, actions))
    np.testing.assert_array_equal(loaded.infer_action(z, z, 3), model.infer_action(z, z, 3))
    assert (loaded.version, loaded.config, loaded.observation_space) == (7, CONFIG, OBSERVATIONS[name])
    assert "version 7" in (tmp_path / "model" / "card.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "expected model format 3, got 99"),
        ({"format": 2}, "expected model format 3, got 2; train the model again"),
        ({"config": {**CONFIG.to_json(), "latent_dmi": 3}}, "did you mean 'latent_dim'"),
        ({"config": {**CONFIG.to_json(), "latent_dim": 8}}, "expected shape"),
        ({"kind": "another"}, "expected the folder of a robossl world model"),
    ],
)
def test_folder_of_another_kind_or_format_is_rejected(changes: dict, message: str, tmp_path) -> None:
    make_model().save(tmp_path)
    path = tmp_path / "config.json"
    write_json(path, {**read_json(path), **changes}, checksum=True)
    with pytest.raises(UsageError, match=message):
        WorldModel.load(tmp_path)


def test_missing_folder_is_rejected(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"config\.json"):
        WorldModel.load(tmp_path / "missing")


def test_damaged_weights_are_detected(tmp_path) -> None:
    make_model().save(tmp_path)
    path = tmp_path / "model.safetensors"
    content = path.read_bytes()
    for damaged in (content[:-10], content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(CorruptedFileError):
            WorldModel.load(tmp_path)


@pytest.mark.parametrize("size", [10**6, 10**12])
def test_sizes_beyond_the_file_of_weights_are_refused_before_memory_is_used(size, tmp_path) -> None:
    WorldModel(WorldModelConfig(latent_dim=4), spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,))).save(
        tmp_path
    )
    content = {k: v for k, v in read_json(tmp_path / "config.json").items() if k != "crc32"}
    content["config"]["latent_dim"] = size
    write_json(tmp_path / "config.json", content, checksum=True)
    with pytest.raises(
        CorruptedFileError, match=r"sizes need [\d,]+ bytes of weights, model.safetensors has"
    ):
        WorldModel.load(tmp_path)


def test_same_seed_gives_same_weights() -> None:
    first, second = make_model().state_dict(), make_model().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_wrong_shapes_and_spaces_are_rejected_with_the_expected_ones() -> None:
    with pytest.raises(UsageError, match=r"expected shape \(..., \*\(5,\)\), got \(4,\)"):
        make_model().encode(np.zeros(4))
    with pytest.raises(UsageError, match="expected 'observation', got no 'observation'"):
        make_model("goal").encode({"position": np.zeros(4)})
    plain = make_model(config=replace(CONFIG, objectives=("forward", "inverse")))
    with pytest.raises(UsageError, match="expected steps=1 for this model, got 4"):
        plain.infer_action(np.zeros(16, np.float32), np.zeros(16, np.float32), 4)
    with pytest.raises(UsageError, match="expected float Box or Discrete"):
        WorldModel(CONFIG, OBSERVATIONS["box"], spaces.MultiBinary(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 0}, "positive int"),
        ({"learning_rate": -1.0}, "positive float"),
        ({"linear_skip": "no"}, "expected True or False"),
        ({"encoder_hidden": (64, 0)}, r"world_model\.encoder_hidden"),
        ({"dynamics_hidden": ()}, r"world_model\.dynamics_hidden: expected at least one"),
        ({"objectives": ()}, "expected at least one objective"),
        ({"objectives": ("forward", "forward:2")}, "twice"),
        ({"objectives": ("forward:much",)}, "expected name:number"),
        ({"batch_size": 2}, r"world_model\.batch_size"),
        ({"image_size": 32}, "expected 44 pixels or more"),
        ({"random_shift": -1}, "expected 0 to 31 pixels"),
        ({"random_shift": 1.5}, "expected 0 to 31 pixels"),
        ({"random_shift": True}, "expected 0 to 31 pixels"),
        ({"random_shift": 32}, "expected 0 to 31 pixels"),
    ],
)
def test_invalid_setting_is_rejected(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WorldModelConfig(**settings)


def test_unknown_objective_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'inverse'"):
        make_model(config=WorldModelConfig(objectives=("inverze",)))
