"""A complete representation comes out at the top of the probes and one of noise at chance, in any task."""

import pytest
from evaluation_toys import ToyStream

from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.metrics.inverse_dynamics import inverse_excess_curve
from robossl.evaluation.metrics.probes import probe_curve, probe_r2
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.baselines import baseline_config

CONFIG = WorldModelConfig(latent_dim=12, encoder_hidden=(16,), dynamics_hidden=(16,), ensemble_size=2)


@pytest.fixture(scope="module")
def heldout():
    """Held-out data of the two representations, by name."""
    stream = ToyStream()
    found = {}
    for name in ("scrambled", "noise"):
        config = baseline_config(name, CONFIG, stream.observation_space)
        found[name] = load_heldout(WorldModel(config, stream.observation_space, stream.action_space), stream)
    return found


def test_probes_read_everything_from_the_scrambled_state_and_nothing_from_noise(heldout):
    top, chance = (probe_r2(heldout[name]) for name in ("scrambled", "noise"))
    assert set(top) == {"position", "velocity"}
    for quantity, scores in top.items():
        assert scores["r2"] > 0.999
        assert scores["delta"] > 0.99
        assert scores["r2"] >= scores["observation"] - 1e-6  # nothing is better than the complete state
        assert chance[quantity]["r2"] < 0.05
        assert chance[quantity]["delta"] < 0.05


def test_random_feature_probes_do_not_read_noise_with_more_labels(heldout):
    top, chance = (probe_curve(heldout[name]) for name in ("scrambled", "noise"))
    largest = max(top, key=int)
    for kind in ("linear", "random_features"):
        assert top[largest][kind] > 0.99
        assert chance[largest][kind] < 0.05


def test_actions_are_read_from_the_change_of_the_scrambled_state_alone(heldout):
    top, chance = (inverse_excess_curve(heldout[name]) for name in ("scrambled", "noise"))
    assert max(top.values()) > 0.5
    assert max(chance.values()) < 0.1
