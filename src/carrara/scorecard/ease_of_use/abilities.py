"""What can be done with a model, as its files tell: none of its weights is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from carrara.data.example import Example, Message
from carrara.data.render.template import ChatTemplate, chat_pieces, chat_template
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import context_of, load_tokenizer
from carrara.scorecard.figure import Figure

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SystemRole = Literal["a turn of its own", "part of the first question", "not shown", "refused", "no template"]
SYSTEM_ROLE, ENGINES, FORMATS = "system role", "engines", "formats"
_SYSTEM, _QUESTION = "first-carrara-mark", "second-carrara-mark"
_TEXTS = ("Hello", "Grüße, 世界 🙂", "a\n\nb  c", "1234 'quoted' {{ braces }}")
_TOOL = {
    "type": "function",
    "function": {"name": "find", "description": "Finds.", "parameters": {"type": "object", "properties": {}}},
}
_CALL = {"id": "call00001", "type": "function", "function": {"name": "find", "arguments": "{}"}}
_ROLES: dict[SystemRole, str] = {
    "a turn of its own": "A role can be given to it once, and stands apart from what users say.",
    "part of the first question": "A role can be given to it, but reaches the model as words of the first user.",
    "not shown": "Its template drops a role without a word; put it into the question, or choose another model.",
    "refused": "Its template takes no role; put it into the question, or choose another model.",
    "no template": "It has no chat template, so it continues texts and takes no role; choose an instruct model.",
}


def ability_figures(model: Model) -> list[Figure]:
    """System role, template, context, tool calls, engines and formats; raises Refusal for files that cannot be read."""
    if model.is_embedder:
        raise Refusal(f"{model.name} turns texts into vectors and writes none, so nobody can talk with it.")
    template = chat_template(load_tokenizer(model))
    return [
        *_of_template(template),
        Figure(
            "context",
            context_of(model),
            None,
            "published",
            "config.json, max_position_embeddings",
            "tokens",
            meaning=f"Question, conversation and answer together may have {context_of(model):,} tokens.",
        ),
        *_uses(model, template),
    ]


def system_role(tokenizer: PreTrainedTokenizerBase) -> SystemRole:
    """What a chat template makes of a system message; `refused` by one that takes none."""
    if not tokenizer.chat_template:
        return "no template"
    template = chat_template(tokenizer)
    question: dict[str, Any] = {"role": "user", "content": _QUESTION}
    try:
        shown = template.text([{"role": "system", "content": _SYSTEM}, question], (), answer=True)
    except Refusal:
        return "refused"
    before, found, _ = shown.partition(_SYSTEM)
    if not found:
        return "not shown"
    alone = template.text([question], (), answer=True).partition(_QUESTION)[0]
    return "part of the first question" if before == alone else "a turn of its own"


def require_system_role(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a model that cannot be given a role."""
    role = system_role(tokenizer)
    if role == "no template":
        raise Refusal("the model has no chat template, so it cannot be given a role; choose an instruct model.")
    if role in ("not shown", "refused"):
        raise Refusal(f"a system message is {role} by the model's chat template, so it cannot be given a role.")


def _of_template(template: ChatTemplate) -> list[Figure]:
    role, faults = system_role(template.tokenizer), template_faults(template)
    tools = _refusal(lambda: _call_tools(template))
    how = "the template rendered with marks in the messages"
    own = own_system_message(template)
    return [
        Figure(SYSTEM_ROLE, role, None, "measured", how, meaning=_ROLES[role]),
        Figure(
            "system message of its own",
            own or "none",
            None,
            "measured",
            how,
            meaning="Unless a role is given, this is what it is told to be." if own else "Nothing is put in unasked.",
        ),
        Figure(
            "template sane",
            not faults,
            None,
            "measured",
            f"turn by turn, generation prompt, end of turn, {len(_TEXTS)} texts there and back",
            "",
            "higher",
            faults[0]
            if faults
            else "What is trained on is what is asked, and an answer has an end that can be learned.",
        ),
        Figure(
            "tool calls",
            tools is None,
            None,
            "measured",
            "a conversation with a tool, a call and its answer, rendered",
            "",
            "higher",
            "Its template shows tools, calls and their answers." if tools is None else str(tools),
        ),
    ]


def own_system_message(template: ChatTemplate) -> str:
    """The system message that a template puts in where a chat has none; empty if there is none."""
    question: dict[str, Any] = {"role": "user", "content": _QUESTION}
    try:
        given = template.text([{"role": "system", "content": _SYSTEM}, question], (), answer=True)
        alone = template.text([question], (), answer=True).partition(_QUESTION)[0]
    except Refusal:
        return ""
    before, found, rest = given.partition(_SYSTEM)
    between = rest.partition(_QUESTION)[0]
    if not found or not between or len(alone) < len(before) + len(between):
        return ""
    is_same = alone.startswith(before) and alone.endswith(between)
    return alone[len(before) : -len(between)].strip() if is_same else ""


def template_faults(template: ChatTemplate) -> list[str]:
    """What is wrong with a chat template, a sentence each: training and asking must see the same text."""
    asked = (Message("user", _TEXTS[1]), Message("assistant", _TEXTS[2]), Message("user", _TEXTS[3]))
    chat = Example((*asked, Message("assistant", _TEXTS[0])), (1, 3), 0)
    if refusal := _refusal(lambda: chat_pieces(template, chat)):
        return [str(refusal)]
    question: list[dict[str, Any]] = [{"role": "user", "content": _QUESTION}]
    faults: list[str] = []
    if template.text(question, (), answer=True) == template.text(question, (), answer=False):
        faults.append("the chat template asks for no answer: with and without a generation prompt it writes the same.")
    end = chat_pieces(template, chat)[-1][0].removeprefix(_TEXTS[0])
    if len(_ids(template.tokenizer, end.strip())) != 1:
        faults.append(f"the end of an answer, {end.strip()!r}, is no single token.")
    for text in (piece for piece, _ in chat_pieces(template, chat)):
        if (found := _back(template.tokenizer, text)) != text:
            faults.append(f"tokens do not give back the text {text!r}, but {found!r}.")
            break
    return faults


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def _back(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    return str(tokenizer.decode(_ids(tokenizer, text), clean_up_tokenization_spaces=False))


def _call_tools(template: ChatTemplate) -> None:
    chat = (
        Message("user", "Where is it?"),
        Message("assistant", "", {"tool_calls": [_CALL]}),
        Message("tool", "There.", {"tool_call_id": "call00001"}),
        Message("assistant", "There."),
    )
    chat_pieces(template, Example(chat, (3,), 0, tools=(_TOOL,)))


def _uses(model: Model, template: ChatTemplate) -> list[Figure]:
    """The engines that serve the model here and the forms in which it can leave."""
    from carrara.export.merge import require_written_out
    from carrara.export.ollama import template_pieces
    from carrara.serve.reader import reader_of, require_chat

    chat = _refusal(lambda: require_chat(model.name, reader_of(model)))
    written = _refusal(lambda: require_written_out(model))
    gguf = written or _refusal(lambda: _require_gguf(model))
    merged = _refusal(lambda: _require_merged(model))
    adapter = gguf or _refusal(lambda: _require_gguf_adapter(model))
    ollama = gguf or merged or _refusal(lambda: template_pieces(template.tokenizer))
    engines = {"transformers": chat, "llama.cpp": chat or adapter}
    formats = {"safetensors": merged, "gguf": gguf or merged, "ollama": ollama}
    if model.adapter:
        formats |= {"adapter": None, "gguf-adapter": adapter}
    return [_possible(ENGINES, engines, "serves it here"), _possible(FORMATS, formats, "can be exported")]


def merges(model: Model) -> bool:
    """Whether the model has an adapter that could be written into its weights."""
    return model.adapter is not None and _refusal(lambda: _require_merged(model)) is None


def _require_merged(model: Model) -> None:
    from carrara.export.merge import require_mergeable, require_written_out

    require_written_out(model)
    if model.adapter:
        require_mergeable(model.adapter, model)


def _require_gguf(model: Model) -> None:
    from carrara.export.gguf_config import read_config
    from carrara.export.gguf_tokenizer import tokenizer_fields

    tokenizer_fields(model.path, read_config(model.path).vocab_size)


def _require_gguf_adapter(model: Model) -> None:
    from carrara.export.gguf_config import read_config
    from carrara.export.lora import read_pairs
    from carrara.export.weights import Weights
    from carrara.models.gguf import tensor_names

    if model.adapter is None:
        return
    config = read_config(model.path)
    names = tensor_names(config.num_hidden_layers)
    if config.tie_word_embeddings:
        del names["output.weight"]
    read_pairs(model.adapter, Weights(model.path), names.values())


def _refusal(of: Callable[[], object]) -> Refusal | None:
    """Why something cannot be done; None if it can."""
    try:
        of()
    except Refusal as refusal:
        return refusal
    return None


def _possible(measure: str, found: dict[str, Refusal | None], what: str) -> Figure:
    able: Sequence[str] = [name for name, refusal in found.items() if refusal is None]
    refused = [f"not {name}: {refusal}" for name, refusal in found.items() if refusal is not None]
    meaning = " ".join(refused) or f"Each of them {what}."
    source = "the rules by which export and serve refuse, on its files; no weights written"
    return Figure(measure, ", ".join(able) or "none", None, "measured", source, meaning=meaning)
