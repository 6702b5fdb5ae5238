"""Time EnvPool's HalfCheetah in a Python that has EnvPool.

`benchmarks.simulation --envpool PYTHON` starts this script, which needs EnvPool and numpy only. Each line on stdin is a
number of vector steps; the script runs them and prints their time in seconds as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time


def main() -> None:
    """Answer each line of stdin with the time of that many steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("num_envs", type=int, help="sub-environments")
    parser.add_argument("threads", type=int, help="EnvPool's threads")
    options = parser.parse_args()
    num_envs, threads = options.num_envs, options.threads
    try:
        import envpool
        import numpy as np
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    envs = envpool.make("HalfCheetah-v4", env_type="gymnasium", num_envs=num_envs, num_threads=threads)
    envs.reset()
    random = np.random.default_rng(0)
    print(json.dumps({"version": envpool.__version__}), flush=True)
    for line in sys.stdin:
        actions = random.uniform(-1, 1, (int(line), num_envs, 6))
        start = time.perf_counter()
        for action in actions:
            envs.step(action)
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
