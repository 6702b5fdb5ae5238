"""Pictures of many episodes, one after another, in mp4 files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from robossl.core.errors import CorruptedFileError

_QUALITY = {"crf": "8", "g": "2"}  # every other frame can be jumped to
_COLOURS = "yuv444p"  # a colour for every pixel: small pictures are mostly edges


class VideoWriter:
    """One mp4 file; frames go in, in order."""

    def __init__(self, path: Path, fps: int, height: int, width: int) -> None:
        """A file of frames of that size."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = av.open(str(path), "w")
        self._stream = self._file.add_stream("libx264", rate=fps, options=_QUALITY)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = _COLOURS
        self._path, self.frames = path, 0

    def add(self, images: np.ndarray) -> None:
        """Frames (n, H, W, 3) uint8."""
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            self._file.mux(self._stream.encode(frame))
            self.frames += 1

    @property
    def bytes(self) -> int:
        """What is on disk so far."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Write what is still in the encoder."""
        self._file.mux(self._stream.encode(None))
        self._file.close()


class VideoReader:
    """Frames of mp4 files, read mostly from the beginning to the end."""

    def __init__(self) -> None:
        """No file yet."""
        self._path: Path | None = None
        self._frames: Iterator[np.ndarray] = iter(())
        self._next = 0

    def read(self, path: Path, begin: int, count: int) -> np.ndarray:
        """Frames [begin, begin + count) of a file: (count, H, W, 3) uint8."""
        if path != self._path or begin < self._next:
            self._path, self._frames, self._next = path, _decoded(path), 0
        images = []
        for image in self._frames:
            self._next += 1
            if self._next > begin:
                images.append(image)
            if len(images) == count:
                return np.stack(images)
        raise CorruptedFileError(
            f"{path} has {self._next} frames; the data set says that there are {begin + count}"
        )


def _decoded(path: Path) -> Iterator[np.ndarray]:
    try:
        with av.open(str(path)) as file:
            for frame in file.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except (OSError, av.error.FFmpegError) as error:
        raise CorruptedFileError(f"{path} cannot be decoded: {error}") from error
