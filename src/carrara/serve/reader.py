"""What a model needs beside its weights to be asked: how a request becomes tokens, and which tokens end an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from carrara.data.example import Message
from carrara.data.render.ends import end_tokens, ends_of
from carrara.data.render.example import render_prompt
from carrara.data.render.template import chat_template, prompt_text
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import Loaded, context_of, load_tokenizer
from carrara.serve.calls import CallForm, CallReader, form_of
from carrara.serve.engine import ChatRequest, ContextExceeded, Request, TextRequest, Tools, Unfit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Tokens of an answer whose request names no limit, if the context has room for them: a small model
# that does not find its end would otherwise fill its whole context.
DEFAULT_MAX_TOKENS = 1024


@dataclass(frozen=True)
class Reader:
    """A model's tokenizer, the most tokens of prompt and answer together, and the tokens that end an answer."""

    tokenizer: PreTrainedTokenizerBase
    context: int
    ends: frozenset[int]

    def read(self, request: ChatRequest | TextRequest) -> tuple[list[int], int]:
        """The prompt's tokens and the most tokens of the answer.

        Raises ContextExceeded, Unfit for what cannot be done with tools, or Refusal for no prompt. Without `max_tokens`
        an answer has what the context leaves, at most DEFAULT_MAX_TOKENS.
        """
        prompt = self._prompt(request)
        room = self.context - len(prompt)
        if room < (request.max_tokens or 1):
            raise ContextExceeded.by(len(prompt), request.max_tokens, self.context)
        return prompt, request.max_tokens or min(room, DEFAULT_MAX_TOKENS)

    @cached_property
    def form(self) -> CallForm | None:
        """How the model writes tool calls; None where its template teaches no form that can be read."""
        return form_of(chat_template(self.tokenizer))

    def calls(self, request: Request) -> CallReader:
        """What takes the calls out of an answer to a request that offers tools, and none out of others."""
        tools = _offered(request)
        return CallReader(self.form if tools else None, tools or Tools(()))

    def _prompt(self, request: ChatRequest | TextRequest) -> list[int]:
        if isinstance(request, ChatRequest):
            return self._chat_prompt(request)
        if ids := list(self.tokenizer.encode(request.prompt)):  # with the special tokens that the tokenizer adds
            return ids
        first = self.tokenizer.bos_token_id
        first = self.tokenizer.eos_token_id if first is None else first
        if not isinstance(first, int):
            raise Refusal("the prompt is empty, and this model has no token to begin with; send a text.")
        return [first]

    def _chat_prompt(self, request: ChatRequest) -> list[int]:
        tools, called = _offered(request), any(message.extra for message in request.messages)
        if (tools or called) and self.form is None:
            raise Unfit(
                "tools" if tools else "messages",
                f"{request.model} cannot use tools: its chat template does not show them, or has calls written in a "
                "form that is not read here; leave them out, or ask another model.",
            )
        if not tools:
            return render_prompt(self.tokenizer, request.messages)
        _require_promised(request, tools)
        text = prompt_text(chat_template(self.tokenizer), request.messages, tools.functions)
        return list(self.tokenizer.encode(text, add_special_tokens=False))


def _offered(request: Request) -> Tools | None:
    """The tools that a model is shown: with the choice "none" it sees none, so that it calls none."""
    tools = request.tools if isinstance(request, ChatRequest) else None
    return tools if tools and tools.choice != "none" else None


def _require_promised(request: ChatRequest, tools: Tools) -> None:
    """Refuse what a model can be asked for but not held to."""
    if tools.choice != "auto":
        sentence = f"{request.model} cannot be held to calling a tool; set 'tool_choice' to auto or none."
        raise Unfit("tool_choice", sentence)
    if any(tool["function"].get("strict") for tool in tools.functions):
        sentence = f"{request.model} cannot be held to the schema of a tool in 'tools'; leave out strict."
        raise Unfit("tools", sentence)
    if request.schema is not None:
        sentence = f"{request.model} cannot be held to a 'schema' and call tools; leave one of them out."
        raise Unfit("schema", sentence)


def reader_in(loaded: Loaded) -> Reader:
    """The reader of a model that is loaded."""
    return Reader(loaded.tokenizer, loaded.context, end_tokens(loaded))


def reader_of(model: Model) -> Reader:
    """The reader of a model whose weights are held elsewhere."""
    told = model.path / "generation_config.json"
    if not told.is_file():  # transformers makes the settings of the configuration then
        told = model.path / "config.json"
    ends = json.loads(told.read_text(encoding="utf-8")).get("eos_token_id")
    tokenizer, context = load_tokenizer(model), context_of(model)
    return Reader(tokenizer, context, ends_of(tokenizer, ends, context))


def require_chat(name: str, reader: Reader) -> None:
    """Refuse a model that cannot be asked in a chat."""
    try:
        render_prompt(reader.tokenizer, (Message("user", "Hello"),))
    except Refusal as error:
        raise Refusal(f"{name} cannot chat: {error}") from error
