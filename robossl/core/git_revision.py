"""Git revision of a folder, read from its `.git` folder without running git.

The configuration of a repository may name programs (core.fsmonitor, filters, hooks, aliases, a pager), and git runs
some of them in `git status`. A working folder may come from an untrusted source, so git is not run there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from robossl.core.errors import OperationError, UsageError
from robossl.core.small_files import read_limited, read_text

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(r"ref: (refs/[\w./@+-]+)")
_MAX_FILE = 64 << 20  # [bytes] of a packed-refs file, an index, or a file that is compared
_MAX_LINE = 4096  # [bytes] of HEAD and of a link
_ENTRY = struct.Struct(">10I")  # ctime, mtime (s, ns each), device, inode, mode, uid, gid, size


def git_revision(folder: Path, upwards: bool = True) -> str | None:
    """Return the commit that is checked out in `folder`; None if there is none.

    Args:
        folder: A folder in a work tree.
        upwards: Also look for the repository in the parents of `folder`.

    Returns:
        The commit; with `+changes` if tracked files differ from the index.
    """
    with contextlib.suppress(OSError, UsageError, OperationError, ValueError):
        for root in _candidates(folder, upwards):
            if (repository := _repository(root)) is not None:
                revision = _head(repository)
                return (
                    revision and f"{revision}{'+changes' if _has_changes(root, repository, revision) else ''}"
                )
    return None


def _candidates(folder: Path, upwards: bool) -> Iterator[Path]:
    """Yield the folder and its parents, up to the ceiling that the user has set for git."""
    ceilings = os.environ.get("GIT_CEILING_DIRECTORIES", "").split(os.pathsep)
    folder = folder.resolve()
    yield folder
    for parent in folder.parents if upwards else ():
        if str(parent) in ceilings:
            return
        yield parent


def _repository(root: Path) -> Path | None:
    """Return the git folder of a work tree; a file `.git` has the path of one."""
    path = root / ".git"
    if path.is_dir():
        return path
    if path.is_file():
        text = read_text(path, _MAX_LINE).strip()
        if text.startswith("gitdir: "):
            return root / text.removeprefix("gitdir: ")
    return None


def _head(repository: Path) -> str | None:
    """Return the commit of HEAD."""
    text = read_text(repository / "HEAD", _MAX_LINE).strip()
    if _HASH.fullmatch(text):
        return text
    match = _REF.fullmatch(text)
    if match is None or ".." in match[1]:
        return None
    shared = repository
    if (repository / "commondir").is_file():  # of a linked work tree
        shared = repository / read_text(repository / "commondir", _MAX_LINE).strip()
    for place in (repository, shared):
        if (place / match[1]).is_file():
            commit = read_text(place / match[1], _MAX_LINE).strip()
            return commit if _HASH.fullmatch(commit) else None
    for line in read_text(shared / "packed-refs", _MAX_FILE).splitlines():
        commit, _, name = line.partition(" ")
        if name == match[1] and _HASH.fullmatch(commit):
            return commit
    return None


class _IndexEntry(NamedTuple):
    """A tracked file."""

    path: bytes
    mode: int
    seconds: int  # modification time
    nanoseconds: int
    size: int  # [bytes], modulo 2**32
    digest: bytes


def _has_changes(root: Path, repository: Path, revision: str) -> bool:
    """Return whether a tracked file differs from the index; files with the recorded size and time do not."""
    if not (repository / "index").is_file():
        return False
    digest_size = len(revision) // 2
    return any(
        _differs(root, entry) for entry in _index(read_limited(repository / "index", _MAX_FILE), digest_size)
    )


def _index(data: bytes, digest_size: int) -> Iterator[_IndexEntry]:
    """Yield the entries of an index of version 2 or 3; nothing for other versions."""
    if data[:4] != b"DIRC" or len(data) < 12 or struct.unpack(">I", data[4:8])[0] not in (2, 3):
        return
    position = 12
    for _ in range(struct.unpack(">I", data[8:12])[0]):
        if position + _ENTRY.size + digest_size + 2 > len(data):
            return
        _, _, seconds, nanoseconds, _, _, mode, _, _, size = _ENTRY.unpack_from(data, position)
        start = position + _ENTRY.size
        digest = data[start : start + digest_size]
        flags = struct.unpack_from(">H", data, start + digest_size)[0]
        begin = start + digest_size + (4 if flags & 0x4000 else 2)
        end = data.find(b"\0", begin)
        if end < 0:
            return
        yield _IndexEntry(data[begin:end], mode, seconds, nanoseconds, size, digest)
        position += (end - position) // 8 * 8 + 8


def _differs(root: Path, entry: _IndexEntry) -> bool:
    """Return whether a regular tracked file has other content than the index records."""
    if not stat.S_ISREG(entry.mode) or b".." in entry.path.split(b"/"):
        return False
    path = Path(os.fsdecode(os.path.join(os.fsencode(root), entry.path)))
    try:
        status = path.lstat()
    except OSError:
        return True
    seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
    same_time = (seconds & 0xFFFFFFFF, nanoseconds) == (entry.seconds, entry.nanoseconds)
    if not stat.S_ISREG(status.st_mode) or status.st_size & 0xFFFFFFFF != entry.size:
        return True
    if same_time or status.st_size > _MAX_FILE:
        return False
    content = read_limited(path, _MAX_FILE)
    digest = hashlib.sha1 if len(entry.digest) == 20 else hashlib.sha256
    return digest(b"blob %d\0" % len(content) + content, usedforsecurity=False).digest() != entry.digest
