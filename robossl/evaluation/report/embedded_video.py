"""Videos inside the page: mp4 as base64, with a still for paper and for before they play."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import imageio.v3 as iio

from robossl.core.errors import UsageError

_STILL = 0.75  # of the way through


@dataclass(frozen=True)
class EmbeddedVideo:
    """A video in the page."""

    path: str | Path  # mp4
    title: str
    says: str  # what there is to see, for the caption and for who cannot see it


def films(found: Sequence[EmbeddedVideo]) -> str:
    """The videos, side by side where there is room."""
    parts = []
    for film in found:
        if not Path(film.path).is_file():
            raise UsageError(f"no video {film.path}")
        data, says = _base64(Path(film.path).read_bytes()), escape(film.says)
        parts.append(
            f'<figure><video controls muted loop playsinline preload="auto" aria-label="{says}" '
            f'poster="data:image/jpeg;base64,{_base64(still(film.path))}">'
            f'<source type="video/mp4" src="data:video/mp4;base64,{data}">{says}</video>'
            f"<figcaption><strong>{escape(film.title)}.</strong> {says}</figcaption></figure>"
        )
    return f'<div class="pair">{"".join(parts)}</div>' if parts else ""


def still(path: str | Path) -> bytes:
    """A late frame of the video, as JPEG."""
    frames = iio.imread(path, plugin="pyav")
    buffer = io.BytesIO()
    iio.imwrite(buffer, frames[int(_STILL * (len(frames) - 1))], extension=".jpg", quality=82)
    return buffer.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
