"""Threads: the OpenMP wait policy, and one thread for the matrix products of small networks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_SMALL = 2**18  # numbers in the largest matrix of a small network, as of a layer of 512 x 512


def set_openmp_passive_wait() -> None:
    """Make OpenMP threads sleep at their barriers, unless the user set a policy or torch is already imported.

    Spinning, the default of GNU OpenMP, is slightly faster on an idle machine. If another program occupies one core,
    a spinning thread blocks the core that the thread it waits for needs. See `python -m benchmarks.cpu_contention`.
    """
    if "torch" not in sys.modules and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


@contextmanager
def one_thread(used: bool = True) -> Iterator[None]:
    """Let torch use one CPU thread inside the block, if `used`.

    An operation of a small network takes less than a millisecond, and waking a second thread for it takes longer than
    what that thread saves: 22 ms for a gradient step of SAC with one thread, 40 ms with two (docs/negative-results.md).
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if used else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_small(weights: Iterable[Tensor]) -> bool:
    """Return whether one thread is as fast as several for a network with these weights, in batches of a few hundred.

    Of stacked networks, as the heads of an ensemble, one matrix counts. A network with convolutions is not small,
    because each weight is used at many pixels.
    """
    return all(weight.shape[-2:].numel() <= _SMALL and weight.ndim < 4 for weight in weights)
