"""The checks that need one row at a time, done for a chunk of rows in a worker: what it says goes to the stage."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from carrara.data.checks.contamination import Matcher
from carrara.data.checks.duplicates import exact_key, prompt_key
from carrara.data.checks.language import language_of
from carrara.data.checks.minhash import sketch
from carrara.data.checks.personal import Finding, Redactor, load_plugins
from carrara.data.example import Example, Message, example_from_json
from carrara.data.json_texts import map_texts, texts_in
from carrara.data.prepare.rows import chunk_file, keys_file
from carrara.data.prepare.split import place_of
from carrara.tasks.questions import Question
from carrara.workspace import digest_of_value

_SNIPPET = 40  # characters shown on either side of a personal value
_SNIPPETS = 3  # rows shown for each type in a chunk
_REPEATED = ("sentence1", "sentence2", "label")  # fields whose text the messages hold as well, and that count once
_LONG = 20  # words from which a completion should end with a mark
_ENDS = re.compile(r"[.!?…。！？।)\]}>\"'”’»`*:;|=\d-]\s*$|```\s*$")


class Inspector:
    """Redacts, keys, sketches and searches the rows of a chunk; keeps rows and keys in the stage's folder."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._folder = Path(settings["folder"])
        self._redacts = settings["redact"]
        self._show_values = settings["show_values"]
        self._seed = settings["seed"]
        self._redactor = Redactor(load_plugins())
        self._matcher = read_matcher(settings["questions"]) if settings["questions"] else None

    def __call__(self, index: int, chunk: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What was found, rows being named by their place in the chunk. Raw values stay in the rows alone."""
        before = [_with_hidden_group(example_from_json(row)) for row in chunk]
        examples, personal, snippets = self._personal(before)
        answers = [example.answer for example in examples]
        report = {
            "personal": personal,
            "snippets": snippets,
            "hits": find_hits(self._matcher, examples) if self._matcher else [],
            "languages": Counter(language_of(example.body) for example in examples),
            "words": Counter(len(example.body.split()) for example in examples),
            "long": sum(len(answer.split()) >= _LONG for answer in answers),
            "cut": sum(len(answer.split()) >= _LONG and not _ENDS.search(answer) for answer in answers),
            "labels": [example.label for example in examples],
            "groups": [example.group for example in examples],
        }
        self._write(index, examples)
        return report

    def _personal(self, examples: Sequence[Example]) -> tuple[list[Example], list[Any], list[Any]]:
        """The rows as they go on; for each row with findings [index, [[field, type, count], …]]; masked snippets."""
        kept: list[Example] = []
        found: list[Any] = []
        snippets: list[Any] = []
        shown: Counter[str] = Counter()
        for index, example in enumerate(examples):
            fields, texts = zip(*texts_of(example))
            redacted, findings = self._redactor.redact(texts)
            kept.append(with_texts(example, redacted) if self._redacts and any(findings) else example)
            counts = Counter(
                (field, finding.type)
                for place, (field, row) in enumerate(zip(fields, findings, strict=True))
                if not (field in _REPEATED and any(texts[place] in text for text in texts[:place]))
                for finding in row
            )
            if counts:
                found.append([index, [[field, kind, count] for (field, kind), count in counts.items()]])
            for field, text, row in zip(fields, texts, findings, strict=True):
                for finding in row:
                    shown[finding.type] += 1
                    if shown[finding.type] <= _SNIPPETS:
                        snippets.append([index, field, finding.type, self._around(text, row, finding)])
        return kept, found, snippets

    def _around(self, text: str, findings: Sequence[Finding], finding: Finding) -> str:
        """What stands around a value; every value in it is masked whole, also those that the border would cut."""
        start, end = max(0, finding.start - _SNIPPET), finding.end + _SNIPPET
        if self._show_values:
            return text[start:end]
        parts: list[str] = []
        for value in findings:
            if value.end > start and value.start < end:
                parts += [text[start : value.start], f"<{value.type.upper()}>"]
                start = value.end
        return "".join([*parts, text[start:end]])

    def _write(self, index: int, examples: Sequence[Example]) -> None:
        import numpy as np

        lines = [(json.dumps(example.to_json(), ensure_ascii=False) + "\n").encode() for example in examples]
        chunk_file(self._folder, index).write_bytes(b"".join(lines))
        np.savez(
            keys_file(self._folder, index),
            offset=np.cumsum([0, *map(len, lines[:-1])], dtype=np.int64),
            exact=np.array([exact_key(whole_of(example)) for example in examples], dtype=np.uint64),
            prompt=np.array([prompt_key(prompt_of(example)) for example in examples], dtype=np.uint64),
            answer=np.array([prompt_key(f"{e.answer}\0{e.label}\0{e.score}") for e in examples], dtype=np.uint64),
            identity=np.array([int(example.id, 16) for example in examples], dtype=np.uint64),
            place=np.array([place_of(example, self._seed) for example in examples], dtype=np.float64),
            sketch=sketch([example.body for example in examples]),
        )


class OverlapFinder:
    """Searches rows that were kept already for questions, such as those of the dataset's own test split."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._folder = Path(settings["folder"])
        self._matcher = read_matcher(settings["questions"])

    def __call__(self, index: int, chunk: Any) -> dict[str, Any]:
        """The hits in the rows of `chunk`, a list of places in the chunk file of that index."""
        lines = chunk_file(self._folder, index).read_bytes().splitlines()
        examples = [example_from_json(json.loads(lines[place])) for place in chunk]
        return {"hits": [[chunk[hit[0]], *hit[1:]] for hit in find_hits(self._matcher, examples)]}


def read_matcher(path: str) -> Matcher:
    """The matcher for questions that were written as JSON."""
    rows = json.loads(Path(path).read_text(encoding="utf-8"))
    return Matcher([Question(r["benchmark"], r["id"], r["text"], tuple(r["answers"]), r["gold"]) for r in rows])


def find_hits(matcher: Matcher, examples: Sequence[Example]) -> list[list[Any]]:
    """For each hit [place of the row, benchmark, item, how, share]."""
    return [
        [place, hit.benchmark, hit.item, hit.how, hit.share]
        for place, example in enumerate(examples)
        for hit in matcher.hits(example.texts)
    ]


def prompt_of(example: Example) -> str:
    """Everything before the last supervised message; empty for a document."""
    return "\n".join(f"{m.role}: {m.content}" for m in example.messages[: example.supervised[-1]])


def whole_of(example: Example) -> list[str]:
    """Everything that makes a row what it is, for exact comparison."""
    turns = [part for m in example.messages for part in (m.role, m.content, json.dumps(dict(m.extra), sort_keys=True))]
    rest = [example.supervised, example.label, example.score, example.tools]
    return [*turns, *(json.dumps(part, sort_keys=True) for part in rest)]


def texts_of(example: Example) -> list[tuple[str, str]]:
    """Every text of a row with the field it stands in, in a fixed order."""
    texts = [(_field(example, index), message.content) for index, message in enumerate(example.messages)]
    for index, message in enumerate(example.messages):
        texts += [
            (f"messages[{index}].{key}", text) for key, value in message.extra.items() for text in texts_in(value)
        ]
    texts += [(f"sentence{number}", text) for number, text in enumerate(example.pair or (), start=1)]
    texts += [("label", example.label)] if example.label is not None else []
    return texts + [("tools", text) for text in texts_in(example.tools)]


def with_texts(example: Example, texts: Sequence[str]) -> Example:
    """The row with the texts of `texts_of` replaced, in the same order."""
    rest = iter(texts)

    def replaced(value: Any) -> Any:
        return map_texts(value, lambda _: next(rest))

    contents = [next(rest) for _ in example.messages]
    extras = [replaced(message.extra) for message in example.messages]
    messages = [Message(m.role, text, extra) for m, text, extra in zip(example.messages, contents, extras, strict=True)]
    pair = (next(rest), next(rest)) if example.pair else None
    label = next(rest) if example.label is not None else None
    return replace(example, messages=tuple(messages), pair=pair, label=label, tools=tuple(replaced(example.tools)))


def _with_hidden_group(example: Example) -> Example:
    """The group only has to be told from others, and is often a customer's number or address."""
    return replace(example, group=digest_of_value(example.group)[:16]) if example.group is not None else example


def _field(example: Example, index: int) -> str:
    if example.is_document:
        return "text"
    if [message.role for message in example.messages] == ["user", "assistant"]:
        return ("prompt", "completion")[index]
    return f"messages[{index}].content"
