"""A small scene that a GL backend has to draw: `python -m robossl.env_checker.render_probe`, with MUJOCO_GL set."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

_SIZE = 64  # [pixels]
_LEAST = 0.5  # [s] that frames are counted for
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


def draw() -> dict[str, Any]:
    """Seconds to the first frame, frames per second after it, whether anything is seen, and who draws."""
    import mujoco

    model = mujoco.MjModel.from_xml_string(_SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    began = time.perf_counter()
    renderer = mujoco.Renderer(model, _SIZE, _SIZE)
    try:
        renderer.update_scene(data, camera="view")
        frame = renderer.render()  # (64, 64, 3) uint8
        first = time.perf_counter() - began
        frames, began = 0, time.perf_counter()
        while time.perf_counter() - began < _LEAST:
            renderer.update_scene(data, camera="view")
            renderer.render()
            frames += 1
        rate = frames / (time.perf_counter() - began)
        driver = _driver()
    finally:
        renderer.close()
    black = bool(frame.max() == frame.min())
    return {"first_frame": first, "frames_per_second": rate, "black": black, "driver": driver}


def _driver() -> str:
    """Who really draws: the name of a GPU, or of software such as llvmpipe. Empty where nobody says."""
    if sys.platform != "linux":  # MuJoCo does not draw through PyOpenGL elsewhere
        return ""
    from OpenGL import GL

    name = GL.glGetString(GL.GL_RENDERER)
    return name.decode(errors="replace") if name else ""


if __name__ == "__main__":
    print(json.dumps(draw()))
