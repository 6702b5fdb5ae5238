"""How a gradient step runs on its device: operation by operation, or recorded once and played back.

A step of a small network is hundreds of kernels of a few microseconds, and launching each from Python takes longer than
running it. A CUDA graph launches them all at once. Windows are put into the same memory every time, by copies that the
CPU does not wait for, so that it draws the next window while the GPU computes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.world_model.array_types import tensor

Step = Callable[[Any], Tensor]  # window -> losses, having moved the weights
KINDS = ("auto", "eager", "graph")
_FIELDS = ("observation", "action", "valid")  # what a step reads of a window
_WARM_UP = 3  # steps before the recording: by then all memory of the optimiser is there
_CPU = torch.device("cpu")


def make_train_step(kind: str, step: Step, device: torch.device, random: torch.Generator) -> Step:
    """`step` as it is, or recorded where that is asked for and on CUDA; `auto` records on CUDA."""
    if kind not in KINDS:
        raise UsageError(f"stepping is {kind!r}; there are: {', '.join(KINDS)}")
    if kind == "graph" and device.type != "cuda":
        raise UsageError(f"stepping 'graph' needs a CUDA device; this is {device.type}")
    if kind == "eager" or device.type != "cuda":
        return step
    return CudaGraphStep(step, device, random, partial(_record, device))


class CudaGraphStep:
    """A step that is recorded at its fourth call, and anew where windows of other shapes come.

    A step that draws from `random`, which is on the CPU, or that cannot be recorded goes on operation by operation.
    """

    def __init__(
        self,
        step: Step,
        device: torch.device,
        random: torch.Generator,
        record: Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]],
    ) -> None:
        """`record` gives what plays a recording of its argument back, and the tensor it writes its result to."""
        self._step, self._device, self._random, self._record = step, device, random, record
        self._eager = False
        self.reset()

    def reset(self) -> None:
        """Record anew: weights or optimiser are no longer where they were."""
        self._taken = 0  # steps of the warm-up
        self._inputs: SimpleNamespace | None = None
        self.replay: Callable[[], None] | None = None  # one more step with the window that lies there
        self._losses = torch.zeros(())

    def __call__(self, window: Any) -> Tensor:
        """One step; the losses are a tensor of their own."""
        given = _each(window, _host)
        if self._inputs is None or _shapes(given) != _shapes(self._inputs):
            self.reset()
            self._inputs = _each(given, self._empty)
        for source, target in zip(_leaves(given), _leaves(self._inputs), strict=True):
            target.copy_(source, non_blocking=True)
        if self._eager or self._taken < _WARM_UP:
            return self._first()
        if self.replay is None:
            try:
                self.replay, self._losses = self._record(lambda: self._step(self._inputs))
            except RuntimeError as error:
                self._eager = True
                reason = str(error).strip().split("\n")[0]
                warnings.warn(
                    f"the gradient step could not be recorded ({reason}); it goes on operation by operation",
                    RuntimeWarning,
                    stacklevel=2,
                )
                return self._step(self._inputs)
        self.replay()
        return self._losses.clone()

    def _first(self) -> Tensor:
        """A step as it is; the first ones show whether it draws on the CPU, which a recording would repeat."""
        self._taken += 1
        before = self._random.get_state()
        losses = self._step(self._inputs) if self._eager else _aside(self._device, self._step, self._inputs)
        self._eager = self._eager or not torch.equal(before, self._random.get_state())
        return losses

    def _empty(self, value: Tensor) -> Tensor:
        return torch.empty_like(value, device=self._device)


def _aside(device: torch.device, step: Step, window: Any) -> Tensor:
    """A step on a stream of its own, as what comes before a recording has to be."""
    if device.type != "cuda":
        return step(window)
    usual, aside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    aside.wait_stream(usual)
    with torch.cuda.stream(aside):
        losses = step(window)
    usual.wait_stream(aside)
    losses.record_stream(usual)
    return losses


def _record(device: torch.device, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """A CUDA graph of the step, which is not taken yet."""
    with torch.cuda.device(device):  # the one that is captured on, if there are several
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            losses = step()
    return graph.replay, losses


def _host(value: Any) -> Tensor:
    """On the CPU, in memory from which a copy to the GPU need not be waited for."""
    found = tensor(value, _CPU)
    return found.pin_memory() if torch.cuda.is_available() else found


def _each(window: Any, change: Callable[[Any], Tensor]) -> SimpleNamespace:
    """What a step reads of a window, each array or tensor of it changed."""

    def inside(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: inside(inner) for name, inner in value.items()}
        return tuple(map(inside, value)) if isinstance(value, tuple) else change(value)

    return SimpleNamespace(**{name: inside(getattr(window, name)) for name in _FIELDS})


def _leaves(window: SimpleNamespace) -> Iterator[Tensor]:
    """The tensors of a window, in the same order for windows of one stream."""
    waiting: list[Any] = [getattr(window, name) for name in _FIELDS]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        else:
            waiting += value.values() if isinstance(value, dict) else value


def _shapes(window: SimpleNamespace) -> list[tuple[Any, ...]]:
    return [(*leaf.shape, leaf.dtype) for leaf in _leaves(window)]
