"""The step of a batch, from actions to observations and resets; on a GPU one CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from gymnasium.vector import AutoresetMode

from robossl.core.errors import one_line

from .warp_modules import load_warp, warp_stream
from .warp_simulation import Tensors, WarpSimulation

_logger = logging.getLogger(__name__)


class BatchStep:
    """Steps all sub-environments, and starts new episodes, depending on the autoreset mode."""

    def __init__(self, simulation: WarpSimulation, autoreset_mode: AutoresetMode, uses_graph: bool) -> None:
        """Use a simulation.

        Args:
            simulation: The simulation.
            autoreset_mode: When episodes that ended start again.
            uses_graph: Capture the first step as a CUDA graph, which all later steps repeat.
        """
        self.simulation, self.autoreset_mode, self.uses_graph = simulation, autoreset_mode, uses_graph
        shape = (len(simulation.ended), simulation.action_dim)
        self._action = torch.zeros(shape, device=simulation.device)
        self._graph: tuple[Any, Tensors] | None = None

    def run(self, action: torch.Tensor) -> Tensors:
        """Return the results of a step with actions (n, A), as new tensors.

        Returns:
            The results of `WarpSimulation.step`, with "observation" after the resets; in SAME_STEP mode also "final",
            the observation before them, and "ended". `tree_of` returns an observation of several parts.
        """
        self._action.copy_(action)
        if self.uses_graph and self._graph is None:
            self._capture()
        if self._graph is None:
            return self._step()
        graph, outputs = self._graph
        graph.replay()
        return {name: value.clone() for name, value in outputs.items()}

    def _capture(self) -> None:
        """Capture the step as a CUDA graph; the state is then as before."""
        saved = [(tensor, tensor.clone()) for tensor in self.simulation.changing()]
        try:
            self._graph = capture(self._step, self.simulation.device)
        except RuntimeError as error:
            self.uses_graph = False
            reason = one_line(error)
            _logger.warning(
                "the step cannot be captured as a CUDA graph (%s); it runs kernel by kernel", reason
            )
        for tensor, copied in saved:
            tensor.copy_(copied)
        self.simulation.refresh()

    def _step(self) -> Tensors:
        """Step and reset; the observations are parts of the result, by name."""
        simulation = self.simulation
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            resets = self.autoreset_mode is AutoresetMode.NEXT_STEP
            result = simulation.step(self._action, simulation.ended.clone() if resets else None)
            return result | _named("observation", simulation.observation())
        result = simulation.step(self._action, None)
        result |= _named("final", simulation.observation())
        if simulation.with_privileged:
            result |= _named("privileged", simulation.privileged_state())
            result["final_physics"] = simulation.physics_state()
        ended = simulation.ended.clone()
        result["ended"] = ended
        simulation.reset(ended)
        success = simulation.success()
        if success is not None:
            result["success_after_reset"] = success
        return result | _named("observation", simulation.observation())


def capture(work: Callable[[], Tensors], device: torch.device) -> tuple[Any, Tensors]:
    """Capture work on a CUDA device as a graph, after two runs outside; return it and the tensors it writes.

    Kernels of Warp are launched on the stream that torch captures, so that both are in one graph.
    """
    warp, _ = load_warp()
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(2):
            work()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # the mode of Warp
        stream = warp_stream(device)
        warp.capture_begin(stream=stream, external=True)
        try:
            outputs = work()
        finally:
            warp.capture_end(stream=stream)
    return graph, outputs


def _named(name: str, tree: Any) -> Tensors:
    """Return an observation as named tensors of one dict."""
    if isinstance(tree, dict):
        return {f"{name}.{key}": value for key, value in tree.items()}
    return {name: tree}


def tree_of(tensors: Tensors, name: str) -> Any:
    """Return the observation of `_named`."""
    if name in tensors:
        return tensors[name]
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
