"""A user's own task: a short YAML file about a file of rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from carrara.data.read.records import read_fields
from carrara.errors import Refusal
from carrara.evaluate.metrics import LIKENESS
from carrara.evaluate.protocol import PROTOCOLS
from carrara.recipe import Count, Section, read_section
from carrara.tasks import BENCHMARKS, FAMILIES, WITHOUT_QUESTIONS
from carrara.tasks.task import Item, Task

_COLUMN = re.compile(r"\{(\w+)\}")

TaskName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class TaskFile(Section):
    """`data` and `examples` are files of rows beside this one; `question` shows columns of a row as {column}.

    Without `choices` the task is a classification: the model chooses among `labels`, or all that the column `answer`
    holds. `choices` is a column with a list, or several columns; `answer` then holds the text, the number from 0 or the
    letter of the right one. `category` and `cluster` are columns, too.

    With `answers: written` the model writes at most `max_tokens`: with `labels` the one counts that it names first,
    without them the text is compared with the column `answer`. It is asked through its chat template, but with
    `chat: false` the question is all that it reads.
    """

    name: TaskName
    data: Path
    question: str
    answer: str
    labels: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    choices: str | tuple[str, ...] | None = None
    examples: Path | None = None
    shots: Annotated[int, Field(ge=0)] = 0
    category: str | None = None
    cluster: str | None = None
    answers: Literal["scored", "written"] = "scored"
    max_tokens: Count = 64
    chat: bool = True

    @property
    def is_free(self) -> bool:
        """Whether an answer is any text."""
        return self.answers == "written" and self.labels is None


@dataclass(frozen=True)
class _Place:
    """A row of a file, as sentences name it."""

    path: Path
    row: int

    def refuse(self, field: str, reason: str) -> Refusal:
        return Refusal(f"{self.path}, row {self.row}, field '{field}': {reason}")

    def filled(self, template: str, fields: Mapping[str, Any]) -> str:
        return _COLUMN.sub(lambda found: self.text(fields, found[1]), template)

    def text(self, fields: Mapping[str, Any], name: str) -> str:
        value = fields.get(name)
        if value is None:
            raise self.refuse(name, f"is missing; the row has {', '.join(map(str, fields)) or 'no fields'}.")
        return str(value).strip()


def require_new_name(path: Path, name: str) -> None:
    """Refuse the name that a task file gives its task if another task has it."""
    if name in (*BENCHMARKS, *FAMILIES, *WITHOUT_QUESTIONS):
        raise Refusal(f"{path}, key 'name': '{name}' is a task that exists; choose another name.")


def read_own_task(path: Path) -> Task:
    """The task that a file describes; `file` and `train_file` are paths. Raises Refusal with the key that is wrong."""
    own = read_section(path, TaskFile, "task file")
    require_new_name(path, own.name)
    if own.shots and own.examples is None:
        raise Refusal(f"{path}, key 'shots': there are no examples to draw from; name a file with the key examples.")
    if own.choices and own.answers == "written":
        raise Refusal(f"{path}, key 'choices': a written answer is no choice; give labels, or leave choices away.")
    read = partial(_read, own, _labels(own, path.parent))
    return Task(
        name=own.name,
        kind="text" if own.answers == "written" else "choice",
        file=str(path.parent / own.data),
        read=read,
        shots=dict.fromkeys(PROTOCOLS, own.shots),
        metrics=_metrics(own),
        train_file=str(path.parent / own.examples) if own.examples else None,
        read_train=read if own.examples else None,
        judge="likeness" if own.is_free else "label",
        max_tokens=own.max_tokens,
        is_chat=own.chat,
    )


def _metrics(own: TaskFile) -> tuple[str, ...]:
    if own.choices:
        return "acc", "acc_norm"
    if own.is_free:
        return LIKENESS
    return "acc", "macro_f1", "balanced_accuracy", *(("none",) if own.answers == "written" else ("brier", "ece"))


def _labels(own: TaskFile, folder: Path) -> tuple[str, ...]:
    """The labels of a classification, in their order or else sorted; empty for any other task."""
    if own.choices or own.is_free:
        return ()
    if own.labels:
        return own.labels
    path = folder / own.data
    return tuple(sorted({_Place(path, row).text(fields, own.answer) for row, fields in _rows(path)}))


def _read(own: TaskFile, labels: Sequence[str], path: Path) -> list[Item]:
    find: Callable[[_Place, Mapping[str, Any]], tuple[tuple[str, ...], int]]
    find = partial(_choices, own) if own.choices else partial(_label, own, labels)
    items = []
    for position, (row, fields) in enumerate(_rows(path)):
        place = _Place(path, row)
        choices, gold = find(place, fields)
        items.append(
            Item(
                position=position,
                id=str(row),
                context=place.filled(own.question, fields),
                choices=choices,
                gold=gold,
                labels=(1,) if own.is_free else (),
                category=place.text(fields, own.category) if own.category else "",
                cluster=place.text(fields, own.cluster) if own.cluster else "",
            )
        )
    if not items:
        raise Refusal(f"{path} holds no row; give a file with at least two.")
    return items


def _rows(path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        return list(read_fields(path))
    except OSError as error:
        raise Refusal(f"{path} cannot be read ({error.strerror}); the task file names it.") from error


def _label(
    own: TaskFile, labels: Sequence[str], place: _Place, fields: Mapping[str, Any]
) -> tuple[tuple[str, ...], int]:
    answer = place.text(fields, own.answer)
    if own.is_free:
        if not answer:
            raise place.refuse(own.answer, "is blank; give the text that is expected.")
        return (answer,), 0
    if answer not in labels:
        raise place.refuse(own.answer, f"'{answer}' is none of the labels {', '.join(labels)}.")
    return tuple(labels), labels.index(answer)


def _choices(own: TaskFile, place: _Place, fields: Mapping[str, Any]) -> tuple[tuple[str, ...], int]:
    if isinstance(own.choices, str):
        listed = fields.get(own.choices)
        if not isinstance(listed, list | tuple):
            raise place.refuse(own.choices, "is no list of choices; name the columns that hold one choice each.")
        choices = tuple(str(choice) for choice in listed)
    else:
        choices = tuple(place.text(fields, column) for column in own.choices or ())
    if len(choices) < 2 or not all(choices):
        raise place.refuse(str(own.choices), "must hold at least two choices, none of them empty.")
    answer = place.text(fields, own.answer)
    meant = {**{chr(ord("A") + n): n for n in range(len(choices))}, **{str(n): n for n in range(len(choices))}}
    meant |= {choice: n for n, choice in enumerate(choices)}
    if answer not in meant:
        raise place.refuse(own.answer, f"'{answer}' is no choice, nor its number from 0 or its letter.")
    return choices, meant[answer]
