"""Rows as a model reads them: losses as any library has them, and its own choices as greedy writing makes them."""

from __future__ import annotations

from itertools import compress
from pathlib import Path

import pytest

from carrara.data.render.dataset import render_usable
from carrara.models import Model
from carrara.models.adapters import load_together
from carrara.models.generate import write_all
from carrara.progress import Silent
from carrara.scorecard.privacy.reading import read_rows
from carrara.workspace import Workspace
from tests.tiny import prepared, write_pairs


def test_losses_and_choices_are_those_of_each_row_alone(
    workspace: Workspace, tiny_model: Model, tmp_path: Path
) -> None:
    import torch

    adapted = load_together([tiny_model], "float32")[0]
    dataset = prepared(workspace, write_pairs(tmp_path / "pairs.jsonl"))
    rows = render_usable(dataset, "train", adapted.loaded.tokenizer, 256, Silent())
    for row, read in zip(rows, read_rows(adapted, rows), strict=True):
        with torch.inference_mode():
            logits = adapted.loaded.network(torch.tensor([row.ids])).logits[0]
        places = [place - 1 for place, learned in enumerate(row.supervised) if learned]
        targets = torch.tensor([*compress(row.ids, row.supervised)])
        assert read.loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits[places], targets)), abs=1e-4)
        assert list(read.said) == (logits[places].argmax(-1) == targets).tolist()


def test_what_a_model_writes_it_would_have_said(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    """An answer is said word for word if and only if greedy writing gives it."""
    from dataclasses import replace

    adapted = load_together([tiny_model], "float32")[0]
    dataset = prepared(workspace, write_pairs(tmp_path / "pairs.jsonl"))
    rows = render_usable(dataset, "train", adapted.loaded.tokenizer, 256, Silent())[:12]
    prompts = [row.ids[: row.supervised.index(True)] for row in rows]
    written = write_all(adapted.loaded, prompts, 9, ())
    own = [
        replace(row, ids=(*prompt, *text.ids), supervised=(False,) * len(prompt) + (True,) * len(text.ids))
        for row, prompt, text in zip(rows, prompts, written, strict=True)
    ]
    assert all(all(read.said) for read in read_rows(adapted, own))
    changed = [replace(row, ids=(*row.ids[:-1], row.ids[-1] ^ 1)) for row in own]
    assert not any(read.said[-1] for read in read_rows(adapted, changed))
    assert all(all(read.said[:-1]) for read in read_rows(adapted, changed))


def test_a_document_is_read_from_its_second_token(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    source = tmp_path / "texts.jsonl"
    source.write_text(
        "".join(f'{{"text": "A text with the number {n} in it."}}\n' for n in range(30)), encoding="utf-8"
    )
    adapted = load_together([tiny_model], "float32")[0]
    rows = render_usable(prepared(workspace, source), "train", adapted.loaded.tokenizer, 256, Silent())
    assert [len(read.said) for read in read_rows(adapted, rows)] == [row.supervised_count for row in rows]
