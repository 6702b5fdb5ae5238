"""What an agent observes: encoder modes, what is observed beside a latent, and the names of report rows."""

from __future__ import annotations

from gymnasium import Space

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.spaces import Leaf, is_goal_space, is_image, leaves, model_inputs

# An agent observes the observations of the env, or latents of an encoder that is untrained, pretrained and frozen,
# pretrained and trained further by the agent, trained further by the agent and the self-supervised loss, or trained by
# the agent alone.
ENCODERS = ("none", "random", "frozen", "finetune", "cotrain", "scratch")
TRAINED_ENCODERS = ("finetune", "cotrain", "scratch")  # gradients of the agent's loss reach the encoder
OBSERVED = (
    "latent",
    "latent_observation",
)  # what an agent with an encoder observes; both include the desired goal

# Rows of the control table that train agents: the encoder mode, and what the agent observes.
ROWS: dict[str, tuple[str, str | None]] = {
    "observation": ("none", None),
    "latent": ("frozen", "latent"),
    "latent_observation": ("frozen", "latent_observation"),
    "random_latent": ("random", "latent"),
}


def images_only(space: Space) -> bool:
    """Return whether everything that an encoder reads is an image (goals are not read by encoders)."""
    return all(is_image(leaf) for leaf in model_inputs(space).values())


def row_encoder(row: str, space: Space) -> tuple[str, str | None]:
    """Return the encoder mode of a row of ROWS and what its agent observes.

    From images, the row `observation` trains its own encoder from scratch (end to end).

    Raises:
        UsageError: If the row does not apply to the space.
    """
    encoder, observed = ROWS[row]
    if images_only(space):
        if row == "latent_observation":
            raise UsageError("observations are images only, which an agent observes through an encoder")
        if row == "observation":
            return "scratch", "latent"
    return encoder, observed


def resolve_observed(encoder: str, observed: str | None, space: Space) -> str | None:
    """Return one of OBSERVED; None without an encoder.

    Args:
        encoder: One of ENCODERS.
        observed: One of OBSERVED. None: the latent alone where it comes from images or from an untrained encoder, else
            latent and observation.
        space: Observation space of one sub-environment.

    Raises:
        UsageError: If the choice is unknown, or does not fit the encoder or the space.
    """
    if observed is not None and observed not in OBSERVED:
        raise unknown_name_error("way to observe", observed, OBSERVED)
    if encoder == "none":
        if observed is not None:
            raise UsageError(f"observe: expected none with encoder none, got {observed}; give an encoder")
        return None
    if images_only(space):
        if observed == "latent_observation":
            raise UsageError(
                "observe: expected latent for observations of images only, got latent_observation"
            )
        return "latent"
    return observed or ("latent" if encoder == "random" else "latent_observation")


def observed_leaves(space: Space, observed: str | None) -> dict[str, Leaf]:
    """Return the leaves without images that an agent observes directly, by path.

    Args:
        space: Observation space of one sub-environment.
        observed: `latent`: of a goal env the desired goal, which no latent contains, else nothing; otherwise all.
    """
    vectors = {path: leaf for path, leaf in leaves(space).items() if not is_image(leaf)}
    if observed != "latent":
        return vectors
    goal = is_goal_space(space)
    return {path: leaf for path, leaf in vectors.items() if goal and path.split(".")[0] == "desired_goal"}


def row_name(encoder: str, observation_space: Space, observed: str | None = None) -> str:
    """Return the name of an agent's row in the report: what the agent observes."""
    resolved = resolve_observed(encoder, observed, observation_space)
    if resolved is None or (encoder == "scratch" and images_only(observation_space)):
        return "observation"
    return f"random_{resolved}" if encoder == "random" else resolved
