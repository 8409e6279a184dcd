"""What a task is: where its questions are, how one is asked, and which protocols it is asked under."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["choice", "truth_mass", "text", "pairs"]
JudgedBy = Literal["truth", "instructions", "likeness", "label"]


@dataclass(frozen=True)
class Instruction:
    """What an answer must follow and a program can check: its kind, such as `punctuation:no_comma`, and how."""

    kind: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Item:
    """One question. `labels` marks every true choice where there are several; `position` is its row in the split.

    What is scored is each of `choices`, behind `context`, its stem and a space. `stems` is empty where choices follow
    the context itself; in a task that fills a gap, a stem is what fills it and a choice the rest of the sentence.
    Of a task of the kind `pairs`, `context` and the one choice are the two texts; of the kind `text`, `context` is the
    prompt and `choices` are what the answer is compared with. Items of one `cluster` share a source, so that what a
    model makes of them is not independent.
    """

    position: int
    id: str
    context: str  # everything before the answer
    choices: tuple[str, ...]
    gold: int
    labels: tuple[int, ...] = ()
    category: str = ""
    cluster: str = ""
    stems: tuple[str, ...] = ()  # one for each choice, or none
    question: str = ""  # without the words that ask it
    answers: tuple[str, ...] = ()  # what the choices stand for, where they are letters or the rest of a sentence
    score: float | None = None  # how alike people find context and choice, from 0 up; of pairs alone
    instructions: tuple[Instruction, ...] = ()

    def stem(self, choice: int) -> str:
        """What stands between the context and the scored text of a choice."""
        return self.stems[choice] if self.stems else ""

    def as_shot(self, delimiter: str = " ") -> str:
        """The question with its right answer, as an example before another question."""
        return f"{self.context}{self.stem(self.gold)}{delimiter}{self.choices[self.gold]}"


@dataclass(frozen=True)
class Task:
    """A benchmark as data. Files are named relative to a folder of benchmarks; `shots` is by protocol, else 0.

    `choice` is judged by which choice is likeliest, `truth_mass` by the probability of the true choices, `text` by
    what the model writes, `pairs` by how alike it finds two texts.
    What is written has at most `max_tokens` and ends before any of `stops`. `judge` says what it is judged by: whether
    it is nearer to the `truth` than to what is false, the `instructions` that it follows, its `likeness` to references,
    or the `label` that it names.
    The delimiters are what a harness puts behind an example and before an answer.
    """

    name: str
    kind: Kind
    file: str
    read: Callable[[Path], list[Item]]
    shots: Mapping[str, int]
    metrics: tuple[str, ...] = ("acc", "acc_norm")  # those that are published for it
    train_file: str | None = None
    read_train: Callable[[Path], list[Item]] | None = None
    notes_file: str | None = None  # what else is known of the questions; they can be asked without it
    annotate: Callable[[list[Item], Path], list[Item]] | None = None
    preamble: str = field(default="", repr=False)  # before everything; {category} stands for the item's
    shots_are: Literal["drawn", "first_of_category"] = "drawn"
    draws_one_more: bool = False  # lm-eval draws n + 1 shots where it takes the split to be its own pool
    shots_fixed: bool = False
    has_category_mean: bool = False  # whether a protocol may have the mean of its categories' scores
    shot_delimiter: str = "\n\n"
    target_delimiter: str = " "
    judge: JudgedBy = "likeness"
    max_tokens: int = 256
    stops: tuple[str, ...] = ()
    is_chat: bool = False  # whether the prompt is a message that the model's chat template renders
