"""Execution of a gradient step: operation by operation, or as a CUDA graph.

A step of a small network launches hundreds of kernels of a few microseconds, and a launch from Python takes longer
than the kernel. A CUDA graph launches all of them at once. Windows are copied to the same GPU memory every time. The
CPU does not wait for the copies, so it draws the next window while the GPU computes.
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
from robossl.world_model.array_types import to_tensor

Step = Callable[[Any], Tensor]  # window -> losses; updates the weights
EXECUTION_MODES = ("auto", "eager", "graph")
_FIELDS = ("observation", "action", "valid")  # the fields of a window that a step reads
_WARM_UP_STEPS = 3  # before the capture: the optimizer must have allocated its state
_CPU = torch.device("cpu")


def make_train_step(mode: str, step: Step, device: torch.device, random: torch.Generator) -> Step:
    """Return `step`, or a `CudaGraphStep` of it.

    Args:
        mode: "eager"; "graph", which needs CUDA; or "auto", which is "graph" on CUDA and else "eager".
        step: One gradient step.
        device: The device of the weights.
        random: The CPU generator from which `step` may draw numbers.
    """
    if mode not in EXECUTION_MODES:
        raise UsageError(f"execution: expected one of {', '.join(EXECUTION_MODES)}, got {mode!r}")
    if mode == "graph" and device.type != "cuda":
        raise UsageError(f"execution 'graph': expected a CUDA device, got {device.type}; use 'auto'")
    if mode == "eager" or device.type != "cuda":
        return step
    return CudaGraphStep(step, device, random, partial(_capture, device))


class CudaGraphStep:
    """A gradient step that is captured at its fourth call, and again when the shapes of the windows change.

    A step that draws from the CPU generator `random`, or that cannot be captured, runs operation by operation.

    Args:
        step: One gradient step.
        device: The device of the weights.
        random: The CPU generator from which `step` may draw.
        capture: Captures a function without arguments; returns the function that replays it and the tensor of its
            result.
    """

    def __init__(
        self,
        step: Step,
        device: torch.device,
        random: torch.Generator,
        capture: Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]],
    ) -> None:
        self._step, self._device, self._random, self._capture = step, device, random, capture
        self._eager = False
        self.reset()

    def reset(self) -> None:
        """Discard the captured graph, because weights or optimizer state have moved in memory."""
        self._warm_up_steps = 0
        self._inputs: SimpleNamespace | None = None
        self.replay: Callable[[], None] | None = None  # one more step on the window in `_inputs`
        self._losses = torch.zeros(())

    def __call__(self, window: Any) -> Tensor:
        """Run one step on `window` and return a new tensor of losses."""
        source_window = _map_window(window, _to_pinned)
        if self._inputs is None or _shapes(source_window) != _shapes(self._inputs):
            self.reset()
            self._inputs = _map_window(source_window, self._allocate)
        for source, target in zip(_tensors(source_window), _tensors(self._inputs), strict=True):
            target.copy_(source, non_blocking=True)
        if self._eager or self._warm_up_steps < _WARM_UP_STEPS:
            return self._run_uncaptured()
        if self.replay is None:
            try:
                self.replay, self._losses = self._capture(lambda: self._step(self._inputs))
            except RuntimeError as error:
                self._eager = True
                reason = str(error).strip().split("\n")[0]
                warnings.warn(
                    f"the gradient step cannot be captured as a CUDA graph ({reason}); it runs operation by operation",
                    RuntimeWarning,
                    stacklevel=2,
                )
                return self._step(self._inputs)
        self.replay()
        return self._losses.clone()

    def _run_uncaptured(self) -> Tensor:
        """Run a step and switch to eager mode if it draws on the CPU, because a graph would repeat the numbers."""
        self._warm_up_steps += 1
        before = self._random.get_state()
        if self._eager:
            losses = self._step(self._inputs)
        else:
            losses = _on_side_stream(self._device, self._step, self._inputs)
        self._eager = self._eager or not torch.equal(before, self._random.get_state())
        return losses

    def _allocate(self, value: Tensor) -> Tensor:
        return torch.empty_like(value, device=self._device)


def _on_side_stream(device: torch.device, step: Step, window: Any) -> Tensor:
    """Run a step on another CUDA stream, as required for warm-up before a capture."""
    if device.type != "cuda":
        return step(window)
    main, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    side.wait_stream(main)
    with torch.cuda.stream(side):
        losses = step(window)
    main.wait_stream(side)
    losses.record_stream(main)
    return losses


def _capture(device: torch.device, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Capture a step as a CUDA graph without running it."""
    with torch.cuda.device(device):  # with several GPUs, the one of the weights
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            losses = step()
    return graph.replay, losses


def _to_pinned(value: Any) -> Tensor:
    """Return a CPU tensor, in pinned memory if there is CUDA, so that a copy to the GPU is asynchronous."""
    if isinstance(value, Tensor) and value.device.type == "cuda":  # from a ring on the GPU
        return to_tensor(value, value.device)
    value = to_tensor(value, _CPU)
    return value.pin_memory() if torch.cuda.is_available() else value


def _map_window(window: Any, function: Callable[[Any], Tensor]) -> SimpleNamespace:
    """Apply `function` to each array or tensor of the fields that a step reads."""

    def apply(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: apply(inner) for name, inner in value.items()}
        return tuple(map(apply, value)) if isinstance(value, tuple) else function(value)

    return SimpleNamespace(**{name: apply(getattr(window, name)) for name in _FIELDS})


def _tensors(window: SimpleNamespace) -> Iterator[Tensor]:
    """Yield the tensors of a window, in the same order for windows of one stream."""
    pending: list[Any] = [getattr(window, name) for name in _FIELDS]
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            yield value
        else:
            pending += value.values() if isinstance(value, dict) else value


def _shapes(window: SimpleNamespace) -> list[tuple[Any, ...]]:
    return [(*value.shape, value.dtype) for value in _tensors(window)]
