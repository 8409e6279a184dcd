"""A task in tokens, ready for the scorer: the same for all models on one network that have the same tokenizer."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from carrara.data.dataset import Dataset
from carrara.data.render.example import context_and_continuations
from carrara.errors import Refusal
from carrara.evaluate.ask import Questions
from carrara.evaluate.blocks import Scorable, cut_into_blocks
from carrara.evaluate.heldout import heldout_rows
from carrara.evaluate.metrics import record_of_choice
from carrara.evaluate.protocol import Protocol, requests_of
from carrara.evaluate.rows import Pair, rows_of_question
from carrara.evaluate.scorer import Scored
from carrara.evaluate.scores import Record
from carrara.models.load import Loaded
from carrara.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sheet:
    """What `score_items` takes: how the item at a place is made, which are wanted, which may share a pass."""

    make: Callable[[int], Scorable]
    wanted: Sequence[bool]
    blocks: Sequence[Sequence[int]]


@dataclass(frozen=True)
class _Prompt:
    """A question as it is read: all the text before an answer, and for each choice the ids read and those scored."""

    context: str
    pairs: list[Pair]


def choice_sheet(loaded: Loaded, questions: Questions, protocol: Protocol, keep: bool) -> Sheet:
    """Questions with choices; what was encoded is kept if `keep` says that another model will ask for it."""
    encode: Callable[[int], _Prompt] = partial(_encode, loaded.tokenizer, questions, protocol)
    make = partial(_choice, loaded, questions, protocol, cache(encode) if keep else encode)
    return Sheet(make, questions.wanted, questions.blocks)


def heldout_sheet(loaded: Loaded, heldout: Dataset, progress: Progress) -> Sheet:
    """The rows of a dataset's test split; raises Refusal if none can be read."""
    rows = heldout_rows(loaded, heldout, progress)
    return Sheet(rows.__getitem__, [True] * len(rows), cut_into_blocks(range(len(rows))))


def _choice(
    loaded: Loaded, questions: Questions, protocol: Protocol, encode: Callable[[int], _Prompt], place: int
) -> Scorable:
    """A question with its choices, ready for the scorer; raises Refusal for one that the model cannot read."""
    task, item, prompt = questions.task, questions.item(place), encode(place)

    def record(scored: Sequence[Scored]) -> Record:
        values = [value for found in scored for value in found.loglikelihoods]
        tokens, seconds = sum(len(answer) for _, answer in prompt.pairs), sum(found.seconds for found in scored)
        cut = any(row.cut for row in rows)
        return record_of_choice(task, protocol, item, prompt.context, values, tokens, seconds, cut)

    try:
        rows = rows_of_question(prompt.pairs, loaded.context, loaded.window)
    except ValueError as error:
        raise Refusal(
            f"{task.name}, item {item.position}: {error}; mend the item, or use a model with a longer context."
        ) from error
    return Scorable(rows, record)


def _encode(tokenizer: PreTrainedTokenizerBase, questions: Questions, protocol: Protocol, place: int) -> _Prompt:
    """A question in arrays, which take a tenth of a list's memory; what is read alike is encoded once."""
    context = questions.context(place)
    requests = requests_of(questions.task, questions.item(place), context)
    texts: dict[str, list[str]] = {}
    for read, text in requests:
        texts.setdefault(read, []).append(text)
    special, nothing = protocol.special_tokens, _nothing(tokenizer, protocol)
    encoded = {
        read: context_and_continuations(tokenizer, read, scored, special, nothing) for read, scored in texts.items()
    }
    contexts = {read: array("i", ids) for read, (ids, _) in encoded.items()}
    answers = {read: iter([array("i", ids) for ids in found]) for read, (_, found) in encoded.items()}
    return _Prompt(context, [(contexts[read], next(answers[read])) for read, _ in requests])


def _nothing(tokenizer: Any, protocol: Protocol) -> list[int]:
    """What a model reads where there is nothing to read."""
    chosen = [tokenizer.bos_token_id] if protocol.empty_context == "bos_or_eos" else []
    return [token for token in [*chosen, tokenizer.eos_token_id] if token is not None][:1]
