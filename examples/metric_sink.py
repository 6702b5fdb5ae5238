"""A metric sink of your own in one file: it keeps the latest value of every metric and draws each curve as text.

Run it with `python examples/metric_sink.py`; it takes some seconds on a CPU. A package offers the same sink through
the entry-point group `robossl.metric_sinks`; then `robossl learn --log sparkline` works.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

import robossl
from robossl.logging.sinks.base import RunInfo

_BARS = "▁▂▃▄▅▆▇█"


class SparklineSink:
    """Writes `metrics.txt` into the folder of the run: one text curve for each metric."""

    packages = ()  # packages that the sink imports; `--log` is refused if one is missing

    def __init__(self, run: RunInfo) -> None:
        self._path = run.folder / "metrics.txt"
        self._values: dict[str, list[float]] = defaultdict(list)

    def write(self, step, values):
        """Keep the values of one step."""
        for name, value in values.items():
            self._values[name].append(value)

    def close(self):
        """Write the curves."""
        lines = [f"{name:32} {_curve(values)} {values[-1]:.3g}" for name, values in self._values.items()]
        self._path.write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")


def _curve(values):
    low, high = min(values), max(values)
    return "".join(_BARS[int((v - low) / max(high - low, 1e-12) * (len(_BARS) - 1))] for v in values)


def main() -> None:
    """Pretrain a small world model with the sink and print its curves."""
    robossl.register("metric_sinks", "sparkline", SparklineSink)
    with tempfile.TemporaryDirectory() as folder:
        stream = robossl.collect("robossl/Reacher-v0", steps=4000, out=Path(folder) / "stream")
        config = robossl.WorldModelConfig(
            latent_dim=8, encoder_hidden=(32,), dynamics_hidden=(32,), batch_size=64
        )
        robossl.pretrain(stream, updates=400, config=config, out=Path(folder) / "model", log=["sparkline"])
        print((Path(folder) / "model" / "metrics.txt").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
