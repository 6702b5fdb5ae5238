"""Returns and lengths of recorded episodes, as metrics."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from robossl.streams import Stream


def episode_metrics(stream: Stream, prefix: str, lanes: Iterable[int], since: int = 0) -> dict[str, float]:
    """Return number, mean return and mean length [steps] of the episodes that ended in some lanes of a stream.

    Args:
        stream: The stream.
        prefix: First part of the names: `PREFIX/return_mean`.
        lanes: Lanes to read.
        since: Only episodes that ended at this time step of their lane or later.
    """
    returns: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    for lane in lanes:
        stop = int(stream.lengths[lane])
        fields = stream.read(lane, 0, stop, ["reward", "is_last"])
        # (E,) the last time step of each episode, which has reward 0 and no action
        last = np.flatnonzero(fields["is_last"])
        first = np.concatenate([[0], last[:-1] + 1]).astype(np.int64)[: len(last)]
        if not len(last):
            continue
        total = np.cumsum(fields["reward"], dtype=np.float64)
        recent = last >= since
        returns.append((total[last] - total[first] + fields["reward"][first])[recent])
        lengths.append((last - first)[recent])
    count = sum(len(values) for values in returns)
    if not count:
        return {f"{prefix}/episodes": 0.0}
    return {
        f"{prefix}/episodes": float(count),
        f"{prefix}/return_mean": float(np.concatenate(returns).mean()),
        f"{prefix}/episode_length_mean": float(np.concatenate(lengths).mean()),
    }
