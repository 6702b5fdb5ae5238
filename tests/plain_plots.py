"""Pages without drawn plots, for tests of other things: drawing takes a quarter of a short run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from markupsafe import Markup

_PLOT = Markup('<svg viewBox="0 0 1 1"></svg>')


@contextmanager
def plain_plots() -> Iterator[None]:
    """Show an empty image in place of each plot of a page, inside the block."""
    from robossl.evaluation.report import plots, study_plots

    modules = plots, study_plots  # each has a name for the function; a first import in the block would keep it
    draw = plots.svg
    for module in modules:
        module.svg = lambda figure: _PLOT
    try:
        yield
    finally:
        for module in modules:
            module.svg = draw
