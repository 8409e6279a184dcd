"""The model card is what the hub reads: its metadata come back out as they went in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData

from carrara.evaluate.scores import Scores
from carrara.verdict.compare import compare
from carrara.verdict.model_card import model_card, write_model_card

from .invented import flips, scores, texts

SHOWN: dict[str, dict[str, Any]] = {
    "What it took": {"Time": "812 s", "Cost": "0.04 EUR"},
    "Lineage": {"run/1": "/home/someone/base", "model/7": "smollm2-135m-instruct"},
    "Data": {"Source": "/home/someone/secret-customers.jsonl"},
    "Recipe": {"model": "/home/someone/base", "tune.method": "lora", "tune.rank": 16, "tune.learning_rate": 5e-4},
}


def _sides(**receipt: Any) -> tuple[Scores, Scores]:
    arc, mc1 = flips("arc_easy", 300, 40, 10), flips("truthfulqa_mc1", 300, 3, 9)
    base = scores(arc[0], mc1[0], texts("heldout", range(20, 60)))
    tuned = scores(arc[1], mc1[1], texts("heldout", [0.9 * level for level in range(20, 60)]))
    rules = {"protocol": {"name": "lm-eval-0.4"}, "dtype": "float32", "tasks": {"arc_easy": {"shots": 25}}, **receipt}
    return (
        replace(base, receipt={**rules, "model_name": "smollm2-135m-instruct", "adapter": None}),
        replace(tuned, receipt={**rules, "model_name": "run/3f9c", "adapter": "digest"}),
    )


def _card(base: Scores, tuned: Scores, shown: dict[str, dict[str, Any]] = SHOWN) -> tuple[str, ModelCardData]:
    """The card, and its metadata as the hub's own library reads them."""
    text = model_card(compare(base, tuned), base, tuned, shown)
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    return text, data


def test_the_hub_reads_every_score_of_the_verdict() -> None:
    base, tuned = _sides()
    _, data = _card(base, tuned)
    results = data.eval_results
    assert results is not None
    found = {(result.metric_name, result.metric_value) for result in results}
    assert found == {(f"{row.task} {row.metric}", round(row.tuned, 6)) for row in compare(base, tuned).verdicts}
    arc = next(result for result in results if result.metric_name == "arc_easy acc")
    assert (arc.dataset_type, arc.dataset_config, arc.dataset_split) == ("allenai/ai2_arc", "ARC-Easy", "test")
    assert arc.dataset_args == {"num_few_shot": 25}
    assert arc.metric_value == pytest.approx(190 / 300, abs=1e-6)
    assert data.model_name == "run/3f9c"


def test_metadata_name_the_base_and_the_library() -> None:
    text, data = _card(*_sides())
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert data.language == ["en"]
    assert (data.library_name, data.pipeline_tag) == ("peft", "text-generation")
    assert data.tags == ["carrara", "lora"]
    metadata = yaml.safe_load(text.split("---\n")[1])
    assert [entry["name"] for entry in metadata["model-index"]] == ["run/3f9c"]


def test_whole_weights_need_transformers_alone() -> None:
    base, tuned = _sides()
    tuned = replace(tuned, receipt={**tuned.receipt, "adapter": None})
    assert _card(base, tuned)[1].library_name == "transformers"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("hub:org/name@main", "org/name"), ("hub:org/name", "org/name"), ("/home/someone/model", None), ("run/1", None)],
)
def test_a_base_off_the_catalogue_is_named_only_if_the_hub_has_it(name: str, expected: str | None) -> None:
    base, tuned = _sides()
    base = replace(base, receipt={**base.receipt, "model_name": name})
    _, data = _card(base, tuned, {})
    assert (data.base_model, data.language) == (expected, None)


def test_the_text_tells_the_verdict_and_the_training() -> None:
    text, _ = _card(*_sides())
    assert "better on arc\\_easy and heldout; on truthfulqa\\_mc1 these items cannot tell." in text
    assert "| arc\\_easy | acc | 53.3 % | 63.3 % | +10.00 points |" in text
    for fact in ("| tune.rank | 16 |", "| Time | 812 s |", "| Protocol | lm-eval-0.4 |", "| Number format | float32 |"):
        assert fact in text


def test_no_folder_of_this_machine_is_told() -> None:
    text, _ = _card(*_sides(device="cpu"))
    assert "someone" not in text
    assert "secret" not in text
    assert "| model | base |" in text


def test_hostile_texts_stay_texts() -> None:
    attack = "x\n---\nlicense: mit\n<script>alert(1)</script> | [a](javascript:b) `c`"
    base, tuned = _sides()
    tuned = replace(tuned, receipt={**tuned.receipt, "model_name": attack})
    text, data = _card(base, tuned, {"Recipe": {attack: attack}, "What it took": {}})
    assert data.license is None
    assert data.eval_results
    body = text.split("\n---\n", 1)[1]
    assert "<script" not in body.replace("\\<", "")
    assert "\\<script\\>" in body
    assert "[a](" not in body
    assert all(line.count("| ") in (0, 2, 8) for line in body.replace("\\|", "").splitlines())
    assert text.count("\n---\n") == 1


def test_nothing_compared_and_nothing_known_is_still_a_card(tmp_path: Path) -> None:
    nothing = Scores(texts("poems", [1.0, 2.0]), {})
    path = tmp_path / "README.md"
    write_model_card(path, compare(nothing, nothing), nothing, nothing, {})
    card = ModelCard.load(path)
    assert card.data.to_dict() == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["carrara"],
    }
    assert "Nothing could be compared." in card.text
