"""Finding benchmark questions among training rows, whole or lightly edited.

A question is its words; a word counts by how rare it is among the questions (an inverse document frequency, Sparck
Jones 1972), and words inside runs that many questions share count nothing. A row is a candidate for a question if
both hold one of the question's rarest short runs; a candidate is a hit if most of what the question's words count
stands in the row, in order. Where the question's own words are too few or too common to tell, as in "Which of the
following is true?", the answers behind it must tell.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain
from typing import Literal

from carrara.data.checks.anchors import Anchors
from carrara.tasks.questions import Question

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")  # one such sign is a word
_PRIOR = 50.0  # questions imagined beside the given ones, each word in one of them
_HEAVIEST = 7.0  # what a word counts at most, in nats
_SIGN = 1.0  # what a digit or letter by itself counts at most: sums and lists of choices are full of them
_PLAIN_WORDS, _PLAIN = 4, 7.0  # words, and what they count, from which a verbatim question needs no answers
_SUBSTANCE = 18.0  # what any other verbatim question must count, with the answers behind it
_NEAR = 14.0  # what must be found of an edited question, with the answers behind it
_WORDS = 0.75  # of an edited question's words that must be found, in order and with little between them
_SHARE = 0.7  # of what they count
_ANSWER = 0.8  # of the words that an answer adds to its question
_TAIL = 12  # words behind a question in which its answers may begin late
_BETWEEN = -2  # stands between two texts; -1 is a word that no question has


@dataclass(frozen=True)
class Hit:
    """A question found in a row; `share` is how much of what its words count was found, in order."""

    benchmark: str
    item: str
    how: Literal["verbatim", "near"]
    share: float


def words_of(text: str) -> list[str]:
    """The words by which texts are compared: neither case, punctuation nor the form of a letter matters."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def near_copies(questions: Sequence[Question], rows: Iterable[Sequence[str]]) -> set[str]:
    """The ids of the questions that one of the rows holds, each row being its texts."""
    matcher = Matcher(questions)
    return {hit.item for row in rows for hit in matcher.hits(row)}


class Matcher:
    """An index over questions; raises ValueError if none of them has a word to look for."""

    def __init__(self, questions: Sequence[Question]) -> None:
        import numpy as np

        self._questions = questions
        vocabulary: dict[str, int] = {}
        groups: dict[tuple[int, ...], list[int]] = {}  # questions of the same words are looked for once
        for number, question in enumerate(questions):
            groups.setdefault(_known(vocabulary, question.text), []).append(number)
        groups.pop((), None)
        if not groups:
            raise ValueError("a matcher needs questions to look for")
        self._texts, self._items = list(groups), list(groups.values())
        self._answers = [[_known(vocabulary, answer) for answer in question.answers] for question in questions]
        self._vocabulary = vocabulary
        self._weights = self._weigh()
        self._anchors = Anchors(self._texts, np.array(self._weights))

    def hits(self, texts: Sequence[str]) -> list[Hit]:
        """The questions that a row's texts hold, each once."""
        import numpy as np

        get = self._vocabulary.get
        row: list[int] = []
        for text in texts:
            row += [get(word, -1) for word in _asked(words_of(text))]
            row.append(_BETWEEN)
        found = []
        for text, diagonals in self._anchors.candidates(np.array(row, dtype=np.int64)).items():
            found += self._judge(text, diagonals, row)
        return found

    def _weigh(self) -> list[float]:
        """What each word counts: the negative logarithm of the share of questions that hold it."""
        import numpy as np

        held = np.zeros(len(self._vocabulary))
        for words, numbers in zip(self._texts, self._items, strict=True):
            held[list({*words, *chain.from_iterable(chain.from_iterable(self._answers[n] for n in numbers))})] += 1
        shares = (held + 1) / (len(self._texts) + _PRIOR)
        most = [_SIGN if len(word) == 1 and word.isascii() else _HEAVIEST for word in self._vocabulary]
        return np.minimum(-np.log(shares), most).tolist()

    def _judge(self, text: int, diagonals: Sequence[int], row: list[int]) -> list[Hit]:
        """The hits of a candidate, looked for where its runs say that it starts."""
        words = self._texts[text]
        slack = 4 + len(words) // 8
        for start in _apart(diagonals, slack):
            low, high = max(0, start - slack), start + len(words) + slack
            window = row[low:high]
            if len(set(words) & set(window)) < _WORDS * len(set(words)):
                continue
            if hits := self._compare(text, window, low, row):
                return hits
        return []

    def _compare(self, text: int, window: list[int], low: int, row: list[int]) -> list[Hit]:
        """The hits of a candidate in a window of the row, which begins at `low`."""
        words = self._texts[text]
        evidence = self._anchors.evidence(text, len(words))
        blocks = SequenceMatcher(None, window, words, autojunk=False).get_matching_blocks()
        found = sum(block.size for block in blocks)
        weight = sum(sum(evidence[block.b : block.b + block.size]) for block in blocks)
        end = low + max(block.a + block.size for block in blocks if block.size)
        verbatim = blocks[0].size == len(words)
        behind = {number: self._answers_behind(number, words, row, end) for number in self._items[text]}
        most = max(behind.values())
        if verbatim:
            is_plain = len(words) >= _PLAIN_WORDS and weight >= _PLAIN
            is_hit = is_plain or weight + most >= _SUBSTANCE or _is_whole(row, low + blocks[0].a, end)
        else:
            is_telling = weight + most >= max(_NEAR, _SHARE * (sum(evidence) + most))
            is_dense = end - low - blocks[0].a <= found + 2 + len(words) // 4
            is_hit = is_telling and is_dense and found >= _WORDS * len(words)
        if not is_hit:
            return []
        share = round(weight / sum(evidence) if weight else found / len(words), 3)
        how = "verbatim" if verbatim else "near"
        items = [self._questions[number] for number, answers in behind.items() if answers >= min(most, _SUBSTANCE)]
        return [Hit(question.benchmark, question.id, how, share) for question in items]

    def _answers_behind(self, number: int, words: tuple[int, ...], row: list[int], end: int) -> float:
        """What the words count that answers behind a question add to it; the whole list of choices tells enough."""
        answers = self._answers[number]
        length = sum(map(len, answers))
        listed = Counter(row[end : end + length + len(answers) + 2])
        if len(answers) > 1 and length >= _PLAIN_WORDS and listed >= Counter(chain.from_iterable(answers)):
            return _SUBSTANCE
        tail = set(row[end : end + _TAIL + 2 * length])
        added = [set(answer).difference(words) for answer in answers]
        found = set().union(*(new & tail for new in added if len(new & tail) >= _ANSWER * len(new)))
        return sum(self._weights[word] for word in found)


def _asked(words: list[str]) -> list[str]:
    """A text's words without those that frame a question: "Question: … Answer:" or "Q: … A:"."""
    if words[:1] == ["question"]:
        return words[1:-1] if words[-1] == "answer" else words[1:]
    return words[1:-1] if words[:1] == ["q"] and words[-1] == "a" else words


def _known(vocabulary: dict[str, int], text: str) -> tuple[int, ...]:
    return tuple(vocabulary.setdefault(word, len(vocabulary)) for word in words_of(text))


def _apart(diagonals: Sequence[int], slack: int) -> list[int]:
    """The places where a text may start, best supported first, those closer than `slack` taken as one."""
    groups: list[list[int]] = []
    for start in sorted(diagonals):
        if groups and start - groups[-1][0] <= slack:
            groups[-1].append(start)
        else:
            groups.append([start])
    return [group[len(group) // 2] for group in sorted(groups, key=len, reverse=True)]


def _is_whole(row: list[int], start: int, end: int) -> bool:
    """Whether nothing else stands in the text that holds row[start:end]."""
    return (start == 0 or row[start - 1] == _BETWEEN) and row[end] == _BETWEEN
