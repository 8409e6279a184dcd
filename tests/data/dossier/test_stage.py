"""The dossier of a real preparation: it adds up, shows tokens, and shows no personal value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.data.checks.personal import mask
from carrara.data.dossier.stage import Wanted, _masked, make_dossier
from carrara.models import Model
from carrara.progress import Silent
from carrara.recipe import Recipe
from carrara.workspace import Workspace
from tests.tiny import prepared, write_pairs


def test_a_dossier_counts_every_token_and_hides_values(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "rows.jsonl", 60)
    secret = {"prompt": "Write to ann@example.org please", "completion": "ann@example.org it is"}
    path.write_text(json.dumps(secret) + "\n" + path.read_text())
    dataset = prepared(workspace, path)
    wanted = Wanted(Recipe(), {"mmlu": "it is not at hand"}, shown=61)
    dossier = make_dossier(workspace, dataset, tiny_model, wanted, Silent())
    content = json.loads((dossier.path / "dossier.json").read_text())
    page = (dossier.path / "dossier.html").read_text()
    train = content["shown"]
    assert len(train) == dataset.artefact.summary["splits"]["train"]
    assert sum(row["tokens"] for row in train) < content["tokens"]["total"]
    assert content["estimate"]["tokens"] == sum(row["tokens"] for row in train)
    assert content["contamination"]["benchmarks"][-1]["state"] == "not checked"
    assert "ann@example.org" not in page + json.dumps(content)
    assert sorted(path.name for path in dossier.path.iterdir()) == ["artefact.json", "dossier.html", "dossier.json"]
    assert make_dossier(workspace, dataset, tiny_model, wanted, Silent()) == dossier


def test_a_dossier_without_a_model_says_so(workspace: Workspace, tmp_path: Path) -> None:
    dataset = prepared(workspace, write_pairs(tmp_path / "rows.jsonl"))
    dossier = make_dossier(workspace, dataset, None, Wanted(Recipe(), {}), Silent())
    content = json.loads((dossier.path / "dossier.json").read_text())
    assert (content["tokens"], content["estimate"], content["shown"]) == (None, None, [])


@given(st.lists(st.sampled_from(["a ", "x@", "b.example", ".org", " and ", "+44 20 ", "7946 ", "0123", "<|end|>"])))
def test_masking_spans_is_masking_the_text(parts: list[str]) -> None:
    spans = [["learned" if n % 2 else "context", part] for n, part in enumerate(parts)]
    masked = _masked(spans, ())
    assert [kind for kind, _ in masked] == [kind for kind, _ in spans]
    assert "".join(text for _, text in masked) == mask("".join(parts), ())


@pytest.mark.slow
@pytest.mark.model
def test_the_dossier_of_real_rows(workspace: Workspace, smollm: Model, benchmark_folder: Path) -> None:
    dataset = prepared(workspace, benchmark_folder / "gsm8k" / "test.jsonl")
    dossier = make_dossier(workspace, dataset, smollm, Wanted(Recipe(), {}), Silent())
    content = json.loads((dossier.path / "dossier.json").read_text())
    assert content["rows"]["read"] == 1319
    assert 250_000 < content["tokens"]["total"] < 330_000
    assert content["personal_data"]["rows"] <= 2
