"""Bytes as text: which encoding they are in, and lines that stay within bounded memory."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from carrara.data.read.bad import Broken

LINE_LIMIT = 16 << 20  # bytes of the longest line, record or element that is read
SPACE = " \t\r\n\v\f"  # a line of nothing else is blank, in any encoding
_BLOCK = 1 << 20
_DETECTED = 32 << 10  # bytes of lines beyond ASCII that decide an encoding
_SHOWN = 2500
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE: dict[str, tuple[int, Callable[[bytes, str, bool], tuple[str, int]]]] = {
    "utf-16-le": (2, codecs.utf_16_le_decode),
    "utf-16-be": (2, codecs.utf_16_be_decode),
    "utf-32-le": (4, codecs.utf_32_le_decode),
    "utf-32-be": (4, codecs.utf_32_be_decode),
}
# Encodings in which the byte 0x0A is always the end of a line.
_CANDIDATES = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "koi8_r", "mac_roman", "cp437", "shift_jis",
               "gb18030", "big5", "euc_jp", "euc_kr"]  # fmt: skip


@dataclass(frozen=True)
class Encoding:
    """The name of an encoding, and the length of the byte order mark before the text."""

    name: str
    mark: int = 0

    @property
    def codec(self) -> str:
        """What `open_text` leaves to be decoded."""
        return "utf-8" if self.name in _WIDE else self.name


def detect_encoding(sample: bytes) -> Encoding:
    """The encoding of a file that begins with `sample`: by its mark, else UTF-8, else by its letters."""
    for mark, name in _BOMS:
        if sample.startswith(mark):
            return Encoding(name, len(mark))
    try:
        codecs.utf_8_decode(sample, "strict", False)
        return Encoding("utf-8")
    except UnicodeDecodeError:
        return Encoding("utf-8" if b"\0" in sample else _by_letters(sample))


def _by_letters(sample: bytes) -> str:
    lines = [line for line in sample.split(b"\n") if not line.isascii()]
    if sum(_is_utf8(line) for line in lines) * 2 >= len(lines):
        return "utf-8"  # and the other lines are damaged
    from charset_normalizer import from_bytes

    found = list(from_bytes(b"\n".join(lines)[:_DETECTED], cp_isolation=_CANDIDATES))
    # Its order among equals follows the alphabet; the commonest of them is far likelier than its neighbours.
    if any(match.chaos <= found[0].chaos and "cp1252" in match.could_be_from_charset for match in found):
        return "cp1252"
    return found[0].encoding if found else "utf-8"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def open_text(stream: io.BufferedReader, encoding: Encoding) -> io.BufferedReader:
    """The stream after its mark, in `encoding.codec`, whose lines end with the byte 0x0A."""
    stream.read(encoding.mark)
    if encoding.name not in _WIDE:
        return stream
    return io.BufferedReader(_Narrowed(stream, encoding.name), _BLOCK)


class _Narrowed(io.RawIOBase):
    """UTF-16 or UTF-32 as UTF-8; what does not decode becomes the byte 0xFF, which no UTF-8 has."""

    def __init__(self, source: io.BufferedReader, name: str) -> None:
        self._source = source
        self._width, self._decode = _WIDE[name]
        self._rest = b""
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self._ready:
            block = self._source.read1(_BLOCK)
            self._rest += block
            self._ready = self._narrow(final=not block)
            if not block and not self._ready:
                return 0
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _narrow(self, final: bool) -> bytes:
        done = []
        while self._rest:
            try:
                text, used = self._decode(self._rest, "surrogatepass", final)
                self._rest = self._rest[used:]
                return b"".join([*done, text.encode("utf-8", "surrogatepass")])
            except UnicodeDecodeError as error:
                text = self._decode(self._rest[: error.start], "surrogatepass", True)[0]
                done += [text.encode("utf-8", "surrogatepass"), b"\xff"]
                self._rest = self._rest[error.start + self._width :]
        return b"".join(done)


def raw_lines(stream: io.BufferedReader) -> Iterator[tuple[int, bytes | Broken]]:
    """All lines with their numbers from 1; one that is too long is passed over and named."""
    number = 0
    while raw := stream.readline(LINE_LIMIT + 1):
        number += 1
        if len(raw) > LINE_LIMIT and not raw.endswith(b"\n"):
            while (rest := stream.readline(_BLOCK)) and not rest.endswith(b"\n"):
                pass
            yield number, Broken(f"is a line of over {LINE_LIMIT >> 20} MB", _beginning(raw))
        else:
            yield number, raw


def text_lines(stream: io.BufferedReader, codec: str) -> Iterator[tuple[int, str | Broken]]:
    """All lines as text, ends of lines included; one that does not decode is named."""
    for number, raw in raw_lines(stream):
        if isinstance(raw, Broken):
            yield number, raw
            continue
        try:
            text = raw.decode(codec)
        except UnicodeDecodeError as error:
            yield number, undecodable(raw, error)
        else:
            yield number, text


def undecodable(raw: bytes, error: UnicodeDecodeError) -> Broken:
    """What a line is that does not decode."""
    byte = raw[error.start]
    return Broken(f"does not decode as {error.encoding} (byte {byte:#04x} at {error.start + 1})", _beginning(raw))


def _beginning(raw: bytes) -> str:
    return raw[:_SHOWN].decode("utf-8", "replace")
