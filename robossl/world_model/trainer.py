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
        self.model = model.to(resolve(device))
        self.online = copy.deepcopy(self.model).requires_grad_().train()
        self.stream, self.seed = stream, int(seed)
        data_validation.check_spaces_match(model, stream.observation_space, stream.action_space, "the stream")
        self.config = config or model.config
        chosen = self.config.weights()
        if lacking := sorted(name for name in chosen if objective(name).build and name not in model.heads):
            raise UsageError(f"the model was made without the objectives {', '.join(lacking)}")
        self.objectives = {name: objective(name) for name in chosen}
        weights = {n: self.objectives[n].weight if w is None else w for n, w in chosen.items()}
        self.balance = LossBalancer(self.objectives, weights, model.device)
        self.optimiser = torch.optim.AdamW(
            self.online.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=model.device.type in ("cpu", "cuda"),
            capturable=model.device.type == "cuda",
        )
        apart = [[*self.online.heads[n].parameters()] for n, o in self.objectives.items() if o.apart]
        alone = {id(parameter) for head in apart for parameter in head}
        together = [parameter for parameter in self.online.parameters() if id(parameter) not in alone]
        self.clipped = [together, *apart]  # each by a norm of its own
        self.sampler = generator(seed, "world", "windows")
        self.random = torch.Generator().manual_seed(derive(seed, "world", "objectives"))
        self.half = (
            self.model.device.type == "cuda"
        )  # products in 16 bits; norms, errors and weights stay in 32
        self.take = make_train_step(stepping, self._descend, self.model.device, self.random)
        self.updates = 0
        self.fitted = model.version > 0  # a published model keeps the statistics it was trained with

    def update(self, n: int = 1) -> dict[str, float]:
        """`n` gradient steps; the mean losses. `WorkError` where one stops being a number."""
        if not self.fitted:
            data_validation.check_training_data(self.model, self.stream, self.objectives, self.seed)
            normalizer.fit_normalizer(self.model.observations, self.stream, self.seed)
            self.online.observations.load_state_dict(self.model.observations.state_dict())
            self.fitted = True
        history = [self._step() for _ in range(n)]
        means = torch.stack(history).mean(0).tolist() if history else []
        if not np.all(np.isfinite(means)):
            raise OperationError(
                f"the world model's loss stopped being a number within {n} updates before {self.updates}"
            )
        return dict(zip(("loss", *self.objectives), means))

    def _step(self) -> torch.Tensor:
        """One gradient step; [1 + objectives] losses, still on the device."""
        length = self.config.rollout + bool(self.model.observations.images)
        window = self.stream.windows(self.config.batch, length, self.sampler, split="train")
        data_validation.check_finite(window, self.stream.observation_space)
        losses = self.take(window)
        self.updates += 1
        ema.update_ema(self.model, self.online, self.updates)
        return losses

    def _descend(self, window: Any) -> torch.Tensor:
        """Move the weights; waits for nothing, so that it can be recorded."""
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.half, cache_enabled=False):
            batch = encode_windows(self.online, window, self.random, self.config.shift)
            losses = {name: chosen.loss(batch).float() for name, chosen in self.objectives.items()}
        total = self.balance.total(losses)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        for parameters in self.clipped:
            torch.nn.utils.clip_grad_norm_(parameters, self.config.clip)
        self.optimiser.step()
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
        self.model.version += 1
        self.model.facts.update(updates=self.updates, transitions=int(self.stream.transitions))
        return self.model.frozen_copy()

    def health(self) -> dict[str, Any]:
        """Figures of `robossl.world_model.diagnostics.examine`; they also go on the model's card."""
        found = diagnostics.compute_diagnostics(self.model, self.stream, self.seed)
        self.model.facts.update(found, updates=self.updates)
        return found

    def get_checkpoint(self) -> dict[str, Any]:
        """Weights, optimiser, generators and counters, as a tree for `core.files.save_tree`."""
        return {
            "weights": {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()},
            "online": {k: v.detach().cpu().clone() for k, v in self.online.state_dict().items()},
            "optimiser": {
                i: {k: v.detach().cpu().clone() for k, v in state.items()}
                for i, state in self.optimiser.state_dict()["state"].items()
            },
            "unexplained": self.balance.unexplained.detach().cpu().clone(),
            "sampler": generator_state(self.sampler),
            "random": self.random.get_state(),
            "updates": self.updates,
            "fitted": self.fitted,
            "version": self.model.version,
            "facts": dict(self.model.facts),
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was; `RequestError` where the tree belongs to another model."""
        for model, weights in (
            (self.model, tree["weights"]),
            (self.online, tree.get("online", tree["weights"])),  # of before they were averaged
        ):
            model_files.load_arrays_strict(
                model, {k: np.asarray(v) for k, v in weights.items()}, "the checkpoint"
            )
        state = {
            i: {k: torch.tensor(np.asarray(v)) for k, v in s.items()} for i, s in tree["optimiser"].items()
        }
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        self.balance.unexplained.copy_(torch.tensor(np.asarray(tree["unexplained"])))
        if isinstance(self.take, CudaGraphStep):
            self.take.forget()
        restore_generator(self.sampler, tree["sampler"])
        self.random.set_state(torch.tensor(np.asarray(tree["random"]), dtype=torch.uint8))
        self.updates, self.fitted = int(tree["updates"]), bool(tree["fitted"])
        self.model.version, self.model.facts = int(tree["version"]), dict(tree["facts"])
