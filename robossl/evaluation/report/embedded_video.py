"""Embed videos in the page: mp4 as base64, with a poster image for print and before playing."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import imageio.v3 as iio

_POSTER_POSITION = 0.75  # fraction of the video


def embed(path: str | Path) -> dict[str, str]:
    """Return {"video", "poster"}: data URLs of an mp4 and of one of its late frames."""
    data = Path(path).read_bytes()
    return {
        "video": f"data:video/mp4;base64,{_base64(data)}",
        "poster": f"data:image/jpeg;base64,{_base64(poster(path))}",
    }


def poster(path: str | Path) -> bytes:
    """Return a late frame of the video as JPEG."""
    frames = iio.imread(path, plugin="pyav")
    buffer = io.BytesIO()
    iio.imwrite(buffer, frames[int(_POSTER_POSITION * (len(frames) - 1))], extension=".jpg", quality=82)
    return buffer.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
