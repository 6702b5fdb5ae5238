"""EnvPool's HalfCheetah, in a Python that has it: for every line on stdin so many vector steps; their seconds in JSON.

Started by benchmarks.simulation --envpool PYTHON; it needs EnvPool and numpy only.
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    try:
        import envpool
        import numpy as np
    except ImportError as error:
        print(json.dumps({"absent": str(error)}), flush=True)
        return
    lanes, threads = int(sys.argv[1]), int(sys.argv[2])
    envs = envpool.make("HalfCheetah-v4", env_type="gymnasium", num_envs=lanes, num_threads=threads)
    envs.reset()
    random = np.random.default_rng(0)
    print(json.dumps({"version": envpool.__version__}), flush=True)
    for line in sys.stdin:
        actions = random.uniform(-1, 1, (int(line), lanes, 6))
        began = time.perf_counter()
        for action in actions:
            envs.step(action)
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
