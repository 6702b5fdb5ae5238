"""Tensor files: mapped without a copy, readable by safetensors, every altered byte detected."""

from __future__ import annotations

import json
import mmap
import struct

import numpy as np
import pytest
import safetensors.numpy

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import check_tensors, load_tree, map_tensors, save_tree, write_tensors

DTYPES = ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


def example_arrays():
    """Return every dtype in several shapes with distinguishable values."""
    shapes = [(), (0,), (1,), (3, 0, 2), (7,), (2, 3)]
    return {
        f"{dtype}{list(shape)}": (np.arange(np.prod(shape, dtype=int)) + i).astype(dtype).reshape(shape)
        for i, dtype in enumerate(DTYPES)
        for shape in shapes
    }


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype, name
        np.testing.assert_array_equal(left[name], right[name], strict=True, err_msg=name)


def file_bytes(header, data=b""):
    """Return a file with a given header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_arrays_and_metadata_round_trip(tmp_path):
    write_tensors(tmp_path / "f", example_arrays(), {"author": "robossl", "crc32": "is overwritten"})
    arrays, metadata = map_tensors(tmp_path / "f")
    assert_same(arrays, example_arrays())
    assert metadata["author"] == "robossl"
    check_tensors(tmp_path / "f")


def test_metadata_of_a_file_can_be_reused(tmp_path):
    write_tensors(tmp_path / "one", {"a": np.arange(3)}, {"author": "robossl"})
    write_tensors(tmp_path / "two", *map_tensors(tmp_path / "one"))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    write_tensors(tmp_path / "three", {"a": np.arange(4)}, map_tensors(tmp_path / "one")[1])
    check_tensors(tmp_path / "three")


def test_arrays_of_any_layout_round_trip(tmp_path):
    grid = np.arange(24.0).reshape(2, 3, 4)
    unusual = {"turned": grid.T, "stepped": grid[:, ::2, ::-1], "big-endian": grid.astype(">f4")}
    write_tensors(tmp_path / "f", unusual)
    arrays, _ = map_tensors(tmp_path / "f")
    for name, array in unusual.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert arrays["big-endian"].dtype == np.dtype("<f4")


def test_mapped_arrays_are_read_only_views_of_the_file(tmp_path):
    write_tensors(tmp_path / "f", example_arrays())
    arrays, _ = map_tensors(tmp_path / "f")
    for array in arrays.values():
        owner = array
        while isinstance(owner, np.ndarray) and owner.base is not None:
            owner = owner.base
        assert isinstance(owner.obj if isinstance(owner, memoryview) else owner, mmap.mmap)
        assert not array.flags.writeable
        assert array.flags.aligned
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_equal_arrays_give_equal_bytes(tmp_path):
    arrays = example_arrays()
    write_tensors(tmp_path / "one", arrays)
    write_tensors(tmp_path / "two", dict(reversed(arrays.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_safetensors_package_reads_our_files(tmp_path):
    write_tensors(tmp_path / "f", example_arrays(), {"note": 'with "quotes" and ünïcode'})
    assert_same(safetensors.numpy.load_file(tmp_path / "f"), example_arrays())
    with safetensors.safe_open(tmp_path / "f", "numpy") as file:
        assert file.metadata()["note"] == 'with "quotes" and ünïcode'


def test_files_of_the_safetensors_package_are_read(tmp_path):
    safetensors.numpy.save_file(example_arrays(), tmp_path / "f", {"author": "third party"})
    arrays, metadata = map_tensors(tmp_path / "f")
    assert_same(arrays, example_arrays())
    assert metadata == {"author": "third party"}
    with pytest.raises(CorruptedFileError, match="no checksum"):
        check_tensors(tmp_path / "f")


def test_every_altered_byte_is_detected(tmp_path):
    path = tmp_path / "f"
    save_tree(path, {"steps": 1000, "rate": 0.5, "name": "00000000", "weights": np.arange(5, dtype="f4")})
    original = path.read_bytes()
    for place in range(len(original)):
        for mask in (0x01, 0x20, 0x80):
            path.write_bytes(original[:place] + bytes([original[place] ^ mask]) + original[place + 1 :])
            with pytest.raises(CorruptedFileError, match=str(path)):
                load_tree(path)


def test_every_change_of_length_is_detected(tmp_path):
    path = tmp_path / "f"
    write_tensors(path, {"a": np.arange(5, dtype="f4")})
    original = path.read_bytes()
    for damaged_bytes in [original[:n] for n in range(len(original))] + [
        original + b"\0",
        original + original,
    ]:
        path.write_bytes(damaged_bytes)
        for read in (map_tensors, check_tensors):
            with pytest.raises(CorruptedFileError, match=str(path)):
                read(path)


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


MALFORMED = {
    "not json": b"{]",
    "not text": b"\xff\xff",
    "a list": [],
    "deep": b'{"a":' * 50_000,
    "an array that is a number": {"a": 1},
    "no offsets": {"a": {"dtype": "F32", "shape": [2]}},
    "one offset": {"a": entry(offsets=(8,))},
    "offsets as strings": {"a": entry(offsets=("0", "8"))},
    "offsets as fractions": {"a": entry(offsets=(0.0, 8.0))},
    "negative offset": {"a": entry(offsets=(-8, 0)), "b": entry()},
    "offsets backwards": {"a": entry(offsets=(8, 0))},
    "beyond the end": {"a": entry(shape=(4,), offsets=(0, 16))},
    "short of the end": {"a": entry(shape=(1,), offsets=(0, 4))},
    "a gap": {"a": entry(shape=(1,), offsets=(4, 8))},
    "an overlap": {"a": entry(), "b": entry(shape=(1,), offsets=(4, 8))},
    "a negative shape": {"a": entry(shape=(-1, -2))},
    "a shape of truth": {"a": entry(shape=(True, 2))},
    "a shape too small": {"a": entry(shape=(1,))},
    "a shape that overflows": {"a": entry(shape=(2**32, 2**32), offsets=(0, 0)), "b": entry()},
    "an endless shape": {"a": entry(shape=(0, 2**70), offsets=(0, 0)), "b": entry()},
    "a shape of 100 axes": {"a": entry(shape=(1,) * 99 + (2,))},
    "metadata as numbers": {"__metadata__": {"crc32": 1}, "a": entry()},
    "metadata as a list": {"__metadata__": [], "a": entry()},
    "metadata as nothing": {"__metadata__": None, "a": entry()},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_header_raises(tmp_path, case):
    (tmp_path / "f").write_bytes(file_bytes(MALFORMED[case], b"\0" * 8))
    with pytest.raises(CorruptedFileError, match=str(tmp_path / "f")):
        map_tensors(tmp_path / "f")
    with pytest.raises(CorruptedFileError, match=str(tmp_path / "f")):
        check_tensors(tmp_path / "f")


def test_well_formed_header_is_accepted(tmp_path):
    (tmp_path / "f").write_bytes(file_bytes({"a": entry()}, b"\0" * 8))
    assert map_tensors(tmp_path / "f")[0]["a"].tolist() == [0, 0]


def test_header_length_beyond_the_file_raises(tmp_path):
    for length in (9, 2**40, 2**64 - 1):
        (tmp_path / "f").write_bytes(struct.pack("<Q", length) + b"{}      ")
        with pytest.raises(CorruptedFileError, match="no safetensors header"):
            map_tensors(tmp_path / "f")


def test_dtype_without_numpy_equivalent_is_a_usage_error(tmp_path):
    (tmp_path / "f").write_bytes(file_bytes({"a": entry("BF16", (4,))}, b"\0" * 8))
    with pytest.raises(UsageError, match=r"f: 'a' has dtype BF16; available: BOOL"):
        map_tensors(tmp_path / "f")


@pytest.mark.parametrize("value", ["word", 1j, None, np.datetime64("2020-01-01"), np.longdouble(1)])
def test_unsupported_dtype_raises(tmp_path, value):
    with pytest.raises(UsageError, match="'a' has dtype"):
        write_tensors(tmp_path / "f", {"a": np.array([value])})
    assert not (tmp_path / "f").exists()


def test_metadata_must_be_strings_and_one_name_is_reserved(tmp_path):
    with pytest.raises(TypeError, match="expected strings"):
        write_tensors(tmp_path / "f", {}, {"rows": 3})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="__metadata__"):
        write_tensors(tmp_path / "f", {"__metadata__": np.zeros(1)})
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("read", [map_tensors, check_tensors, load_tree])
def test_missing_file_is_a_usage_error(tmp_path, read):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(UsageError, match="no file"):
            read(path)
