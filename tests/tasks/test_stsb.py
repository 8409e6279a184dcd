"""STS-B: its rows, with the row and the field that is wrong, and the same rows from the hub."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from carrara.errors import Refusal
from carrara.progress import Silent
from carrara.tasks import BENCHMARKS
from carrara.tasks.sources import BenchmarkFile, find_benchmark, read_items
from carrara.tasks.task import Item
from carrara.workspace import Workspace
from tests.models.packages import use_index
from tests.models.standin import run_hub

STSB = BENCHMARKS["stsb"]
ROWS = 'A man eats.,A man dines.,4.6\n"One, two.",Three.,0\n'


def _read(tmp_path: Path, text: str) -> list[Item]:
    path = tmp_path / "stsb-en-test.csv"
    path.write_text(text, encoding="utf-8")
    return read_items("stsb", BenchmarkFile(path, "", "folder"), STSB.read)


@pytest.mark.parametrize("header", ["", "sentence1,sentence2,score\n"], ids=["bare", "header"])
def test_a_pair_is_two_texts_and_a_score(tmp_path: Path, header: str) -> None:
    first, second = _read(tmp_path, header + ROWS)
    assert (first.context, first.choices, first.score, first.id) == ("A man eats.", ("A man dines.",), 4.6, "0")
    assert (second.context, second.choices, second.score, second.position) == ("One, two.", ("Three.",), 0.0, 1)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("a,b", "row 3, field score: there is|row 3, field score: it is nothing, not a number"),
        ("a", "row 3, field sentence2: there is nothing where a text should be"),
        ("a,b,c,2.5", "row 3 has 1 fields too many; a comma in a text needs quotes"),
        ("a, ,2.5", "row 3, field sentence2: it is blank"),
        ("a,b,alike", "row 3, field score: 'alike' is no number"),
        ("a,b,5.1", "row 3, field score: 5.1 is no number from 0 to 5"),
        ("a,b,-1", "row 3, field score: -1 is no number from 0 to 5"),
        ("a,b,nan", "row 3, field score: nan is no number from 0 to 5"),
    ],
)
def test_a_wrong_row_is_named_with_its_field(tmp_path: Path, row: str, sentence: str) -> None:
    with pytest.raises(Refusal, match=rf"stsb-en-test\.csv is not in the form that stsb has: ({sentence}).*; correct"):
        _read(tmp_path, f"{ROWS}{row}\n")


def test_the_real_split_is_whole(benchmark_folder: Path) -> None:
    items = STSB.read(benchmark_folder / STSB.file)
    scores = [item.score or 0.0 for item in items]
    assert len(items) == 1379
    assert (items[0].choices, items[0].score) == (("A girl is brushing her hair.",), 2.5)
    assert (min(scores), max(scores), sum(score >= 4 for score in scores)) == (0.0, 5.0, 338)


def test_the_hub_gives_the_same_items(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.delenv("CARRARA_BENCHMARKS", raising=False)
    use_index(monkeypatch, tmp_path / "index")
    columns = {
        "sentence1": ["A man eats.", "One, two."],
        "sentence2": ["A man dines.", "Three."],
        "similarity_score": pa.array([4.6, 0.0], pa.float32()),
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    with run_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        files = {"en/test-00000-of-00001.parquet": buffer.getvalue()}
        hub.repositories["datasets/PhilipMay/stsb_multi_mt"] = files
        found = find_benchmark(workspace, STSB.file, None, Silent())
    assert found.source == "hub:PhilipMay/stsb_multi_mt"
    assert STSB.read(found.path) == _read(tmp_path, ROWS)
