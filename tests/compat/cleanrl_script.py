"""Runs a script of CleanRL, unmodified, on an env with latent observations: `python cleanrl_script.py NAME ...`.

CleanRL is written for Gymnasium 0.29. Two of its names changed their signature since, and get the old one here before
the script is read; everything else is CleanRL's own code.
"""

from __future__ import annotations

import runpy
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym

import robossl

LATENT_ID = "latent/Reacher-v0"


class OldSyncVectorEnv(gym.vector.SyncVectorEnv):
    """SyncVectorEnv as in Gymnasium 0.29: it resets in the same step, and infos have lists of final values."""

    def __init__(self, env_fns: Any) -> None:
        super().__init__(env_fns, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)

    def step(self, actions: Any) -> Any:
        """Step the sub-environments; `final_observation` and `final_info` stand in the infos as they did."""
        observation, reward, terminated, truncated, infos = super().step(actions)
        if "final_obs" in infos:
            ended = terminated | truncated
            final = infos["final_info"]
            episodes = [
                {"episode": {key: final["episode"][key][i] for key in ("r", "l")}} if ended[i] else None
                for i in range(self.num_envs)
            ]
            infos = {"final_observation": infos["final_obs"], "final_info": episodes}
        return observation, reward, terminated, truncated, infos


class OldTransformObservation(gym.wrappers.TransformObservation):
    """TransformObservation whose space may be left out."""

    def __init__(self, env: gym.Env, func: Any, observation_space: Any = None) -> None:
        super().__init__(env, func, observation_space or env.observation_space)


def make_latent_env(**arguments: Any) -> gym.Env:
    """Return the two-link arm, observed through its pretrained world model."""
    return robossl.RepresentationWrapper(
        gym.make("robossl/Reacher-v0", **arguments), robossl.from_pretrained("reacher")
    )


def main() -> None:
    """Run the script that is named first with the other arguments."""
    warnings.simplefilter("ignore")
    gym.register(LATENT_ID, make_latent_env)
    gym.vector.SyncVectorEnv = OldSyncVectorEnv  # type: ignore[misc]
    gym.wrappers.TransformObservation = OldTransformObservation  # type: ignore[misc]
    package = find_spec("cleanrl")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("cleanrl is not installed; make compat installs it")
    script = Path(next(iter(package.submodule_search_locations))) / f"{sys.argv[1]}.py"
    sys.argv = [str(script), *sys.argv[2:], "--env-id", LATENT_ID]
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
