"""Output folders: existing files are never overwritten, and a manifest records how to reproduce the folder."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robossl.core.env_ids import is_mjcf_path
from robossl.core.errors import UsageError
from robossl.core.io import read_json, write_bytes_atomic, write_json
from robossl.core.system_info import system_info
from robossl.training.config_io import to_toml

MANIFEST = "manifest.json"  # kind of the folder, and how to reproduce it
_FORMAT = 2


def create_output_dir(out: str | Path | None, default: str) -> Path:
    """Create a folder: `out`, which must be empty or missing, or the first free one of default, default-2, ..."""
    path = free_path(default) if out is None else Path(out)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path} exists and is not empty; give another --out, or remove it first")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create the folder {path}: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise UsageError(f"cannot write in the folder {path}; choose another --out")
    return path


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
    path = free_path(default) if out is None else Path(out)
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path = create_output_dir(path, default)
    try:
        yield path
    except UsageError:
        if not (path / MANIFEST).is_file():
            for entry in path.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
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
    write_json(folder / MANIFEST, {"kind": kind, "format": _FORMAT, **system_info(), **more})


def write_config(folder: Path, config: Any) -> None:
    """Write config.toml of a folder, in place of the one that is there."""
    write_bytes_atomic(folder / "config.toml", to_toml(config).encode())


def read_manifest(folder: str | Path, *kinds: str) -> dict[str, Any]:
    """Return the manifest of a folder.

    Raises:
        UsageError: The folder has no manifest, or is not one of `kinds`.
    """
    folder = Path(folder)
    expected = " or ".join(kinds)
    if not folder.exists():
        raise UsageError(f"no folder {folder}; expected a {expected} folder{_known_folders(folder)}")
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"{folder} is not a {expected} folder: it has no {MANIFEST}{_known_folders(folder)}")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("kind") not in kinds:
        kind = manifest.get("kind") if isinstance(manifest, dict) else None
        raise UsageError(f"{folder}: expected a {expected} folder, got a {kind} folder")
    if manifest.get("format") != _FORMAT:
        raise UsageError(
            f"{folder}: expected format {_FORMAT}, got {manifest.get('format')}; make the folder again"
        )
    return manifest


def manifest_of(folder: str | Path) -> dict[str, Any]:
    """Return the manifest of a folder of any kind; empty if there is none."""
    path = Path(folder) / MANIFEST
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
    name = Path(name).stem if is_mjcf_path(name) else name.rsplit("-v", 1)[0]
    return "".join(c for c in name.lower() if c.isalnum() or c in "-_") or "env"
