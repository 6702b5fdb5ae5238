"""Output folders: existing files are never overwritten, and a manifest records how to reproduce the folder.

A folder is made in this order: `run.lock`, `config.toml`, the first checkpoint, `manifest.json`. With the manifest the
work has begun, and can be resumed. A folder with a lock file but no manifest is of a process that died before; the same
command starts again in it. The lock is held as long as a process works in the folder.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robossl.core.env_ids import is_robot_file
from robossl.core.errors import UsageError
from robossl.core.folder_lock import FolderLock
from robossl.core.io import read_json, remove_leftovers, write_bytes_atomic, write_json
from robossl.core.small_files import as_path
from robossl.core.system_info import system_info
from robossl.training.config_io import to_toml

MANIFEST = "manifest.json"  # kind of the folder, and how to reproduce it
LOCK = "run.lock"
_FOLDER = "a folder"
_FORMAT = 2
_REFUSAL = "{folder} is in use by {owner}; wait until it ends, or stop it first"
_START = {
    "config.toml",
    "stream",
    "checkpoints",
    "metrics.jsonl",
    "stream.json",
    "head.json",
    "writer.lock",
    "shards.json",
}  # before a manifest


def create_output_dir(out: str | Path | None, default: str) -> Path:
    """Create a folder: `out`, which must be empty or missing, or the first free one of default, default-2, ..."""
    path = free_path(default) if out is None else as_path(out, _FOLDER)
    if path.exists() and (not path.is_dir() or any(path.iterdir())) and not died_before_start(path):
        raise UsageError(f"{path} exists and is not empty; give another --out, or remove it first")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create the folder {path}: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise UsageError(f"cannot write in the folder {path}; choose another --out")
    return path


def died_before_start(path: Path) -> bool:
    """Return whether a folder has only files of a process that died before it wrote the manifest."""
    if not (path / LOCK).is_file():
        return False
    names = {entry.name for entry in path.iterdir() if not entry.name.endswith(".tmp")}
    return names <= _START | {LOCK}


def lock(path: str | Path) -> FolderLock:
    """Acquire the lock of an output folder, and remove temporary files of dead processes.

    Raises:
        UsageError: Another process works in the folder.
    """
    folder_lock = FolderLock(path, LOCK, _REFUSAL)
    remove_leftovers(path)
    return folder_lock


def lock_new(path: Path) -> FolderLock:
    """Acquire the lock of a folder from `create_output_dir`, and remove what a dead process left in it."""
    folder_lock = lock(path)
    if not (path / MANIFEST).exists():
        for name in _START:
            _remove(path / name)
    return folder_lock


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def free_path(default: str) -> Path:
    """Return the first path of default, default-2, ... that does not exist."""
    numbers = itertools.count(2)
    path = Path(default)
    while path.exists():
        path = Path(f"{default}-{next(numbers)}")
    return path


@contextmanager
def output_dir(out: str | Path | None, default: str) -> Iterator[Path]:
    """Create a folder as `create_output_dir` does; a UsageError inside the block removes it if it has no manifest."""
    path = free_path(default) if out is None else as_path(out, _FOLDER)
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path = create_output_dir(path, default)
    with lock_new(path):
        try:
            yield path
        except UsageError:
            if not (path / MANIFEST).is_file():
                for entry in path.iterdir():
                    _remove(entry)
                for folder in missing:
                    folder.rmdir()
            raise


def write_manifest(folder: Path, kind: str, config: Any = None, **more: Any) -> None:
    """Write what reproduces a folder: config.toml, and in manifest.json command, versions, device, git revision.

    Args:
        folder: An output folder.
        kind: run, stream, model, agent, evaluation or comparison.
        config: A config, or nested plain values.
        more: Further entries of the manifest.
    """
    if config:
        write_config(folder, config)
    write_json(folder / MANIFEST, {"kind": kind, "format": _FORMAT, **system_info(), **more}, checksum=True)


def write_config(folder: Path, config: Any) -> None:
    """Write config.toml of a folder, in place of the one that is there."""
    write_bytes_atomic(folder / "config.toml", to_toml(config).encode())


def read_manifest(folder: str | Path, *kinds: str) -> dict[str, Any]:
    """Return the manifest of a folder.

    Raises:
        UsageError: The folder has no manifest, or is not one of `kinds`.
    """
    folder = Path(folder)
    names = " or ".join([", ".join(kinds[:-1]), kinds[-1]] if len(kinds) > 2 else kinds)
    expected = f"{'an' if names[0] in 'aeiou' else 'a'} {names} folder"
    if not folder.exists():
        raise UsageError(f"no folder {folder}; expected {expected}{_known_folders(folder)}")
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"{folder} is not {expected}: it has no {MANIFEST}{_known_folders(folder)}")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("kind") not in kinds:
        kind = manifest.get("kind") if isinstance(manifest, dict) else None
        given = f"a {kind} folder" if isinstance(kind, str) else f"one whose {MANIFEST} names no kind"
        raise UsageError(f"{folder}: expected {expected}, got {given}")
    if manifest.get("format") != _FORMAT:
        raise UsageError(
            f"{folder}: expected format {_FORMAT}, got {manifest.get('format')}; make the folder again"
        )
    return manifest


def manifest_of(folder: str | Path) -> dict[str, Any]:
    """Return the manifest of a folder of any kind; empty if there is none."""
    path = as_path(folder, _FOLDER) / MANIFEST
    manifest = read_json(path) if path.is_file() else {}
    return manifest if isinstance(manifest, dict) else {}


def recorded_env(folder: str | Path) -> str | None:
    """Return the env in the manifest of a folder or of its parent, as the user named it (`package:id`)."""
    for path in (Path(folder), Path(folder).resolve().parent):
        if env := manifest_of(path).get("env"):
            return env
    return None


def training_stream_of(folder: str | Path) -> Path | None:
    """Return the stream that a model was trained on, if it is still there."""
    manifest = manifest_of(folder)
    keys = ("stream", "stream_path")
    paths = [Path(folder).resolve() / str(manifest[key]) for key in keys if manifest.get(key)]
    return next((path for path in paths if path.is_dir()), None)


def _known_folders(folder: Path) -> str:
    """Return the names of the folders with a manifest beside `folder`, for a message."""
    parent = folder.parent
    if not parent.is_dir():
        return ""
    known = sorted(p.name for p in parent.iterdir() if (p / MANIFEST).is_file())
    return f"; available in {parent}: {', '.join(known)}" if known else ""


def slug(env: str) -> str:
    """Return a short folder name for an env.

    >>> slug("robossl/CartPoleSwingUp-v0"), slug("robots/my_arm.xml")
    ('cartpoleswingup', 'my_arm')
    """
    name = env.split(":")[-1].split("/")[-1]
    name = Path(name).stem if is_robot_file(name) else name.rsplit("-v", 1)[0]
    return "".join(c for c in name.lower() if c.isalnum() or c in "-_") or "env"
