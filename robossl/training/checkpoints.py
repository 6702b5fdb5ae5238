"""Checkpoints of a run: each is one whole file; a damaged one is named and the one before it used."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robossl.core.errors import CorruptedFileError, OperationError
from robossl.core.io import load_tree, save_tree

_KEPT = 3  # the latest ones; an older one is what is left if the disk damages the latest


class Checkpoints:
    """The checkpoints in a folder, numbered from 0."""

    def __init__(self, folder: str | Path, note: Callable[[str], None] = lambda text: None) -> None:
        self.folder = Path(folder)
        self._note = note
        self.folder.mkdir(parents=True, exist_ok=True)

    def paths(self) -> list[Path]:
        """All of them, oldest first."""
        return sorted(
            p for p in self.folder.iterdir() if re.fullmatch(r"checkpoint-\d{6}\.safetensors", p.name)
        )

    def save(self, tree: Any) -> Path:
        """Write one more, and forget those that are older than the ones kept."""
        paths = self.paths()
        number = int(paths[-1].name[11:17]) + 1 if paths else 0
        path = self.folder / f"checkpoint-{number:06d}.safetensors"
        save_tree(path, tree)
        for old in [*paths, path][:-_KEPT]:
            old.unlink()
        return path

    def latest(self) -> Any | None:
        """The newest one that is whole; None where there is none. A damaged one is set aside and named."""
        paths = self.paths()
        for path in reversed(paths):
            try:
                return load_tree(path)
            except CorruptedFileError as error:
                aside = path.with_name(f"damaged-{path.name}")
                path.replace(aside)
                self._note(f"{error}; set aside as {aside.name}, going on from the one before")
        if paths:
            raise OperationError(
                f"all {len(paths)} checkpoints in {self.folder} are damaged; their names begin with damaged-"
            )
        return None
