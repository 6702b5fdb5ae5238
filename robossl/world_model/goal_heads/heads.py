"""Goal heads: networks on the latents of one version of a world model, and their files."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import load_tree, save_tree
from robossl.core.seeding import derive
from robossl.world_model.array_types import to_tensor
from robossl.world_model.networks import MLP

FILE = "goal_heads.safetensors"
MAX_STEPS = 100  # K [steps] longest distance in training
ACT_STEPS = 5  # k [steps] of the inverse policy when it acts
_HIDDEN = (256, 256, 256)  # layer widths of temporal distance and inverse policy
_READOUT_HIDDEN = (256,)
_FORMAT = 2


class GoalHeads:
    """Networks for reaching goals, fitted to the latents of one version of a world model.

    Goals (..., G) are those of the env, normalized; in an env without goals a goal is a latent, so that G = Z.

    Example:
        model = robossl.from_pretrained("reacher")
        model.goal_heads.metrics

    Attributes:
        version: Version of the world model that the heads were fitted to.
        discrete: Whether the actions are Discrete.
        has_goals: Whether goals are those of the env (`achieved_goal`, `desired_goal`); else they are latents.
        max_steps: K [steps], longest distance in training.
        metrics: Quality of the heads on held-out time steps, by name.
        networks: `readout` (z to achieved goal; only with `has_goals`), `distance`, `inverse`, and the normalizer.
    """

    def __init__(
        self,
        latent_dim: int,
        action_dim: int,
        goal_dim: int,
        has_goals: bool,
        discrete: bool,
        version: int,
        max_steps: int = MAX_STEPS,
        seed: int = 0,
    ) -> None:
        """Create heads with random weights.

        Args:
            latent_dim: Z of the world model.
            action_dim: Numbers of an encoded action.
            goal_dim: G, numbers of a goal.
            has_goals: Whether goals are those of the env.
            discrete: Whether the actions are Discrete.
            version: Version of the world model.
            max_steps: K [steps], longest distance in training.
            seed: Seed of the weights.

        Raises:
            UsageError: `max_steps` is below 1.
        """
        if max_steps < 1:
            raise UsageError(f"goal heads: expected max_steps of 1 or more, got {max_steps}")
        self.version, self.max_steps = int(version), int(max_steps)
        self.has_goals, self.discrete = bool(has_goals), bool(discrete)
        self.latent_dim, self.action_dim, self.goal_dim = int(latent_dim), int(action_dim), int(goal_dim)
        self.metrics: dict[str, float] = {}
        self._normalizer = _Normalizer(self.goal_dim)
        self.networks = nn.ModuleDict({"normalizer": self._normalizer})
        with torch.random.fork_rng(devices=[]):  # layers draw their weights from the global generator
            torch.default_generator.manual_seed(derive(seed, "goal heads", "weights"))
            if self.has_goals:
                self.networks["readout"] = MLP(self.latent_dim, _READOUT_HIDDEN, self.goal_dim, True)
            self.networks["distance"] = MLP(self.latent_dim + 2 * self.goal_dim, _HIDDEN, 1, True)
            self.networks["inverse"] = MLP(
                self.latent_dim + self.goal_dim + 2, _HIDDEN, self.action_dim, True
            )
        self.networks.eval()

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._normalizer.mean.device

    def apply(self, function: Callable[[Tensor], Tensor]) -> None:
        """Replace each tensor by `function` of it, as `nn.Module.to` does."""
        self.networks._apply(function)

    def set_normalizer(self, mean: Tensor, scale: Tensor) -> None:
        """Set mean and scale (G,) of the goals of the env."""
        self._normalizer.mean.copy_(mean)
        self._normalizer.scale.copy_(scale)

    def normalize_goal(self, goal: Any) -> Tensor:
        """Return normalized goals (..., G) of env goals (n, *shape); latents (n, Z) are returned unchanged."""
        if not self.has_goals:
            return to_tensor(goal, self.device)
        values = torch.as_tensor(np.asarray(goal, np.float64).reshape(len(goal), -1), dtype=torch.float32)
        return self._normalizer(values.to(self.device))

    def achieved(self, z: Tensor) -> Tensor:
        """Return the normalized goals (..., G) that latents (..., Z) achieve."""
        return self.networks["readout"](z) if self.has_goals else z

    def log_distance(self, z: Tensor, goal: Tensor, achieved: Tensor | None = None) -> Tensor:
        """Return log(1 + steps) (...) of the recorded behavior.

        Args:
            z: Latents (..., Z).
            goal: Normalized goals (..., G) to reach.
            achieved: `achieved(z)`, if it is known.
        """
        achieved = self.achieved(z) if achieved is None else achieved
        inputs = torch.cat([z, goal, goal - achieved.detach()], -1)
        return self.networks["distance"](inputs)[..., 0]

    def inverse(self, z: Tensor, achieved: Tensor, goal: Tensor, steps: Tensor) -> Tensor:
        """Return encoded actions (..., A), for Discrete actions logits, that lead to goals in some steps.

        Args:
            z: Latents (..., Z).
            achieved: Normalized goals (..., G) achieved now.
            goal: Normalized goals (..., G) to reach.
            steps: Number of steps (...), at least 1.
        """
        k = steps[..., None].clamp(1, self.max_steps)
        times = torch.cat([1 / k, k.log() / math.log(self.max_steps + 1)], -1)
        return self.networks["inverse"](torch.cat([z, goal - achieved, times], -1))

    def act(self, z: Tensor, achieved: Tensor, goal: Tensor) -> Tensor:
        """Return the encoded actions (..., A) of the inverse policy: in [-1, 1], or one-hot."""
        output = self.inverse(z, achieved, goal, torch.full(z.shape[:-1], float(ACT_STEPS), device=z.device))
        if self.discrete:
            return nn.functional.one_hot(output.argmax(-1), output.shape[-1]).float()
        return output.clamp(-1, 1)

    def check_version(self, version: int) -> None:
        """Raise UsageError if the heads were fitted to another version of the world model."""
        if self.version != version:
            raise UsageError(
                f"expected goal heads of version {version} of the world model, got heads of version {self.version}; "
                "fit them again with robossl.world_model.goal_heads.fit_goal_heads"
            )

    def frozen_copy(self) -> GoalHeads:
        """Return a copy without gradients."""
        frozen = copy.deepcopy(self)
        frozen.networks.requires_grad_(False)
        return frozen

    def save(self, folder: str | Path) -> None:
        """Write goal_heads.safetensors into `folder`."""
        tree = {
            "format": _FORMAT,
            "settings": self._settings(),
            "metrics": self.metrics,
            "weights": {name: value.detach().cpu() for name, value in self.networks.state_dict().items()},
        }
        save_tree(Path(folder) / FILE, tree)

    def _settings(self) -> dict[str, int]:
        names = ("latent_dim", "action_dim", "goal_dim", "has_goals", "discrete", "version", "max_steps")
        return {name: int(getattr(self, name)) for name in names}

    @classmethod
    def load(cls, folder: str | Path) -> GoalHeads | None:
        """Return the heads in `folder`, on the CPU.

        Returns:
            None if the folder holds no heads, or those of another format, which have to be fitted again.

        Raises:
            CorruptedFileError: The file is damaged.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            return None
        tree = load_tree(path)
        if not isinstance(tree, Mapping) or tree.get("format") != _FORMAT:
            return None
        try:
            settings: dict[str, Any] = {name: int(value) for name, value in tree["settings"].items()}
            heads = cls(**settings)
            weights = {name: torch.tensor(np.asarray(value)) for name, value in tree["weights"].items()}
            heads.networks.load_state_dict(weights)
            heads.metrics = {name: float(value) for name, value in tree["metrics"].items()}
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, UsageError) as error:
            raise CorruptedFileError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from error
        return heads.frozen_copy()


class _Normalizer(nn.Module):
    """Goals (..., G) to zero mean and unit variance."""

    mean: Tensor  # (G,)
    scale: Tensor  # (G,)

    def __init__(self, goal_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(goal_dim))
        self.register_buffer("scale", torch.ones(goal_dim))

    def forward(self, goal: Tensor) -> Tensor:
        return (goal - self.mean) / self.scale
