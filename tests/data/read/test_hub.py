"""Data sets of the hub: fetched once, pinned by commit, only files of rows, those for training where names tell."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from carrara.data.example import Example
from carrara.data.read import Source, open_source
from carrara.errors import Refusal
from carrara.workspace import Workspace
from tests.data.read.files import GOOD, Heard, lines_of
from tests.models.standin import COMMIT, Hub, run_hub

NAME = "someone/marbles"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with run_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def _serve(hub: Hub, files: dict[str, bytes]) -> None:
    hub.repositories[f"datasets/{NAME}"] = files


def _open(workspace: Workspace, text: str = f"hub:{NAME}") -> tuple[Source, list[str]]:
    heard = Heard()
    return open_source(text, {}, None, workspace, heard), heard.sentences


def _parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([GOOD, GOOD]), sink)
    return sink.getvalue()


def test_only_the_files_for_training_are_fetched_and_that_is_said(workspace: Workspace, hub: Hub) -> None:
    _serve(hub, {"data/train-00000.parquet": _parquet(), "data/train-00001.parquet": _parquet(),
                 "data/test-00000.parquet": _parquet(), "README.md": b"# Train", "train.py": b"raise"})  # fmt: skip
    source, said = _open(workspace)
    assert [(row.file, row.row) for row in source.rows() if isinstance(row, Example)] == [
        (f"data/train-{file:05d}.parquet", row) for file in (0, 1) for row in (1, 2)
    ]
    assert said[0] == f"of hub:{NAME} only the 2 of 3 files whose names say train are taken"
    assert said[1] == f"fetching 2 files of hub:{NAME} at commit {COMMIT}"
    assert not any("test-" in path and "resolve" in path for path in hub.requests)
    assert source.fetched is not None
    assert (source.fetched.kind, source.fetched.made_by["commit"]) == ("rows", COMMIT)
    assert set(source.fetched.files) == {"data/train-00000.parquet", "data/train-00001.parquet"}


def test_a_fetched_data_set_needs_no_hub_again(workspace: Workspace, hub: Hub) -> None:
    _serve(hub, {"rows.jsonl": lines_of([GOOD]).encode(), "dataset_infos.json": b"{}"})
    first, _ = _open(workspace)
    asked = len(hub.requests)
    again, _ = _open(workspace)
    assert len(hub.requests) == asked
    assert again.digest(workspace) == first.digest(workspace)
    assert list(again.rows()) == list(first.rows())


def test_what_the_hub_cannot_give_is_refused(workspace: Workspace, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    _serve(hub, {"README.md": b"#", "load.py": b"raise"})
    for text, words in (
        (f"hub:{NAME}", "has no JSON, CSV, TSV, Parquet or Arrow file"),
        ("hub:someone/nothing", "does not exist or is not open to you"),
        (f"hub:{NAME}@v9", "does not exist or is not open to you"),
        ("hub:a b", "names no data set; write hub:owner/name"),
        ("hub:a--b/..", "is no name that the hub allows"),
    ):
        with pytest.raises(Refusal, match=words):
            _open(workspace, text)
    _serve(hub, {"rows.parquet": _parquet()})
    hub.claimed["rows.parquet"] = "0" * 64
    with pytest.raises(Refusal, match="does not have the published sha256"):
        _open(workspace)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Refusal, match="cannot be fetched"):
        _open(workspace)
    assert workspace.list("rows") == []
