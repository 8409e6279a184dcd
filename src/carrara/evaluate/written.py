"""What a model writes: prompts in, records out, each with its text and what was measured of it.

As in `blocks.py` the whole split is cut into passes and only those that hold a wanted item are run, so that a limit or
a resume changes no text.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from carrara.data.dataset import Dataset
from carrara.data.example import Example, Message
from carrara.data.render.dataset import render_split
from carrara.data.render.ends import end_tokens
from carrara.data.render.example import Rendered, render_prompt
from carrara.errors import Refusal
from carrara.evaluate.ask import Questions
from carrara.evaluate.judges import JUDGES, Judge, by_likeness, signatures
from carrara.evaluate.known import Known, identity_of
from carrara.evaluate.protocol import Protocol
from carrara.evaluate.scores import Record
from carrara.evaluate.text.instructions import KINDS, check
from carrara.evaluate.text.recited import Recited
from carrara.models.generate import Written, as_written, cut_into_passes, write_all
from carrara.models.load import Loaded
from carrara.progress import Progress
from carrara.tasks import HELDOUT_ANSWERS
from carrara.tasks.task import Item

FORMAT = 2  # raised when the same prompts would give other texts
_ANSWER_TOKENS, _ANSWER_ROOM = 256, 1.5  # of an answer to a held-out prompt: at least, and times the longest expected
_BLOCK = 32  # items whose prompts are cut into passes together; another number gives other passes


@dataclass(frozen=True)
class Prompt:
    """The `ids` that a model goes on from, the same as text, and the item that they ask; `cut` as in Record."""

    item: Item
    text: str
    ids: tuple[int, ...]
    cut: bool = False


@dataclass(frozen=True)
class Writing:
    """All prompts of a task in order, or why one cannot be asked; which are wanted; and the rules of an answer."""

    name: str
    prompts: Sequence[Prompt | Refusal]
    wanted: Sequence[bool]
    budget: int
    stops: tuple[str, ...]
    judge: Judge


def writing_of(loaded: Loaded, questions: Questions, protocol: Protocol) -> Writing:
    """The prompts of a task of the kind `text`; raises Refusal if the model or an instruction is unfit for it."""
    task = questions.task
    if task.is_chat and not loaded.tokenizer.chat_template:
        raise Refusal(
            f"{task.name} asks through the model's chat template, and {loaded.model.name} has none; use an instruct "
            "model, or say chat: false in a task file of your own."
        )
    _require_checkable(questions)
    prompts = [_prompt(loaded, questions, protocol, place) for place in range(len(questions.order))]
    return Writing(task.name, prompts, questions.wanted, task.max_tokens, task.stops, JUDGES[task.judge])


def writing_of_heldout(loaded: Loaded, heldout: Dataset, limit: int | None, progress: Progress) -> Writing:
    """The prompts of a dataset's test split, the first `limit` of them wanted; says how many rows have none.

    An answer is compared with the row's own, and with the train split for what it recites. Raises Refusal if no row
    can be asked.
    """
    rows = list(render_split(heldout, "test", loaded.tokenizer, loaded.context))
    pairs = zip(rows, heldout.examples("test"), strict=True)
    found = [_heldout_prompt(loaded, place, row, example) for place, (row, example) in enumerate(pairs)]
    prompts = [prompt for prompt in found if isinstance(prompt, Prompt)]
    refused = [prompt for prompt in found if isinstance(prompt, Refusal)]
    if not prompts:
        raise Refusal(f"no row of the test split can be asked; {refused[0]}")
    if refused:
        progress.say(f"{HELDOUT_ANSWERS}: {len(refused):,} rows of the test split are left out; {refused[0]}")
    if cut := sum(prompt.cut for prompt in prompts):
        progress.say(f"{HELDOUT_ANSWERS}: {cut:,} rows do not fit the model's context and lost the beginning of theirs")
    wanted = [limit is None or place < limit for place in range(len(prompts))]
    recited = Recited(example.body for example in heldout.each("train"))
    longest = max(sum(row.supervised) for row in rows if isinstance(row, Rendered))
    budget = max(_ANSWER_TOKENS, math.ceil(_ANSWER_ROOM * longest))
    return Writing(HELDOUT_ANSWERS, prompts, wanted, budget, (), partial(by_likeness, recited=recited))


def rules_of_heldout(limit: int | None) -> dict[str, Any]:
    """What of the task `heldout_answers` belongs into the receipt of scores, beside the dataset."""
    room = f"{_ANSWER_ROOM:g} times the longest expected, {_ANSWER_TOKENS} at least"
    return {"max_tokens": room, "limit": limit, "signatures": signatures("likeness")}


def written_records(loaded: Loaded, known: Known, writing: Writing, progress: Progress) -> list[Record]:
    """The records of the wanted items, in order; what `known` has is not written again.

    Raises Refusal if a wanted item cannot be asked, if nothing could end an answer, or if the model's numbers are none.
    """
    ends = end_tokens(loaded)
    if not ends and not writing.stops:
        raise Refusal(
            f"{writing.name}: neither the tokenizer of {loaded.model.name} nor its settings name an end token, so that "
            "no answer would end; name it as eos_token in tokenizer_config.json, or use another model."
        )
    for prompt, is_wanted in zip(writing.prompts, writing.wanted, strict=True):
        if is_wanted and isinstance(prompt, Refusal):
            raise prompt
    records: dict[int, Record] = {}
    before, passes = 0, _passes(loaded, writing)
    if sum(map(len, passes)) > sum(writing.wanted):
        progress.say(f"{writing.name}: {sum(map(len, passes)):,} are written, as these share passes with those wanted")
    with progress.track(writing.name, sum(writing.wanted), "item") as advance:
        for asked in passes:
            written, is_known = _write(loaded, known, writing, list(asked.values()), ends)
            found = {
                place: _record(writing, prompt, answer)
                for (place, prompt), answer in zip(asked.items(), written, strict=True)
                if writing.wanted[place]
            }
            records |= found
            before += is_known * len(found)
            advance(len(found))
    if before:
        progress.say(f"{writing.name}: {before:,} of {len(records):,} items had been written before")
    return [records[place] for place in sorted(records)]


def _passes(loaded: Loaded, writing: Writing) -> list[dict[int, Prompt]]:
    """The prompts that are gone on with together, by their places, for each pass that holds a wanted one."""
    passes: list[dict[int, Prompt]] = []
    for start in range(0, len(writing.prompts), _BLOCK):
        block = enumerate(writing.prompts[start : start + _BLOCK], start)
        asked = [(place, prompt) for place, prompt in block if isinstance(prompt, Prompt)]
        cut = cut_into_passes(loaded, [prompt.ids for _, prompt in asked], writing.budget)
        passes += [dict(asked[number] for number in numbers) for numbers in cut]
    return [asked for asked in passes if any(writing.wanted[place] for place in asked)]


def _write(
    loaded: Loaded, known: Known, writing: Writing, prompts: Sequence[Prompt], ends: frozenset[int]
) -> tuple[list[Written], bool]:
    """What the model writes behind the prompts of one pass, and whether that was known."""
    ids = [prompt.ids for prompt in prompts]
    content = ["written", FORMAT, identity_of(loaded), ids, writing.budget, sorted(ends), writing.stops]
    name = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    if (found := known.get(name)) is not None:
        return [as_written(loaded, tokens, ends, writing.stops, seconds) for tokens, seconds in found], True
    written = write_all(loaded, ids, writing.budget, ends, writing.stops)
    known.put(name, [(answer.ids, answer.seconds) for answer in written])
    return written, False


def _record(writing: Writing, prompt: Prompt, written: Written) -> Record:
    item = prompt.item
    record = Record(
        task=writing.name,
        item=item.position,
        id=item.id,
        question=item.question or item.context,
        choices=list(item.choices),
        prompt_sha256=hashlib.sha256(prompt.text.encode("utf-8")).hexdigest(),
        value=0.0,
        tokens=len(written.ids),
        bytes=len(written.text.encode("utf-8")),
        seconds=written.seconds,
        labels=list(item.labels),
        category=item.category,
        cluster=item.cluster,
        cut=prompt.cut,
        written=written.text,
    )
    return replace(record, **writing.judge(item, written))


# ---- prompts ----


def _prompt(loaded: Loaded, questions: Questions, protocol: Protocol, place: int) -> Prompt | Refusal:
    task, item, text = questions.task, questions.item(place), questions.context(place)
    where = f"{task.name}, item {item.position}"
    try:
        ids = _chat(loaded, text) if task.is_chat else _plain(loaded, text, protocol.special_tokens)
    except Refusal as refusal:
        return Refusal(f"{where}: {refusal}")
    if not 0 < len(ids) < loaded.context:
        return Refusal(
            f"{where}: its prompt has {len(ids):,} tokens, and the model's context has room for {loaded.context:,}, "
            "an answer included; mend the item, or use a model with a longer context."
        )
    return Prompt(item, str(loaded.tokenizer.decode(ids)) if task.is_chat else text, tuple(ids))


def _chat(loaded: Loaded, text: str) -> list[int]:
    return render_prompt(loaded.tokenizer, (Message("user", text),))


def _plain(loaded: Loaded, text: str, special: bool) -> list[int]:
    """The ids of a text; one that begins with the token that `special` would add gets no second one."""
    first = loaded.tokenizer.bos_token
    special = special and not (isinstance(first, str) and text.startswith(first))
    return list(loaded.tokenizer.encode(text, add_special_tokens=special))


def _heldout_prompt(loaded: Loaded, place: int, row: Rendered | Refusal, example: Example) -> Prompt | Refusal:
    """What stands before the last answer of a row, as it was rendered for training."""
    if isinstance(row, Refusal):
        return row
    if example.is_document:
        return Refusal(f"{row.where}: it is a document and asks nothing.")
    ids = row.ids[: max(place for place, is_learned in enumerate(row.supervised) if not is_learned) + 1]
    last = example.supervised[-1]
    question = "\n".join(message.content for message in example.messages[:last])
    item = Item(place, row.id, question, (example.messages[last].text,), 0, (1,))
    return Prompt(item, str(loaded.tokenizer.decode([*ids])), ids, row.cut > 0)


def _require_checkable(questions: Questions) -> None:
    """Refuse instructions that cannot be checked before anything is written, naming item, from 0, and field."""
    for item in questions.items.values():
        for instruction in item.instructions:
            field = f"kwargs: {instruction.kind}" if instruction.kind in KINDS else "instruction_id_list"
            try:
                check("word", instruction.kind, instruction.settings, item.context)
            except ValueError as error:
                raise Refusal(
                    f"{questions.receipt['file']}, item {item.position}, field {field}: {error}; "
                    "correct it there, or fetch the file again."
                ) from error
