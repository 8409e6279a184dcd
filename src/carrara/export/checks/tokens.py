"""Do both tokenizers make the same token ids of the same chats and texts, and end at the same tokens?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carrara.data.render.ends import end_tokens
from carrara.data.render.template import ChatTemplate, chat_template, control_tokens
from carrara.errors import Refusal
from carrara.export.checks.check import Check, at_least, at_most
from carrara.models.load import Loaded
from carrara.wording import line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_UNICODE = "Grüße aus 東京 — 🙂👩🏽‍🔬 naïve e\u0301 ‫שלום‬ \u200b½ ﬁ"
_TEXTS = (
    "Hello, world!",
    " two  spaces,\ttabs\r\nand\n\n\n12345 numbers 3.14",
    _UNICODE,
    "for i in range(10):\n    print(i)  # don't, I'll, WE'VE",
    "a" * 70,
)
_MOST_TEXTS = 64  # of the caller's own
_SPECIAL = ("bos", "eos", "pad")
_TOOL = {"type": "function", "function": {"name": "find", "description": "Finds.", "parameters": {"type": "object"}}}


@dataclass(frozen=True)
class _Chat:
    """A conversation as a template was asked to show it: its text, and ids; None where the template refuses it."""

    text: str | None
    ids: list[int] | None


def check_tokens(scored: Loaded, exported: Loaded, texts: Sequence[str]) -> Iterator[Check]:
    """The vocabulary, the named tokens, BOS in front, rendered chats, and plain texts."""
    meant, found = scored.tokenizer, exported.tokenizer
    yield _vocabulary(meant, found)
    yield _named_tokens(meant, found)
    controls = control_tokens(meant)
    before, after = _chats(meant, controls), _chats(found, controls)
    plain = [*_TEXTS, "".join(f"{token} x" for token in controls), *texts[:_MOST_TEXTS]]
    yield _bos(meant, found, list(zip(before, after, strict=True)))
    yield _same_chats(list(zip(before, after, strict=True)))
    yield _same_texts(meant, found, [_front(meant, before) + text for text in plain])


def check_ends(scored: Loaded, exported: Loaded) -> Check:
    """The tokens that end an answer: the tokenizers', the settings' and the templates' own."""
    meant, found = end_tokens(scored), end_tokens(exported)
    note = "an answer ends with the same tokens"
    if meant != found:
        here, there = (
            ", ".join(_token(loaded.tokenizer, end) for end in sorted(ends)) or "nothing"
            for loaded, ends in ((exported, found), (scored, meant))
        )
        note = (
            f"the end tokens are wrong: answers of the export end with {here}; those of the scored model with {there}."
        )
    return at_most("end tokens", len(meant ^ found), 0, note)


def _vocabulary(meant: PreTrainedTokenizerBase, found: PreTrainedTokenizerBase) -> Check:
    """Every token has its number and is a control token or none; the export may fill up its embedding with others."""
    known, wanted = found.get_vocab(), meant.get_vocab()
    controls, marked = set(control_tokens(meant)), set(control_tokens(found))
    moved = [name for name, number in wanted.items() if known.get(name) != number]
    unmarked = sorted(controls - marked)
    note = f"{len(wanted):,} tokens have the same numbers"
    if moved:
        name = max(moved, key=lambda token: wanted[token])
        state = f"number {known[name]} instead of {wanted[name]}" if name in known else "not known"
        note = (
            f"the tokenizer is stale or another model's: of {len(wanted):,} tokens {len(moved):,} are missing or have "
            f"another number; {line(name)} is {state}."
        )
    elif unmarked:
        note = f"the tokenizer lost the mark of {line(unmarked[0])}, which is a control token of the scored model."
    wrong = len({*moved, *unmarked})
    return at_least("vocabulary", 1 - wrong / max(1, len(wanted)), 1.0, note)


def _named_tokens(meant: PreTrainedTokenizerBase, found: PreTrainedTokenizerBase) -> Check:
    wrong = [name for name in _SPECIAL if _number(meant, name) != _number(found, name)]
    note = "BOS, EOS and padding are the same tokens"
    if wrong:
        name = wrong[0]
        which = [_token(tokenizer, _number(tokenizer, name)) for tokenizer in (meant, found)]
        what = {"bos": "BOS", "eos": "end (EOS)", "pad": "padding"}[name]
        note = f"the wrong {what} token was written: {which[1]} in the export and {which[0]} in the scored model."
    return at_most("named tokens", len(wrong), 0, note)


def _number(tokenizer: PreTrainedTokenizerBase, name: str) -> int | None:
    return getattr(tokenizer, f"{name}_token_id")


def _token(tokenizer: PreTrainedTokenizerBase, number: int | None) -> str:
    return "none" if number is None else line(str(tokenizer.convert_ids_to_tokens(number)))


# ---- BOS ----


def _bos(meant: PreTrainedTokenizerBase, found: PreTrainedTokenizerBase, chats: list[tuple[_Chat, _Chat]]) -> Check:
    """As many BOS in front as the scored model reads: of texts, and of chats that are the same behind it."""
    pairs = [("a text", _in_front(meant, _ids(meant, "a", True)), _in_front(found, _ids(found, "a", True)))]
    for one, other in chats:
        if one.ids is not None and other.ids is not None and _bare(meant, one) == _bare(found, other):
            pairs.append(("a chat", _in_front(meant, one.ids), _in_front(found, other.ids)))
    wrong = [pair for pair in pairs if pair[1] != pair[2]]
    note = "texts and chats begin with BOS as often as those of the scored model"
    if wrong:
        what, wanted, given = wrong[0]
        kind = "BOS is missing" if given < wanted else "there is a double BOS" if wanted else "there is a BOS too many"
        note = f"{kind}: {what} begins with {given} in the export and with {wanted} in the scored model."
    return at_least("bos", 1 - len(wrong) / len(pairs), 1.0, note)


def _in_front(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> int:
    """How many BOS the ids begin with."""
    return next((place for place, number in enumerate(ids) if number != tokenizer.bos_token_id), len(ids))


def _bare(tokenizer: PreTrainedTokenizerBase, chat: _Chat) -> str:
    """The text of a chat without the BOS in front of it."""
    text, bos = chat.text or "", tokenizer.bos_token
    while isinstance(bos, str) and bos and text.startswith(bos):
        text = text.removeprefix(bos)
    return text


# ---- chats and texts ----


def _conversations(controls: Sequence[str]) -> list[tuple[list[dict[str, Any]], list[Any], bool]]:
    """Messages, tools, and whether the next answer is asked for."""
    system = {"role": "system", "content": "You answer in one sentence."}
    user = {"role": "user", "content": "What is marble?"}
    answer = {"role": "assistant", "content": "A stone."}
    return [
        ([user], [], True),
        ([system, user], [], True),
        ([user, answer, {"role": "user", "content": "  And\n\nthen? "}], [], True),
        ([system, user, answer, user, answer], [], False),
        ([{"role": "user", "content": _UNICODE}], [], True),
        ([{"role": "user", "content": ""}], [], True),
        ([{"role": "user", "content": "".join(f"a{token}b" for token in controls)}], [], True),
        ([user], [_TOOL], True),
    ]


def _chats(tokenizer: PreTrainedTokenizerBase, controls: Sequence[str]) -> list[_Chat]:
    template = chat_template(tokenizer)
    return [_chat(template, *conversation) for conversation in _conversations(controls)]


def _chat(template: ChatTemplate, turns: Sequence[dict[str, Any]], tools: Sequence[Any], answer: bool) -> _Chat:
    try:
        text = template.text(turns, tools, answer)
    except Refusal:
        return _Chat(None, None)
    return _Chat(text, _ids(template.tokenizer, text, special=False))


def _same_chats(chats: list[tuple[_Chat, _Chat]]) -> Check:
    wrong = [pair for pair in chats if pair[0].ids != pair[1].ids]
    note = f"{len(chats)} conversations are rendered to the same token ids"
    if wrong:
        # where the texts differ, the template does; where they do not, what cuts them into tokens
        one, other = next((pair for pair in wrong if pair[0].text != pair[1].text), wrong[0])
        if one.text != other.text:
            note = (
                "the chat template is another: the export renders a conversation as "
                f"{_shown(other.text)}, the scored model as {_shown(one.text)}."
            )
        else:
            note = "the tokenizer cuts chats into other tokens than the scored model's; its rules were not exported."
    return at_least("chats", 1 - len(wrong) / len(chats), 1.0, note)


def _front(tokenizer: PreTrainedTokenizerBase, chats: Sequence[_Chat]) -> str:
    """BOS where all chats begin with it: to some tokenizers the very beginning of a text is something else."""
    bos = tokenizer.bos_token
    return bos if isinstance(bos, str) and all((chat.text or bos).startswith(bos) for chat in chats) else ""


def _same_texts(meant: PreTrainedTokenizerBase, found: PreTrainedTokenizerBase, texts: Sequence[str]) -> Check:
    wrong = [text for text in texts if _ids(meant, text, False) != _ids(found, text, False)]
    note = f"{len(texts)} texts are cut into the same tokens"
    if wrong:
        note = (
            f"the tokenizer cuts {len(wrong)} of {len(texts)} texts into other tokens than the scored model's; "
            "its rules of splitting or merging were not exported."
        )
    return at_least("texts", 1 - len(wrong) / len(texts), 1.0, note)


def _shown(text: str | None) -> str:
    return "nothing" if text is None else repr(line(text, 60))


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, special: bool) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=special))
