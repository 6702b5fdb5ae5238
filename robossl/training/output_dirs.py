"""Folders that robossl writes: never over something else, and always with what reproduces them."""

from __future__ import annotations

import itertools
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

_MARK = "manifest.json"  # says what a folder is and how it was made


def create_output_dir(out: str | Path | None, default: str) -> Path:
    """A folder to write to: `out` if it is empty or absent, else the first free of default, default-2, ..."""
    path = _free(default) if out is None else Path(out)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path} exists and is not empty; give another --out, or remove it first")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path}: {error.strerror}") from error
    return path


def _free(default: str) -> Path:
    """The first of default, default-2, ... that is not there."""
    numbers = itertools.count(2)
    path = Path(default)
    while path.exists():
        path = Path(f"{default}-{next(numbers)}")
    return path


@contextmanager
def output_dir(out: str | Path | None, default: str) -> Iterator[Path]:
    """`fresh`, for work that may be refused yet: a `RequestError` inside, before `sign`, leaves nothing behind."""
    path = _free(default) if out is None else Path(out)
    absent = [p for p in (path, *path.parents) if not p.exists()]
    path = create_output_dir(path, default)
    try:
        yield path
    except UsageError:
        if not (path / _MARK).is_file():
            for entry in path.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            for folder in absent:
                folder.rmdir()
        raise


def write_manifest(folder: Path, kind: str, config: Any = None, **more: Any) -> None:
    """Leave in a folder what reproduces it: config.toml, the command, versions, device, git revision.

    `config` is a config, or a dict of settings.
    """
    if config:
        write_bytes_atomic(folder / "config.toml", to_toml(config).encode())
    write_json(folder / _MARK, {"kind": kind, "format": 1, **system_info(), **more})


def read_manifest(folder: str | Path, *kinds: str) -> dict[str, Any]:
    """What `sign` left in a folder; `RequestError` where it is not one of `kinds`."""
    folder = Path(folder)
    expected = " or ".join(kinds)
    if not folder.exists():
        raise UsageError(f"no folder {folder}; expected a {expected} folder{_nearby(folder)}")
    if not (folder / _MARK).is_file():
        raise UsageError(f"{folder} is not a {expected} folder: it has no {_MARK}{_nearby(folder)}")
    mark = read_json(folder / _MARK)
    if not isinstance(mark, dict) or mark.get("kind") not in kinds:
        kind = mark.get("kind") if isinstance(mark, dict) else None
        raise UsageError(f"{folder} is a {kind} folder; expected a {expected} folder")
    if mark.get("format") != 1:
        raise UsageError(f"{folder} has format {mark.get('format')}; this robossl reads format 1")
    return mark


def recorded(folder: str | Path) -> dict[str, Any]:
    """What `sign` left in a folder, whatever it is; nothing where there is nothing."""
    mark = read_json(Path(folder) / _MARK) if (Path(folder) / _MARK).is_file() else {}
    return mark if isinstance(mark, dict) else {}


def recorded_env(folder: str | Path) -> str | None:
    """The env that a folder of ours, or one inside it, was made for; with its package, where it was named."""
    for place in (Path(folder), Path(folder).resolve().parent):
        if env := recorded(place).get("env"):
            return env
    return None


def training_stream_of(folder: str | Path) -> Path | None:
    """The stream that a model folder says it learned from, where it still lies there."""
    mark = recorded(folder)
    places = [Path(folder).resolve() / str(mark[key]) for key in ("stream", "stream_path") if mark.get(key)]
    return next((place for place in places if place.is_dir()), None)


def _nearby(folder: Path) -> str:
    """Folders of ours beside the one that was asked for."""
    parent = folder.parent
    if not parent.is_dir():
        return ""
    known = sorted(p.name for p in parent.iterdir() if (p / _MARK).is_file())
    return f"; in {parent} there are: {', '.join(known)}" if known else ""


def slug(env: str) -> str:
    """A short folder name for an env: robossl/CartPoleSwingUp-v0 -> cartpoleswingup, robots/my_arm.xml -> my_arm."""
    name = env.split(":")[-1].split("/")[-1]
    name = Path(name).stem if is_mjcf_path(name) else name.rsplit("-v", 1)[0]
    return "".join(c for c in name.lower() if c.isalnum() or c in "-_") or "env"
