"""Reading rows: JSONL of prompt/completion pairs, chats or Alpaca instructions; bad rows are named, not guessed at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carrara.data.example import Example, Message
from carrara.errors import Refusal

ROLES = ("system", "user", "assistant")
_SHAPES = "prompt and completion, or messages, or instruction and output"


@dataclass(frozen=True)
class BadRow:
    """A row that was not taken: its line number from 1, the field at fault, why, and the line itself."""

    row: int
    field: str | None
    reason: str
    text: str

    def sentence(self, path: Path) -> str:
        field = f", field '{self.field}'" if self.field else ""
        return f"{path}, row {self.row}{field}: {self.reason}"


class _Bad(Exception):
    def __init__(self, field: str | None, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def read_rows(path: Path) -> Iterator[Example | BadRow]:
    """Every non-blank line of a JSONL file, in order, as an example or as the reason why it is none.

    Raises Refusal if the file cannot be read, is empty or is not UTF-8.
    """
    _check_readable(path)
    with path.open("rb") as file:
        for line, raw in enumerate(file, start=1):
            try:
                text = raw.decode("utf-8-sig" if line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise Refusal(
                    f"{path} is not UTF-8 text (row {line}: byte {raw[error.start]:#04x}); save it as UTF-8."
                ) from error
            if text.strip():
                yield _read_row(line, text.rstrip("\r\n"))


def _check_readable(path: Path) -> None:
    if not path.exists():
        raise Refusal(f"the data file {path} does not exist; give the path of a JSONL file.")
    if path.is_dir():
        raise Refusal(f"{path} is a folder; give a JSONL file, or a prepared dataset.")
    if path.stat().st_size == 0:
        raise Refusal(f"{path} is empty; give a JSONL file with one row a line.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise Refusal(f"{path} cannot be read ({error.strerror}); check its permissions.") from error


def _read_row(number: int, text: str) -> Example | BadRow:
    try:
        return _example(number, _parse(text))
    except _Bad as bad:
        return BadRow(number, bad.field, str(bad), text)


def _parse(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Bad(None, f"is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise _Bad(None, f"is no JSON object but {_kind(value)}")
    return value


def _kind(value: object) -> str:
    kinds = {
        list: "a list",
        str: "a text",
        int: "a number",
        float: "a number",
        bool: "true or false",
        dict: "an object",
    }
    return kinds.get(type(value), "null")


def _example(number: int, row: Mapping[str, Any]) -> Example:
    if "messages" in row:
        return _from_messages(number, row["messages"])
    if "prompt" in row or "completion" in row:
        return _pair(number, _text(row, "prompt"), _text(row, "completion"), "completion")
    if "instruction" in row or "output" in row:
        instruction = _text(row, "instruction")
        context = _text(row, "input") if row.get("input") else ""
        prompt = f"{instruction}\n\n{context}" if context.strip() else instruction
        return _pair(number, prompt, _text(row, "output"), "output")
    raise _Bad(None, f"has the fields {', '.join(sorted(map(str, row))) or '(none)'}, expected {_SHAPES}")


def _text(row: Mapping[str, Any], field: str) -> str:
    if field not in row:
        raise _Bad(field, f"is missing (expected {_SHAPES})")
    value = row[field]
    if not isinstance(value, str):
        raise _Bad(field, f"is {_kind(value)}, not a text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Bad(field, "holds half of a surrogate pair, which is no character") from error
    return value


def _pair(number: int, prompt: str, completion: str, field: str) -> Example:
    if not prompt.strip():
        raise _Bad("prompt" if field == "completion" else "instruction", "is empty")
    if not completion.strip():
        raise _Bad(field, "is empty, so there is nothing to learn")
    return Example((Message("user", prompt), Message("assistant", completion)), (1,), number)


def _from_messages(number: int, value: Any) -> Example:
    if not isinstance(value, list) or not value:
        raise _Bad("messages", f"is {_kind(value)}, not a list of messages" if value != [] else "is empty")
    messages = tuple(_message(index, message) for index, message in enumerate(value))
    supervised = tuple(index for index, message in enumerate(messages) if message.role == "assistant")
    if not supervised:
        raise _Bad("messages", "has no assistant message, so there is nothing to learn")
    if supervised[0] == 0:
        raise _Bad("messages[0]", "is an assistant message with nothing before it")
    return Example(messages, supervised, number)


def _message(index: int, value: Any) -> Message:
    place = f"messages[{index}]"
    if not isinstance(value, dict):
        raise _Bad(place, f"is {_kind(value)}, not an object with role and content")
    role = value.get("role")
    if role not in ROLES:
        raise _Bad(f"{place}.role", f"is {role!r}; known roles are {', '.join(ROLES)}")
    if role == "system" and index:
        raise _Bad(f"{place}.role", "is system, which only the first message may be")
    try:
        content = _text(value, "content")
    except _Bad as bad:
        raise _Bad(f"{place}.content", str(bad)) from bad
    if role != "system" and not content.strip():
        raise _Bad(f"{place}.content", "is empty")
    return Message(role, content)
