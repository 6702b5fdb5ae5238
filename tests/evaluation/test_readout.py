"""What a forecast is read off: what the model decodes where that is better, a line where it is not."""

import numpy as np
import pytest
from evaluation_toys import DRIFT, PUSH, ConstantModel, PerfectModel, ToyStream, forces
from gymnasium import spaces

from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.latents import decoding
from robossl.evaluation.metrics.prediction import forward_skill
from robossl.evaluation.metrics.readout import fit_readout
from robossl.evaluation.split_data import ROWS, as_numbers


class BentModel(PerfectModel):
    """Knows the world in coordinates that no line reads."""

    def encode(self, observation):
        return np.asarray(observation, np.float32) ** 3

    def decode(self, z):
        return np.cbrt(z)

    def predict(self, z, action):
        return ((np.cbrt(z) @ DRIFT + forces(np.asarray(action)) @ PUSH) ** 3).astype(np.float32)


class MuteModel(BentModel):
    """The same, and it decodes nothing."""

    decode = None


class BabblingModel(PerfectModel):
    """Knows the world, and decodes something else."""

    def decode(self, z):
        return np.flip(z, -1) * 3


class MeanModel(ConstantModel):
    """Sees nothing, and expects what is usual."""

    def __init__(self, usual):
        self.usual = usual

    def decode(self, z):
        return np.broadcast_to(self.usual, z.shape)


@pytest.fixture(scope="module")
def stream():
    return ToyStream()


def skills(model, stream):
    found = forward_skill(model, load_heldout(model, stream))
    return {horizon: figure["mean"] for horizon, figure in found["skill"].items()}, found


def test_what_no_line_reads_is_read_as_the_model_decodes_it(stream):
    told, found = skills(BentModel(), stream)
    assert all(skill > 0.999 for skill in told.values())
    assert all(found["shuffled"][horizon] < skill - 0.3 for horizon, skill in told.items())
    mute, _ = skills(MuteModel(), stream)
    assert all(mute[horizon] < 0.9 for horizon in told)


def test_a_decoder_that_errs_is_not_believed(stream):
    readout = fit_readout(BabblingModel(), load_heldout(BabblingModel(), stream))
    assert readout.ways.tolist() == [0, 0, 0, 0]
    assert skills(BabblingModel(), stream)[0] == pytest.approx(skills(PerfectModel(), stream)[0], abs=1e-3)


def test_who_expects_the_usual_is_no_better_under_the_true_actions(stream):
    model = MeanModel(np.mean([rows["observation"].mean(0) for rows in stream.table], 0))
    told, found = skills(model, stream)
    assert found["shuffled"] == pytest.approx(told)
    assert all(found["linear"][horizon] > skill + 0.1 for horizon, skill in told.items())


def test_images_are_not_decoded():
    space = spaces.Dict(
        {"camera": spaces.Box(0, 255, (8, 8, 1), np.uint8), "joints": spaces.Box(-1, 1, (3,), np.float32)}
    )

    class Seeing:
        def decode(self, z):
            return {"joints": z[:, :3]}

    z = np.arange(10.0).reshape(2, 5)
    numbers = decoding(Seeing(), space)(z)
    fields = {"observation.camera": np.zeros((2, 8, 8, 1), np.uint8), "observation.joints": z[:, :3]}
    wanted, names = as_numbers(space, fields)
    assert numbers.shape == wanted.shape == (2, 67)
    pictured = np.array([name.startswith("camera") for name in names])
    assert np.isnan(numbers[:, pictured]).all()
    np.testing.assert_array_equal(numbers[:, ~pictured], z[:, :3])
    assert decoding(Seeing(), space["camera"]) is None
    assert decoding(object(), space) is None


def test_choices_that_do_not_begin_at_zero_are_decoded():
    class Choosing:
        def decode(self, z):
            return z[:, 0].astype(np.int64)

    space = spaces.Discrete(3, start=10)
    np.testing.assert_array_equal(decoding(Choosing(), space)(np.array([[12.0], [10.0]])), np.eye(3)[[2, 0]])


def test_units_and_floors_are_of_all_of_train():
    """What moves in a few of many episodes has the spread it has in all of them."""
    stream = ToyStream(episodes=520)
    train = stream.episodes("train")
    rows = sum(episode.stop - episode.start for episode in train)
    assert rows > ROWS
    held = load_heldout(PerfectModel(), stream)
    assert len(held.train.valid) == rows
    whole = np.concatenate([stream.table[episode.lane]["observation"] for episode in train])
    np.testing.assert_allclose(held.spread, whole.astype(np.float64).std(0))
