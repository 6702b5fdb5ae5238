"""Parquet files: arrays as columns and back, images as PNG. Arrow is imported on first use."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.small_files import open_regular
from robossl.streams.formats.hostile import check_parquet


def arrow_type(dtype: str, shape: tuple[int, ...]) -> Any:
    """Return the Arrow type of one value of a feature."""
    import pyarrow as pa

    if dtype == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kind = pa.bool_() if dtype == "bool" else pa.from_numpy_dtype(np.dtype(dtype))
    if shape in ((), (1,)):
        return kind
    if len(shape) == 1:
        return pa.list_(kind, shape[0])
    for _ in shape:
        kind = pa.list_(kind)
    return kind


def column(values: np.ndarray, dtype: str) -> Any:
    """Return values (n, *shape) as an Arrow array."""
    import pyarrow as pa

    shape = values.shape[1:]
    kind = arrow_type(dtype, shape)
    if dtype == "image":
        return pa.array([{"bytes": encode_png(image), "path": None} for image in values], kind)
    array = pa.array(values.reshape(-1), pa.bool_() if dtype == "bool" else None)
    if shape in ((), (1,)):
        return array
    if len(shape) == 1:
        return pa.FixedSizeListArray.from_arrays(array, shape[0])
    for size in reversed(shape):
        offsets = np.arange(0, len(array) + 1, size, dtype=np.int32)
        array = pa.ListArray.from_arrays(pa.array(offsets), array)
    return array


def values(array: Any, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return (n, *shape) from an Arrow array: inverse of `column`."""
    if dtype == "image":
        return np.stack([decode_image(row["bytes"]) for row in array.to_pylist()])
    count = len(array)
    while hasattr(array, "flatten") and _is_list(array.type):
        array = array.flatten()
    flat = np.asarray(array.to_numpy(zero_copy_only=False))
    return flat.astype(np.dtype(dtype), copy=False).reshape(count, *shape)


def _is_list(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_list(kind) or types.is_fixed_size_list(kind) or types.is_large_list(kind)


def encode_png(image: np.ndarray) -> bytes:
    """Return an image (H, W, 3) uint8 as lossless PNG bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def decode_image(data: bytes) -> np.ndarray:
    """Return an image (H, W, 3) uint8 from PNG or JPEG bytes."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def read_table(path: Path) -> Any:
    """Return a parquet file as a table."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        open_regular(path).close()
        with parquet.ParquetFile(path) as file:
            check_parquet(path, file.metadata)
            return file.read()
    except (OSError, UsageError, pa.ArrowException) as error:
        raise CorruptedFileError(f"{path} is damaged or missing: {str(error).splitlines()[0]}") from error


class TableWriter:
    """Parquet file that grows episode by episode."""

    def __init__(self, path: Path) -> None:
        """Create a new file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._writer: Any = None

    def add(self, columns: dict[str, Any]) -> None:
        """Append rows by column, as returned by `column`."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        table = pa.table(columns)
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._path, table.schema, compression="snappy")
        self._writer.write_table(table)

    @property
    def bytes(self) -> int:
        """Return the size on disk so far."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a table of plain rows."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


def write_tasks(path: Path, tasks: list[str]) -> None:
    """Write the task table, which pandas reads with the tasks as index."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    column_types = (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    columns = [
        {"name": n, "field_name": n, "pandas_type": p, "numpy_type": t, "metadata": None}
        for n, p, t in column_types
    ]
    pandas_metadata = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": columns,
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks)})
    parquet.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas_metadata)}), path)
