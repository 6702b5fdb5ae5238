"""Readout of forecasts: the decoder of the model where it is better, a linear map where it is not."""

import numpy as np
import pytest
from evaluation_toys import DRIFT, PUSH, ConstantModel, PerfectModel, ToyStream, forces
from gymnasium import spaces

from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.latents import make_decoder
from robossl.evaluation.metrics.prediction import prediction_skill
from robossl.evaluation.metrics.readout import fit_readout
from robossl.evaluation.split_data import MAX_STEPS, observation_values


class NonlinearModel(PerfectModel):
    """Perfect model with latents that are a nonlinear function of the observation."""

    def encode(self, observation):
        return np.asarray(observation, np.float32) ** 3

    def decode(self, z):
        return np.cbrt(z)

    def predict(self, z, action):
        return ((np.cbrt(z) @ DRIFT + forces(np.asarray(action)) @ PUSH) ** 3).astype(np.float32)


class NoDecoderModel(NonlinearModel):
    """The same model without a decoder."""

    decode = None


class WrongDecoderModel(PerfectModel):
    """Perfect model with a wrong decoder."""

    def decode(self, z):
        return np.flip(z, -1) * 3


class MeanModel(ConstantModel):
    """Constant encoder whose decoder returns the mean observation."""

    def __init__(self, mean):
        self.mean = mean

    def decode(self, z):
        return np.broadcast_to(self.mean, z.shape)


@pytest.fixture(scope="module")
def stream():
    return ToyStream()


def skills(model, stream):
    scores = prediction_skill(model, load_heldout(model, stream))
    return {horizon: estimate["mean"] for horizon, estimate in scores["skill"].items()}, scores


def test_decoder_is_used_where_a_linear_map_fails(stream):
    decoded, scores = skills(NonlinearModel(), stream)
    assert all(skill > 0.999 for skill in decoded.values())
    assert all(scores["shuffled"][horizon] < skill - 0.3 for horizon, skill in decoded.items())
    linear, _ = skills(NoDecoderModel(), stream)
    assert all(linear[horizon] < 0.9 for horizon in decoded)


def test_wrong_decoder_is_not_used(stream):
    model = WrongDecoderModel()
    readout = fit_readout(model, load_heldout(model, stream))
    assert readout.method.tolist() == [0, 0, 0, 0]
    assert skills(model, stream)[0] == pytest.approx(skills(PerfectModel(), stream)[0], abs=1e-3)


def test_mean_model_has_the_same_skill_under_shuffled_actions(stream):
    model = MeanModel(np.mean([fields["observation"].mean(0) for fields in stream.episode_fields], 0))
    skill, scores = skills(model, stream)
    assert scores["shuffled"] == pytest.approx(skill)
    assert all(scores["linear"][horizon] > value + 0.1 for horizon, value in skill.items())


def test_images_are_not_decoded():
    space = spaces.Dict(
        {"camera": spaces.Box(0, 255, (8, 8, 1), np.uint8), "joints": spaces.Box(-1, 1, (3,), np.float32)}
    )

    class ImageModel:
        def decode(self, z):
            return {"joints": z[:, :3]}

    z = np.arange(10.0).reshape(2, 5)
    values = make_decoder(ImageModel(), space)(z)
    fields = {"observation.camera": np.zeros((2, 8, 8, 1), np.uint8), "observation.joints": z[:, :3]}
    expected, names = observation_values(space, fields)
    assert values.shape == expected.shape == (2, 67)
    is_image = np.array([name.startswith("camera") for name in names])
    assert np.isnan(values[:, is_image]).all()
    np.testing.assert_array_equal(values[:, ~is_image], z[:, :3])
    assert make_decoder(ImageModel(), space["camera"]) is None
    assert make_decoder(object(), space) is None


def test_discrete_observations_with_a_start_are_decoded():
    class DiscreteModel:
        def decode(self, z):
            return z[:, 0].astype(np.int64)

    space = spaces.Discrete(3, start=10)
    np.testing.assert_array_equal(
        make_decoder(DiscreteModel(), space)(np.array([[12.0], [10.0]])), np.eye(3)[[2, 0]]
    )


def test_scales_use_all_of_train():
    """The standard deviation includes values that vary in few of many episodes."""
    stream = ToyStream(episodes=520)
    train = stream.episodes("train")
    num_steps = sum(episode.stop - episode.start for episode in train)
    assert num_steps > MAX_STEPS
    heldout = load_heldout(PerfectModel(), stream)
    assert len(heldout.train.valid) == num_steps
    observations = np.concatenate([stream.episode_fields[e.ordinal]["observation"] for e in train])
    np.testing.assert_allclose(heldout.observation_std, observations.astype(np.float64).std(0))
