"""What a task is: where its questions are, how one is asked, and which protocols it is asked under."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["choice", "truth_mass", "heldout"]


@dataclass(frozen=True)
class Item:
    """One question. `labels` marks every true choice where there are several; `position` is its row in the split.

    Items of one `cluster` share a source, so that what a model makes of them is not independent.
    """

    position: int
    id: str
    context: str  # everything before the answer
    choices: tuple[str, ...]
    gold: int
    labels: tuple[int, ...] = ()
    category: str = ""
    cluster: str = ""

    def as_shot(self) -> str:
        """The question with its right answer, as an example before another question."""
        return f"{self.context} {self.choices[self.gold]}"


@dataclass(frozen=True)
class Task:
    """A benchmark as data. Files are named relative to a folder of benchmarks; `shots` is by protocol.

    `choice` is judged by which choice is likeliest, `truth_mass` by the probability of the true choices.
    """

    name: str
    kind: Kind
    file: str
    read: Callable[[Path], list[Item]]
    shots: Mapping[str, int]
    train_file: str | None = None
    read_train: Callable[[Path], list[Item]] | None = None
    preamble: str = field(default="", repr=False)
    draws_one_more: bool = False  # lm-eval draws n + 1 shots where it takes the split to be its own pool
    shots_fixed: bool = False
