"""OpenGL contexts: one for each thread, shared by all renderers, the first opened with a timeout."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
from typing import TYPE_CHECKING, Any

from robossl.core.errors import OperationError

from .mujoco_setup import gl_backend, load_mujoco
from .watchdog import run_with_timeout, warn_if_slow

if TYPE_CHECKING:
    from mujoco import MjModel, MjrContext

_WARN_AFTER = 5.0  # [s] without response of the driver, after which a warning is logged
_TIMEOUT = 60.0  # [s] without response, after which an error is raised
_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swiftshader")  # drivers that render on the CPU
# errors of an OpenGL that is not installed
_START_ERRORS = (AttributeError, ImportError, OSError, RuntimeError, Warning)
_thread_local = threading.local()  # .opengl: the OpenGL of this thread
_process: list[int] = []  # id of the process that opened OpenGL first
# references that prevent deletion: an MjrContext freed in another GL context would destroy resources there
_opened: list[OpenGL] = []
_failures: list[str] = []  # why this process cannot render any more


class _GarbageCollectionPause:
    """Pauses Python's cyclic garbage collection, in all threads, while any thread is inside."""

    def __init__(self) -> None:
        self._lock, self._inside, self._was_enabled = threading.Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *reason: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._was_enabled:
                gc.enable()


_garbage_collection_pause = _GarbageCollectionPause()


class OpenGL:
    """The GL context of one thread; get it by `OpenGL.of_this_thread()`."""

    def __init__(self) -> None:
        self.driver = ""  # such as "llvmpipe (LLVM 15.0.6, 256 bits)"; set by the first image
        self.backend = gl_backend()
        self._gl_context: Any = None
        self._contexts: list[MjrContext] = []  # in use
        self._discarded: list[MjrContext] = []  # to be freed when the GL context is current

    @classmethod
    def of_this_thread(cls) -> OpenGL:
        """Return the context of the calling thread.

        Raises:
            OperationError: This process was forked from one that has rendered.
        """
        if _process and _process[0] != os.getpid():
            raise OperationError(
                "cannot render here: OpenGL does not survive a fork, and this process was forked from one that has "
                "rendered; start it with the method 'spawn', or before the first image"
            )
        opengl = getattr(_thread_local, "opengl", None)
        if opengl is None:
            opengl = _thread_local.opengl = cls()
        return opengl

    @property
    def name(self) -> str:
        """The backend, and the driver where it is known."""
        return f"{self.backend}: {self.driver}" if self.driver else self.backend

    @property
    def software(self) -> bool:
        """Whether the CPU renders: shadows and smoothed edges then take ten times the rest."""
        return any(name in self.driver.lower() for name in _SOFTWARE)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the GL context current, and open it on the first call.

        Afterwards the previous context is current again, because other renderers (Gymnasium's) rely on it; MuJoCo
        before 4.0 does not support that. Garbage collection is paused meanwhile: a third-party renderer that is
        finalized frees its resources by number in the current context, which would be ours.

        Raises:
            OperationError: OpenGL does not start.
        """
        if self._gl_context is None:
            self._open()
        with _garbage_collection_pause, _make_current(self._gl_context):
            while self._discarded:
                self._discarded.pop().free()
            yield

    def create_context(self, model: MjModel) -> MjrContext:
        """Return a new rendering context of a model; call it while the GL context is current."""
        mujoco = load_mujoco()
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        self._contexts.append(context)
        return context

    def discard_context(self, context: MjrContext) -> None:
        """Free a rendering context the next time the GL context is current; any thread may call this."""
        if context in self._contexts:
            self._contexts.remove(context)
            self._discarded.append(context)

    def close(self) -> None:
        """Free everything; the next image opens the GL context again."""
        if self._gl_context is None:
            return
        self._discarded += self._contexts
        self._contexts = []
        with self.current():
            pass
        self._gl_context.free()
        self._gl_context = None

    def _open(self) -> None:
        if _failures:
            raise OperationError(_failures[0])
        mujoco = load_mujoco()
        _process[:] = [os.getpid()]
        try:
            opened, self.driver = self._render_first_image(mujoco)
            self._gl_context = opened or _create_gl_context(self.backend)
        except OperationError as error:
            _failures.append(f"cannot render here: {error}")
            raise OperationError(_failures[0]) from error
        except (*_START_ERRORS, mujoco.FatalError) as error:
            raise OperationError(
                f"cannot render here: OpenGL did not start with MUJOCO_GL={self.backend} ({error}); set MUJOCO_GL to "
                "egl, osmesa or glfw before mujoco is imported, and install that library"
            ) from error
        _opened.append(self)
        if len(_opened) == 1:
            atexit.register(_close_at_exit)  # registered last, called first: before MuJoCo closes the display

    def _render_first_image(self, mujoco: ModuleType) -> tuple[Any, str]:
        """Return what `_open_and_render` returns, run with a timeout in a separate thread where there are no windows.

        Creating a context makes it current in its thread, so a separate thread also protects other renderers here.
        """
        what, hint = f"a first image with MUJOCO_GL={self.backend}", "egl and osmesa need no display"
        if self.backend in ("egl", "osmesa"):
            return run_with_timeout(
                lambda: _open_and_render(mujoco, self.backend), what, hint, _WARN_AFTER, _TIMEOUT
            )
        return warn_if_slow(lambda: _open_and_render(mujoco, self.backend), what, hint, _WARN_AFTER)


def _close_at_exit() -> None:
    """Free what this thread opened, except in a forked process."""
    if _process == [os.getpid()] and hasattr(_thread_local, "opengl"):
        _thread_local.opengl.close()


def _make_current(gl_context: Any) -> AbstractContextManager[None]:
    if hasattr(gl_context, "as_current"):
        return gl_context.as_current()
    gl_context.make_current()
    return nullcontext()


def _create_gl_context(backend: str) -> Any:
    """Return a new GL context of a backend, also where MuJoCo was imported before the backend was chosen."""
    if backend in ("off", "disable", "disabled", "false", "0"):
        raise RuntimeError("rendering is switched off")
    name = backend if backend in ("egl", "osmesa", "cgl") else "glfw"
    return importlib.import_module(f"mujoco.{name}").GLContext(64, 64)


def _open_and_render(mujoco: ModuleType, backend: str) -> tuple[Any, str]:
    """Render a first image; return a context that is not current, or None, and the name of its driver."""
    gl_context = _create_gl_context(backend)
    with _make_current(gl_context):
        model = mujoco.MjModel.from_xml_string("<mujoco/>")
        model.vis.global_.offwidth = model.vis.global_.offheight = 8
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)
        mujoco.mjr_render(mujoco.MjrRect(0, 0, 8, 8), mujoco.MjvScene(model, 10), context)
        mujoco.mjr_finish()
        context.free()
        driver = _driver()
    if not hasattr(gl_context, "as_current"):  # it stays current in this thread: the caller needs another one
        gl_context.free()
        gl_context = None
    return gl_context, driver


def _driver() -> str:
    """Return the name of the OpenGL driver; empty where MuJoCo does not render through PyOpenGL."""
    if not sys.platform.startswith("linux"):
        return ""
    from OpenGL import GL

    name = GL.glGetString(GL.GL_RENDERER)
    return name.decode(errors="replace") if name else ""
