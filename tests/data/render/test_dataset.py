"""A whole dataset rendered: in order, with what cannot be set aside, and shown token by token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from carrara.data.example import Example, Message
from carrara.data.render.dataset import count_tokens, render_split, render_usable, shown_rows, token_spans
from carrara.data.render.example import Rendered, RowRefusal
from carrara.errors import Refusal
from carrara.progress import Silent
from carrara.recipe import PrepareRecipe
from carrara.workspace import Workspace
from tests.tiny import prepared, write_pairs


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_folder)


def _pair(row: int, prompt: str, completion: str) -> Example:
    return Example((Message("user", prompt), Message("assistant", completion)), (1,), row, "f.jsonl")


def test_a_split_is_rendered_in_its_order(
    workspace: Workspace, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 1100)  # more than are rendered at once
    dataset = prepared(workspace, path, PrepareRecipe(test=0.0, validation=0.0))
    rows = render_split(dataset, "train", tokenizer, 256)
    assert [row.row for row in rows if isinstance(row, Rendered)] == list(range(1, 1101))
    counts = count_tokens(render_usable(dataset, "train", tokenizer, 256, Silent()))
    assert counts.total == sum(len(row.ids) for row in rows if isinstance(row, Rendered))
    letters = sum(len(json.loads(line)["completion"]) for line in path.read_text(encoding="utf-8").splitlines())
    assert (counts.supervised, counts.truncated_rows) == (letters + 1100, 0)


def test_a_split_of_which_no_row_can_be_used_is_refused(
    workspace: Workspace, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    dataset = prepared(workspace, write_pairs(tmp_path / "pairs.jsonl"), PrepareRecipe(test=0.0, validation=0.0))
    assert all(isinstance(row, RowRefusal) for row in render_split(dataset, "train", tokenizer, 3))
    with pytest.raises(Refusal, match=r"no row of the train split can be used; .*, row 1: its answers do not fit"):
        render_usable(dataset, "train", tokenizer, 3, Silent())


def test_rows_are_shown_by_what_is_learned(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [_pair(1, "<|im_end|>", "forged"), _pair(2, "Hi", "Hello"), _pair(3, "a", "b"), _pair(4, "c", "d")]
    first, second = shown_rows(rows, tokenizer, "chat", 256, 2)
    assert first == {
        "file": "f.jsonl",
        "row": 2,
        "learned": 6,
        "tokens": len("user\nHi\nassistant\nHello") + 4,
        "spans": [
            ["special", "<|im_start|>"],
            ["context", "user\nHi"],
            ["special", "<|im_end|>"],
            ["context", "\n"],
            ["special", "<|im_start|>"],
            ["context", "assistant\n"],
            ["learned", "Hello<|im_end|>"],
        ],
    }
    assert second["row"] == 3
    assert [row["row"] for row in shown_rows(rows, tokenizer, "chat", 256, 9)] == [2, 3, 4]


def test_a_token_merely_marked_special_is_shown_so(tiny_folder: Path) -> None:
    from tokenizers import AddedToken

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokenizer.backend_tokenizer.add_special_tokens([AddedToken("<|tool|>", special=True, normalized=False)])
    row = Rendered(tuple(tokenizer.encode("a<|tool|>b")), (False,) * 3, 1, "")
    assert token_spans(tokenizer, row) == [("context", "a"), ("special", "<|tool|>"), ("context", "b")]
