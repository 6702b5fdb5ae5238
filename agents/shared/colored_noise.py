"""Colored noise: Gaussian noise whose power falls with frequency as 1 / f^b; b = 0 is white, 1 pink, 2 red."""

from __future__ import annotations

import numpy as np


def colored_noise(white: np.ndarray, exponent: float, axis: int = 0) -> np.ndarray:
    """Filter white noise to power 1 / f^exponent along `axis`; mean variance and dtype stay the same.

    The mean of the piece is not removed: frequency zero gets the power of the lowest positive frequency.
    """
    length = white.shape[axis]
    if exponent == 0 or length < 2:
        return white
    frequency = np.fft.rfftfreq(length)  # [cycles per step]
    frequency[0] = frequency[1]
    scale = frequency ** (-exponent / 2)  # (length // 2 + 1,)
    multiplicity = np.full(len(scale), 2.0)  # of each frequency in the full spectrum; 1 for zero and Nyquist
    multiplicity[0] = 1.0
    multiplicity[-1] = 1.0 if length % 2 == 0 else 2.0
    scale /= np.sqrt((multiplicity * scale**2).sum() / length)
    shape = [1] * white.ndim
    shape[axis] = len(scale)
    spectrum = np.fft.rfft(white, axis=axis) * scale.reshape(shape)
    return np.fft.irfft(spectrum, length, axis=axis).astype(white.dtype)
