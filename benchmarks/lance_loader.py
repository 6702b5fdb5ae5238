"""Load time of stable-worldmodel's Lance loader on the frames of a file, in its own environment.

`benchmarks.streams` starts this script in the environment of `make lance-loader`. For each line on stdin it loads one
batch, as the loader's DataLoader does without workers, and prints the time in seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Write the frames in Lance's format and load batches on request."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("frames", type=Path, help="npy file of images (E, T, H, W, 3)")
    parser.add_argument("folder", type=Path, help="where the Lance file is written")
    parser.add_argument("batch", type=int, help="windows in a batch")
    parser.add_argument("steps", type=int, help="frames in a window")
    options = parser.parse_args()
    frames, folder, batch, steps = options.frames, options.folder, options.batch, options.steps
    import torch
    from stable_worldmodel.data.formats.lance import LanceDataset, LanceWriter
    from torch.utils.data import default_collate

    torch.set_num_threads(1)  # fastest on few cores: small copies otherwise wait for the other threads
    episodes = np.load(frames, mmap_mode="r")  # (E, T, H, W, 3)
    with LanceWriter(folder / "frames.lance") as writer:
        writer.write_episodes(
            {"pixels": list(e), "action": list(np.zeros((len(e), 2), np.float32))} for e in episodes
        )
    dataset = LanceDataset(folder / "frames.lance", num_steps=steps)
    random = np.random.default_rng(0)
    print("ready", flush=True)
    for _ in sys.stdin:
        indices = random.integers(len(dataset), size=batch).tolist()
        start = time.perf_counter()
        batch_data = default_collate(dataset.__getitems__(indices))
        seconds = time.perf_counter() - start
        assert batch_data["pixels"].shape[:2] == (batch, steps), batch_data["pixels"].shape
        print(seconds, flush=True)


if __name__ == "__main__":
    main()
