"""Laws of rendering: one GL context per thread, reproducible images, clear errors without OpenGL."""

import gc
import logging
import os
import subprocess
import sys
import threading
import time

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.engine.gl_context import OpenGL
from robossl.envs.engine.gymnasium_envs import make_gymnasium_envs
from robossl.envs.engine.rendering import Renderer, simplify_scene
from robossl.envs.engine.watchdog import run_with_timeout, warn_if_slow

from robossl.core.errors import OperationError, UsageError

robossl.envs.register()


def render(**arguments) -> np.ndarray:
    """Return a frame of the first sub-environment of new envs."""
    settings = {"num_envs": 2, "render_mode": "rgb_array", "render_size": (48, 64)} | arguments
    envs = gym.make_vec("robossl/Reacher-v0", **settings)
    envs.reset(seed=0)
    return envs.render()[0]


def test_run_with_timeout_returns_the_result_or_raises_its_error() -> None:
    assert run_with_timeout(lambda: 3, "counting", "no hint", warn_after=5, timeout=10) == 3
    with pytest.raises(KeyError, match="lost"):
        run_with_timeout(lambda: {}["lost"], "looking up", "no hint", warn_after=5, timeout=10)


def test_hanging_call_is_warned_about_and_abandoned(caplog) -> None:
    released = threading.Event()
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(OperationError, match=r"a driver hangs: .* 0\.2 s; try X"),
    ):
        run_with_timeout(released.wait, "a driver", "try X", warn_after=0.05, timeout=0.2)
    assert "a driver takes longer than 0.05 s; try X" in caplog.text
    released.set()


def test_slow_call_is_warned_about(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        assert warn_if_slow(lambda: time.sleep(0.3) or 4, "a window", "try X", warn_after=0.05) == 4
    assert caplog.messages == ["a window takes longer than 0.05 s; try X"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="these are backends of Linux")
@pytest.mark.parametrize("backend", ["osmesa", "glfw", "off", "vulkan"])
def test_missing_backend_is_one_clear_error(backend) -> None:
    """An installed backend renders; any other raises OperationError with its name."""
    program = (
        "import gymnasium as g, robossl.core.errors as e\n"
        "try:\n"
        "    env = g.make('robossl:robossl/Reacher-v0', render_mode='rgb_array'); env.reset(seed=0)\n"
        "    print('rendered', env.render().shape)\n"
        "except e.OperationError as error: print('refused', error)"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment | {"MUJOCO_GL": backend},
    )
    assert done.returncode == 0, done.stderr
    refused = done.stdout.startswith("refused") and f"MUJOCO_GL={backend}" in done.stdout
    assert refused or (backend != "vulkan" and done.stdout.startswith("rendered")), done


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux needs a choice of backend")
def test_rendering_works_when_mujoco_was_imported_before(gl) -> None:
    program = (
        "import mujoco, gymnasium as g\n"
        "env = g.make('robossl:robossl/Reacher-v0', render_mode='rgb_array'); env.reset(seed=0)\n"
        "print(env.render().shape)"
    )
    environment = {
        k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL")
    }
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "(480, 480, 3)", done


_THREADS = """
import threading
import gymnasium as gym
import numpy as np
import robossl.envs
from robossl.envs.engine.gl_context import OpenGL
robossl.envs.register()
def render():
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=2, render_mode="rgb_array", render_size=(48, 64))
    envs.reset(seed=0)
    return envs.render()[0]
first = render()
opengl = OpenGL.of_this_thread()
assert np.array_equal(render(), first)
assert OpenGL.of_this_thread() is opengl
assert opengl.name.startswith(opengl.backend)
results = []
other = threading.Thread(target=lambda: results.append((render(), OpenGL.of_this_thread())))
other.start()
other.join()
difference = np.abs(results[0][0].astype(int) - first).max(-1)
assert not difference.any(), f"{(difference > 0).sum()} pixels differ, by {difference.max()} at most"
assert results[0][1] is not opengl
assert np.array_equal(render(), first)
print("equal")
"""


def test_envs_of_a_thread_share_one_context(gl) -> None:
    """Runs in a separate process: unfinalized renderers of other tests free resources in the current context."""
    done = subprocess.run([sys.executable, "-c", _THREADS], capture_output=True, text=True)
    assert done.stdout.strip() == "equal", done.stderr


def test_renderer_of_gymnasium_still_works(gl) -> None:
    """It makes its context current only once; ours is current only while it renders."""
    cheetah = make_gymnasium_envs("HalfCheetah-v5", 1, render_mode="rgb_array", width=64, height=64)
    cheetah.reset(seed=0)
    theirs, ours = cheetah.render_frame(0), render()
    assert theirs.std() > 5
    for _ in range(2):
        assert np.array_equal(cheetah.render_frame(0), theirs)
        assert np.array_equal(render(), ours)
    other: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: other.append(render()))
    thread.start()
    thread.join()
    assert np.array_equal(cheetah.render_frame(0), theirs)
    cheetah.close()


def test_no_object_is_finalized_while_a_context_is_current(gl) -> None:
    """Gymnasium's renderer frees textures and buffers by number in the current context when it is collected."""
    finalized: list[str] = []

    class Renderer:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            finalized.append("inside" if inside else "outside")

    inside = False
    render()
    for _ in range(3):
        Renderer()
        with OpenGL.of_this_thread().current(), OpenGL.of_this_thread().current():
            inside = True
            churn = [[n] for n in range(200_000)]
            inside = False
        del churn
    assert gc.isenabled()
    gc.collect()
    assert finalized == ["outside"] * 3


def test_deleted_envs_free_their_rendering_contexts(gl) -> None:
    opengl = OpenGL.of_this_thread()
    gc.collect()
    render()
    before = len(opengl._contexts)
    for _ in range(5):
        render()
        gc.collect()
    assert len(opengl._contexts) <= before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_rendering_after_a_fork_is_refused(gl) -> None:
    program = (
        "import os, sys, gymnasium as g, robossl, robossl.core.errors as e\n"
        "env = g.make('robossl/Reacher-v0', render_mode='rgb_array'); env.reset(seed=0); env.render()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try: env.render()\n"
        "    except e.OperationError as error: print(error, flush=True); os._exit(7)\n"
        "    os._exit(0)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "does not survive a fork" in done.stdout, done
    assert done.stdout.strip().endswith("7")


def test_image_depends_only_on_the_physics_state(gl) -> None:
    """Holds after other models and sizes were rendered, in low and in high quality."""
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=2)
    envs.reset(seed=0)
    physics = envs.get_physics_state()
    low, high = (Renderer(envs.simulation.model, "side", (60, 80), high_quality=q) for q in (False, True))
    first = [renderer.frame(physics[0]) for renderer in (low, high)]
    assert not np.array_equal(*first)
    for number in np.random.default_rng(0).integers(0, 2, 12):
        renderer = (low, high)[number]
        renderer.frame(physics[1])
        Renderer(envs.simulation.model, "above", (16, 16)).frame(physics[0])
        assert np.array_equal(renderer.frame(physics[0]), first[number])
    low.close()
    assert np.array_equal(high.frame(physics[0]), first[1])
    assert np.array_equal(low.frame(physics[0]), first[0])


def test_simplified_scene_is_nearly_equal(gl) -> None:
    """A robot on an infinite plane of few squares equals the one on 40,000 squares, except at the horizon."""
    import mujoco

    text = """<mujoco><asset><texture name="t" type="2d" builtin="checker" rgb1=".2 .3 .4" rgb2=".4 .5 .6"
        width="64" height="64"/><material name="floor" texture="t" texuniform="true" texrepeat="1 1"/></asset>
        <worldbody><light directional="true" pos="0 0 3" dir="0 .3 -1"/><camera pos="0 -3 1" xyaxes="1 0 0 0 .3 1"/>
        <geom type="plane" size="0 0 .5" material="floor"/>
        <body pos="0 0 .5"><freejoint/><geom type="capsule" size=".2 .3" rgba=".9 .7 .3 1"/></body>
        </worldbody></mujoco>"""
    model = mujoco.MjModel.from_xml_string(text)
    original = mujoco.MjModel.from_xml_string(text)
    simplify_scene(model, small=False)
    assert model.geom_size[0].min() > 100
    original.vis.quality.shadowsize = original.vis.quality.offsamples = 0
    data = mujoco.MjData(model)
    physics = np.zeros(mujoco.mj_stateSize(model, int(mujoco.mjtState.mjSTATE_INTEGRATION)))
    mujoco.mj_getState(model, data, physics, int(mujoco.mjtState.mjSTATE_INTEGRATION))
    few, all_ = (
        Renderer(m, None, (60, 80), high_quality=True).frame(physics).astype(int) for m in (model, original)
    )
    difference = np.abs(few - all_).max(axis=(1, 2))  # (60,) by image row
    assert difference[30:].max() <= 3
    assert (difference > 3).mean() < 0.2
    spotlight = mujoco.MjModel.from_xml_string(text.replace('directional="true"', ""))
    simplify_scene(spotlight, small=True)
    assert (spotlight.geom_size[0, :2] == 0).all(), "a light near the floor needs the squares"


@pytest.mark.parametrize("size", [(0, 5), (5,), (5.0, 5.0), (5000, 5), "big"])
def test_wrong_image_size_is_refused(size) -> None:
    with pytest.raises(UsageError, match=r"\(height, width\), each 1 to 4096 pixels"):
        gym.make_vec("robossl/Reacher-v0", num_envs=1, render_mode="rgb_array", render_size=size)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
def test_viewer_needs_a_display() -> None:
    single = gym.make("robossl/Reacher-v0", render_mode="human")
    batch = gym.make_vec("robossl/Reacher-v0", num_envs=1, render_mode="human")
    for envs in (single, batch):
        with pytest.raises(OperationError, match="no display"):
            envs.reset(seed=0)
