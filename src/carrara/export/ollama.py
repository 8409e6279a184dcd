"""A model's chat template in Ollama's language, and the Modelfile that carries it.

A template of the LLaMA family writes something before each message that depends on its role and on the one before it,
and something at the end. These pieces are read off the model's own rendering, and the template that they make is
compared with the model's own on other conversations. Language: https://docs.ollama.com/template.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.data.render.template import ChatTemplate, chat_template
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import context_of, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Chat = Sequence[tuple[str, str]]  # role and content of each message

_MARKS = ("first-carrara-mark", "second-carrara-mark", "third-carrara-mark", "fourth-carrara-mark")
_GO_TEMPLATE = (
    '{{{{ $before := "" }}}}{{{{ range .Messages }}}}'
    '{{{{ if eq .Role "system" }}}}{system}'
    '{{{{ else if eq .Role "assistant" }}}}{assistant}'
    '{{{{ else if eq $before "system" }}}}{user_after_system}'
    '{{{{ else if eq $before "assistant" }}}}{user_after_assistant}'
    "{{{{ else }}}}{user_first}{{{{ end }}}}"
    "{{{{ .Content }}}}{{{{ $before = .Role }}}}{{{{ end }}}}"
    '{{{{ if ne $before "assistant" }}}}{end}{{{{ end }}}}'
)
_CONTEXT = 8192  # tokens that Ollama is to make room for: its own few cut a conversation without a word


@dataclass(frozen=True)
class Pieces:
    """What a template writes in front of a message, by its role and where it stands, and at the end."""

    system: str
    user_first: str
    user_after_system: str
    user_after_assistant: str
    assistant: str
    end: str

    def render(self, chat: Chat) -> str:
        """A conversation that ends with a user, as the template writes it to ask for an answer."""
        text, before = "", ""
        for role, content in chat:
            text += self._front(role, before) + content
            before = role
        return text + self.end

    def _front(self, role: str, before: str) -> str:
        if role != "user":
            return self.system if role == "system" else self.assistant
        return {"system": self.user_after_system, "assistant": self.user_after_assistant}.get(before, self.user_first)

    def go_template(self) -> str:
        """The same in the template language of Go, as Ollama fills it in; spaces around a message's text stay."""
        written = {name: _written(piece) for name, piece in asdict(self).items()}
        return _GO_TEMPLATE.format(**written)


def modelfile(model: Model, gguf: str) -> str:
    """The Modelfile of a model whose GGUF file lies beside it under the name `gguf`.

    The template writes the BOS token where the model's own does, so `leave_bos_to_template` is due on that file. Raises
    Refusal for a template that Ollama's language cannot express.
    """
    tokenizer = load_tokenizer(model)
    template = template_pieces(tokenizer).go_template()
    return (
        f"FROM ./{gguf}\n"
        f'TEMPLATE """{template}"""\n'
        f"PARAMETER stop {json.dumps(tokenizer.eos_token, ensure_ascii=False)}\n"
        f"PARAMETER num_ctx {min(context_of(model), _CONTEXT)}\n"
        "PARAMETER repeat_penalty 1\n"  # Ollama's own was 1.1 for long, under which a model answers otherwise
    )


def leave_bos_to_template(path: Path) -> None:
    """Have no BOS token put in front of a text by itself; changes one byte of the GGUF file in place."""
    from gguf import GGUFReader

    field = GGUFReader(path, "r+").fields["tokenizer.ggml.add_bos_token"]
    field.parts[field.data[0]][0] = False


def template_pieces(tokenizer: PreTrainedTokenizerBase) -> Pieces:
    """The pieces that the model's chat template is made of; raises Refusal if there is more to it."""
    template = chat_template(tokenizer)
    with_system = _between(template, ("system", "user", "assistant", "user"))
    without = _between(template, ("user", "assistant", "user"))
    pieces = Pieces(
        system=with_system[0],
        user_first=without[0],
        user_after_system=with_system[1],
        user_after_assistant=with_system[3],
        assistant=with_system[2],
        end=with_system[4],
    )
    for chat in PROBES:
        own, written = _text(template, chat), pieces.render(chat)
        if own != written:
            if chat in _SPACED and own == pieces.render([(role, content.strip()) for role, content in chat]):
                raise Refusal(
                    "the model's chat template trims its messages, which Ollama's language cannot, so that a message "
                    "with a space or line break at its end would become other tokens; export --to gguf, which carries "
                    "the template itself."
                )
            raise Refusal(
                "the model's chat template does more than write something between the messages, which Ollama's "
                "language cannot follow; export --to gguf, which carries the template itself."
            )
    return pieces


_SPACED: tuple[Chat, ...] = (
    (("user", " 1\n"),),
    (("user", "1"), ("assistant", "\n2 "), ("user", "3")),
    (("system", "\tS "), ("user", "1")),
)
PROBES: tuple[Chat, ...] = (
    *_SPACED,
    (("user", ""),),
    (("user", "Hello"),),
    (("system", "Be brief."), ("user", "Who are you?")),
    (("user", "Grüße, 世界 🌍"), ("assistant", "a\n\nb  c"), ("user", "{{ .Content }} </s>'\"\\")),
    (("system", "S"), ("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4"), ("user", "5")),
    (("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4"), ("user", "5")),
)


def _between(template: ChatTemplate, roles: Sequence[str]) -> list[str]:
    """What a template writes before, between and after messages of these roles."""
    rest = _text(template, list(zip(roles, _MARKS)))
    pieces: list[str] = []
    for mark in _MARKS[: len(roles)]:
        piece, found, rest = rest.partition(mark)
        if not found:
            raise Refusal(
                "the model's chat template changes a message or leaves it away, which Ollama's language cannot; "
                "export --to gguf, which carries the template itself."
            )
        pieces.append(piece)
    return [*pieces, rest]


def _text(template: ChatTemplate, chat: Chat) -> str:
    turns: list[dict[str, Any]] = [{"role": role, "content": content} for role, content in chat]
    return template.text(turns, (), answer=True)


def _written(text: str) -> str:
    """An action that writes a text as it is, whatever it holds."""
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if text else ""
