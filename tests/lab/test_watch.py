"""Looking at environments that cannot be looked at: the reason is the env's own, in one line."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from robossl.core.errors import WorkError
from robossl.lab.watch import frame_of


def looking(answer):
    """A vector env that is drawn by `answer`."""
    return SimpleNamespace(render=answer, spec=SimpleNamespace(id="strangers/Dark-v0"))


def failing():
    raise ImportError("a drawing library is not installed")


def test_the_first_frame_is_shown():
    assert frame_of(looking(lambda: (np.zeros((2, 3, 3)), np.ones((2, 3, 3))))).max() == 0
    assert frame_of(looking(lambda: None)) is None


def test_a_renderer_that_lacks_something_says_so_in_one_line():
    with pytest.raises(WorkError, match="Dark-v0 cannot be drawn here: a drawing library is not installed"):
        frame_of(looking(failing))
