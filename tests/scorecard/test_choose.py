"""Choosing: what falls and why, who is recommended, what is said where nobody fits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from carrara.models import Model
from carrara.progress import Silent
from carrara.recipe import CostRecipe, PrepareRecipe
from carrara.scorecard.candidate import find_candidates
from carrara.scorecard.choose import Choice, choose_model
from carrara.scorecard.needs import Needs
from carrara.scorecard.weigh import read_weights
from carrara.workspace import Draft, Workspace
from tests.tiny import prepared, write_pairs


def _choose(workspace: Workspace, needs: Needs, weights: str | None = None) -> Choice:
    return choose_model(workspace, needs, None, read_weights(weights), CostRecipe(), Silent())


ROOMY = Needs("chat", memory=64e9)


def test_each_that_falls_says_why_in_a_sentence_for_each_limit(workspace: Workspace) -> None:
    needs = replace(ROOMY, commercial=True, context=8192, language="de")
    choice = _choose(workspace, needs)
    why = {each.candidate.name: " ".join(miss.sentence for miss in each.misses) for each in choice.field}
    assert why["qwen2.5-7b-instruct"] == why["phi-3.5-mini-instruct"] == ""
    assert why["llama-1-7b"] == (
        "It has no chat template, so it cannot be asked in roles. Its licence (LLaMA non-commercial licence) allows no "
        "commercial use. It holds 2,048 tokens, fewer than 8,192. Its languages are en, not de."
    )
    assert why["all-minilm-l6-v2"].startswith("It turns texts into vectors and writes none.")
    assert why["qwen3-8b"] == "Nothing says that it knows the language 'de'."
    assert {each.rank for each in choice.fitting} == set(range(1, len(choice.fitting) + 1))
    assert all(each.rank is None and each.misses for each in choice.field[len(choice.fitting) :])


def test_memory_decides_the_method_and_then_who_falls(workspace: Workspace) -> None:
    methods = {
        size: {each.candidate.name: each.method for each in _choose(workspace, Needs("generate", memory=size)).fitting}
        for size in (64e9, 10e9, 3e9)
    }
    assert methods[64e9]["llama-3.1-8b"] == "lora"
    assert methods[10e9]["llama-3.1-8b"] == "qlora"
    assert "llama-3.1-8b" not in methods[3e9]
    assert methods[3e9]["smollm2-135m"] == "lora"


def test_many_rows_are_more_than_adapters_hold_so_all_weights_are_tuned(workspace: Workspace) -> None:
    from carrara.data.render.plan import Lengths
    from carrara.scorecard.assumed import glance, method_for, plans_of
    from tests.scorecard.invented import candidate

    own, machine = candidate("smollm2-135m-instruct"), glance(32e9)
    for count, method in ((1000, "lora"), (200_000, "full")):
        rows = Lengths([256] * count, learned=0.5)
        assert method_for(own, plans_of(own, rows, machine, CostRecipe()), rows, None) == method


def test_a_budget_counts_the_money_of_the_plan(workspace: Workspace) -> None:
    dear = CostRecipe(per_hour=2.0)
    choice = choose_model(workspace, replace(ROOMY, budget=2.0), None, read_weights(None), dear, Silent())
    assert choice.winner
    for each in choice.field:
        if each.rank and each.plan:
            assert each.plan.money.likely <= 2.0
    fallen = [each for each in choice.field if any(miss.limit == "--budget 2EUR" for miss in each.misses)]
    assert "llama-3.1-70b-instruct" in {each.candidate.name for each in fallen}
    assert "over the budget of 2 EUR." in fallen[0].misses[-1].sentence


def test_weights_decide_who_wins(workspace: Workspace) -> None:
    able, cheap = (_choose(workspace, ROOMY, f"{criterion}=50").winner for criterion in ("accuracy", "cost"))
    assert able
    assert cheap
    assert able.candidate.parameters > 7e9
    assert cheap.candidate.name == "smollm2-135m-instruct"


def test_where_nobody_fits_the_nearest_is_named_with_what_it_misses(workspace: Workspace) -> None:
    choice = _choose(workspace, replace(ROOMY, context=1_000_000))
    assert choice.winner is None
    assert choice.to_json()["recommendation"] is None
    assert choice.refusal().startswith("no candidate fits; nearest is ")
    assert "which misses --context 1000000: It holds 131,072 tokens, fewer than 1,000,000." in choice.refusal()


def test_limits_that_contradict_each_other_are_named(workspace: Workspace) -> None:
    choice = _choose(workspace, Needs("chat", memory=1.5e9, context=65536))
    assert choice.winner is None
    assert "both by none: these limits contradict each other, so loosen one." in choice.refusal()
    assert "--context 65536" in choice.refusal()
    assert "--memory 1.5GB" in choice.refusal()


def test_an_embedder_is_for_similarity_and_is_not_tuned(workspace: Workspace) -> None:
    found = _choose(workspace, Needs("similarity", memory=64e9)).to_json()
    assert found["recommendation"]["model"] == "all-minilm-l6-v2"
    assert found["recommendation"]["method"] is None
    assert found["recommendation"]["plan"] is None


def test_an_embedder_that_memory_does_not_hold_falls(workspace: Workspace) -> None:
    fallen = _choose(workspace, Needs("similarity", memory=0.5e9)).field
    why = next(each.misses for each in fallen if each.candidate.name == "all-minilm-l6-v2")
    assert [miss.sentence for miss in why] == ["Running it takes 0.7 GB, and the limit is 0.5 GB."]


def test_who_cannot_do_the_task_is_never_the_nearest(workspace: Workspace) -> None:
    """The embedder would take least memory, and no memory makes it write."""
    choice = _choose(workspace, Needs("generate", memory=0.5e9))
    assert choice.winner is None
    assert "nearest is smollm2-135m" in choice.refusal()


def test_the_contract(workspace: Workspace) -> None:
    found = _choose(workspace, ROOMY).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) is not None
    assert {"model", "fits", "why_not", "rank"} <= set(found["candidates"][0])
    first = found["candidates"][0]
    assert (first["fits"], first["why_not"], first["rank"]) == (True, [], 1)
    advice = found["recommendation"]
    assert advice["model"] == first["model"]
    assert advice["method"] in ("full", "lora", "qlora")
    plan = advice["plan"]
    assert plan["fits"]
    assert plan["basis"].startswith("assumed, not measured")
    for name in ("memory", "seconds", "money", "energy_wh"):
        assert plan[name]["low"] < plan[name]["likely"] < plan[name]["high"]
    assert {each["criterion"] for each in found["switches"]} == set(found["weights"])


def test_a_model_of_the_workspace_is_a_candidate_and_a_run_has_no_published_score(
    workspace: Workspace, tiny_model: object
) -> None:
    found = [each for each in find_candidates(workspace, Silent()) if each.here]
    assert [(each.chats, each.writes, each.context, each.entry) for each in found] == [(True, True, 256, None)]
    why = next(each.misses for each in _choose(workspace, replace(ROOMY, commercial=True)).field if each.candidate.here)
    assert [miss.sentence for miss in why] == ["Its licence is not known here, so commercial use cannot be promised."]


def test_a_dataset_sets_the_plan_and_without_held_out_rows_a_note_says_so(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = write_pairs(tmp_path_factory.mktemp("rows") / "rows.jsonl", 60)
    options = PrepareRecipe(test=0.0, validation=0.0, against=())
    dataset = prepared(workspace, rows, options)
    choice = choose_model(workspace, ROOMY, dataset, read_weights(None), CostRecipe(), Silent())
    assert choice.winner
    assert choice.winner.plan
    assert choice.winner.plan.tokens < 60 * 100
    assert any("has no held-out rows" in note for note in choice.notes)
    assert "tokens, by their letters" in choice.notes[0]


def test_rows_in_other_letters_are_more_tokens_and_long_ones_are_cut(
    workspace: Workspace, tiny_model: Model, tmp_path: Path
) -> None:
    """A model of 256 tokens is planned on rows of 256, and the reader is told; Greek takes about a token a letter."""
    rows = [{"prompt": f"{n} {'λόγος ' * 300}", "completion": f"yes {n}"} for n in range(60)]
    (tmp_path / "greek.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dataset = prepared(workspace, tmp_path / "greek.jsonl", PrepareRecipe(against=()))
    choice = choose_model(workspace, Needs("chat"), dataset, read_weights("cost=50"), CostRecipe(), Silent())
    found = next(each for each in choice.field if each.candidate.here)
    train = dataset.artefact.summary["splits"]["train"]
    assert found.plan
    assert found.plan.tokens <= train * 256
    assert choice.winner is found
    told = f"{train} of {train} training rows look longer than the 256 tokens that {tiny_model.name} holds"
    assert any(note.startswith(told) for note in choice.notes)
    large = next(each for each in choice.field if each.candidate.name == "llama-3.1-8b-instruct")
    assert large.plan
    assert 1500 * train < large.plan.tokens < 2000 * train


def test_a_damaged_model_is_left_out_and_named(workspace: Workspace) -> None:
    class Saying(Silent):
        said: list[str] = []  # noqa: RUF012

        def say(self, sentence: str) -> None:
            self.said.append(sentence)

    def build(draft: Draft) -> None:
        (draft.path / "config.json").write_text("{}", encoding="utf-8")

    artefact = workspace.make("model", {"hollow": True}, build, name="hollow")
    assert all(each.here is None for each in find_candidates(workspace, Saying()))
    assert Saying.said[0].startswith(f"{artefact.reference} is left out: ")
