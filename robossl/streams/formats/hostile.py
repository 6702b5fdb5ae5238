"""Checks of data sets that may come from a third party, before a library reads them: links, sizes and file types."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from robossl.core.errors import CorruptedFileError
from robossl.core.io import resolve_within
from robossl.core.small_files import open_regular

_MAX_RATIO = 1100  # uncompressed to stored bytes; the most that deflate reaches
_SMALL = 1 << 24  # [bytes] that are always allowed
_MAX_OBJECTS = 10_000_000  # in an HDF5 file
_MAX_FILES = 1_000_000
_ROWS_PER_BYTE = 10  # of a parquet file; each row has at least an index


def check_folder(root: Path) -> None:
    """Check that a folder has only regular files and folders, and no link out of it.

    Raises:
        CorruptedFileError: If it has a FIFO, a socket, a device or too many files.
        UsageError: If a link leads out of it.
    """
    count = 0
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            count += 1
            path = Path(folder, name)
            mode = resolve_within(root, path.relative_to(root)).stat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or count > _MAX_FILES:
                raise CorruptedFileError(f"{path}: expected regular files, at most {_MAX_FILES:,}")


def check_hdf5(path: Path) -> None:
    """Check that an HDF5 file refers to no other file, and holds about what its size allows.

    Raises:
        CorruptedFileError: If it has soft or external links, external storage, virtual datasets, or a dataset whose
            size is far beyond what is stored of it.
    """
    import h5py

    open_regular(path).close()
    visited: set[int] = set()
    try:
        with h5py.File(path, "r") as file:
            groups: list[Any] = [file]
            while groups:
                group = groups.pop()
                for name in group:
                    _check_link(path, group, name, h5py)
                    item = group[name]
                    address = h5py.h5o.get_info(item.id).addr
                    if address in visited:
                        continue  # another hard link
                    visited.add(address)
                    if len(visited) > _MAX_OBJECTS:
                        raise CorruptedFileError(f"{path} has more than {_MAX_OBJECTS:,} objects")
                    if isinstance(item, h5py.Group):
                        groups.append(item)
                    elif isinstance(item, h5py.Dataset):
                        _check_dataset(path, item)
                    else:
                        raise CorruptedFileError(f"{path}: {item.name} is neither a group nor a dataset")
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, CorruptedFileError):
            raise
        raise CorruptedFileError(f"{path} is damaged: {error}") from error


def _check_link(path: Path, group: Any, name: str, h5py: Any) -> None:
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a soft link"
        raise CorruptedFileError(f"{path}: {group.name}/{name} is {kind}, which may lead out of the file")


def _check_dataset(path: Path, dataset: Any) -> None:
    if dataset.external:
        raise CorruptedFileError(f"{path}: {dataset.name} has external storage, which is outside the file")
    if dataset.is_virtual:
        raise CorruptedFileError(f"{path}: {dataset.name} is virtual: its values are in other files")
    stored = dataset.id.get_storage_size()
    size = int(dataset.size or 0) * dataset.dtype.itemsize
    if size > _SMALL + _MAX_RATIO * stored or stored > path.stat().st_size:
        raise CorruptedFileError(f"{path}: {dataset.name} has {size:,} bytes, but only {stored:,} are stored")


def check_parquet(path: Path, metadata: Any) -> None:
    """Check the number of rows and values in the footer of a parquet file against the size of the file.

    Raises:
        CorruptedFileError: If it names far more than the file can hold.
    """
    size = path.stat().st_size
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    uncompressed = sum(group.total_byte_size for group in groups)
    num_values = max(
        (group.column(k).num_values for group in groups for k in range(group.num_columns)), default=0
    )
    if (
        metadata.num_rows > _ROWS_PER_BYTE * size + 10_000
        or uncompressed > _SMALL + _MAX_RATIO * size
        or num_values > _SMALL + _MAX_RATIO * size
        or min([metadata.num_rows, uncompressed, *(group.num_rows for group in groups)]) < 0
    ):
        raise CorruptedFileError(f"{path} is damaged: {metadata.num_rows:,} rows in {size:,} bytes")
