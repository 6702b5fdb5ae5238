"""How pictures are drawn: one context for all, quick on a CPU, and clear words where nothing can be drawn."""

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


def drawn(**arguments) -> np.ndarray:
    settings = {"num_envs": 2, "render_mode": "rgb_array", "render_size": (48, 64)} | arguments
    envs = gym.make_vec("robossl/Reacher-v0", **settings)
    envs.reset(seed=0)
    return envs.render()[0]


def test_what_answers_in_time_is_given_back() -> None:
    assert run_with_timeout(lambda: 3, "counting", "no hint", patience=5, limit=10) == 3
    with pytest.raises(KeyError, match="lost"):
        run_with_timeout(lambda: {}["lost"], "looking up", "no hint", patience=5, limit=10)


def test_what_hangs_is_named_and_then_left_alone(caplog) -> None:
    released = threading.Event()
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(OperationError, match=r"a driver hangs: .* 0\.2 s; try X"),
    ):
        run_with_timeout(released.wait, "a driver", "try X", patience=0.05, limit=0.2)
    assert "a driver takes longer than 0.05 s; try X" in caplog.text
    released.set()


def test_what_cannot_be_left_alone_is_named(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        assert warn_if_slow(lambda: time.sleep(0.3) or 4, "a window", "try X", patience=0.05) == 4
    assert caplog.messages == ["a window takes longer than 0.05 s; try X"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="these backends are Linux's")
@pytest.mark.parametrize("backend", ["osmesa", "glfw", "off", "vulkan"])
def test_a_backend_that_is_not_there_is_a_clear_answer(backend) -> None:
    """Whichever of them is installed draws; the others say so in one WorkError, wherever they fail."""
    words = (
        "import gymnasium as g, robossl.core.errors as e\n"
        "try:\n"
        "    env = g.make('robossl:robossl/Reacher-v0', render_mode='rgb_array'); env.reset(seed=0)\n"
        "    print('drawn', env.render().shape)\n"
        "except e.WorkError as error: print('refused', error)"
    )
    hidden = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    said = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, env=hidden | {"MUJOCO_GL": backend}
    )
    assert said.returncode == 0, said.stderr
    refused = said.stdout.startswith("refused") and f"MUJOCO_GL={backend}" in said.stdout
    assert refused or (backend != "vulkan" and said.stdout.startswith("drawn")), said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nothing has to be chosen")
def test_mujoco_may_have_been_imported_before(gl) -> None:
    words = (
        "import mujoco, gymnasium as g\n"
        "env = g.make('robossl:robossl/Reacher-v0', render_mode='rgb_array'); env.reset(seed=0)\n"
        "print(env.render().shape)"
    )
    hidden = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL")}
    said = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, env=hidden)
    assert said.stdout.strip() == "(480, 480, 3)", said


_THREADS = """
import threading
import gymnasium as gym
import numpy as np
import robossl.envs
from robossl.envs.engine.gl_context import OpenGL
robossl.envs.register()
def drawn():
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=2, render_mode="rgb_array", render_size=(48, 64))
    envs.reset(seed=0)
    return envs.render()[0]
first = drawn()
here = OpenGL.here()
assert np.array_equal(drawn(), first)
assert OpenGL.here() is here
assert here.name.startswith(here.backend)
pictures = []
other = threading.Thread(target=lambda: pictures.append((drawn(), OpenGL.here())))
other.start()
other.join()
apart = np.abs(pictures[0][0].astype(int) - first).max(-1)
assert not apart.any(), f"{(apart > 0).sum()} pixels differ, by {apart.max()} at most"
assert pictures[0][1] is not here
assert np.array_equal(drawn(), first)
print("alike")
"""


def test_all_lanes_and_envs_of_a_thread_share_one_context(gl) -> None:
    """In a process of its own: renderers that other tests left to be finalised free things in contexts not theirs."""
    said = subprocess.run([sys.executable, "-c", _THREADS], capture_output=True, text=True)
    assert said.stdout.strip() == "alike", said.stderr


def test_gymnasiums_own_renderer_goes_on(gl) -> None:
    """It makes its context current once and counts on it; ours is current only while it draws."""
    cheetah = make_gymnasium_envs("HalfCheetah-v5", 1, render_mode="rgb_array", width=64, height=64)
    cheetah.reset(seed=0)
    theirs, ours = cheetah.render_frame(0), drawn()
    assert theirs.std() > 5
    for _ in range(2):
        assert np.array_equal(cheetah.render_frame(0), theirs)
        assert np.array_equal(drawn(), ours)
    other: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: other.append(drawn()))
    thread.start()
    thread.join()
    assert np.array_equal(cheetah.render_frame(0), theirs)
    cheetah.close()


def test_nothing_is_finalised_while_a_context_is_current(gl) -> None:
    """Gymnasium's renderer, when it is collected, frees textures and buffers by number: ours, were ours current."""
    finalised: list[str] = []

    class Renderer:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            finalised.append("inside" if inside else "outside")

    inside = False
    drawn()
    for _ in range(3):
        Renderer()
        with OpenGL.here().current(), OpenGL.here().current():
            inside = True
            churn = [[n] for n in range(200_000)]
            inside = False
        del churn
    assert gc.isenabled()
    gc.collect()
    assert finalised == ["outside"] * 3


def test_envs_that_are_gone_give_their_memory_back(gl) -> None:
    here = OpenGL.here()
    gc.collect()
    drawn()
    before = len(here._drawings)
    for _ in range(5):
        drawn()
        gc.collect()
    assert len(here._drawings) <= before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_fork_that_cannot_draw_says_so(gl) -> None:
    words = (
        "import os, sys, gymnasium as g, robossl, robossl.core.errors as e\n"
        "env = g.make('robossl/Reacher-v0', render_mode='rgb_array'); env.reset(seed=0); env.render()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try: env.render()\n"
        "    except e.WorkError as error: print(error, flush=True); os._exit(7)\n"
        "    os._exit(0)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    said = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60)
    assert "does not survive a fork" in said.stdout, said
    assert said.stdout.strip().endswith("7")


def test_a_picture_is_a_function_of_the_row(gl) -> None:
    """Also when other models and sizes were drawn in between, and softly as well as quickly."""
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=2)
    envs.reset(seed=0)
    rows = envs.get_physics_state()
    quick, soft = (Renderer(envs.simulation.model, "side", (60, 80), soft=s) for s in (False, True))
    first = [renderer.frame(rows[0]) for renderer in (quick, soft)]
    assert not np.array_equal(*first)
    for number in np.random.default_rng(0).integers(0, 2, 12):
        renderer = (quick, soft)[number]
        renderer.frame(rows[1])
        Renderer(envs.simulation.model, "above", (16, 16)).frame(rows[0])
        assert np.array_equal(renderer.frame(rows[0]), first[number])
    quick.close()
    assert np.array_equal(soft.frame(rows[0]), first[1])
    assert np.array_equal(quick.frame(rows[0]), first[0])


def test_what_is_left_out_is_hardly_seen(gl) -> None:
    """A robot on a plane without end, in few squares, is the picture in forty thousand, but for the horizon."""
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
    row = np.zeros(mujoco.mj_stateSize(model, int(mujoco.mjtState.mjSTATE_INTEGRATION)))
    mujoco.mj_getState(model, data, row, int(mujoco.mjtState.mjSTATE_INTEGRATION))
    few, all_ = (Renderer(m, None, (60, 80), soft=True).frame(row).astype(int) for m in (model, original))
    apart = np.abs(few - all_).max(axis=(1, 2))  # (60,) by line of the picture
    assert apart[30:].max() <= 3
    assert (apart > 3).mean() < 0.2
    lamp = mujoco.MjModel.from_xml_string(text.replace('directional="true"', ""))
    simplify_scene(lamp, small=True)
    assert (lamp.geom_size[0, :2] == 0).all(), "a lamp near the floor needs its squares"


@pytest.mark.parametrize("size", [(0, 5), (5,), (5.0, 5.0), (5000, 5), "big"])
def test_wrong_sizes_are_answered(size) -> None:
    with pytest.raises(UsageError, match=r"\(height, width\) pixels"):
        gym.make_vec("robossl/Reacher-v0", num_envs=1, render_mode="rgb_array", render_size=size)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is always a display")
def test_a_window_needs_a_display() -> None:
    single = gym.make("robossl/Reacher-v0", render_mode="human")
    batch = gym.make_vec("robossl/Reacher-v0", num_envs=1, render_mode="human")
    for envs in (single, batch):
        with pytest.raises(OperationError, match="no display"):
            envs.reset(seed=0)
