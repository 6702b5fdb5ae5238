"""What an agent observes: encoder modes, leaves beside the latent, names of report rows."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from robossl.core.agent_observation import (
    ENCODERS,
    OBSERVED,
    ROWS,
    TRAINED_ENCODERS,
    images_only,
    observed_leaves,
    resolve_observed,
    row_encoder,
    row_name,
)
from robossl.core.errors import UsageError

VECTOR, IMAGE = Box(-1, 1, (3,), np.float32), Box(0, 255, (64, 64, 3), np.uint8)
GOAL = Dict(observation=VECTOR, achieved_goal=VECTOR, desired_goal=VECTOR)
IMAGE_GOAL = Dict(observation=IMAGE, achieved_goal=VECTOR, desired_goal=VECTOR)
MIXED = Dict(camera=IMAGE, joints=VECTOR, tool=Discrete(3))


def test_modes_that_train_an_encoder_are_encoder_modes():
    assert set(TRAINED_ENCODERS) < set(ENCODERS)


@pytest.mark.parametrize("row", ROWS)
def test_row_of_the_table_is_named_by_what_its_agent_observes(row):
    encoder, observed = ROWS[row]
    assert row_name(encoder, GOAL, observed) == row


def test_defaults_are_the_latent_alone_for_images_and_untrained_encoders():
    assert resolve_observed("none", None, VECTOR) is None
    assert resolve_observed("random", None, VECTOR) == "latent"
    assert resolve_observed("frozen", None, VECTOR) == "latent_observation"
    assert resolve_observed("finetune", None, MIXED) == "latent_observation"
    assert resolve_observed("frozen", None, IMAGE_GOAL) == "latent"
    assert row_name("random", VECTOR, "latent_observation") == "random_latent_observation"


def test_choices_that_do_not_fit_are_refused():
    for encoder, observed, space, message in [
        ("frozen", "latents", VECTOR, "did you mean 'latent'"),
        ("none", "latent", VECTOR, "expected none with encoder none"),
        ("frozen", "latent_observation", IMAGE_GOAL, "expected latent for observations of images only"),
    ]:
        with pytest.raises(UsageError, match=message):
            resolve_observed(encoder, observed, space)


def test_desired_goal_is_observed_in_every_row():
    for observed in (None, *OBSERVED):
        assert "desired_goal" in observed_leaves(GOAL, observed)
    assert set(observed_leaves(GOAL, "latent")) == {"desired_goal"}
    assert set(observed_leaves(GOAL, "latent_observation")) == {
        "observation",
        "achieved_goal",
        "desired_goal",
    }
    assert observed_leaves(VECTOR, "latent") == {}
    assert set(observed_leaves(MIXED, "latent_observation")) == {"joints", "tool"}


def test_observations_are_images_only_also_with_goals_as_numbers():
    assert images_only(IMAGE)
    assert images_only(IMAGE_GOAL)
    assert not images_only(MIXED)
    assert not images_only(GOAL)


@pytest.mark.parametrize("row", ROWS)
def test_rows_of_images_have_a_latent_only_and_an_end_to_end_baseline(row):
    assert row_encoder(row, GOAL) == ROWS[row]
    if row == "latent_observation":
        with pytest.raises(UsageError, match="images only"):
            row_encoder(row, IMAGE_GOAL)
        return
    encoder, observed = row_encoder(row, IMAGE_GOAL)
    assert row_name(encoder, IMAGE_GOAL, observed) == row
    assert encoder == ("scratch" if row == "observation" else ROWS[row][0])
