"""The two ways of exchange: out and in, each whole or not at all, each saying what it could not keep."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from robossl.core.errors import OperationError, UsageError, unknown_name_error
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.streams.stream import Stream

FORMATS = ("minari", "lerobot")
IMAGES = ("video", "png")
_NEEDS = {"minari": ("minari", "h5py"), "lerobot": ("pyarrow",)}  # what the extra of that name brings


def export_stream(
    stream: Stream | str | Path,
    to: str,
    out: str | Path,
    images: str = "video",
    progress: ProgressReporter | None = None,
) -> dict[str, Any]:
    """Write the episodes of a stream into the new folder `out` as a data set of the format `to`.

    `images` says how LeRobot keeps pictures: "video" is small and loses a little, "png" keeps every bit; Minari
    always keeps every bit. Gives {"path", "format", "episodes", "rows", "losses"}: what the format has no
    place for, in words, an empty list where nothing is lost.
    """
    if images not in IMAGES:
        raise unknown_name_error("image format", images, IMAGES)
    module = _format(to)
    stream = stream if isinstance(stream, Stream) else Stream.open(stream)
    with _fresh(Path(out)) as folder:
        found = module.write(stream, folder, images, progress or NullProgress())
    return {"path": str(out), "format": to, **found}


def import_stream(
    source: str | Path, origin: str, out: str | Path, progress: ProgressReporter | None = None
) -> dict[str, Any]:
    """Read the data set `source`, a folder (or a name that Minari knows), into a new stream in `out`.

    What `export_stream` wrote comes back with its lanes, fields and splits. Gives the same as `export_stream`.
    """
    module = _format(origin)
    with _fresh(Path(out)) as folder:
        folder.rmdir()  # a stream makes its own
        found = module.read(source, folder, progress or NullProgress())
    return {"path": str(out), "format": origin, **found}


def _format(name: str) -> ModuleType:
    """The module of a format; `RequestError` where what it needs is not installed."""
    if name not in FORMATS:
        raise unknown_name_error("format", name, FORMATS)
    for package in _NEEDS[name]:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UsageError(
                f"the format {name} needs {package}, which is not installed: pip install 'robossl[{name}]'"
            ) from error
    return importlib.import_module(f"robossl.streams.formats.{name}")


@contextlib.contextmanager
def _fresh(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its name when everything in it is written; else nothing is left."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty; give a folder of its own")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        above = out.parent.absolute()  # Minari counts its bytes right only from there
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=above))
    except OSError as error:
        raise UsageError(f"cannot make a folder in {out.parent}: {error.strerror}") from error
    folder = work / out.name
    try:
        folder.mkdir()
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except OSError as error:
        raise OperationError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
