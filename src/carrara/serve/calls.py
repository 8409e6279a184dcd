"""Tool calls in the text that a model writes: how its chat template taught it to write them, and reading them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any, Literal

from carrara.data.render.template import ChatTemplate, Turn
from carrara.errors import Refusal
from carrara.serve.engine import ToolCall, Tools

# "tagged" is JSON between <tool_call> and </tool_call>, as Hermes and Qwen write it, one after another between other
# text. "bare" is an answer that is JSON and nothing else: a call, as Llama 3.1 writes it, or a list, as Mistral does.
CallForm = Literal["tagged", "bare"]

_ID_LENGTH = 9  # characters, which Mistral's templates insist on

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_PROBE = "marked_for_carrara"
_PROBE_TOOL = {"type": "function", "function": {"name": _PROBE, "description": "", "parameters": {"type": "object"}}}
_PROBE_CALL = {"id": "marked123", "type": "function", "function": {"name": _PROBE, "arguments": {"a": 1}}}


def form_of(template: ChatTemplate) -> CallForm | None:
    """The form in which a template writes calls; None where it shows no tools, or no call that can be read here.

    Found out by rendering a call and reading it back, without the control tokens, which a decoder leaves out.
    """
    asking: list[Turn] = [{"role": "user", "content": "Hello"}]
    calling: Turn = {"role": "assistant", "content": "", "tool_calls": [_PROBE_CALL]}
    try:
        before = template.text(asking, (_PROBE_TOOL,), answer=True)
        after = template.text([*asking, calling], (_PROBE_TOOL,), answer=False)
    except Refusal:
        return None
    if _PROBE not in before:
        return None
    written = template.controls.sub("", after.removeprefix(before))
    offered = Tools((_PROBE_TOOL,))
    forms: tuple[CallForm, ...] = ("tagged", "bare")
    return next((form for form in forms if _calls_in(written, form, offered)), None)


def _calls_in(text: str, form: CallForm, tools: Tools) -> bool:
    reader = CallReader(form, tools)
    return bool(reader.add(text)[1] or reader.rest()[1])


class CallReader:
    """Passes an answer's text on and takes the tool calls out of it; what cannot be read as a call stays text.

    White space in front of a call, and behind the last one, is dropped. Without a form nothing is a call.
    """

    def __init__(self, form: CallForm | None, tools: Tools) -> None:
        self._form, self._parallel = form, tools.parallel
        self._names = frozenset(tool["function"]["name"] for tool in tools.functions)
        self._held = ""
        self._tried = 0  # characters that are held back and end no call
        self._begun = False  # whether text was passed on
        self.called = False

    @property
    def full(self) -> bool:
        """Whether the one call that may be made has been made."""
        return self.called and not self._parallel

    def add(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        """The text that may be shown now, and the calls that are complete; nothing more once `full`."""
        if self._form is None or self.full:
            return "" if self._form else text, ()
        self._held += text
        if self._form == "bare":
            waits = not self._begun and self._held.lstrip()[:1] in ("", "{", "[")
            return ("" if waits else self._pass_on(len(self._held))), ()
        shown, calls = "", tuple[ToolCall, ...]()
        while not self.full and (end := self._held.find(_CLOSE, self._tried)) >= 0:
            self._tried = end + len(_CLOSE)
            for start in _places(self._held, _OPEN, end):
                if found := self._read(self._held[start + len(_OPEN) : end]):
                    behind = self._held[end + len(_CLOSE) :]
                    shown += self._pass_on(len(self._held[:start].rstrip()))
                    self._held, self._tried = behind, 0
                    calls += found
                    break
        return shown + ("" if self.full else self._pass_on(self._safe())), calls

    def rest(self) -> tuple[str, tuple[ToolCall, ...]]:
        """What was held back, at the answer's end; nothing once `full`."""
        if self.full:
            return "", ()
        calls = self._read(self._held) if self._form == "bare" and not self._begun else ()
        if calls or (self.called and not self._held.strip()):
            self._held = ""
        return self._pass_on(len(self._held)), calls

    def _read(self, text: str) -> tuple[ToolCall, ...]:
        """The calls that a JSON text is, none where any of them is not a call of a function that there is."""
        try:
            value = json.loads(text)
            calls = tuple(_call(each, self._names) for each in (value if isinstance(value, list) else [value]))
        except (ValueError, TypeError, RecursionError):
            return ()
        self.called = self.called or bool(calls)
        return calls if self._parallel else calls[:1]

    def _pass_on(self, size: int) -> str:
        text, self._held = self._held[:size], self._held[size:]
        self._tried = max(0, self._tried - size)
        self._begun = self._begun or bool(text)
        return text

    def _safe(self) -> int:
        """How much of what is held back can be no call any more, nor white space before one."""
        start = self._held.find(_OPEN)
        if start < 0:
            sizes = range(min(len(_OPEN) - 1, len(self._held)), 0, -1)
            start = len(self._held) - next((size for size in sizes if self._held.endswith(_OPEN[:size])), 0)
        return len(self._held[:start].rstrip())


def _places(text: str, mark: str, end: int) -> Iterator[int]:
    """Where a mark stands in front of `end`, from left to right."""
    place = text.find(mark, 0, end)
    while place >= 0:
        yield place
        place = text.find(mark, place + 1, end)


def _call(value: Any, names: frozenset[str]) -> ToolCall:
    """A call as models write it; raises ValueError or TypeError for anything else."""
    fields = value.keys() - {"id", "type"} if isinstance(value, dict) else set[str]()
    if fields not in ({"name", "arguments"}, {"name", "parameters"}) or value["name"] not in names:
        raise ValueError("no call of a function that there is")
    arguments = value.get("arguments", value.get("parameters"))
    if not isinstance(arguments, dict):
        raise ValueError("no arguments")
    text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    text.encode()  # half a surrogate pair is no text
    return ToolCall(uuid.uuid4().hex[:_ID_LENGTH], value["name"], text)
