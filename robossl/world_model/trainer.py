"""Training of a world model: windows of a stream, gradient steps, averaged weights, published versions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.core.seeding import derive, generator, generator_state, restore_generator
from robossl.streams import Stream, Window
from robossl.streams.sampling import Sampler
from robossl.world_model import data_validation, model_files
from robossl.world_model.config import WorldModelConfig
from robossl.world_model.cuda_graph import CudaGraphStep, make_train_step
from robossl.world_model.data_parallel import ProcessGroup
from robossl.world_model.device import resolve
from robossl.world_model.device_ring import DeviceRing
from robossl.world_model.diagnostics import compute_diagnostics
from robossl.world_model.encoded_batch import encode_windows
from robossl.world_model.loss_balancer import LossBalancer
from robossl.world_model.model import WorldModel
from robossl.world_model.objectives import objective
from robossl.world_model.observation_processor import fit_normalizer
from robossl.world_model.pca import fit_pca

_REPORT_EVERY = 10  # [updates]
_EMA_UPDATES = 100  # [updates] length of the moving average of the weights


class WorldModelTrainer:
    """Training on observations and actions of the train split of a stream; rewards are not used.

    `model` is trained by gradient steps. `ema_model` is the exponential moving average (EMA) of its weights, and the
    model to use: with a constant learning rate SGD noise keeps the heads different, so their raw disagreement measures
    optimizer noise, not model uncertainty; averaging removes the noise (Polyak and Juditsky, 1992).

    On a CPU the same seed and stream give bit-identical weights, also across `get_checkpoint` and `set_checkpoint`.

    Example:
        trainer = robossl.world_model.WorldModelTrainer(model, stream, seed=0)
        metrics = trainer.update(500)
        trainer.ema_model.save("models/reacher")

    Args:
        model: The initial weights. It becomes `ema_model` and is updated in place.
        stream: The training data.
        seed: Seed of the windows and of random numbers in objectives.
        config: Training settings; by default those of the model. Sizes must agree with the model. Heads of omitted
            objectives are not trained; without `error_prediction`, `uncertainty` keeps its old error estimate.
        device: Device of the training.
        execution: "eager" runs operation by operation, "graph" as a CUDA graph; "auto" selects "graph" on CUDA.
        group: Processes that train the same model with the same arguments, each with a share of every batch.

    Raises:
        UsageError: The stream or the objectives do not fit the model.
    """

    def __init__(
        self,
        model: WorldModel,
        stream: Stream,
        seed: int = 0,
        config: WorldModelConfig | None = None,
        device: str | torch.device = "auto",
        execution: str = "auto",
        group: ProcessGroup | None = None,
    ) -> None:
        self.ema_model = model.to(resolve(device))
        self.model = self.ema_model.trainable_copy()
        self.stream, self.seed = stream, int(seed)
        data_validation.check_spaces_match(model, stream.observation_space, stream.action_space, "the stream")
        self.config = config or model.config
        self.group = group
        if group is not None:
            group.check(model, self.config.batch_size)
            execution = "eager"  # joint operations are not captured
        weights = self.config.weights()
        self.objectives = {name: objective(name) for name in weights}
        missing = sorted(n for n, o in self.objectives.items() if o.make_head and n not in model.heads)
        if missing:
            raise UsageError(
                f"expected a model with heads for {', '.join(missing)}, got heads for "
                f"{', '.join(model.heads) or 'none'}; create the model with these objectives"
            )
        resolved = {n: self.objectives[n].weight if w is None else w for n, w in weights.items()}
        self.loss_balancer = LossBalancer(self.objectives, resolved, model.device)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameters,
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=model.device.type in ("cpu", "cuda"),
            capturable=model.device.type == "cuda",
        )
        detached = [[*self.model.heads[n].parameters()] for n, o in self.objectives.items() if o.detached]
        detached_ids = {id(parameter) for head in detached for parameter in head}
        shared = [parameter for parameter in parameters if id(parameter) not in detached_ids]
        self.clip_groups = [shared, *detached]  # each is clipped by its own norm
        self.window_rng = generator(seed, "world", "windows")
        self.sampler: Sampler | None = None  # of the windows; None: uniform
        self.window_source: DeviceRing | None = None  # of the windows in place of the stream
        # held while windows are read; one lock for trainers in several threads that share a stream
        self.window_lock: AbstractContextManager[Any] = nullcontext()
        self.random = torch.Generator().manual_seed(derive(seed, "world", "objectives"))
        # for matrix products only; norms, errors and weights are float32
        self.use_bf16 = model.device.type == "cuda"
        self._train_step = make_train_step(execution, self._gradient_step, model.device, self.random)
        self.updates = 0
        self.normalizer_fitted = model.version > 0  # a published model keeps its statistics

    def update(self, count: int = 1) -> dict[str, float]:
        """Run gradient steps.

        Args:
            count: Number of gradient steps.

        Returns:
            The mean of each loss over these steps: the total as `loss`, and each objective by name.

        Raises:
            UsageError: The training data are invalid, see `check_training_data`.
            OperationError: A loss is not finite.
        """
        self.prepare()
        if count:
            self.ema_model.goal_heads = None  # they belong to the weights before these updates
        history = [self._update_once() for _ in range(count)]
        means = torch.stack(history).mean(0).tolist() if history else []
        check_losses(means, count, self.updates)
        return dict(zip(("loss", *self.objectives), means))

    def prepare(self) -> None:
        """Check the training data and fit the normalizer of the observations, unless that is done already.

        Raises:
            UsageError: The training data are invalid, see `check_training_data`.
        """
        if self.normalizer_fitted:
            return
        with self.window_lock:
            data_validation.check_training_data(self.ema_model, self.stream, self.objectives, self.seed)
            fit_normalizer(self.ema_model.observation_processor, self.stream, self.seed)
            statistics = self.ema_model.observation_processor.state_dict()
            self.model.observation_processor.load_state_dict(statistics)
            if self.ema_model.config.encoder == "pca":
                fit_pca(self.ema_model, self.stream, self.seed)
                self.model.encoder.load_state_dict(self.ema_model.encoder.state_dict())
            self.normalizer_fitted = True

    def draw_window(self) -> Window:
        """Return the windows of the next gradient step."""
        length = self.ema_model.training_window
        if self.window_source is not None:
            return self.window_source.windows(self.config.batch_size, length, self.window_rng)
        with self.window_lock:
            window = self.stream.windows(
                self.config.batch_size, length, self.window_rng, split="train", sampler=self.sampler
            )
        data_validation.check_finite(window, self.stream.observation_space)
        return window

    def _update_once(self) -> torch.Tensor:
        """Run one gradient step and return the losses (1 + objectives,), still on the device."""
        losses = self._train_step(self.draw_window())
        self.updates += 1
        update_ema(self.ema_model, self.model, self.updates)
        return losses

    def _gradient_step(self, window: Window) -> torch.Tensor:
        """Update the weights without waiting for the device, so that the step can be captured as a CUDA graph."""
        with torch.autocast(
            self.ema_model.device.type, torch.bfloat16, enabled=self.use_bf16, cache_enabled=False
        ):
            encode = None if self.group is None else self.group.encode
            batch = encode_windows(
                self.model, window, self.random, self.config.random_shift, self.config.shuffle_time, encode
            )
            detached = dataclasses.replace(batch, z=batch.z.detach())
            losses = {
                name: entry.loss(batch if self.config.trains_encoder(name) else detached).float()
                for name, entry in self.objectives.items()
            }
        total = self.loss_balancer.total(losses)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        if self.group is not None:
            self.group.average_gradients(self.model.parameters())
        for parameters in self.clip_groups:
            torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        self.optimizer.step()
        return torch.stack([total, *losses.values()]).detach()

    def run(
        self,
        updates: int,
        progress: ProgressReporter | None = None,
        checkpoint: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """Run gradient steps with progress reports.

        Args:
            updates: Number of gradient steps.
            progress: Receives the count and the losses every 10 updates.
            checkpoint: Called every 10 updates.

        Returns:
            The mean losses of the last updates.
        """
        progress, losses = progress or NullProgress(), {}
        for done in range(0, updates, _REPORT_EVERY):
            count = min(_REPORT_EVERY, updates - done)
            losses = self.update(count)
            progress.update(count, **losses)
            if checkpoint is not None:
                checkpoint()
        return losses

    def publish(self) -> WorldModel:
        """Return the next version of the representation: a frozen copy of `ema_model`."""
        self.ema_model.version += 1
        self.ema_model.metadata.update(updates=self.updates, transitions=int(self.stream.transitions))
        return self.ema_model.frozen_copy()

    def diagnose(self) -> dict[str, Any]:
        """Compute the diagnostics of `ema_model`, store them in its metadata for the model card, and return them."""
        diagnostics = compute_diagnostics(self.ema_model, self.stream, self.seed)
        self.ema_model.metadata.update(diagnostics, updates=self.updates)
        return diagnostics

    def get_checkpoint(self) -> dict[str, Any]:
        """Return weights, optimizer state, generators and counters, as a tree for `core.io.save_tree`."""
        return {
            "ema_model": _cpu_state(self.ema_model),
            "model": _cpu_state(self.model),
            "optimizer": {
                index: {k: v.detach().cpu().clone() for k, v in state.items()}
                for index, state in self.optimizer.state_dict()["state"].items()
            },
            "inverse_error_ema": self.loss_balancer.inverse_error_ema.detach().cpu().clone(),
            "sampler": generator_state(self.window_rng),
            "random": self.random.get_state(),
            "updates": self.updates,
            "normalizer_fitted": self.normalizer_fitted,
            "version": self.ema_model.version,
            "metadata": dict(self.ema_model.metadata),
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Restore what `get_checkpoint` returned; UsageError if it belongs to another model."""
        for name, model in (("ema_model", self.ema_model), ("model", self.model)):
            arrays = {k: np.asarray(v) for k, v in tree[name].items()}
            model_files.load_arrays_strict(model, arrays, "the checkpoint")
        state = {
            index: {k: torch.tensor(np.asarray(v)) for k, v in values.items()}
            for index, values in tree["optimizer"].items()
        }
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.loss_balancer.inverse_error_ema.copy_(torch.tensor(np.asarray(tree["inverse_error_ema"])))
        if isinstance(self._train_step, CudaGraphStep):
            self._train_step.reset()
        restore_generator(self.window_rng, tree["sampler"])
        self.random.set_state(torch.tensor(np.asarray(tree["random"]), dtype=torch.uint8))
        self.updates, self.normalizer_fitted = int(tree["updates"]), bool(tree["normalizer_fitted"])
        self.ema_model.version, self.ema_model.metadata = int(tree["version"]), dict(tree["metadata"])


def check_losses(losses: Sequence[float], count: int, updates: int, where: str = "") -> None:
    """Raise OperationError unless the mean losses over the `count` updates before `updates` are finite."""
    if not np.all(np.isfinite(losses)):
        raise OperationError(
            f"the loss of the world model{where} is not finite within the {count} updates before update {updates}; "
            "reduce world_model.learning_rate or check the observations"
        )


@torch.no_grad()
def update_ema(average: nn.Module, model: nn.Module, updates: int) -> None:
    """Move the weights of `average` toward those of `model`.

    Args:
        average: The averaged model. Its encoder's buffers (statistics of a BatchNorm) are copied from `model`.
        model: The trained model.
        updates: Gradient steps so far. The average is shorter in the first steps.
    """
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), ema_weight(updates))
    encoders = (module.get_submodule("encoder") for module in (average, model))
    for target, source in zip(*(encoder.buffers() for encoder in encoders)):
        target.copy_(source)


def ema_weight(updates: int) -> float:
    """Return the weight of the trained model in its average at the `updates`-th gradient step."""
    return max(1 / _EMA_UPDATES, 9 / (9 + updates))


def _cpu_state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
