"""Connection to Ray: the cluster of RAY_ADDRESS, or a Ray of this machine that ends with this process."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

from robossl.cells.work import Resources, renderer_environment
from robossl.core.errors import OperationError, UsageError
from robossl.core.system_info import cores

_CONNECT_SECONDS = 10.0
_OBJECT_STORE = 100 << 20  # [bytes] jobs and answers are small; streams and models go through the file system


@contextlib.contextmanager
def ray_cluster(resources: Resources) -> Iterator[Any]:
    """Yield the module ray, connected; the connection ends with the block, unless the user made it.

    Raises:
        UsageError: RAY_ADDRESS cannot be reached, or no node is large enough for a worker.
    """
    import ray

    own = not ray.is_initialized()
    try:
        if own:
            _connect(ray, resources)
        _check_size(ray, resources)
        yield ray
    finally:
        if own:
            ray.shutdown()


def _connect(ray: Any, resources: Resources) -> None:
    """Connect to RAY_ADDRESS, or start a Ray on this machine.

    Raises:
        UsageError: RAY_ADDRESS cannot be reached.
        OperationError: Ray did not start.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # GPUs of the driver stay visible
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # on a busy machine
    os.environ.setdefault("RAY_worker_niceness", "0")  # of a Ray of this machine; the default is 15
    address = os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address:
        _check_reachable(address)
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            # "local": without an address Ray takes one of this machine that another user or program has started
            size = {"num_cpus": cores(), "object_store_memory": _OBJECT_STORE}
            ray.init(address="local", include_dashboard=False, **size, **quiet)
    except Exception as error:  # Ray raises plain exceptions
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if address:
            raise UsageError(f"RAY_ADDRESS: expected a Ray cluster at {address}, got: {reason}") from error
        raise OperationError(f"Ray did not start: {reason}") from error


def _check_reachable(address: str) -> None:
    """Raise UsageError if no process listens at host:port; other forms of an address are left to Ray."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"RAY_ADDRESS: expected a Ray cluster at {address}, got: {error}; start one with ray start --head, or "
            "unset RAY_ADDRESS to use this machine alone"
        ) from None


def _check_size(ray: Any, resources: Resources) -> None:
    """Raise UsageError if no node of the cluster has as many CPUs and GPUs as one worker needs."""
    nodes = [node.get("Resources", {}) for node in ray.nodes() if node.get("Alive")]
    for name, needed in (("CPU", resources.threads), ("GPU", resources.gpus)):
        most = max((node.get(name, 0) for node in nodes), default=0)
        if needed > most:
            raise UsageError(
                f"{name}s of a worker: expected at most the {most:g} of the largest node, got {needed:g}"
            )
    total = sum(node.get("CPU", 0) for node in nodes)
    if resources.workers * resources.threads > total:
        raise UsageError(
            f"workers: expected at most {total:g} threads in all, one for each core of the cluster, got "
            f"{resources.workers * resources.threads}"
        )


def worker_options(resources: Resources) -> dict[str, Any]:
    """Return the options of a task or actor: its share of a node."""
    return {"num_cpus": resources.threads, **({"num_gpus": resources.gpus} if resources.gpus else {})}


def prepare_worker(environment: dict[str, str]) -> None:
    """Give a worker of Ray its share of cores, the modules of the driver, and its GPU for rendering.

    A runtime environment of Ray would do the same and start a process more on each node. Thread pools read their size
    when a library is loaded, so this comes before all imports of the work.
    """
    os.environ.update({name: value for name, value in environment.items() if name != "PYTHONPATH"})
    folders = environment["PYTHONPATH"].split(os.pathsep)
    sys.path.extend(folder for folder in folders if folder not in sys.path)
    for name, value in renderer_environment(os.environ.get("CUDA_VISIBLE_DEVICES", "")).items():
        os.environ.setdefault(name, value)


def error_text(error: BaseException) -> str:
    """Return an error of Ray in one line."""
    text = next((line for line in reversed(str(error).strip().splitlines()) if line.strip()), "")
    return f"{type(error).__name__}: {text.strip()}"[:300]
