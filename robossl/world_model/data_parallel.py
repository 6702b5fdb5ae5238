"""Training of one world model by several processes that `torchrun` started, each with a share of every batch.

Each process encodes its share of the windows; the latents of all shares are gathered, and each process computes the
losses of the joined batch. So every objective, also one over the whole batch, has the value and the gradient of one
process with the joined batch, within float rounding. Images are encoded by convolutions, which take most of the time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from robossl.core import interrupts
from robossl.core.errors import OperationError, UsageError
from robossl.world_model.networks import ImagePair

_NORMS = (nn.modules.batchnorm._BatchNorm,)  # their statistics would be those of a share


def process_count() -> int:
    """Return how many processes `torchrun` has started together; 1 without it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 1
    return int(os.environ.get("WORLD_SIZE", "1"))


class ProcessGroup:
    """The processes that train one model; only the one of rank 0 writes files.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes W.
        processes_here: Number of them on this machine.
    """

    def __init__(self, device: str) -> None:
        """Meet the other processes.

        Args:
            device: auto, cpu, cuda or mps; each process takes its own GPU.

        Raises:
            UsageError: There are more processes than GPUs on this machine.
            OperationError: Another process has not come.
        """
        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.processes_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
        if on_gpu:
            if local_rank >= torch.cuda.device_count():
                raise UsageError(
                    f"torchrun: expected at most {torch.cuda.device_count()} processes, one for each GPU of this "
                    f"machine, got {self.processes_here}"
                )
            torch.cuda.set_device(local_rank)
        with self._peers():
            dist.init_process_group("nccl" if on_gpu else "gloo")

    @contextlib.contextmanager
    def _peers(self) -> Iterator[None]:
        """Turn the failure of a joint operation into one line."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            interrupts.check()
            raise OperationError(
                f"process {self.rank} of {self.size} ends, because another process of this training has "
                "ended; start all again with --resume"
            ) from error

    def check(self, model: nn.Module, batch_size: int) -> None:
        """Raise UsageError unless batches can be divided among the processes."""
        if batch_size % self.size:
            raise UsageError(
                f"torchrun: expected a number of processes that divides world_model.batch_size={batch_size}, got "
                f"{self.size}"
            )
        if any(isinstance(module, _NORMS) for module in model.modules()):
            raise UsageError(
                "torchrun: expected an encoder without batch normalization, whose statistics would be those of a share "
                "of the batch, got one with it"
            )

    def wait(self) -> None:
        """Wait until all processes have come here."""
        with self._peers():
            dist.barrier()

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copy tensors of rank 0 to all processes."""
        with self._peers():
            for tensor in tensors:
                dist.broadcast(tensor.data, 0)

    def encode(self, encoder: nn.Module, vector: Tensor | None, images: dict[str, ImagePair]) -> Tensor:
        """Return the latents (B, T, Z) of a joined batch, of which this process encodes its share."""
        count = len(vector if vector is not None else next(iter(images.values()))[0])
        share = count // self.size
        own = slice(self.rank * share, (self.rank + 1) * share)
        z = encoder(
            None if vector is None else vector[own],
            {path: (now[own], before[own]) for path, (now, before) in images.items()},
        )
        return _Gather.apply(z, self)

    def gather(self, share: Tensor) -> Tensor:
        """Return the rows (W*B, ...) of all processes in order."""
        parts = [torch.empty_like(share) for _ in range(self.size)]
        with self._peers():
            dist.all_gather(parts, share.contiguous())
        return torch.cat(parts)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their means over the processes."""
        found = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in found])
        with self._peers():
            dist.all_reduce(flat)
        flat /= self.size
        for gradient, values in zip(found, flat.split([g.numel() for g in found])):
            gradient.copy_(values.view_as(gradient))

    def leave(self) -> None:
        """End the group; this process works alone from now on."""
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    """Rows of all processes. The gradient of the own rows is multiplied by the number of processes.

    Each process computes the loss of all rows, and gradients are then averaged: the mean over processes of W times the
    part that went through the own rows is the whole gradient.
    """

    @staticmethod
    def forward(ctx: Any, share: Tensor, group: ProcessGroup) -> Tensor:  # type: ignore[override]
        ctx.rank, ctx.size, ctx.count = group.rank, group.size, len(share)
        return group.gather(share)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.size * gradient[ctx.rank * ctx.count : (ctx.rank + 1) * ctx.count], None
