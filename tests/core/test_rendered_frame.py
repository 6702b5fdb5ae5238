"""Frames of every common form become (H, W, 3) uint8 images of the same image."""

import numpy as np
import pytest

from robossl.core.errors import UsageError
from robossl.core.rendered_frame import as_frame

RGB = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
FORMS = {
    "bytes": RGB,
    "rgba": np.dstack([RGB, np.full((8, 10), 255, np.uint8)]),
    "fractions": RGB / 255.0,
    "float32 fractions": (RGB / 255.0).astype(np.float32),
    "floats to 255": RGB.astype(np.float64),
    "integers": RGB.astype(np.int64),
    "list of frames": [np.zeros_like(RGB), RGB],
    "nested lists": [RGB.tolist()],
    "channels first": np.moveaxis(RGB, -1, 0),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_frame(form) -> None:
    frame = as_frame(FORMS[form])
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous
    assert np.array_equal(frame, RGB)


def test_gray_images_get_three_channels() -> None:
    gray = RGB[..., 0]
    for image in (gray, gray[..., None], gray > 100):
        frame = as_frame(image)
        assert frame.shape == (8, 10, 3)
        assert np.array_equal(frame[..., 0], frame[..., 2])
    assert set(np.unique(as_frame(gray > 100))) == {0, 255}


@pytest.mark.parametrize(
    "rendered", ["text", None, [], np.zeros(3), np.zeros((2, 3, 5, 3)), np.zeros((0, 4, 3)), 5]
)
def test_what_is_no_image_is_refused_in_one_line(rendered) -> None:
    with pytest.raises(UsageError, match="expected a frame"):
        as_frame(rendered)
