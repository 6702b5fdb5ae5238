"""Laws of files: there whole or not at all, never outside their folder, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from robossl.core.errors import CorruptedFileError, OperationError, UsageError
from robossl.core.io import read_json, resolve_within, save_tree, write_bytes_atomic, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class Interrupt(BaseException):
    """Stands for Ctrl-C: nothing that `except Exception` would catch."""


@pytest.mark.parametrize("reason", [Interrupt, MemoryError, TypeError])
def test_whatever_interrupts_a_write_the_old_file_stays_whole(tmp_path, reason):
    path = tmp_path / "kept"
    write_bytes_atomic(path, b"old")

    def parts():
        yield b"new and longer than the old"
        raise reason

    with pytest.raises(reason):
        write_bytes_atomic(path, parts())
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["kept"]


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
@pytest.mark.parametrize("write", ["save_tree(path, np.zeros(100_000))", "write_json(path, 'x' * 100_000)"])
def test_a_full_disk_leaves_the_old_file_whole_and_no_litter(tmp_path, write):
    path = tmp_path / "kept"
    write_bytes_atomic(path, b"old")
    program = f"""
import resource, sys
import numpy as np
from robossl.core.errors import WorkError
from robossl.core.io import save_tree, write_json
path = sys.argv[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    {write}
except WorkError as error:
    sys.exit(str(error))
"""
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot write {path}")
    assert done.stderr.count("\n") == 1
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["kept"]


def test_a_missing_folder_and_a_folder_in_the_way_are_one_line(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "nowhere" / "file", tmp_path / "folder"):
        with pytest.raises(OperationError, match="cannot write"):
            write_bytes_atomic(path, b"data")
    assert names(tmp_path) == ["folder"]


def test_writers_of_the_same_file_do_not_mix(tmp_path):
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
    assert names(tmp_path) == ["shared"]


@pytest.mark.parametrize(
    "data", [b"abc", bytearray(b"abc"), memoryview(b"abc"), [b"a", b"", memoryview(b"bc")]]
)
def test_bytes_come_in_any_kind_of_buffer(tmp_path, data):
    write_bytes_atomic(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == b"abc"


@pytest.mark.parametrize(
    "value", [None, True, 0, -(2**70), 0.1, "Grüße\u0000", [], {}, {"b": 1, "a": [1, {}]}]
)
def test_json_comes_back_as_it_went_in_the_same_order(tmp_path, value):
    write_json(tmp_path / "x.json", value)
    back = read_json(tmp_path / "x.json")
    assert back == value
    assert repr(back) == repr(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {"a": [np.zeros(2)]}])
def test_what_is_not_json_is_refused_before_anything_is_written(tmp_path, value):
    write_json(tmp_path / "x.json", "old")
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == "old"


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"a": }', b"\xff\xfe", b"[" * 100_000, b"1" * 10_000], ids=lambda t: repr(t[:8])
)
def test_damaged_json_is_named(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(CorruptedFileError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


def test_json_that_is_not_there_is_a_wrong_request(tmp_path):
    (tmp_path / "file").write_text("1")
    for path in (tmp_path / "absent", tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="no file"):
            read_json(path)


@pytest.mark.parametrize("relative", ["a", "a/b", "./a", "a/../b", "", "not/there/yet"])
def test_inside_gives_what_lies_inside(tmp_path, relative):
    assert resolve_within(tmp_path, relative) == (tmp_path / relative).resolve()


@pytest.mark.parametrize(
    "relative", ["..", "../x", "a/../../x", "/etc/passwd", "link", "link/passwd", "circle", "zero\0byte"]
)
def test_inside_lets_nothing_out(tmp_path, relative):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("/etc")
    (root / "circle").symlink_to(root / "circle")
    with pytest.raises(UsageError):
        resolve_within(root, relative)


def test_inside_is_not_fooled_by_a_neighbour_with_a_longer_name(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root-two").mkdir()
    with pytest.raises(UsageError, match="leads out of"):
        resolve_within(tmp_path / "root", "../root-two/file")


def test_a_tree_written_over_a_longer_one_leaves_nothing_of_it(tmp_path):
    save_tree(tmp_path / "t", np.arange(10_000))
    long = (tmp_path / "t").stat().st_size
    save_tree(tmp_path / "t", 1)
    assert (tmp_path / "t").stat().st_size < long / 10
