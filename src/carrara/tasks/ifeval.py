"""IFEval: 541 prompts with instructions that a program can check (arXiv 2311.07911), asked as a chat."""

from __future__ import annotations

from pathlib import Path

from carrara.tasks.rows import Row, read_rows
from carrara.tasks.task import Instruction, Item, Task


def read(path: Path) -> list[Item]:
    """The prompts with their instructions; settings that are null are left out, as some copies fill them in.

    Raises ValueError naming the row and the field that is wrong.
    """
    return [_item(position, row) for position, row in enumerate(read_rows(path))]


def _item(position: int, row: Row) -> Item:
    prompt, kinds, settings = row.filled("prompt"), row.texts("instruction_id_list"), row.fields.get("kwargs")
    if not kinds:
        raise row.wrong("instruction_id_list", "it names no instruction")
    if not isinstance(settings, list) or [type(each) for each in settings] != [dict] * len(kinds):
        raise row.wrong("kwargs", f"there must be an object for each of the {len(kinds)} instructions")
    given = [{name: value for name, value in each.items() if value is not None} for each in settings]
    instructions = tuple(Instruction(*each) for each in zip(kinds, given, strict=True))
    return Item(position, str(row.whole("key")), prompt, (), 0, question=prompt, instructions=instructions)


IFEVAL = Task(
    name="ifeval",
    kind="text",
    file="ifeval/input_data.jsonl",
    read=read,
    shots={},
    metrics=("prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose"),
    judge="instructions",
    max_tokens=1280,
    is_chat=True,
)
