"""Check of our LeRobot export with LeRobot's own loader: `make judge-lerobot`.

`write DIR` runs in our environment and exports streams with all kinds of observations. `read DIR` runs in an
environment with LeRobot and compares every frame from its loader with the recorded one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

_KINDS = ("vector", "goal", "image", "png", "discrete")
_NUM_ENVS, _STEPS = 4, 60


def write(root: Path) -> None:
    """Export a stream of every kind, and store the expected frames beside each."""
    from gymnasium.vector import AutoresetMode
    from stream_toys import CountingEnvs, record_steps

    from robossl.streams import Recorder
    from robossl.streams.formats import export_stream
    from robossl.streams.formats.episode_data import EpisodeReader
    from robossl.streams.formats.lerobot_features import features_of

    for kind in _KINDS:
        envs = CountingEnvs(
            _NUM_ENVS, AutoresetMode.NEXT_STEP, "image" if kind == "png" else kind, kind == "discrete"
        )
        recorder = Recorder.create(envs, root / f"{kind}-stream")
        recorder.reset()
        record_steps(recorder, _STEPS)
        images = "video" if kind == "image" else "png"
        export_stream(recorder.stream, "lerobot", root / kind, images=images)
        features = features_of(recorder.stream.schema, images)
        frames = [episode.rows for episode in EpisodeReader(recorder.stream)]
        expected = {f.name: np.concatenate([rows[f.field.name] for rows in frames]) for f in features}
        expected["episode_index"] = np.repeat(np.arange(len(frames)), [len(rows["valid"]) for rows in frames])
        np.savez(root / f"{kind}.npz", **expected)
    print(f"wrote {len(_KINDS)} datasets")


def read(root: Path) -> None:
    """Load each dataset with LeRobot's loader and print the largest difference from the recorded frames."""
    import lerobot
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    report = {"lerobot": lerobot.__version__}
    for kind in _KINDS:
        expected = dict(np.load(root / f"{kind}.npz"))
        dataset = LeRobotDataset(f"robossl/{kind}", root=root / kind)
        count = len(expected["episode_index"])
        assert (len(dataset), dataset.num_episodes) == (count, int(expected["episode_index"].max()) + 1)
        assert set(expected) <= set(dataset.features)
        worst = 0.0
        for index in range(count):
            frame = dataset[index]
            for name, values in expected.items():
                actual, recorded = frame[name].numpy(), values[index]
                if dataset.features[name]["dtype"] in ("video", "image"):
                    assert actual.shape == recorded.transpose(2, 0, 1).shape, name
                    worst = max(worst, float(np.abs(actual - recorded.transpose(2, 0, 1) / 255.0).max()))
                else:
                    assert np.array_equal(
                        actual.reshape(recorded.shape), recorded, equal_nan=recorded.dtype.kind == "f"
                    ), name
            assert frame["task"] == "CountingEnvs"
        assert worst <= (0.02 if kind == "image" else 1e-6), worst
        windows = LeRobotDataset(
            f"robossl/{kind}", root=root / kind, delta_timestamps={"action": [0.0, 1 / dataset.fps]}
        )
        assert windows[0]["action"].shape[0] == 2
        assert set(dataset.meta.stats) >= set(expected) - {"episode_index"}
        report[kind] = {"frames": count, "episodes": dataset.num_episodes, "max_image_error": worst}
    print(json.dumps(report))


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
