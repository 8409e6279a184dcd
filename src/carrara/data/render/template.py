"""From messages to text: the model's chat template, held to showing all it is given and to forging nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from carrara.data.example import Example, Message
from carrara.errors import Refusal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Piece = tuple[str, bool]  # text, and whether it is learned
Turn = dict[str, Any]

# The day that templates are told when they ask for today's: what is trained on one day is asked on others, and the
# prompt has to stay the same. It is the one that those of Llama 3 fall back to.
_TODAY = datetime(2024, 7, 26)
_DIRECTIVES = "aAbBcdHIjmMpSUwWxXyY"  # of strftime


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer's chat template. `controls` finds the texts that become control tokens wherever they stand."""

    tokenizer: PreTrainedTokenizerBase
    controls: re.Pattern[str]

    def text(self, turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]], answer: bool) -> str:
        """The conversation as text; `answer` asks for the next assistant message. Raises Refusal if it will not."""
        if not self.tokenizer.chat_template:
            raise Refusal("the model has no chat template; use render: plain, or an instruct model.")
        given: list[Any] | None = [dict(tool) for tool in tools] or None
        try:
            template = self.tokenizer.get_chat_template(None, given)
            if "strftime_now" in template:
                template = _fixed_day() + template
            text = self.tokenizer.apply_chat_template(
                list(turns), tools=given, chat_template=template, tokenize=False, add_generation_prompt=answer
            )
        except Exception as error:  # a template is a program of the model's, and raises what it likes
            words = " ".join(str(error).split()) or type(error).__name__
            raise Refusal(f"the model's chat template refuses this conversation: {words}") from error
        assert isinstance(text, str)
        return text


@cache
def _fixed_day() -> str:
    """The template language's own `strftime_now`, for the front of a template: transformers passes no functions in."""
    names = [f"%{flag}{letter}" for letter in _DIRECTIVES for flag in ("", "-")]
    written = "".join(f" | replace('{name}', '{_TODAY.strftime(name)}')" for name in names)
    # The language drops the line's end behind the last tag, so that nothing of the template is lost.
    return f"{{% macro strftime_now(format) %}}{{{{ format{written} }}}}{{% endmacro %}}\n"


def chat_template(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """The template of a tokenizer, made once for many conversations."""
    return ChatTemplate(tokenizer, any_of(control_tokens(tokenizer)))


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The texts that become control tokens wherever they stand: named special ones and those merely marked so."""
    marked = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return list(dict.fromkeys([*tokenizer.all_special_tokens, *marked]))


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds any of some texts, at one place the longest, as a tokenizer does; of none, nothing."""
    return re.compile("|".join(map(re.escape, sorted(filter(None, words), key=len, reverse=True))) or "(?!)")


def prompt_text(template: ChatTemplate, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
    """The text that asks the model for the next assistant message, which may call `tools`."""
    turns = [_turn(message) for message in messages]
    _require_unforged(template, turns, tools)
    _require_tools_shown(template, turns, tools)
    return template.text(turns, tools, answer=True)


def chat_pieces(template: ChatTemplate, example: Example) -> list[Piece]:
    """Context and answer in turn, up to the last answer learned; raises Refusal if the template cannot tell them."""
    until = example.supervised[-1] + 1
    turns = [_turn(message) for message in example.messages[:until]]
    _require_unforged(template, turns, example.tools)
    _require_tools_shown(template, turns, example.tools)
    pieces: list[Piece] = []
    done = ""
    for index in example.supervised:
        before = template.text(turns[:index], example.tools, answer=True)
        after = template.text(turns[: index + 1], example.tools, answer=False)
        if not before.startswith(done) or not after.startswith(before):
            raise Refusal(
                "the model's chat template does not render a conversation turn by turn, "
                "so the answer cannot be told from its context; use another model or render: plain."
            )
        answer = _answer(template, after[len(before) :], turns[index])
        pieces += [(before[len(done) :], False), (answer, True)]
        done = before + answer
    return pieces


def _answer(template: ChatTemplate, rendered: str, turn: Turn) -> str:
    """The rendered turn up to its end-of-turn token, which is included.

    What the template writes before the content and not in the prompt, such as an empty thought, is learned as well:
    the model has to write it when it is served.
    """
    content = turn["content"].strip()
    start = rendered.find(content)
    if start < 0:
        raise Refusal("the model's chat template changes the answer's text; use render: plain.")
    ends = list(template.controls.finditer(rendered, start + len(content)))
    if not ends:
        raise Refusal(
            "the model's chat template writes no end-of-turn token after an answer, "
            "so the model would never learn to stop; use an instruct model or render: plain."
        )
    # Calls are written with control tokens of their own, so the turn's end is the last one behind them.
    return rendered[: ends[-1 if "tool_calls" in turn else 0].end()]


# ---- tools ----


def _turn(message: Message) -> Turn:
    """A message as templates know it. Arguments come as JSON text in OpenAI's protocol; templates want the object."""
    turn = message.to_json()
    if not turn.get("tool_calls"):
        turn.pop("tool_calls", None)
        return turn
    try:
        calls = [{**call, "function": {**call["function"]}} for call in turn["tool_calls"]]
        for call in calls:
            call["function"]["arguments"] = _arguments(call["function"].get("arguments"))
    except (KeyError, TypeError) as error:
        raise Refusal("a tool call names no function; give it as {function: {name, arguments}}.") from error
    return {**turn, "tool_calls": calls}


def _arguments(given: Any) -> Any:
    try:
        read = json.loads(given)
    except (TypeError, ValueError, RecursionError):
        return given
    return read if isinstance(read, dict) else given


def _require_tools_shown(template: ChatTemplate, turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]]) -> None:
    """Raise Refusal unless the template shows each call, each tool's answer and each tool.

    Found out by rendering marks in their place: the names and texts themselves may stand elsewhere by chance.
    """
    if not tools and not any(turn["role"] == "tool" or "tool_calls" in turn for turn in turns):
        return
    marks: dict[str, str] = {}

    def mark(what: str) -> str:
        name = f"marked_{len(marks)}_for_carrara"
        marks[name] = what
        return name

    def marked_turn(turn: Turn) -> Turn:
        if "tool_calls" in turn:
            calls = [
                {**call, "function": {**call["function"], "name": mark("a tool call")}} for call in turn["tool_calls"]
            ]
            return {**turn, "tool_calls": calls}
        return {**turn, "content": mark("a tool's answer")} if turn["role"] == "tool" else turn

    def marked_tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
        if isinstance(function := tool.get("function"), Mapping):
            return {**tool, "function": {**function, "name": mark("the tools of the row")}}
        return {**tool, "name": mark("the tools of the row")}

    text = template.text([marked_turn(turn) for turn in turns], [marked_tool(tool) for tool in tools], answer=False)
    shown = set(re.findall(r"marked_\d+_for_carrara", text))
    for name, what in marks.items():
        if name not in shown:
            raise Refusal(
                f"the model's chat template does not show {what}, which would vanish unseen; "
                "use a model whose template knows tools, or take them out of the row."
            )


# ---- control tokens ----


def _require_unforged(template: ChatTemplate, turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]]) -> None:
    """Look at turns as the template is given them: JSON text can hide a control token behind escapes."""
    for turn in turns:
        _require_no_control(template, "a message", _texts(turn))
    if tools:
        _require_no_control(template, "a tool", _texts(tools))


def _require_no_control(template: ChatTemplate, what: str, texts: Iterable[str]) -> None:
    for text in texts:
        if found := template.controls.search(text):
            raise Refusal(f"{what} holds the control token {found[0]}, which could forge a turn; remove it.")


def _texts(value: Any) -> Iterable[str]:
    """All texts in a JSON value, keys among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
