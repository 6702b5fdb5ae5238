"""What makes a world model better: windows of the stream in, gradient steps, versions out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.core.seeding import derive, generator, generator_state, restore_generator
from robossl.world_model import data_validation, diagnostics, ema, model_files, normalizer
from robossl.world_model.config import WorldModelConfig
from robossl.world_model.cuda_graph import CudaGraphStep, make_train_step
from robossl.world_model.device import resolve
from robossl.world_model.encoded_batch import encode_windows
from robossl.world_model.loss_balancer import LossBalancer
from robossl.world_model.model import WorldModel
from robossl.world_model.objectives import objective

_PAUSE = 10  # [updates] between two words to the progress


class WorldModelTrainer:
    """Trains `model` on the train split of `stream`: on observations, actions and `valid`, never on a reward.

    The gradient steps are taken by a copy, `online`; `model` is the running average of its weights, at any moment.
    Everything random comes from `seed`. On the CPU, the same seed and stream give the same bits, and
    so does a learner that was checkpointed and restored on the way.
    """

    def __init__(
        self,
        model: WorldModel,
        stream: Any,
        seed: int = 0,
        config: WorldModelConfig | None = None,
        device: str | torch.device = "auto",
        stepping: str = "auto",
    ) -> None:
        """`config` may differ from the model's in how to learn, not in what the model is made of.

        The head of an objective that it leaves out stays as it is; without `error` so does that part of `uncertainty`.

        `stepping`: a gradient step runs `eager`, operation by operation, or as a recorded `graph`, which
        `auto` takes on CUDA.
        """
        self.ema_model = model.to(resolve(device))
        self.model = copy.deepcopy(self.ema_model).requires_grad_().train()
        self.stream, self.seed = stream, int(seed)
        data_validation.check_spaces_match(model, stream.observation_space, stream.action_space, "the stream")
        self.config = config or model.config
        chosen = self.config.weights()
        if lacking := sorted(
            name for name in chosen if objective(name).make_head and name not in model.heads
        ):
            raise UsageError(f"the model was made without the objectives {', '.join(lacking)}")
        self.objectives = {name: objective(name) for name in chosen}
        weights = {n: self.objectives[n].weight if w is None else w for n, w in chosen.items()}
        self.loss_balancer = LossBalancer(self.objectives, weights, model.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=model.device.type in ("cpu", "cuda"),
            capturable=model.device.type == "cuda",
        )
        apart = [[*self.model.heads[n].parameters()] for n, o in self.objectives.items() if o.detached]
        alone = {id(parameter) for head in apart for parameter in head}
        together = [parameter for parameter in self.model.parameters() if id(parameter) not in alone]
        self.clipped = [together, *apart]  # each by a norm of its own
        self.sampler = generator(seed, "world", "windows")
        self.random = torch.Generator().manual_seed(derive(seed, "world", "objectives"))
        self.use_bf16 = (
            self.ema_model.device.type == "cuda"
        )  # products in 16 bits; norms, errors and weights stay in 32
        self._train_step = make_train_step(stepping, self._gradient_step, self.ema_model.device, self.random)
        self.updates = 0
        self.normalizer_fitted = (
            model.version > 0
        )  # a published model keeps the statistics it was trained with

    def update(self, n: int = 1) -> dict[str, float]:
        """`n` gradient steps; the mean losses. `WorkError` where one stops being a number."""
        if not self.normalizer_fitted:
            data_validation.check_training_data(self.ema_model, self.stream, self.objectives, self.seed)
            normalizer.fit_normalizer(self.ema_model.observations, self.stream, self.seed)
            self.model.observations.load_state_dict(self.ema_model.observations.state_dict())
            self.normalizer_fitted = True
        history = [self._step() for _ in range(n)]
        means = torch.stack(history).mean(0).tolist() if history else []
        if not np.all(np.isfinite(means)):
            raise OperationError(
                f"the world model's loss stopped being a number within {n} updates before {self.updates}"
            )
        return dict(zip(("loss", *self.objectives), means))

    def _step(self) -> torch.Tensor:
        """One gradient step; [1 + objectives] losses, still on the device."""
        length = self.config.unroll_steps + bool(self.ema_model.observations.images)
        window = self.stream.windows(self.config.batch_size, length, self.sampler, split="train")
        data_validation.check_finite(window, self.stream.observation_space)
        losses = self._train_step(window)
        self.updates += 1
        ema.update_ema(self.ema_model, self.model, self.updates)
        return losses

    def _gradient_step(self, window: Any) -> torch.Tensor:
        """Move the weights; waits for nothing, so that it can be recorded."""
        with torch.autocast(
            self.ema_model.device.type, torch.bfloat16, enabled=self.use_bf16, cache_enabled=False
        ):
            batch = encode_windows(self.model, window, self.random, self.config.random_shift)
            losses = {name: chosen.loss(batch).float() for name, chosen in self.objectives.items()}
        total = self.loss_balancer.total(losses)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        for parameters in self.clipped:
            torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        self.optimizer.step()
        return torch.stack([total, *losses.values()]).detach()

    def run(
        self,
        updates: int,
        progress: ProgressReporter | None = None,
        checkpoint: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """`updates` gradient steps; every few of them `progress` is told and `checkpoint` called."""
        progress, losses = progress or NullProgress(), {}
        for done in range(0, updates, _PAUSE):
            count = min(_PAUSE, updates - done)
            losses = self.update(count)
            progress.update(count, **losses)
            if checkpoint is not None:
                checkpoint()
        return losses

    def publish(self) -> WorldModel:
        """The next version of the representation: a frozen copy of the model as it is now."""
        self.ema_model.version += 1
        self.ema_model.metadata.update(updates=self.updates, transitions=int(self.stream.transitions))
        return self.ema_model.frozen_copy()

    def health(self) -> dict[str, Any]:
        """Figures of `robossl.world_model.diagnostics.examine`; they also go on the model's card."""
        found = diagnostics.compute_diagnostics(self.ema_model, self.stream, self.seed)
        self.ema_model.metadata.update(found, updates=self.updates)
        return found

    def get_checkpoint(self) -> dict[str, Any]:
        """Weights, optimizer, generators and counters, as a tree for `core.files.save_tree`."""
        return {
            "weights": {k: v.detach().cpu().clone() for k, v in self.ema_model.state_dict().items()},
            "online": {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()},
            "optimizer": {
                i: {k: v.detach().cpu().clone() for k, v in state.items()}
                for i, state in self.optimizer.state_dict()["state"].items()
            },
            "inverse_error_ema": self.loss_balancer.inverse_error_ema.detach().cpu().clone(),
            "sampler": generator_state(self.sampler),
            "random": self.random.get_state(),
            "updates": self.updates,
            "fitted": self.normalizer_fitted,
            "version": self.ema_model.version,
            "facts": dict(self.ema_model.metadata),
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was; `RequestError` where the tree belongs to another model."""
        for model, weights in (
            (self.ema_model, tree["weights"]),
            (self.model, tree.get("online", tree["weights"])),  # of before they were averaged
        ):
            model_files.load_arrays_strict(
                model, {k: np.asarray(v) for k, v in weights.items()}, "the checkpoint"
            )
        state = {
            i: {k: torch.tensor(np.asarray(v)) for k, v in s.items()} for i, s in tree["optimizer"].items()
        }
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.loss_balancer.inverse_error_ema.copy_(torch.tensor(np.asarray(tree["inverse_error_ema"])))
        if isinstance(self._train_step, CudaGraphStep):
            self._train_step.reset()
        restore_generator(self.sampler, tree["sampler"])
        self.random.set_state(torch.tensor(np.asarray(tree["random"]), dtype=torch.uint8))
        self.updates, self.normalizer_fitted = int(tree["updates"]), bool(tree["fitted"])
        self.ema_model.version, self.ema_model.metadata = int(tree["version"]), dict(tree["facts"])
