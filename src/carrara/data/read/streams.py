"""Files as streams of bytes, unpacked on the way: gzip, zstd and the members of zip archives."""

from __future__ import annotations

import gzip
import io
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import IO, BinaryIO, cast

from carrara.data.read.bad import Damaged

BOMB_BYTES, BOMB_RATIO = 2 << 30, 200  # what unpacks to more than both is not read on
FORMATS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".jsonlines": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv",
    ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
    ".txt": "text", ".text": "text", ".md": "markdown", ".markdown": "markdown",
}  # fmt: skip
DOCUMENTS = ("text", "markdown")
_COMPRESSIONS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_BLOCK = 1 << 18
_ERRORS = (OSError, EOFError, zlib.error, struct.error, LZMAError, zipfile.BadZipFile, RuntimeError, ValueError,
           LookupError)  # fmt: skip


@dataclass(frozen=True)
class SourceFile:
    """A file of rows, or a member of an archive: the name that rows give for it, and how it is packed."""

    name: str
    path: Path
    member: str | None
    format: str
    compression: str | None


def format_of(name: str) -> tuple[str | None, str | None]:
    """The format and the compression that a file's name says; None for a format that is not read."""
    suffixes = Path(name.lower()).suffixes
    compression = _COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    inner = suffixes[:-1] if compression else suffixes
    return (FORMATS.get(inner[-1]) if inner else None), compression


@contextmanager
def open_bytes(file: SourceFile) -> Iterator[io.BufferedReader]:
    """The unpacked bytes of a file; opening and reading raise Damaged."""
    with ExitStack() as stack:
        try:
            source, packed = _open_packed(file, stack)
            stream = _decompress(source, file.compression)
        except _ERRORS as error:
            raise Damaged(_reason(error)) from error
        yield cast(io.BufferedReader, stack.enter_context(io.BufferedReader(_Guarded(stream, packed), _BLOCK)))


@contextmanager
def open_seekable(file: SourceFile) -> Iterator[BinaryIO]:
    """The same, as a file in which a reader may jump; what is packed is unpacked to a nameless temporary file."""
    if file.member is None and file.compression is None:
        try:
            stream = file.path.open("rb")
        except OSError as error:
            raise Damaged(_reason(error)) from error
        with stream:
            yield stream
        return
    with tempfile.TemporaryFile() as unpacked, open_bytes(file) as packed:
        while block := packed.read1(_BLOCK):
            unpacked.write(block)
        unpacked.seek(0)
        yield cast(BinaryIO, unpacked)


def _open_packed(file: SourceFile, stack: ExitStack) -> tuple[IO[bytes], int]:
    """The packed bytes, and how many they are."""
    if file.member is None:
        stream = stack.enter_context(file.path.open("rb"))
        return stream, file.path.stat().st_size
    archive = stack.enter_context(zipfile.ZipFile(file.path))
    member = archive.getinfo(file.member)
    return stack.enter_context(archive.open(member)), member.compress_size


def _decompress(source: IO[bytes], compression: str | None) -> io.BufferedReader:
    if compression == "gzip":
        return cast(io.BufferedReader, gzip.GzipFile(fileobj=source))
    if compression == "zstd":
        import pyarrow as pa

        return cast(io.BufferedReader, pa.CompressedInputStream(pa.PythonFile(source, mode="r"), "zstd"))
    return cast(io.BufferedReader, source)


class _Guarded(io.RawIOBase):
    """A stream whose errors are Damaged, and which stops where it has grown out of all proportion."""

    def __init__(self, source: io.BufferedReader, packed: int) -> None:
        self._source = source
        self._limit = max(BOMB_BYTES, BOMB_RATIO * packed)
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            block = self._source.read1(len(buffer))  # not more, so that what comes before damage is had
        except _ERRORS as error:
            raise Damaged(_reason(error)) from error
        self._count += len(block)
        if self._count > self._limit:
            raise Damaged(f"it unpacks to over {BOMB_RATIO} times its size, as a decompression bomb does")
        buffer[: len(block)] = block
        return len(block)


def _reason(error: Exception) -> str:
    text = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
    return f"it cannot be read ({text})"
