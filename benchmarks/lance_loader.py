"""stable-worldmodel's Lance loader on the frames of a file, in its own environment; see benchmarks.streams.

Called as `python lance_loader.py FRAMES.npy FOLDER BATCH STEPS`. Each line on stdin requests one batch, loaded as its
DataLoader does without workers. The answer is the time in seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np


def main() -> None:
    frames, folder, batch, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
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
        began = time.perf_counter()
        batch_data = default_collate(dataset.__getitems__(indices))
        seconds = time.perf_counter() - began
        assert batch_data["pixels"].shape[:2] == (batch, steps), batch_data["pixels"].shape
        print(seconds, flush=True)


if __name__ == "__main__":
    main()
