"""Do the tokens say what the rows say? Found out from the tokens themselves, not by rendering once more."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from carrara.data.example import Message
from carrara.data.render.encode import Encoder
from carrara.data.render.example import render_prompt
from carrara.data.render.template import chat_template
from carrara.errors import Refusal
from carrara.tune.truth.finding import Finding
from carrara.tune.truth.subject import Pair, Subject


def check_rendering(subject: Subject) -> Iterator[Finding]:
    """Rows with tools are left out: their texts become JSON of the template's own making."""
    unknown = subject.tokenizer.unk_token_id
    chosen = [pair for pair in subject.pairs if not _is_cut_document(pair) and not _has_tools(pair)]
    told = [_restored(subject, pair) for pair in chosen]
    whole = [pair for pair in told if unknown is None or unknown not in pair.row.ids]
    yield from _unknown(told, whole)
    yield from _ends(subject)
    yield from _beginnings(subject, whole)
    mask = partial(_mask, lead=_lead(subject, whole))
    for check, problem in (("mask", mask), ("content", _content), ("serving", _serving)):
        yield from _first(check, whole, subject, problem)


def _first(
    check: str, pairs: Sequence[Pair], subject: Subject, problem: Callable[[Subject, Pair], str | None]
) -> Iterator[Finding]:
    """The first row that has a problem, and how many have."""
    found = [(pair, sentence) for pair in pairs if (sentence := problem(subject, pair))]
    if found:
        pair, sentence = found[0]
        yield Finding(check, f"{pair.where}: {sentence} ({len(found)} of the {len(pairs)} rows looked at)")


def _restored(subject: Subject, pair: Pair) -> Pair:
    """A row cut in front with the beginning that serving feeds, and without the answers that it lost.

    It is held to what whole rows are: unless the rest is the tail of what serving feeds, the two differ.
    """
    example, row = pair.example, pair.row
    if not row.cut:
        return pair
    fed = {index: _fed(subject, example.messages[:index]) for index in example.supervised}
    kept = tuple(index for index in example.supervised if len(fed[index]) > row.cut) or example.supervised[-1:]
    lost = fed[kept[-1]][: row.cut]
    whole = replace(row, ids=(*lost, *row.ids), supervised=(*(False for _ in lost), *row.supervised))
    return Pair(replace(example, supervised=kept), whole)


def _has_tools(pair: Pair) -> bool:
    return bool(pair.example.tools) or any(message.extra for message in pair.example.messages)


def _unknown(pairs: Sequence[Pair], whole: Sequence[Pair]) -> Iterator[Finding]:
    if len(pairs) - len(whole) > 0.1 * len(pairs):
        first = next(pair for pair in pairs if pair not in whole)
        yield Finding(
            "unknown-tokens",
            f"{len(pairs) - len(whole)} of {len(pairs)} rows hold text that this tokenizer cannot write (so "
            f"{first.where}); choose a model that knows this script.",
        )


def _lead(subject: Subject, pairs: Sequence[Pair]) -> str:
    """What the template writes in front of every answer and leaves out of the prompt, such as an empty thought.

    The model learns to write it and has to when it is served. A header is no such thing: a template that does not
    listen when an answer is asked for leaves out the header alone.
    """
    for pair in pairs:
        messages = pair.example.messages[: pair.example.supervised[0] + 1]
        if subject.dataset.render != "chat" or pair.example.is_document or not pair.learned:
            continue
        answer, (start, end) = _bare(messages[-1].content), pair.learned[0]
        said = _read(subject, pair.row.ids[start : end - 1])
        if said != answer and said.endswith(answer):
            asked, unasked = (_text(subject, messages[:-1], answer=answer) for answer in (True, False))
            return said.removesuffix(answer) if asked != unasked else ""
    return ""


def _mask(subject: Subject, pair: Pair, lead: str) -> str | None:
    """What is learned reads as the answers do, each with one token that ends it."""
    example, ids = pair.example, pair.row.ids
    answers = [example.messages[index].content for index in example.supervised]
    if len(answers) != len(pair.learned):
        return f"{len(pair.learned)} runs of tokens are learned, but {len(answers)} answers are to be."
    for answer, (start, end) in zip(answers, pair.learned, strict=True):
        if pair.example.is_document:  # nothing predicts its first token where no BOS stands before it
            opening = len(Encoder(subject.tokenizer).opening())
            start = opening if start == max(1, opening) else start
        if _read(subject, ids[start : end - 1]) not in (_bare(answer), lead + _bare(answer)):
            told = str(subject.tokenizer.decode(list(ids[start:end])))
            return (
                f"learned is {_short(told)}, but the answer is {_short(answer)}; training would teach something else. "
                "Use a template that writes a header, the answer and its end, or render: plain."
            )
    return None


def _content(subject: Subject, pair: Pair) -> str | None:
    """Every message up to the last answer stands in the text to the letter and in the tokens, in order."""
    messages = pair.example.messages[: pair.example.supervised[-1] + 1]
    by_template = subject.dataset.render == "chat" and not pair.example.is_document
    written = _text(subject, messages) if by_template else "".join(message.content for message in messages)
    text, read = written, _read(subject, pair.row.ids)
    for message in messages:
        content, bare = message.content.strip(), _bare(message.content)
        found, place = text.find(content), read.find(bare)
        if found < 0 or place < 0:
            return (
                f"the {message.role} message {_short(message.content)} is not in the row as it is rendered; the "
                "chat template leaves it out or changes it. Use another model, or render: plain."
            )
        text, read = text[found + len(content) :], read[place + len(bare) :]
    return None


def _text(subject: Subject, messages: Sequence[Message], answer: bool = False) -> str:
    return chat_template(subject.tokenizer).text([message.to_json() for message in messages], (), answer)


def _serving(subject: Subject, pair: Pair) -> str | None:
    """What stands before each answer is what a server feeds when it asks for that answer; documents answer nothing."""
    if pair.example.is_document:
        return None
    for index, (start, _) in zip(pair.example.supervised, pair.learned):
        fed = _fed(subject, pair.example.messages[:index])
        trained = list(pair.row.ids[:start])
        if trained != fed:
            place = next((i for i, (a, b) in enumerate(zip(trained, fed)) if a != b), min(len(trained), len(fed)))
            cut = f" ({pair.row.cut} of them cut to fit)" if pair.row.cut else ""
            return (
                f"training shows {len(trained)} tokens before the answer{cut} and serving feeds {len(fed)}, unlike "
                f"from token {place + 1} on; the chat template renders the same conversation in two ways."
            )
    return None


def _fed(subject: Subject, messages: Sequence[Message]) -> list[int]:
    if subject.dataset.render == "chat":
        try:
            return render_prompt(subject.tokenizer, messages)
        except Refusal:
            return []
    opening = Encoder(subject.tokenizer).opening()
    return [*opening, *subject.tokenizer.encode(messages[0].content, add_special_tokens=False)]


def _ends(subject: Subject) -> Iterator[Finding]:
    """Each answer's last token is one at which anything that generates stops."""
    tokenizer = subject.tokenizer
    plain = tokenizer.encode("a", add_special_tokens=True)
    if len(plain) > 1 and plain[-1] == tokenizer.eos_token_id:
        yield Finding(
            "end",
            f"the tokenizer writes its end {subject.token(plain[-1])} behind every text, prompts too; set add_eos_token"
            " to false in tokenizer_config.json.",
        )
    last = [pair.row.ids[end - 1] for pair in subject.pairs if not _is_cut_document(pair) for _, end in pair.learned]
    wrong = [number for number in last if number not in subject.ends]
    if not wrong:
        return
    known = ", ".join(subject.token(end) for end in sorted(subject.ends)) or "none"
    yield Finding(
        "end",
        f"{len(wrong)} of {len(last)} answers end with {subject.token(wrong[0])}, but the model's settings stop at "
        f"{known}, so it would talk on. Add {wrong[0]} to eos_token_id in the model's generation_config.json, or use "
        "a template that ends an answer with the model's own end.",
    )


def _is_cut_document(pair: Pair) -> bool:
    return pair.example.is_document and pair.row.cut > 0


def _beginnings(subject: Subject, pairs: Sequence[Pair]) -> Iterator[Finding]:
    """A row begins with what the tokenizer puts before a text by itself, and never with two BOS."""
    bos: Any = subject.tokenizer.bos_token_id
    opening = Encoder(subject.tokenizer).opening()
    if bos is None:
        return
    twice = [pair for pair in pairs if any(a == b == bos for a, b in zip(pair.row.ids, pair.row.ids[1:]))]
    if twice:
        yield Finding(
            "bos",
            f"{len(twice)} of {len(pairs)} rows hold two {subject.token(bos)} in a row (so {twice[0].where}); the chat "
            "template writes one and something adds another. Take one out of the template.",
        )
    without = [pair for pair in pairs if bos in opening and bos not in pair.row.ids[: len(opening)]]
    if without:
        yield Finding(
            "bos",
            f"{len(without)} of {len(pairs)} rows do not begin with {subject.token(bos)} (so {without[0].where}), which"
            " this tokenizer puts before every text; begin the chat template with {{ bos_token }}.",
        )


def _read(subject: Subject, ids: Sequence[int]) -> str:
    text = subject.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return _bare(str(text))


def _bare(text: str) -> str:
    """A text without what tokenizers and templates may change unharmed: white space, case, forms of a letter."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:28]} … {text[-28:]}")
