"""Questions ready to be asked: what stands before them is there, and nothing else is kept."""

from __future__ import annotations

from pathlib import Path

from carrara.evaluate.ask import ask
from carrara.evaluate.protocol import find_protocol
from carrara.progress import Silent
from carrara.recipe import EvaluateRecipe
from carrara.tasks.rows import write_rows
from carrara.workspace import Workspace


def _benchmarks(folder: Path) -> Path:
    """200 questions and 5,000 examples in the form of HellaSwag."""
    (folder / "hellaswag").mkdir(parents=True)
    asked = {"activity_label": "Walking", "ctx_b": "", "endings": ["on.", "off."], "label": 0}
    shown = {"choices": ["on.", "off."], "gold": 1}
    questions = [{"ctx_a": f"Question {number}.", **asked} for number in range(200)]
    examples = [{"query": f"Example {number}.", **shown} for number in range(5000)]
    write_rows(folder / "hellaswag/hellaswag_val.jsonl", questions)
    write_rows(folder / "hellaswag/hellaswag_train_olmes.jsonl.gz", examples)
    return folder


def test_of_many_examples_only_those_that_are_shown_are_kept(workspace: Workspace, tmp_path: Path) -> None:
    folder, protocol = _benchmarks(tmp_path / "benchmarks"), find_protocol("lm-eval-0.4")
    few, all_of_them = (
        ask(workspace, "hellaswag", protocol, EvaluateRecipe(benchmarks=folder, shots=4, limit=limit), None, Silent())
        for limit in (3, None)
    )
    assert len(few.pool) <= 64 * 4 < 700 < len(all_of_them.pool) <= 200 * 4  # a block of 64 questions is scored whole
    first = few.blocks[0]
    assert [few.context(place) for place in first] == [all_of_them.context(place) for place in first]
    assert few.context(0).count("Example") == 4
