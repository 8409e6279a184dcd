"""What the checks of single rows found, added up over chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OWN_TEST = "test split"  # the name under which the dataset's own test split is checked against
MOST_CLASSES = 200  # labels; a column of more is text, and stratifying by it means nothing
_SHOWN = 50  # masked examples of personal data that are kept


@dataclass(frozen=True, slots=True)
class RowHit:
    """A row that holds a question of a benchmark."""

    row: int
    benchmark: str
    item: str
    how: str
    share: float


@dataclass
class Tally:
    """Findings of single rows, which are named by their number from 0."""

    labels: list[str | None] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    personal: dict[int, list[Any]] = field(default_factory=dict)  # row: [[field, type, count], …]
    snippets: list[list[Any]] = field(default_factory=list)  # [row, field, type, masked text]
    hits: dict[int, list[RowHit]] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    long: int = 0
    cut: int = 0
    own_test: dict[str, str] = field(default_factory=dict)  # prompts of the test split by the row's number

    def add(self, answer: Mapping[str, Any]) -> None:
        """Take in what an `Inspector` says of the next chunk."""
        start = len(self.labels)
        self.labels += answer["labels"]
        self.groups += answer["groups"]
        self.personal |= {start + index: found for index, found in answer["personal"]}
        room = _SHOWN - len(self.snippets)
        self.snippets += [[start + index, *rest] for index, *rest in answer["snippets"][:room]]
        self.add_hits(start, answer["hits"])
        self.languages.update(answer["languages"])
        self.words.update({int(words): count for words, count in answer["words"].items()})
        self.long += answer["long"]
        self.cut += answer["cut"]

    def add_hits(self, start: int, hits: Sequence[Sequence[Any]]) -> None:
        """Take in hits whose rows are counted from `start`."""
        for index, *rest in hits:
            self.hits.setdefault(start + index, []).append(RowHit(start + index, *rest))

    def classes(self) -> list[str | None]:
        """The labels, or none where they are too many to be classes."""
        return self.labels if len(set(self.labels)) <= MOST_CLASSES else [None] * len(self.labels)
