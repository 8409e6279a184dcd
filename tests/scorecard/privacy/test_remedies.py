"""A remedy is named where it applies, and not where it does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from carrara.scorecard.privacy.remedies import remedy_of
from carrara.workspace import Workspace
from tests.scorecard.privacy.tiny_words import plain_rows


@pytest.mark.parametrize(
    ("epochs", "copies", "named", "not_named"),
    [
        (1.0, 1, [], ["epochs", "copies"]),
        (8.0, 1, ["fewer epochs (this run took 8)"], ["copies"]),
        (1.0, 5, ["4 of its rows"], ["epochs"]),
        (2.5, 5, ["(this run took 2.5) or dropping copies", "--drop-duplicates near"], []),
    ],
)
def test_only_what_applies_is_named(
    workspace: Workspace, tmp_path: Path, epochs: float, copies: int, named: list[str], not_named: list[str]
) -> None:
    texts = [f"{number} {number**3} {number**5}" for number in range(30)]
    rows = [{"prompt": text, "completion": f"so {text}!"} for text in [*texts, *texts[:1] * (copies - 1)]]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dataset = plain_rows(workspace, source, drop_duplicates="none")
    run = replace(dataset.artefact, kind="run", made_by={"tune": {"epochs": epochs}})
    said = remedy_of(run, dataset)
    assert all(words in said for words in named), said
    assert not any(words in said for words in not_named), said
    assert not said or said.startswith(" What may help: ")
