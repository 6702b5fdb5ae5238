"""Image observations by the ray tracer of MuJoCo Warp; they differ from those of OpenGL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..engine.rendering import camera_id, check_image_size
from .warp_modules import load_warp

if TYPE_CHECKING:
    from mujoco import MjModel

    from .warp_batch import WarpBatch

BACKEND = "mujoco_warp"  # name of the renderer in the headers of streams


class WarpPixels:
    """Renders one camera of every sub-environment on its device.

    Args:
        model: The model.
        batch: The batch that is rendered.
        size: Image size (height, width) [pixels].
        camera: Name of the camera; None takes the model's first.
    """

    def __init__(self, model: MjModel, batch: WarpBatch, size: Sequence[int], camera: str | None) -> None:
        self.size = height, width = check_image_size(size)
        self._batch = batch
        self._warp, self._mjw = load_warp()
        number = camera_id(model, camera)
        with self._warp.ScopedDevice(self._warp.device_from_torch(batch.device)):
            self._context = self._mjw.create_render_context(
                model,
                nworld=batch.nsim,
                cam_res=(width, height),
                render_rgb=True,
                render_depth=False,
                render_seg=False,
                cam_active=[index == number for index in range(model.ncam)],
            )
            self._colors = self._warp.zeros((batch.nsim, height, width), dtype=self._warp.vec3)
        self._tensor = self._warp.to_torch(self._colors)
        self._warp.synchronize_device(self._warp.device_from_torch(batch.device))

    def render(self) -> torch.Tensor:
        """Return the images (n, H, W, 3) uint8 of the current state."""
        self._batch.render(self._context, self._colors)
        return (self._tensor.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)
