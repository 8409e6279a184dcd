"""JSON lines, and JSON documents read element by element in bounded memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

from carrara.data.read.bad import Broken, Damaged, kind_of, shown
from carrara.data.read.text import LINE_LIMIT, SPACE, text_lines

Record = tuple[int, Any, str | None]  # the number of a row, its value or Broken, its raw text where it has one
_BLOCK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
_MARKS = re.compile(r'\\.|[",\[\]{}]', re.DOTALL)
_OBJECTS = re.compile(r"\[\s*\{")
_OWN_LISTS = ("messages", "conversations", "tools", "tool_calls")  # lists of objects that belong to a single row
_LONGEST = 16  # characters of the longest name of a value, such as -Infinity, with room
_AHEAD = 256  # characters within which a list shows its first element


def read_json_lines(stream: BufferedReader, codec: str) -> Iterator[Record]:
    """Every line that is not blank."""
    for number, line in text_lines(stream, codec):
        if isinstance(line, Broken):
            yield number, line, None
        elif line.strip(SPACE):
            yield number, _parse(line), line


def _parse(line: str) -> Any:
    try:
        return _as_record(json.loads(line))
    except RecursionError:
        return Broken("is nested too deeply to be read")
    except ValueError as error:
        return Broken(_no_json(error))


def _as_record(value: Any) -> Any:
    return value if isinstance(value, dict) else Broken(f"is no JSON object but {kind_of(value)}", shown(value))


def _no_json(error: ValueError) -> str:
    return f"is no JSON ({error.msg if isinstance(error, json.JSONDecodeError) else 'a number is too long'})"


def looks_like_lines(sample: str) -> bool:
    """Whether a document that begins with `sample` is JSON lines, whatever its name says."""
    first, _, rest = sample.lstrip().partition("\n")
    return rest.lstrip().startswith("{") and isinstance(_parse(first), dict)


def read_json(stream: BufferedReader, codec: str) -> Iterator[Record]:
    """The objects of a list, or of the only list of objects within an object; else the object itself as one row."""
    text = _Text(stream, codec)
    first = text.peek()
    if first == "[":
        yield from _elements(text)
    elif first == "{":
        yield from _members(text)
    elif first:
        yield 1, Broken("is no JSON list or object", text.beginning()), None
        return
    if text.peek():
        raise Damaged("there is more after the end of the JSON (JSON lines are named .jsonl)")


def _elements(text: _Text) -> Iterator[Record]:
    text.place += 1
    number = 0
    if text.peek() == "]":
        text.place += 1
        return
    while True:
        number += 1
        value = text.value()
        yield number, value if isinstance(value, Broken) else _as_record(value), None
        if isinstance(value, Broken):
            text.skip()
        if text.ends("]"):
            return


def _members(text: _Text) -> Iterator[Record]:
    """Walk an object: its list of objects gives the rows; without one, the object is itself a row."""
    text.place += 1
    whole: dict[str, Any] = {}
    found: str | None = None
    last = 0
    if text.peek() == "}":
        text.place += 1
        yield 1, whole, None
        return
    while True:
        key = text.value()
        if not isinstance(key, str) or text.peek() != ":":
            raise Damaged("is no JSON (a name and a colon are expected)")
        text.place += 1
        if key not in _OWN_LISTS and text.begins_objects():
            if found is None:
                found = key
                for record in _elements(text):
                    last = record[0]
                    yield record
            else:
                last += 1
                yield last, Broken(f"is a second list of objects, '{key}'; the rows are those of '{found}'"), None
                text.skip()
        else:
            value = text.value()
            if isinstance(value, Broken):
                last += 1
                yield last, value, None
                text.skip()
            elif found is None:
                whole[key] = value
        if text.ends("}"):
            break
    if found is None and not last:
        yield 1, whole, None


def _is_certain(error: ValueError, length: int) -> bool:
    """Whether what follows the first `length` characters cannot mend an error."""
    return isinstance(error, json.JSONDecodeError) and error.msg.startswith("Exp") and error.pos < length - _LONGEST


class _Text:
    """Characters of a stream, of which no more are kept than the value that is being read needs."""

    def __init__(self, stream: BufferedReader, codec: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(codec)("surrogateescape")
        self._json = json.JSONDecoder()
        self._ended = False
        self.buffer = ""
        self.place = 0

    def more(self) -> bool:
        """Read on, twice as much each time for the same value; False at the end."""
        if self._ended:
            return False
        kept = self.buffer[self.place :]
        block = self._stream.read1(max(_BLOCK, len(kept)))
        self._ended = not block
        try:
            self.buffer = kept + self._decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise Damaged(f"does not decode as {error.encoding} (byte {error.object[error.start]:#04x})") from error
        self.place = 0
        return not self._ended

    def peek(self) -> str:
        """The next character that is no space, without passing over it; empty at the end."""
        while True:
            found = _SPACE.match(self.buffer, self.place)
            self.place = found.end() if found else self.place
            if self.place < len(self.buffer):
                return self.buffer[self.place]
            if not self.more():
                return self.buffer[self.place : self.place + 1].strip()

    def beginning(self) -> str:
        return shown(self.buffer[self.place : self.place + LINE_LIMIT])

    def begins_objects(self) -> bool:
        """Whether a list of objects comes next."""
        if self.peek() != "[":
            return False
        while len(self.buffer) - self.place < _AHEAD and self.more():
            pass
        return bool(_OBJECTS.match(self.buffer, self.place))

    def value(self) -> Any:
        """The next value, or Broken without passing over it."""
        self.peek()
        while True:
            problem = "is no JSON (it ends too early)"
            try:
                value, end = self._json.raw_decode(self.buffer, self.place)
                if end < len(self.buffer) or self._ended:  # otherwise a number may go on
                    self.place = end
                    return value
            except RecursionError:
                return Broken("is nested too deeply to be read", self.beginning())
            except ValueError as error:
                problem = _no_json(error)
                if _is_certain(error, len(self.buffer)):
                    return Broken(problem, self.beginning())
            if len(self.buffer) - self.place > LINE_LIMIT:
                return Broken(f"{problem} within {LINE_LIMIT >> 20} MB", self.beginning())
            if self._ended:
                return Broken(problem, self.beginning())
            self.more()

    def skip(self) -> None:
        """Pass over an object or list by its brackets alone, up to the end if they do not balance."""
        depth, quoted = 0, False
        while True:
            end = self.place
            for found in _MARKS.finditer(self.buffer, self.place):
                mark, end = found[0], found.end()
                if mark == '"':
                    quoted = not quoted
                elif quoted or mark[0] == "\\":
                    continue
                elif mark in "[{":
                    depth += 1
                elif depth == 0:  # a value without brackets ends at a comma, or where what holds it ends
                    self.place = found.start()
                    return
                elif mark in "]}":
                    depth -= 1
                    if depth == 0:
                        self.place = end
                        return
            is_cut = self.buffer.endswith("\\") and end < len(self.buffer)
            self.place = len(self.buffer) - (1 if is_cut else 0)
            if not self.more():
                return

    def ends(self, bracket: str) -> bool:
        """Pass over a comma, or over the bracket that ends a list or object: then True."""
        mark = self.peek()
        if mark not in (",", bracket) or not mark:
            raise Damaged(f"is no JSON ({f'a comma or {bracket} is expected' if mark else 'it ends too early'})")
        self.place += 1
        return mark == bracket
