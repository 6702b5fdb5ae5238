"""A collector: records blocks of whole episodes into one shard, in a worker process.

A block depends on the seed, the shard and the number of the block only: envs and policy begin it with seeds of their
own. It is written at once. A collector that is started again therefore goes on after the last block.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.cells.work import Run
from robossl.core.errors import OperationError, UsageError
from robossl.core.seeding import derive
from robossl.rollout import StepLoop
from robossl.streams import Recorder
from robossl.streams.block_stream import BlockStream
from robossl.streams.shards import shard_folder
from robossl.streams.stream_header import HEADER

_LONGEST = 100  # blocks of steps that a lane takes at most; then its episode is cut
_WAIT = 60.0  # [s] for a dying collector that still has the lock of the shard
_UNLIMITED = 1 << 62  # steps


class ShardCollector:
    """Records one shard. Attributes are as in the settings of `collector`."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Make the envs, and open the shard or create it."""
        self._settings, self._shard = settings, int(settings["shard"])
        self._envs: VectorEnv = registry.make_envs(
            settings["env"], settings["num_envs"], threads=settings["threads"], pixels=settings["pixels"]
        )
        self._stream = self._open(shard_folder(settings["folder"], self._shard))
        self._recorder = Recorder(self._envs, self._stream)

    def _seed(self, *names: str | int) -> int:
        return derive(self._settings["seed"], "shard", self._shard, *names) % 2**31

    def _open(self, folder: Path) -> BlockStream:
        """Open the shard, whose writer lock is acquired."""
        if not (folder / HEADER).is_file():
            shutil.rmtree(folder, ignore_errors=True)  # its creation was interrupted
            created = Recorder.create(
                self._envs, folder, policy=self._settings["policy"], seed=self._seed(), shard=self._shard
            )
            assert created.stream is not None
            created.stream.close()
        stream, due = BlockStream(folder), time.monotonic() + _WAIT
        while True:
            try:
                stream.acquire()
                return stream
            except UsageError:
                if time.monotonic() >= due:
                    raise
            time.sleep(0.2)

    def record(self, blocks: int) -> dict[str, Any]:
        """Record the next block, if there are fewer than `blocks`; return how many there are, and their steps."""
        if self._stream.blocks < blocks:
            self._record_block(self._stream.blocks)
        return {
            "blocks": self._stream.blocks, "steps": self._stream.transitions, "process": os.getpid()
        }  # fmt: skip

    def _record_block(self, block: int) -> None:
        """Record a block: in each lane the episodes that begin before its number of steps, all of them to their end."""
        steps = int(self._settings["block_steps"])
        make_policy = registry.policy(self._settings["policy"])
        policy = make_policy(
            self._envs.single_action_space, self._envs.num_envs, seed=self._seed("policy", block)
        )
        loop = StepLoop(self._recorder, self._seed("envs", block), reset_at_end=True)
        taken = np.zeros(self._envs.num_envs, np.int64)
        recording = np.ones(self._envs.num_envs, bool)
        self._stream.discard_block()
        for step in loop.steps(policy, _UNLIMITED):
            taken += step.real
            recording &= ~(step.done & (taken >= steps))
            if not recording.any() or taken.max() >= _LONGEST * steps:
                break
        self._recorder.finish()
        self._stream.commit_block(steps)


def collector(settings: dict[str, Any]) -> Run:
    """Return what records blocks of one shard, in a worker process.

    Args:
        settings: folder, shard, env, policy, seed, num_envs, threads, pixels, block_steps [steps of each lane], trusted
            (packages of envs that the user typed).
    """
    for env in settings["trusted"]:
        registry.trust_env(env)
    opened: list[ShardCollector] = []

    def run(job: dict[str, Any]) -> dict[str, Any]:
        try:
            if not opened:
                opened.append(ShardCollector(settings))
            return opened[0].record(int(job["blocks"]))
        except (UsageError, OperationError) as error:
            return {"error": f"shard {settings['shard']}: {error}"}

    return run
