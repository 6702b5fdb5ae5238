"""Files: complete or absent, inside their folder, one-line errors."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from robossl.core.errors import CorruptedFileError, OperationError, UsageError
from robossl.core.io import read_json, resolve_within, save_tree, write_bytes_atomic, write_json


def file_names(folder):
    return sorted(path.name for path in folder.iterdir())


class SimulatedInterrupt(BaseException):
    """Stands for Ctrl-C: not caught by `except Exception`."""


@pytest.mark.parametrize("interruption", [SimulatedInterrupt, MemoryError, TypeError])
def test_interrupted_write_keeps_the_old_file(tmp_path, interruption):
    path = tmp_path / "kept"
    write_bytes_atomic(path, b"old")

    def parts():
        yield b"new and longer than the old"
        raise interruption

    with pytest.raises(interruption):
        write_bytes_atomic(path, parts())
    assert path.read_bytes() == b"old"
    assert file_names(tmp_path) == ["kept"]


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
@pytest.mark.parametrize("write", ["save_tree(path, np.zeros(100_000))", "write_json(path, 'x' * 100_000)"])
def test_full_disk_keeps_the_old_file_and_leaves_no_temporary_file(tmp_path, write):
    path = tmp_path / "kept"
    write_bytes_atomic(path, b"old")
    program = f"""
import resource, sys
import numpy as np
from robossl.core.errors import OperationError
from robossl.core.io import save_tree, write_json
path = sys.argv[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    {write}
except OperationError as error:
    sys.exit(str(error))
"""
    completed = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
    assert completed.returncode == 1
    assert completed.stderr.startswith(f"cannot write {path}")
    assert completed.stderr.count("\n") == 1
    assert path.read_bytes() == b"old"
    assert file_names(tmp_path) == ["kept"]


def test_writing_to_a_folder_path_raises(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "nowhere" / "file", tmp_path / "folder"):
        with pytest.raises(OperationError, match="cannot write"):
            write_bytes_atomic(path, b"data")
    assert file_names(tmp_path) == ["folder"]


def test_concurrent_writes_do_not_mix(tmp_path):
    path = tmp_path / "shared"
    contents = [bytes([65 + i]) * 50_000 for i in range(8)]
    threads = [
        threading.Thread(target=write_bytes_atomic, args=(path, [c[:25_000], c[25_000:]])) for c in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert file_names(tmp_path) == ["shared"]


@pytest.mark.parametrize(
    "data", [b"abc", bytearray(b"abc"), memoryview(b"abc"), [b"a", b"", memoryview(b"bc")]]
)
def test_every_kind_of_buffer_is_written(tmp_path, data):
    write_bytes_atomic(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == b"abc"


@pytest.mark.parametrize(
    "value", [None, True, 0, -(2**70), 0.1, "Grüße\u0000", [], {}, {"b": 1, "a": [1, {}]}]
)
def test_json_round_trip_keeps_values_and_order(tmp_path, value):
    write_json(tmp_path / "x.json", value)
    back = read_json(tmp_path / "x.json")
    assert back == value
    assert repr(back) == repr(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {"a": [np.zeros(2)]}])
def test_invalid_json_value_raises_and_keeps_the_old_file(tmp_path, value):
    write_json(tmp_path / "x.json", "old")
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == "old"


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"a": }', b"\xff\xfe", b"[" * 100_000, b"1" * 10_000], ids=lambda t: repr(t[:8])
)
def test_damaged_json_raises_with_the_file_name(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(CorruptedFileError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


def test_missing_json_is_a_usage_error(tmp_path):
    (tmp_path / "file").write_text("1")
    for path in (tmp_path / "absent", tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="no file"):
            read_json(path)


@pytest.mark.parametrize("relative", ["a", "a/b", "./a", "a/../b", "", "not/there/yet"])
def test_resolve_within_returns_paths_inside_the_root(tmp_path, relative):
    assert resolve_within(tmp_path, relative) == (tmp_path / relative).resolve()


@pytest.mark.parametrize(
    "relative", ["..", "../x", "a/../../x", "/etc/passwd", "link", "link/passwd", "circle", "zero\0byte"]
)
def test_resolve_within_rejects_paths_outside_the_root(tmp_path, relative):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("/etc")
    (root / "circle").symlink_to(root / "circle")
    with pytest.raises(UsageError):
        resolve_within(root, relative)


def test_resolve_within_rejects_a_sibling_with_the_same_prefix(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root-two").mkdir()
    with pytest.raises(UsageError, match="leads out of"):
        resolve_within(tmp_path / "root", "../root-two/file")


def test_shorter_tree_replaces_a_longer_one(tmp_path):
    save_tree(tmp_path / "t", np.arange(10_000))
    long = (tmp_path / "t").stat().st_size
    save_tree(tmp_path / "t", 1)
    assert (tmp_path / "t").stat().st_size < long / 10
