"""Coloured noise: Gaussian noise whose power falls with frequency, from white (0) over pink (1) to red (2)."""

from __future__ import annotations

import numpy as np


def colored_noise(white: np.ndarray, exponent: float, axis: int = 0) -> np.ndarray:
    """White noise filtered to power 1 / f^exponent along `axis`, of the same mean variance and dtype.

    The mean over the piece is left free: the zero frequency gets the power of the lowest one.
    """
    length = white.shape[axis]
    if exponent == 0 or length < 2:
        return white
    frequency = np.fft.rfftfreq(length)  # [cycles per step]
    frequency[0] = frequency[1]
    scale = frequency ** (-exponent / 2)  # (length // 2 + 1,)
    twice = np.full(len(scale), 2.0)  # each frequency stands for two, but the first and an even length's last
    twice[0] = 1.0
    twice[-1] = 1.0 if length % 2 == 0 else 2.0
    scale /= np.sqrt((twice * scale**2).sum() / length)
    shape = [1] * white.ndim
    shape[axis] = len(scale)
    spectrum = np.fft.rfft(white, axis=axis) * scale.reshape(shape)
    return np.fft.irfft(spectrum, length, axis=axis).astype(white.dtype)
