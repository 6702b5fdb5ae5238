"""Work of a worker process: which function runs the jobs, with what settings and on how many cores."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from robossl.core.errors import OperationError, UsageError, error_line, unknown_name_error
from robossl.core.limits import check_count
from robossl.core.system_info import cores

ENGINES = ("local", "ray")
# thread pools of OpenMP, MKL, OpenBLAS, numexpr and Accelerate: each reads one of these when it is loaded
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
Run = Callable[
    [dict[str, Any]], dict[str, Any]
]  # a job as JSON values -> its answer, {} or {"error": one line}
_MAX_DEATHS = 5  # of an actor, one after the other, without an answer in between
# index of an actor and its last answer, None at first -> its next job, or None if there is none
NextJob = Callable[[int, dict[str, Any] | None], dict[str, Any] | None]
Died = Callable[[int, str], None]  # index of an actor that has died, and how


@dataclass(frozen=True)
class Work:
    """What a worker process runs.

    Attributes:
        target: `module:function` of robossl; the function gets the settings and returns what runs a job.
        settings: JSON values.
    """

    target: str
    settings: dict[str, Any] = field(default_factory=dict)

    def make(self) -> Run:
        """Return what runs the jobs, in this process."""
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)(self.settings)


@dataclass(frozen=True)
class Resources:
    """Engine, number of workers, and the share of each.

    Attributes:
        engine: local, processes of this machine; or ray.
        workers: Number of workers; 0: as many as fit.
        threads: CPU threads of each for MuJoCo, torch and BLAS.
        gpus: GPUs of each; 0.5: two workers share one.
    """

    engine: str = "local"
    workers: int = 0
    threads: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        """Raise UsageError for a wrong value, more local workers than cores, or a missing package."""
        if self.engine not in ENGINES:
            raise unknown_name_error("engine", self.engine, ENGINES)
        check_count("workers", self.workers, 0)
        check_count("CPU threads of a worker", self.threads)
        if not isinstance(self.gpus, Real):
            raise UsageError(f"GPUs of a worker: expected a number, got {self.gpus!r}")
        if not 0 <= self.gpus < math.inf or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise UsageError(f"GPUs of a worker: expected 0 to 1, or a whole number, got {self.gpus}")
        if self.engine == "local":
            check_cores(self.workers, self.threads)
        elif importlib.util.find_spec("ray") is None:
            raise UsageError('engine: expected ray to be installed, got none; pip install "robossl[ray]"')

    @property
    def local_workers(self) -> int:
        """Number of processes of this machine: as requested, or as many as cores and GPUs allow."""
        return self.workers or max(cores() // self.threads, 1)


def check_cores(workers: int, threads: int) -> None:
    """Raise UsageError if several workers have more threads than there are cores."""
    if workers > 1 and workers * threads > cores():
        raise UsageError(
            f"workers: expected at most {cores()} threads in all, one for each core, got {workers * threads}"
        )


def worker_environment(threads: int, gpu: str | None = None) -> dict[str, str]:
    """Return environment variables of a worker: its share of cores and GPUs, and where its modules are.

    Args:
        threads: CPU threads of its thread pools.
        gpu: Its GPUs, "0", "2,3" or "GPU-name"; None: as in this process. Its renderer uses the first one.
    """
    variables = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [*sys.path]))
    if gpu is not None:
        variables |= {"CUDA_VISIBLE_DEVICES": gpu, **renderer_environment(gpu)}
    return variables


def renderer_environment(gpus: str) -> dict[str, str]:
    """Return the variable that lets MuJoCo render on the first of some GPUs; none if they have names and no indices."""
    first = gpus.split(",")[0].strip()
    return {"MUJOCO_EGL_DEVICE_ID": first} if first.isdecimal() else {}


def gpu_shares(gpus: float, workers: int) -> list[str | None]:
    """Return the GPUs of each local worker; fewer workers if there are not enough GPUs.

    Args:
        gpus: GPUs of each worker.
        workers: Number of workers.

    Raises:
        UsageError: A worker needs more GPUs than there are.
    """
    if gpus == 0:
        return [None] * workers
    visible = _visible_gpus()
    capacity = int(len(visible) / gpus + 1e-9)
    if capacity == 0:
        raise UsageError(
            f"GPUs of a worker: expected at most the {len(visible)} of this machine, got {gpus:g}"
        )
    if gpus < 1:
        each = int(1 / gpus + 1e-9)
        return [visible[index // each] for index in range(min(workers, each * len(visible)))]
    count = int(gpus)
    return [",".join(visible[index * count :][:count]) for index in range(min(workers, capacity))]


def _visible_gpus() -> list[str]:
    """Return the indices of the GPUs of this process."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [part for part in given.split(",") if part.strip()]
    import torch

    return list(map(str, range(torch.cuda.device_count())))


def answer_of(run: Run, job: dict[str, Any]) -> dict[str, Any]:
    """Run a job and return its answer; {"stop": reason} if no further job can run, as on a full disk."""
    try:
        return run(job)
    except OperationError as error:
        return {"stop": str(error)}


def answer_of_worker(run: Run, job: dict[str, Any]) -> dict[str, Any]:
    """Run a job in a worker, and return its answer; any other exception is an error of the job alone."""
    try:
        return answer_of(run, job)
    except Exception as error:  # noqa: BLE001 - envs and agents of users may raise anything
        return {"error": error_line(error)}


def check_answer(answer: dict[str, Any]) -> None:
    """Raise OperationError if an answer is a failure."""
    for key in ("stop", "error"):
        if key in answer:
            raise OperationError(answer[key])


class Deaths:
    """Deaths of each actor since its last answer, which end the work if they are too many."""

    def __init__(self, died: Died | None) -> None:
        """Begin without deaths; `died` is called at each."""
        self._died, self._counts = died, Counter[int]()

    def add(self, index: int, how: str) -> None:
        """Note a death; raise OperationError if the actor died too often."""
        self._counts[index] += 1
        if self._counts[index] >= _MAX_DEATHS:
            raise OperationError(f"{how}, {_MAX_DEATHS} times in a row")
        if self._died is not None:
            self._died(index, how)

    def reset(self, index: int) -> None:
        """Note an answer."""
        del self._counts[index]
