"""Video files: images of many episodes, one after another, in mp4 files."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from robossl.core.errors import CorruptedFileError

_QUALITY = {"crf": "8", "g": "2"}  # a key frame every two frames, for seeking
_MAX_PIXELS = 1 << 25  # of a frame
_PIXEL_FORMAT = "yuv444p"  # full color resolution: small images are mostly edges


class VideoWriter:
    """One mp4 file, written frame by frame."""

    def __init__(self, path: Path, fps: float, height: int, width: int) -> None:
        """Create a file for frames of that size."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = av.open(str(path), "w")
        self._stream = self._file.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1000), options=_QUALITY
        )
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = _PIXEL_FORMAT
        self._path, self.frames = path, 0

    def add(self, images: np.ndarray) -> None:
        """Append frames (n, H, W, 3) uint8."""
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            self._file.mux(self._stream.encode(frame))
            self.frames += 1

    @property
    def bytes(self) -> int:
        """Return the size on disk so far."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Flush the encoder and close the file."""
        self._file.mux(self._stream.encode(None))
        self._file.close()


class VideoReader:
    """Reads frames of mp4 files, mostly in order."""

    def __init__(self) -> None:
        """Create a reader without a file."""
        self._path: Path | None = None
        self._frames: Iterator[np.ndarray] = iter(())
        self._next = 0

    def read(self, path: Path, begin: int, count: int) -> np.ndarray:
        """Return frames [begin, begin + count) of a file: (count, H, W, 3) uint8."""
        if path != self._path or begin < self._next:
            self._path, self._frames, self._next = path, _decode(path), 0
        images = []
        for image in self._frames:
            self._next += 1
            if self._next > begin:
                images.append(image)
            if len(images) == count:
                return np.stack(images)
        raise CorruptedFileError(f"expected {begin + count} frames in {path}, got {self._next}")


def _decode(path: Path) -> Iterator[np.ndarray]:
    try:
        # only this container: a playlist under the name of a video would open other files
        with av.open(str(path), format="mp4", options={"protocol_whitelist": "file"}) as file:
            codec = file.streams.video[0].codec_context
            if codec.width * codec.height > _MAX_PIXELS:
                raise CorruptedFileError(f"{path} has frames of {codec.width} x {codec.height} pixels")
            for frame in file.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except (OSError, IndexError, av.error.FFmpegError) as error:
        raise CorruptedFileError(f"{path} cannot be decoded: {error}") from error
