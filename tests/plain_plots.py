"""Pages without drawn plots, for tests of other things: drawing takes a quarter of a short run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from markupsafe import Markup

_PLOT = Markup('<svg viewBox="0 0 1 1"></svg>')


@contextmanager
def plain_plots() -> Iterator[None]:
    """Show an empty image in place of each plot of a page, inside the block."""
    from robossl.evaluation.report import plots, study_plots

    with pytest.MonkeyPatch.context() as patch:
        for module in (plots, study_plots):  # each has its own name for the function
            patch.setattr(module, "svg", lambda figure: _PLOT)
        yield
