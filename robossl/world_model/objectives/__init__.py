"""What a world model can learn from: one file each, found by name; other packages may add theirs."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from robossl.core.errors import UsageError, unknown_name_error
from robossl.world_model.objective import Objective

OBJECTIVES: dict[str, Objective] = {}  # of other packages; see `extend`


@cache
def _own() -> dict[str, Objective]:
    """The `OBJECTIVES` of every file in this folder."""
    found: dict[str, Objective] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        found.update(importlib.import_module(f"{__name__}.{module}").OBJECTIVES)
    return found


def names() -> list[str]:
    """Every objective there is."""
    return sorted({*_own(), *OBJECTIVES})


def objective(name: str) -> Objective:
    """The objective of this name; a wrong name is answered with the near ones."""
    found = {**OBJECTIVES, **_own()}
    if name not in found:
        raise unknown_name_error("objective", name, found)
    return found[name]


def extend(objectives: Mapping[str, Objective]) -> None:
    """Let another package's objectives be found by name; a name that is taken is refused."""
    for name, added in objectives.items():
        if name in _own() or OBJECTIVES.get(name, added) is not added:
            raise UsageError(f"objective {name!r} exists already; give yours another name")
        OBJECTIVES[name] = added
