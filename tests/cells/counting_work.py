"""Work of the tests: what runs a job in a worker process, and the sizes of its thread pools."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

from robossl.core.errors import UsageError


def blas_threads() -> list[int]:
    """Return the number of threads of each loaded BLAS library."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split()[-1]
        if ("openblas" in path and path.endswith(".so")) or ("openblas" in path and ".so." in path):
            library = ctypes.CDLL(path)
            for name in (
                "scipy_openblas_get_num_threads64_",
                "openblas_get_num_threads",
                "openblas_get_num_threads64_",
            ):
                if hasattr(library, name):
                    found.append(int(getattr(library, name)()))
                    break
    return sorted(set(found))


def used_threads() -> int:
    """Return how many threads of this process have used the CPU for 50 ms or more."""
    ticks = 0.05 * os.sysconf("SC_CLK_TCK")
    fields = [path.read_text().rpartition(")")[2].split() for path in Path("/proc/self/task").glob("*/stat")]
    return sum(int(each[11]) + int(each[12]) >= ticks for each in fields)


def runner(settings: dict[str, Any]):
    """Return what runs the jobs: `kill` ends the process once, `threads` works and counts threads, `add` adds."""

    def run(job: dict[str, Any]) -> dict[str, Any]:
        folder = Path(settings["folder"])
        marker = folder / f"{job['name']}.begun"
        begun = marker.exists()
        marker.write_text("")
        if job.get("kind") == "kill" and (not begun or job.get("always")):
            os.kill(os.getpid(), signal.SIGKILL)
        if job.get("kind") == "fail":
            return {"error": "broken"}
        if job.get("kind") == "raise":
            with (folder / "raised.txt").open("a") as file:
                file.write(f"{job['name']}\n")
            raise UsageError("expected another job, got this one")
        if job.get("kind") == "fork":
            process = multiprocessing.get_context("fork").Process(target=int, daemon=True)
            process.start()
            process.join(20)
            if process.exitcode != 0:
                process.kill()
                return {"error": "a forked process does not begin"}
        if job.get("kind") == "threads":
            import numpy as np
            import torch

            import robossl

            torch.set_num_threads(settings["threads"])
            envs = robossl.make("robossl/CheetahRun-v0", 16, threads=settings["threads"])
            envs.reset(seed=0)
            for _ in range(20):
                envs.step(envs.action_space.sample())
            matrix = np.ones((600, 600))
            tensor = torch.ones(600, 600)
            for _ in range(20):
                matrix = matrix @ matrix / 600
                tensor = tensor @ tensor / 600
            envs.close()
            pools = {"torch": torch.get_num_threads(), "blas": blas_threads(), "used": used_threads()}
            (folder / "pools.json").write_text(repr(pools))
        with (folder / "done.txt").open("a") as file:
            file.write(f"{job['name']}\n")
        return {"sum": job.get("number", 0) + 1}

    return run
