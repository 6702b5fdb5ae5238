"""Checkpoints of a run: each is a single file; a damaged one is reported, and the one before it is used."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robossl.core.errors import CorruptedFileError, OperationError
from robossl.core.io import load_tree, save_tree

_NUM_KEPT = 3  # the newest ones; an older one is used if the newest file is damaged


class Checkpoints:
    """The checkpoints in a folder, numbered from 0."""

    def __init__(self, folder: str | Path, report: Callable[[str], None] = lambda text: None) -> None:
        """Open the folder; `report` receives one line for each damaged checkpoint."""
        self.folder = Path(folder)
        self._report = report
        self.folder.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def exist(folder: Path) -> bool:
        """Return whether a folder has checkpoints; it is not created."""
        return folder.is_dir() and any(folder.glob("checkpoint-*.safetensors"))

    def paths(self) -> list[Path]:
        """Return the files, oldest first."""
        return sorted(
            p for p in self.folder.iterdir() if re.fullmatch(r"checkpoint-\d{6}\.safetensors", p.name)
        )

    def save(self, tree: Any) -> Path:
        """Write a checkpoint and delete the oldest ones."""
        paths = self.paths()
        number = int(paths[-1].name[11:17]) + 1 if paths else 0
        path = self.folder / f"checkpoint-{number:06d}.safetensors"
        save_tree(path, tree)
        for old in [*paths, path][:-_NUM_KEPT]:
            old.unlink()
        return path

    def keep_newest(self) -> None:
        """Delete all checkpoints but the newest one, of a run that is finished."""
        for old in self.paths()[:-1]:
            old.unlink()

    def latest(self) -> Any | None:
        """Load the newest valid checkpoint and rename damaged ones; None if there is no checkpoint.

        Raises:
            OperationError: All checkpoints are damaged.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                return load_tree(path)
            except CorruptedFileError as error:
                renamed = path.with_name(f"damaged-{path.name}")
                path.replace(renamed)
                self._report(f"{error}; renamed to {renamed.name}, using the checkpoint before it")
        if paths:
            raise OperationError(
                f"all {len(paths)} checkpoints in {self.folder} are damaged; they are renamed to damaged-*"
            )
        return None
