"""Tools in `/v1/chat/completions`: what a client may offer, and the calls and answers that it sends back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from carrara.data.example import Message
from carrara.serve.engine import Tools
from carrara.serve.protocol import MOST_LEVELS, ApiError, is_deeper
from carrara.serve.schemas import check_schema

MOST_TOOLS = 128  # as OpenAI has it; calls in a message, too

_LONGEST_ID = 256  # characters
_NAME = r"^[a-zA-Z0-9_-]{1,64}$"
_CHOICES = ("auto", "none", "required")

CHOICE: dict[str, Any] = {
    "anyOf": [
        {"enum": [None, *_CHOICES]},
        {
            "type": "object",
            "required": ["type", "function"],
            "additionalProperties": False,
            "properties": {
                "type": {"const": "function"},
                "function": {
                    "type": "object",
                    "required": ["name"],
                    "additionalProperties": False,
                    "properties": {"name": {"type": "string", "pattern": _NAME}},
                },
            },
        },
    ],
    "description": "Beside auto and none it needs tools, and one of that name.",
}
CALLS: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "maxItems": MOST_TOOLS,
    "items": {
        "type": "object",
        "required": ["id", "type", "function"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "minLength": 1, "maxLength": _LONGEST_ID},
            "type": {"const": "function"},
            "function": {
                "type": "object",
                "required": ["name", "arguments"],
                "additionalProperties": False,
                "properties": {"name": {"type": "string", "pattern": _NAME}, "arguments": {"type": "string"}},
            },
        },
    },
}


class Function(BaseModel):
    """A function that a model may call; `parameters` is the JSON schema of its arguments."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=_NAME)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(BaseModel):
    """A tool; no two have the same name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["function"]
    function: Function
    _given: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, value: Any, check: ModelWrapValidatorHandler[Tool]) -> Tool:
        tool = check(value)
        tool._given = value
        return tool

    @property
    def given(self) -> dict[str, Any]:
        """The tool as it was sent: the order of its fields is seen by the model."""
        return self._given


def tools_of(tools: Sequence[Tool] | None, choice: Any, parallel: bool | None) -> Tools | None:
    """What a request offers, None without tools; raises ApiError for what single fields don't tell."""
    names = [tool.function.name for tool in tools or ()]
    if not (isinstance(choice, str | None) and choice in (None, *_CHOICES)):
        _require_named(choice, names)
    if not tools:
        if choice == "required":
            raise ApiError(
                400, "invalid_value", "'tool_choice' needs tools; send some, or set it to auto.", "tool_choice"
            )
        return None
    if len(set(names)) < len(names):
        raise ApiError(400, "invalid_value", "two of the 'tools' have the same name; name each differently.", "tools")
    for index, tool in enumerate(tools):
        check_schema(tool.given, f"tools.{index}")
    return Tools(tuple(tool.given for tool in tools), choice or "auto", parallel is not False)


def _require_named(choice: Any, names: Sequence[str]) -> None:
    """Refuse a choice that is not `{"type": "function", "function": {"name": NAME}}` with a name among those."""
    message = "'tool_choice' has to be auto, none, required, or name one of the tools; send one of these."
    named = isinstance(choice, Mapping) and choice.get("function")
    name = named.get("name") if isinstance(named, Mapping) else None
    if choice != {"type": "function", "function": {"name": name}} or name not in names:
        raise ApiError(400, "invalid_value", message, "tool_choice")


def extra_of(place: str, role: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a message has beside role and content: the calls of an assistant, or which of them a tool answers."""
    calls, answered = fields.get("tool_calls"), fields.get("tool_call_id")
    if calls and role != "assistant":
        raise _fault(f"{place}.tool_calls", "belongs to messages of an assistant; leave it out")
    if answered is not None and role != "tool":
        raise _fault(f"{place}.tool_call_id", "belongs to messages of a tool; leave it out")
    if role == "tool":
        if not isinstance(answered, str) or not answered:
            raise _fault(f"{place}.tool_call_id", "has to be the id of the call that is answered")
        return {"tool_call_id": answered}
    if calls is None or calls == []:
        return {}
    if not isinstance(calls, list) or len(calls) > MOST_TOOLS:
        raise _fault(f"{place}.tool_calls", f"has to be a list of at most {MOST_TOOLS} calls")
    for index, call in enumerate(calls):
        _check_call(f"{place}.tool_calls.{index}", call)
    return {"tool_calls": calls}


def _check_call(place: str, call: Any) -> None:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.keys() != {"id", "type", "function"} or call["type"] != "function":
        raise _fault(place, "has to be an object with an id, the type function, and the function")
    if not isinstance(call["id"], str) or not 0 < len(call["id"]) <= _LONGEST_ID:
        raise _fault(f"{place}.id", f"has to be a text of at most {_LONGEST_ID} characters")
    if function.keys() != {"name", "arguments"} or not isinstance(function["arguments"], str):
        raise _fault(f"{place}.function", "has to be an object with a name, and arguments as JSON text")
    if not isinstance(function["name"], str) or not re.fullmatch(_NAME, function["name"]):
        raise _fault(f"{place}.function.name", "may hold up to 64 letters, digits, '_' and '-'")
    if _is_deep(function["arguments"]):
        raise _fault(f"{place}.function.arguments", f"is nested deeper than {MOST_LEVELS} levels; send a flatter one")


def _is_deep(text: str) -> bool:
    try:
        return is_deeper(json.loads(text), MOST_LEVELS)
    except RecursionError:
        return True
    except ValueError:  # what a model wrote badly is shown to it as it is
        return False


def check_answers(messages: Sequence[Message]) -> None:
    """Raise ApiError unless each tool's message answers a call that was made right before."""
    called: set[str] = set()
    for index, message in enumerate(messages):
        if message.role != "tool":
            called = {call["id"] for call in message.extra.get("tool_calls", ())}
        elif message.extra["tool_call_id"] not in called:
            sentence = "names no call of the assistant's message before; send that message, and its calls, as they were"
            raise _fault(f"messages.{index}.tool_call_id", sentence)


def _fault(place: str, sentence: str) -> ApiError:
    return ApiError(400, "invalid_value", f"'{place}' is not usable: it {sentence}.", place)
