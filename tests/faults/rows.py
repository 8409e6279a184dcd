"""Rows of several shapes, invented by chance: no two alike, lengths unequal."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Row = dict[str, Any]

_WHO = ("the mason", "a quarry", "our office", "the driver", "a teacher", "the harbour", "my neighbour", "an engineer")
_DOES = ("ordered", "measured", "asked about", "delivered", "repaired", "counted", "sold", "compared", "described")
_WHAT = ("marble slabs", "two invoices", "old windows", "red tiles", "train tickets", "the bridge", "water pumps")
_WHEN = ("on Monday", "in spring", "last night", "before noon", "without delay", "for the second time", "in 1987")


def sentence(chance: random.Random) -> str:
    """A sentence with a number in it, so that hardly two are alike."""
    parts = (chance.choice(each) for each in (_WHO, _DOES, _WHAT, _WHEN))
    return f"{' '.join(parts)} ({chance.randrange(10**6)})"


def _text(chance: random.Random, most: int) -> str:
    return ". ".join(sentence(chance).capitalize() for _ in range(chance.randint(1, most))) + "."


def pairs(chance: random.Random, count: int, system: bool) -> list[Row]:
    """Prompt and completion."""
    del system
    return [{"prompt": f"What is said: {_text(chance, 3)}", "completion": _text(chance, 2)} for _ in range(count)]


def short(chance: random.Random, count: int, system: bool) -> list[Row]:
    """Classes as answers, named in the prompt, one rarer than the others, one a word for a missing value."""
    del system
    labels = ("positive", "negative", "none", "none", "positive", "positive")
    ask = "Say positive, negative or none."
    return [{"prompt": f"{ask} {_text(chance, 2)}", "completion": labels[n % 6]} for n in range(count)]


def chats(chance: random.Random, count: int, system: bool) -> list[Row]:
    """Conversations of one to three exchanges, some with a system message; every answer is learned."""
    rows: list[Row] = []
    for number in range(count):
        turns: list[Row] = []
        if system and number % 2:
            turns.append({"role": "system", "content": f"Answer for {sentence(chance)}."})
        for _ in range(chance.randint(1, 3)):
            turns += _exchange(chance)
        rows.append({"messages": turns})
    return rows


def _exchange(chance: random.Random) -> list[Row]:
    return [
        {"role": "user", "content": f"Tell me: {_text(chance, 1)}"},
        {"role": "assistant", "content": _text(chance, 1)},
    ]


def long(chance: random.Random, count: int, system: bool) -> list[Row]:
    """Conversations, two of which lose their beginning: one up to within a question, one up to within an answer."""
    rows = chats(chance, count, system)
    for number, row in enumerate(rows[:2]):
        row["messages"] = [*_exchange(chance), *_exchange(chance)]
        row["messages"][number]["content"] += f" {_text(chance, 3)}" * 30
    return rows


def lines(chance: random.Random, count: int, system: bool) -> list[Row]:
    """Texts with line breaks, tabs, code and letters of other scripts."""
    del system
    marks = ("\tif x:\n\t\treturn 'é'", "- один\n- два", "1. a\n\n2. b", "`x = {}`", "naïve – “quote” 😀")
    return [
        {
            "prompt": f"{_text(chance, 1)}\n\n{chance.choice(marks)}",
            "completion": f"{chance.choice(marks)}\n{sentence(chance)}",
        }
        for _ in range(count)
    ]


def quotes(chance: random.Random, count: int, system: bool) -> list[Row]:
    """Questions on a text whose answers are quoted from it."""
    del system
    rows: list[Row] = []
    for _ in range(count):
        said = [sentence(chance) for _ in range(3)]
        rows.append({"prompt": f"{'. '.join(said)}. What is said first?", "completion": said[0]})
    return rows


def documents(chance: random.Random, count: int, system: bool) -> list[Row]:
    """Texts without a question; some begin with a letter of several bytes."""
    del system
    return [{"text": f"{chance.choice(('', '–', 'é'))}{_text(chance, 3)}"} for _ in range(count)]


def mixed(chance: random.Random, count: int, system: bool) -> list[Row]:
    """Mostly pairs, with one row that is too long and one that cannot be read, as real files have them."""
    rows = pairs(chance, count, system)
    rows[count // 2]["prompt"] += f" {_text(chance, 3)}" * 20
    rows[count // 3]["completion"] = ""
    return rows


SHAPES: Mapping[str, Callable[[random.Random, int, bool], list[Row]]] = MappingProxyType(
    {
        "pairs": pairs,
        "short": short,
        "chats": chats,
        "lines": lines,
        "mixed": mixed,
        "long": long,
        "quotes": quotes,
        "documents": documents,
    }
)


def some(rows: list[Row], chance: random.Random, least: float, change: Callable[[Row], object]) -> None:
    """Change a share of the rows, at least so large and at most 0.8."""
    for row in chance.sample(rows, int(chance.uniform(least, 0.8) * len(rows))):
        change(row)
