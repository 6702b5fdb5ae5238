"""Peak memory of a vector env in JSON: `python -m benchmarks.vector_env_memory robossl/WalkerRun-v0 1024`.

The number is the peak of the whole process (Python, MuJoCo, numpy) in MiB, after five steps.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys

import gymnasium as gym
import numpy as np
import robossl.envs


def main() -> None:
    """Step the envs and print the memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("env_id", metavar="ID", help="such as robossl/WalkerRun-v0")
    parser.add_argument("num_envs", type=int, metavar="N", help="sub-environments")
    options = parser.parse_args()
    env_id, num_envs = options.env_id, options.num_envs
    robossl.envs.register()
    envs = gym.make_vec(env_id, num_envs=num_envs, nthread=2)
    envs.reset(seed=0)
    random = np.random.default_rng(0)
    for _ in range(5):
        envs.step(random.uniform(-1, 1, envs.action_space.shape or ()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mebibytes = peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
    print(json.dumps({"env": env_id, "num_envs": num_envs, "mebibytes": round(mebibytes, 1)}))


if __name__ == "__main__":
    main()
