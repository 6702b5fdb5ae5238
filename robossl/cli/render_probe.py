"""Test of a GL backend with a small scene: `python -m robossl.cli.render_probe`, with MUJOCO_GL set."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

_SIZE = 64  # [pixels]
_MIN_SECONDS = 0.5  # [s] of the frame rate measurement
_SCENE = f"""
<mujoco>
  <visual>
    <global offwidth="{_SIZE}" offheight="{_SIZE}"/>
    <quality shadowsize="0" offsamples="0"/>
  </visual>
  <worldbody>
    <light pos="0 0 3"/>
    <camera name="view" pos="0 -2 1.2" xyaxes="1 0 0 0 0.5 0.9"/>
    <geom type="plane" size="2 2 0.1" rgba="0.3 0.4 0.5 1"/>
    <geom type="capsule" fromto="0 0 0.1 0 0 0.7" size="0.1" rgba="0.9 0.6 0.2 1"/>
    <geom type="sphere" pos="0.4 0 0.2" size="0.2" rgba="0.8 0.3 0.3 1"/>
  </worldbody>
</mujoco>
"""


def render_scene() -> dict[str, Any]:
    """Return the time of the first frame [s], the frame rate [1/s], whether frames are black, and the GL driver."""
    import mujoco

    model = mujoco.MjModel.from_xml_string(_SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    start = time.perf_counter()
    renderer = mujoco.Renderer(model, _SIZE, _SIZE)
    try:
        renderer.update_scene(data, camera="view")
        frame = renderer.render()  # (64, 64, 3) uint8
        first = time.perf_counter() - start
        frames, start = 0, time.perf_counter()
        while time.perf_counter() - start < _MIN_SECONDS:
            renderer.update_scene(data, camera="view")
            renderer.render()
            frames += 1
        rate = frames / (time.perf_counter() - start)
        driver = _driver()
    finally:
        renderer.close()
    black = bool(frame.max() == frame.min())
    return {"first_frame": first, "frames_per_second": rate, "black": black, "driver": driver}


def _driver() -> str:
    """Return the GL renderer, a GPU or software such as llvmpipe; "" if it is unknown."""
    if sys.platform != "linux":  # elsewhere MuJoCo does not render through PyOpenGL
        return ""
    from OpenGL import GL

    name = GL.glGetString(GL.GL_RENDERER)
    return name.decode(errors="replace") if name else ""


if __name__ == "__main__":
    print(json.dumps(render_scene()))
