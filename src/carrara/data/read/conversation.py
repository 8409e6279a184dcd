"""Conversations: OpenAI's messages and ShareGPT's turns, with tools kept."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from carrara.data.example import Message
from carrara.data.read.bad import BadField, kind_of

ROLES = ("system", "user", "assistant", "tool")
_NAMES = {role: role for role in ROLES} | {
    "developer": "system", "human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant",
    "observation": "tool",
}  # fmt: skip
_KEPT = ("tool_calls", "tool_call_id", "name")
_DEPTH = 32  # levels of nesting in tools and their calls


def read_messages(field: str, value: Any) -> tuple[tuple[Message, ...], tuple[int, ...]]:
    """The messages of a list and the places of those to learn; raises BadField.

    An assistant's message with `weight` 0 is not learned. The content may be null where there are tool calls.
    """
    if not isinstance(value, list) or not value:
        raise BadField(field, f"is {kind_of(value)}, not a list of messages" if value != [] else "is empty")
    messages = tuple(_message(field, place, message) for place, message in enumerate(value))
    answers = tuple(place for place, message in enumerate(messages) if message.role == "assistant")
    if not answers:
        raise BadField(field, "has no assistant message, so there is nothing to learn")
    supervised = tuple(place for place in answers if _has_weight(field, place, value[place]))
    if not supervised:
        raise BadField(field, "has no assistant message with a weight, so there is nothing to learn")
    if supervised[0] == 0:
        raise BadField(f"{field}[0]", "is an assistant message with nothing before it")
    return messages, supervised


def _message(field: str, place: int, value: Any) -> Message:
    where = f"{field}[{place}]"
    if not isinstance(value, dict):
        raise BadField(where, f"is {kind_of(value)}, not an object with role and content")
    key, content = ("from", "value") if "from" in value and "role" not in value else ("role", "content")
    role = value.get(key)
    known = _NAMES.get(role) if isinstance(role, str) else None
    if known is None:
        said = "is no known role" if isinstance(role, str) else f"is {kind_of(role)}"
        raise BadField(f"{where}.{key}", f"{said}; known are {', '.join(ROLES)}")
    if known == "system" and place:
        raise BadField(f"{where}.{key}", "is system, which only the first message may be")
    extra = {name: value[name] for name in _KEPT if value.get(name) is not None} if len(value) > 2 else {}
    if extra:
        check_nested(where, extra)
    return Message(known, _content(f"{where}.{content}", value, content, known, bool(extra.get("tool_calls"))), extra)


def _content(where: str, message: Mapping[str, Any], key: str, role: str, has_calls: bool) -> str:
    value = message.get(key)
    if isinstance(value, list):
        value = "".join(_part(where, part) for part in value)
    if value is None and role == "assistant" and has_calls:
        return ""
    if not isinstance(value, str):
        raise BadField(where, f"is {kind_of(value)}, not a text" if key in message else "is missing")
    check_text(where, value)
    if role in ("user", "assistant") and not has_calls and (not value or value.isspace()):
        raise BadField(where, "is empty")
    return value


def _part(where: str, part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise BadField(where, "has a part that is no text, and only text is learned")
    return text


def _has_weight(field: str, place: int, message: Mapping[str, Any]) -> bool:
    weight = message.get("weight")
    if weight is None:
        return True
    if weight not in (0, 1):
        raise BadField(f"{field}[{place}].weight", "is neither 0 nor 1")
    return bool(weight)


def read_tools(field: str, value: Any) -> tuple[Mapping[str, Any], ...]:
    """The tools that a row declares, as a list or, as columns of a table often hold it, its JSON; raises BadField."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError) as error:
            raise BadField(field, "is a text that is no JSON") from error
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise BadField(field, f"is {kind_of(value)}, not a list of objects")
    check_nested(field, value)
    return tuple(value)


def check_nested(where: str, value: Any, depth: int = 0) -> None:
    """Refuse a nested value that could not be written as JSON and read again; raises BadField."""
    if depth > _DEPTH:
        raise BadField(where, "is nested too deeply to be read")
    if isinstance(value, str):
        check_text(where, value)
    elif isinstance(value, list):
        for inner in value:
            check_nested(where, inner, depth + 1)
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_text(where, str(key))
            check_nested(where, inner, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadField(where, "holds a number that is none")
    elif value is not None and not isinstance(value, bool | int) and kind_of(value) != "a number":
        raise BadField(where, f"holds {kind_of(value)}, which is no JSON value")


def check_text(where: str, value: str) -> None:
    """Refuse what is no text although it is a string; raises BadField."""
    if "\0" in value:
        raise BadField(where, "holds a NUL character, which is no text")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise BadField(where, "holds half of a surrogate pair, which is no character") from error
