"""Small files: only regular files of limited size are read, only strict JSON is accepted, flipped bits are named."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
from pathlib import Path

import pytest

from robossl.core.errors import CorruptedFileError, OperationError, UsageError, printable
from robossl.core.small_files import (
    MAX_BYTES,
    as_path,
    checked,
    checked_ints,
    encode_json,
    open_regular,
    parse_json,
    read_json,
    read_limited,
    read_toml,
)


@pytest.mark.parametrize("read", [read_json, read_toml, read_limited, open_regular])
@pytest.mark.parametrize(
    "kind", ["fifo", "socket", "zero", "memory", "folder", "missing", "cycle", "endless"]
)
def test_what_is_no_regular_file_is_refused_at_once(read, kind, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    path = Path("x")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.close()
    elif kind == "folder":
        path.mkdir()
    elif kind == "endless":
        with open(path, "wb") as file:
            file.truncate(1 << 40)
    elif kind != "missing":
        path.symlink_to({"zero": "/dev/zero", "memory": "/proc/self/mem", "cycle": path}[kind])
    if kind in ("endless", "memory") and read is open_regular:
        return
    with pytest.raises((CorruptedFileError, UsageError)) as refusal:
        read(path)
    assert "\n" not in str(refusal.value)
    assert "x" in str(refusal.value)


def test_file_above_the_limit_is_refused(tmp_path) -> None:
    (tmp_path / "x").write_bytes(b" " * 101)
    assert len(read_limited(tmp_path / "x", 101)) == 101
    with pytest.raises(CorruptedFileError, match="too large"):
        read_limited(tmp_path / "x", 100)
    (tmp_path / "x").write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(CorruptedFileError, match="too large"):
        read_json(tmp_path / "x")


NOT_STRICT = {
    "duplicate key": b'{"a": 1, "a": 2}',
    "duplicate key below": b'[{"b": {"a": 1, "c": 0, "a": 2}}]',
    "NaN": b'{"a": NaN}',
    "infinity": b"[-Infinity]",
    "overflow": b"[1e999]",
    "many digits": b"1" * 41,
    "more digits": b"1" * 10_000,
    "deep list": b"[" * 100 + b"]" * 100,
    "deeper list": b"[" * 1_000_000,
    "deep table": b'{"a":' * 100 + b"1" + b"}" * 100,
    "surrogate": b'{"a": "\\ud800"}',
    "surrogate key": b'{"\\udfff": 1}',
    "not UTF-8": b'"\xff"',
    "byte order mark": b"\xef\xbb\xbf{}",
    "empty": b"",
    "two values": b"{} {}",
    "zero bytes": b"\0" * 100,
    "control character": b'"a\x1bb"',
}


@pytest.mark.parametrize("text", NOT_STRICT.values(), ids=NOT_STRICT)
def test_json_that_is_not_strict_is_damage(text, tmp_path) -> None:
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(CorruptedFileError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 3000,
        "x = " + "[ " * 100 + "]" * 100,
        "[" + ".".join("a" * 500) + "]",
        ".".join("a" * 500) + " = 1",
        "x = " + "{a = " * 500,
        "\0",
        "x",
        "x = 1\nx = 2",
    ],
    ids=lambda text: text[:9],
)
def test_toml_that_is_deep_or_broken_is_refused(text, tmp_path) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises((CorruptedFileError, UsageError), match=r"x\.toml"):
        read_toml(tmp_path / "x.toml")


VALUE = {"id": "a1", "rows": list(range(50)), "nested": {"text": "Größe", "number": 0.1, "none": None}}


def test_checksum_is_removed_on_reading(tmp_path) -> None:
    (tmp_path / "x").write_bytes(encode_json(VALUE, checksum=True))
    assert read_json(tmp_path / "x", checksum=True) == read_json(tmp_path / "x") == VALUE
    assert "crc32" in json.loads((tmp_path / "x").read_text())


def test_every_flipped_bit_is_noticed(tmp_path) -> None:
    data = encode_json(VALUE, checksum=True)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "x").write_bytes(flipped)
        with pytest.raises(CorruptedFileError, match="x is damaged"):
            read_json(tmp_path / "x", checksum=True)


def test_every_truncation_and_addition_is_noticed(tmp_path) -> None:
    data = encode_json(VALUE, checksum=True)
    for damaged in [*(data[:n] for n in range(len(data))), data + b"\n", b" " + data, encode_json(VALUE)]:
        (tmp_path / "x").write_bytes(damaged)
        with pytest.raises(CorruptedFileError):
            read_json(tmp_path / "x", checksum=True)


def test_random_bytes_are_a_value_or_damage(tmp_path) -> None:
    source = random.Random(0)
    text = encode_json(VALUE)
    for _ in range(300):
        mutated = bytearray(text)
        for _ in range(source.randint(1, 8)):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        with contextlib.suppress(CorruptedFileError):
            parse_json(bytes(mutated), "x")


TABLE = {"n": 3, "flag": True, "text": "a", "rows": [1, 2], "real": 0.5, "bad": [1, -1], "huge": [1 << 60]}


@pytest.mark.parametrize("key", ["missing", "flag", "text", "rows", "real"])
def test_entry_of_another_type_is_damage(key) -> None:
    assert checked(TABLE, "n", int, "x", 0, 3) == 3
    with pytest.raises(CorruptedFileError, match=f"x is damaged: {key}"):
        checked(TABLE, key, int, "x")


def test_entry_out_of_range_is_damage() -> None:
    for low, high in ((4, 9), (0, 2)):
        with pytest.raises(CorruptedFileError, match="x is damaged: n: expected"):
            checked(TABLE, "n", int, "x", low, high)
    assert checked_ints(TABLE, "rows", "x", 2) == [1, 2]
    for key, length in (("rows", 3), ("bad", 2), ("huge", 1), ("text", 1)):
        with pytest.raises(CorruptedFileError, match=f"x is damaged: {key}"):
            checked_ints(TABLE, key, "x", length)
    with pytest.raises(CorruptedFileError, match="expected a table"):
        checked([], "n", int, "x")


@pytest.mark.parametrize("error", [UsageError, OperationError, CorruptedFileError])
@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred", "a\r\x07", "\u202egnp", "\udc80", "\x00", "\x9b31m"])
def test_message_escapes_control_characters(error, text) -> None:
    assert str(error(f"name {text}")).isprintable()
    assert printable("Größe, 3 m²") == "Größe, 3 m²"


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "x/" * 3000])
def test_names_that_no_file_can_have_are_refused_in_one_line(name) -> None:
    with pytest.raises(UsageError, match="expected a folder, got") as caught:
        as_path(name, "a folder")
    assert len(str(caught.value)) < 150
