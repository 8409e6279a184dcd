"""Parquet and Arrow, batch by batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from carrara.data.read.bad import Broken, Damaged
from carrara.data.read.jsons import Record
from carrara.errors import one_line

_BATCH = 256  # rows at a time
_MAGIC = b"ARROW1"


def read_parquet(stream: BinaryIO) -> Iterator[Record]:
    """Every row of a Parquet file; raises Damaged where it cannot be read (on)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(stream) as file:
            yield from _rows(file.iter_batches(batch_size=_BATCH), _classes(file.schema_arrow.metadata))
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise Damaged(_reason("Parquet", error)) from error


def read_arrow(stream: BinaryIO) -> Iterator[Record]:
    """Every row of an Arrow file or stream; raises Damaged where it cannot be read (on)."""
    import pyarrow as pa

    try:
        is_file = stream.read(len(_MAGIC)) == _MAGIC
        stream.seek(0)
        if is_file:
            with pa.ipc.open_file(stream) as file:
                batches = (file.get_batch(index) for index in range(file.num_record_batches))
                yield from _rows(batches, _classes(file.schema.metadata))
        else:
            with pa.ipc.open_stream(stream) as reader:
                yield from _rows(reader, _classes(reader.schema.metadata))
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise Damaged(_reason("Arrow", error)) from error


def _rows(batches: Iterable[Any], classes: Mapping[str, list[Any]]) -> Iterator[Record]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _BATCH):
            for row in _values(batch.slice(start, _BATCH)):
                number += 1
                if classes and isinstance(row, dict):
                    _name_classes(row, classes)
                yield number, row, None


def _values(batch: Any) -> list[Any]:
    """The rows of a batch as objects; where one of them cannot be one, each by itself."""
    try:
        batch.validate(full=True)  # Arrow trusts the offsets in a file, and would read memory that is not its own
        return batch.to_pylist()
    except (ValueError, OverflowError):
        if batch.num_rows == 1:
            return [Broken("holds a value that is damaged")]
        return [row for index in range(batch.num_rows) for row in _values(batch.slice(index, 1))]


def _classes(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[Any]]:
    """The names of classes by column, where the `datasets` library has written them into a schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        named = {name: feature["names"] for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
    return {name: names for name, names in named.items() if isinstance(names, list)}


def _name_classes(row: dict[str, Any], classes: Mapping[str, list[Any]]) -> None:
    for column, names in classes.items():
        value = row.get(column)
        if isinstance(value, int):
            row[column] = names[value] if 0 <= value < len(names) else None  # -1 means that there is no class


def _reason(kind: str, error: Exception) -> str:
    return f"it is no whole {kind} file ({one_line(error, 160).rstrip('.')})"
