"""Export a stream to a dataset of another format, and import one. Both report what the target format cannot store."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from robossl.core.errors import CorruptedFileError, OperationError, UsageError, unknown_name_error
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.core.io import new_folder
from robossl.streams.stream import Stream

FORMATS = ("minari", "lerobot")
IMAGES = ("video", "png")
_REQUIRED_PACKAGES = {"minari": ("minari", "h5py"), "lerobot": ("pyarrow",)}  # of the extra of that name


def export_stream(
    stream: Stream | str | Path,
    to: str,
    out: str | Path,
    images: str = "video",
    progress: ProgressReporter | None = None,
) -> dict[str, Any]:
    """Write the episodes of a stream into the new folder `out` as a dataset of format `to`.

    Example:
        robossl.streams.formats.export_stream("streams/reacher", "minari", "exported")["losses"]

    Args:
        stream: Stream, or its folder.
        to: One of `FORMATS`.
        out: New or empty folder; nothing is left there after a failure.
        images: LeRobot images as "video" (mp4: small, lossy) or "png" (lossless). Minari images are lossless.
        progress: Progress reporter.

    Returns:
        {"path", "format", "episodes", "rows", "losses"}; `losses` lists what the format cannot store, as text.
    """
    if images not in IMAGES:
        raise unknown_name_error("image format", images, IMAGES)
    module = _format(to)
    stream = stream if isinstance(stream, Stream) else Stream.open(stream)
    with new_folder(Path(out)) as folder:
        result = module.write(stream, folder, images, progress or NullProgress())
    return {"path": str(out), "format": to, **result}


def import_stream(
    source: str | Path, origin: str, out: str | Path, progress: ProgressReporter | None = None
) -> dict[str, Any]:
    """Read the dataset `source` into a new stream in `out`.

    A dataset from `export_stream` is read back with its lanes, fields and splits.

    Example:
        robossl.streams.formats.import_stream("exported", "minari", "streams/imported")

    Args:
        source: Folder, or the name of a local Minari dataset.
        origin: Format of the dataset, one of `FORMATS`.
        out: New or empty folder; nothing is left there after a failure.
        progress: Progress reporter.

    Returns:
        The same keys as `export_stream`.
    """
    module = _format(origin)
    with new_folder(Path(out)) as folder:
        folder.rmdir()  # Stream.create creates it
        try:
            result = module.read(source, folder, progress or NullProgress())
        except (UsageError, OperationError):
            raise
        except Exception as error:  # what parsers raise for files that are not what they claim
            message = (
                f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
            )
            raise CorruptedFileError(f"{source} cannot be read as a {origin} dataset: {message}") from error
    return {"path": str(out), "format": origin, **result}


def _format(name: str) -> ModuleType:
    """Return the module of a format; raise UsageError if a required package is not installed."""
    if name not in FORMATS:
        raise unknown_name_error("format", name, FORMATS)
    for package in _REQUIRED_PACKAGES[name]:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UsageError(
                f"the format {name} needs {package}, which is not installed: pip install 'robossl[{name}]'"
            ) from error
    return importlib.import_module(f"robossl.streams.formats.{name}")
