"""Baseline representations: what a learned encoder is compared with, on the same data with the same sizes.

Every baseline is a `WorldModel` with another encoder or other objectives. So it is pretrained, saved, loaded and
evaluated as a world model, and every agent accepts it as a representation. Dynamics, inverse dynamics and decoder are
trained on its latents with the same updates, so that it also has a row where they are needed.
"""

from __future__ import annotations

from dataclasses import replace

from gymnasium import spaces

from robossl.core.encoding import encoded_dim
from robossl.core.errors import unknown_name_error
from robossl.core.spaces import is_image, model_inputs
from robossl.world_model.config import WorldModelConfig

BASELINES = {
    "normalized": "the observation, normalized as the world model reads it",
    "random": "the untrained encoder of the world model",
    "pca": "principal components of the observations",
    "autoencoder": "the encoder of the world model, trained to reconstruct what it reads",
    "time_shuffled": "the world model, its encoder trained on transitions of random time steps (negative control)",
    "scrambled": "the observation in a random basis (positive control)",
    "noise": "random numbers that each observation determines (negative control)",
}
# Objectives that can be learned from single time steps. In the shuffled control they train no encoder: what they teach
# it is the row of the autoencoder.
_WITHOUT_TIME = {
    "reconstruction", "image_reconstruction", "autoencoding", "image_autoencoding", "inpainting", "rotation", "sigreg",
    "vicreg",
}  # fmt: skip


def baseline_config(name: str, config: WorldModelConfig, observation_space: spaces.Space) -> WorldModelConfig:
    """Return the config of a baseline with the sizes of a world model.

    Args:
        name: One of BASELINES.
        config: Config of the world model that it is compared with.
        observation_space: Observation space of a single env.

    Raises:
        UsageError: The name is unknown.
    """
    if name not in BASELINES:
        raise unknown_name_error("baseline", name, BASELINES)
    if name == "random":
        return replace(config, encoder_objectives=())
    if name == "time_shuffled":
        temporal = tuple(objective for objective in config.weights() if objective not in _WITHOUT_TIME)
        return replace(config, shuffle_time=True, encoder_objectives=temporal)
    if name == "autoencoder":
        leaves = model_inputs(observation_space).values()
        own = ["autoencoding"] if any(not is_image(leaf) for leaf in leaves) else []
        own += ["image_autoencoding"] if any(is_image(leaf) for leaf in leaves) else []
        kept = [entry for entry in config.objectives if entry.partition(":")[0] not in own]
        return replace(config, objectives=(*kept, *own), encoder_objectives=tuple(own))
    if name == "normalized":
        leaves = model_inputs(observation_space).values()
        size = sum(encoded_dim(leaf) for leaf in leaves if not is_image(leaf))
        return replace(config, encoder=name, latent_dim=max(1, size))
    return replace(config, encoder=name)
