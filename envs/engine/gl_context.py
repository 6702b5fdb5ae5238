"""OpenGL for this process: one context a thread for all that is drawn, its first picture under a watchdog."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from robossl.core.errors import OperationError

from .mujoco_setup import backend, load_mujoco
from .watchdog import run_with_timeout, warn_if_slow

_PATIENCE = 5.0  # [s] after which a silent driver is named
_LIMIT = 60.0  # [s] after which it is given up
_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swiftshader")  # drivers that draw on the CPU
_FAULTS = (AttributeError, ImportError, OSError, RuntimeError, Warning)  # how a missing OpenGL shows
_mine = threading.local()  # .opengl: the one of this thread
_process: list[int] = []  # the process that opened OpenGL first
_opened: list[OpenGL] = []  # kept to the end: an MjrContext freed in another's context would destroy that one
_given_up: list[str] = []  # why no picture can be drawn in this process any more


class _NoCollection:
    """Python's cyclic garbage collection waits, in all threads, while anybody is inside."""

    def __init__(self) -> None:
        self._lock, self._inside, self._was = threading.Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._was = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *reason: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._was:
                gc.enable()


_no_collection = _NoCollection()


class OpenGL:
    """The GL context of a thread, for every thread needs its own."""

    def __init__(self) -> None:
        self.driver = ""  # such as "llvmpipe (LLVM 15.0.6, 256 bits)"; known after the first picture
        self.backend = backend()
        self._context: Any = None
        self._drawings: list[Any] = []  # MjrContexts in use
        self._discarded: list[Any] = []  # and those to be freed when the GL context is current

    @classmethod
    def here(cls) -> OpenGL:
        """The context of this thread; WorkError in a fork of a process that has drawn."""
        if _process and _process[0] != os.getpid():
            raise OperationError(
                "no picture can be drawn here: OpenGL does not survive a fork, and this process was forked from "
                "one that has drawn; start it with the method 'spawn', or before the first picture"
            )
        found = getattr(_mine, "opengl", None)
        if found is None:
            found = _mine.opengl = cls()
        return found

    @property
    def name(self) -> str:
        """Who draws: the backend, and the driver where it says who it is."""
        return f"{self.backend}: {self.driver}" if self.driver else self.backend

    @property
    def software(self) -> bool:
        """Pictures are drawn on the CPU: soft shadows and smooth edges would cost ten times the rest."""
        return any(word in self.driver.lower() for word in _SOFTWARE)

    @contextmanager
    def current(self) -> Iterator[None]:
        """The context is current, opened if need be; WorkError where OpenGL does not start.

        Afterwards the one that was current before is so again, for others (Gymnasium's own renderer) count on
        it; MuJoCo before 4.0 cannot do that. Meanwhile no garbage is collected: a renderer of others that is
        finalised frees what it calls its own in whichever context is current.
        """
        if self._context is None:
            self._open()
        with _no_collection, _held(self._context):
            while self._discarded:
                self._discarded.pop().free()
            yield

    def prepare(self, model: Any) -> Any:
        """An MjrContext of a model, to be given to `discard` in the end; call it while current."""
        mujoco = load_mujoco()
        drawing = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        self._drawings.append(drawing)
        return drawing

    def discard(self, drawing: Any) -> None:
        """Free an MjrContext the next time the GL context is current; may be called from any thread."""
        if drawing in self._drawings:
            self._drawings.remove(drawing)
            self._discarded.append(drawing)

    def close(self) -> None:
        """Free everything; pictures can be drawn again afterwards."""
        if self._context is None:
            return
        self._discarded += self._drawings
        self._drawings = []
        with self.current():
            pass
        self._context.free()
        self._context = None

    def _open(self) -> None:
        if _given_up:
            raise OperationError(_given_up[0])
        mujoco = load_mujoco()
        _process[:] = [os.getpid()]
        try:
            started, self.driver = self._first_picture(mujoco)
            self._context = started or _context(self.backend)
        except OperationError as error:
            _given_up.append(f"no picture can be drawn here: {error}")
            raise OperationError(_given_up[0]) from error
        except (*_FAULTS, mujoco.FatalError) as error:
            raise OperationError(
                f"no picture can be drawn here: OpenGL did not start with MUJOCO_GL={self.backend} ({error}); "
                "set MUJOCO_GL to egl, osmesa or glfw before mujoco is imported, and install that library"
            ) from error
        _opened.append(self)
        if len(_opened) == 1:
            atexit.register(_close)  # what is registered last comes first: before MuJoCo ends the display

    def _first_picture(self, mujoco: Any) -> tuple[Any, str]:
        """What `_start` gives under the watchdog, in a thread of its own, or here where there are windows.

        To make a context takes the current one from the thread that does it, so a thread of its own is also
        kind to whoever draws in this one.
        """
        what, hint = f"a first picture with MUJOCO_GL={self.backend}", "egl and osmesa need no display"
        if self.backend in ("egl", "osmesa"):
            return run_with_timeout(lambda: _start(mujoco, self.backend), what, hint, _PATIENCE, _LIMIT)
        return warn_if_slow(lambda: _start(mujoco, self.backend), what, hint, _PATIENCE)


def _close() -> None:
    """Free what this thread opened, unless it is a fork's."""
    if _process == [os.getpid()] and hasattr(_mine, "opengl"):
        _mine.opengl.close()


def _held(context: Any) -> AbstractContextManager[None]:
    if hasattr(context, "as_current"):
        return context.as_current()
    context.make_current()
    return nullcontext()


def _context(backend: str) -> Any:
    """A new GL context; MuJoCo's own choice is of no use where it was imported before anybody chose."""
    if backend in ("off", "disable", "disabled", "false", "0"):
        raise RuntimeError("it is switched off")
    name = backend if backend in ("egl", "osmesa", "cgl") else "glfw"
    return importlib.import_module(f"mujoco.{name}").GLContext(64, 64)


def _start(mujoco: Any, backend: str) -> tuple[Any, str]:
    """A context that has drawn a first picture and is not current, and the name of its driver."""
    context = _context(backend)
    with _held(context):
        model = mujoco.MjModel.from_xml_string("<mujoco/>")
        model.vis.global_.offwidth = model.vis.global_.offheight = 8
        drawing = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, drawing)
        mujoco.mjr_render(mujoco.MjrRect(0, 0, 8, 8), mujoco.MjvScene(model, 10), drawing)
        mujoco.mjr_finish()
        drawing.free()
        driver = _driver()
    if not hasattr(context, "as_current"):  # it stays current in this thread: the asking one needs another
        context.free()
        context = None
    return context, driver


def _driver() -> str:
    """What OpenGL calls itself; empty where MuJoCo does not draw through PyOpenGL."""
    if not sys.platform.startswith("linux"):
        return ""
    from OpenGL import GL

    name = GL.glGetString(GL.GL_RENDERER)
    return name.decode(errors="replace") if name else ""
