"""The room: figures of a model and its base, whatever is lacking; noise must not win."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from carrara.errors import Refusal
from carrara.models import Model, resolve_model
from carrara.models.adapters import load_together
from carrara.models.load import Loaded, load_any, load_model
from carrara.progress import Silent
from carrara.recipe import CostRecipe
from carrara.scorecard import creativity
from carrara.scorecard.creativity.answers import Manner, write_answers
from carrara.scorecard.creativity.figures import MODEL, figures_of
from carrara.scorecard.creativity.judging import judge_answers
from carrara.scorecard.creativity.measures import MEASURES
from carrara.scorecard.creativity.prompts import asking_of, read_prompts
from carrara.scorecard.embedder import load_embedder
from carrara.scorecard.figure import BASE, Figure
from carrara.scorecard.subject import Pair, Subject
from carrara.workspace import Workspace
from tests.models.tiny_embedder import write_tiny_embedder
from tests.tiny import one_thread, prepared, write_pairs, write_tiny_adapter, write_tiny_model

BRIEF = Manner(samples=3, budget=24)


@pytest.fixture
def subject(workspace: Workspace, tmp_path: Path) -> Subject:
    """A model tuned from another, on rows that are there."""
    base = write_tiny_model(tmp_path / "base", context=512)
    tuned = write_tiny_adapter(base, tmp_path / "tuned")
    models = [resolve_model(workspace, str(folder), Silent()) for folder in (tuned, base)]
    rows = prepared(workspace, write_pairs(tmp_path / "rows.jsonl"))
    run = workspace.make("run", {"of": "a test"}, lambda draft: None, name="run", inputs={"dataset": rows.artefact})
    return Subject(workspace, replace(models[0], source=run), models[1], None, rows, CostRecipe(), Silent())


@pytest.fixture
def embedder(workspace: Workspace, tmp_path: Path) -> Loaded:
    return load_any(resolve_model(workspace, str(write_tiny_embedder(tmp_path / "embedder")), Silent()), "float32")


def _load(subject: Subject) -> Pair:
    together = load_together([subject.model, subject.base], "float32") if subject.base else []
    return Pair(together[0], together[1])


def test_the_prompts_have_many_genres_and_several_roles() -> None:
    prompts = read_prompts()
    assert len({prompt.genre for prompt in prompts}) == len(prompts) >= 16
    assert 8 <= sum(prompt.ask.startswith("You are") for prompt in prompts) < len(prompts)
    assert all(prompt.opening == prompt.opening.lstrip() and prompt.ask.endswith(".") for prompt in prompts)


def test_every_measure_is_known_of_a_model_and_its_base(
    subject: Subject, embedder: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creativity, "load_embedder", lambda workspace, progress: embedder)
    figures = {each.measure: each for each in _measured(subject, monkeypatch)}
    names = [measure.name for measure in MEASURES] + ["creativity at 0.7", "creativity at 1"]
    assert list(figures) == [name + suffix for name in names for suffix in (MODEL, BASE)]
    for figure in figures.values():
        if figure.measure.startswith(("distinct", "MTLD", "compression", "novelty")):
            assert "long enough to count" in figure.source  # letters by chance make few words
            continue
        assert figure.kind == "measured", figure
        assert isinstance(figure.value, float)
        assert figure.interval is not None
        assert figure.interval[0] <= figure.value <= figure.interval[1]
        assert "16 open prompts by the chat template, 3 answers to each at temperatures 0.7 and 1" in figure.source
        assert figure.meaning.endswith((".", ")."))
    ranked = {name for name, figure in figures.items() if name.startswith("creativity") and figure.better}
    assert ranked == {"creativity", "creativity (base)"}
    assert figures["creativity"].value == 0.0  # random weights: nothing holds together, however it is spread
    assert _interval(figures["semantic spread"])[0] > 0.0
    assert "base" in figures["bits per byte"].meaning
    assert "base" not in figures["bits per byte (base)"].meaning


def test_a_model_alone_without_a_template_is_asked_as_a_text(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """No template, no rows, no embedder: three reasons, and the rest stands."""
    assert subject.base is not None
    (subject.base.path / "chat_template.jinja").unlink()
    monkeypatch.setattr(creativity, "load_embedder", _refuse)
    figures = {each.measure: each for each in _measured(replace(subject, model=subject.base, base=None), monkeypatch)}
    assert "no chat template" in figures["missing ends"].source
    assert "not tuned in this workspace" in figures["novelty"].source
    assert figures["creativity"].source == "the small embedder cannot be had: there is no network."
    own = figures["repetition of openings"]  # which are compared with those of models that are asked so, too
    assert own.kind == figures["coherent answers of openings"].kind == "measured"
    assert "as openings of plain texts" in own.source
    assert "coherence by the model itself" in own.source
    assert not any(name.endswith(BASE) for name in figures)


def test_a_context_without_room_is_refused(subject: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small = resolve_model(subject.workspace, str(write_tiny_model(tmp_path / "small", context=128)), Silent())
    with pytest.raises(Refusal, match="holds 128"):
        _measured(replace(subject, model=small, base=None), monkeypatch)


def test_an_embedder_that_comes_later_is_another_card(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrara.scorecard.embedder.resolve_model", _refuse)
    without = creativity.terms(subject)
    monkeypatch.setattr("carrara.scorecard.embedder.resolve_model", lambda *_: subject.model)
    assert without["embedder"] is None
    assert creativity.terms(subject)["embedder"] == subject.model.digest
    assert creativity.terms(replace(subject, seed=1))["manner"]["seed"] == 1


def _refuse(*_: object) -> Loaded:
    raise Refusal("there is no network.")


def _measured(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    monkeypatch.setattr(creativity, "Manner", lambda seed: replace(BRIEF, seed=seed))
    together = load_together([subject.model, *([subject.base] if subject.base else [])], "float32")
    with one_thread():
        return creativity.measure(subject, lambda: Pair(together[0], together[1] if subject.base else None))


@pytest.mark.slow
@pytest.mark.model
def test_a_babbler_is_more_diverse_and_less_creative(smollm: Model, shared_workspace: Workspace) -> None:
    """The same model at temperature 3 wins every raw measure of diversity, and loses where coherence counts."""
    loaded, embedder = load_model(smollm), load_embedder(shared_workspace, Silent())
    asking = asking_of([loaded])
    brief = Manner(temperatures=(0.7,), samples=3, budget=32)
    answers = {
        MODEL: write_answers(loaded, asking, brief, Silent()),
        "babbler": write_answers(loaded, asking, replace(brief, temperatures=(3.0,)), Silent()),
    }
    judged = judge_answers(loaded, asking, answers, MODEL, embedder, None)
    own, babbler = (
        {each.measure: each for each in figures_of({MODEL: judged[name]}, "", {})} for name in (MODEL, "babbler")
    )
    assert babbler["distinct-2"].value == pytest.approx(1.0, abs=0.01)
    assert own["distinct-2"].value != pytest.approx(1.0, abs=0.01)
    assert babbler["MTLD"].source == "no word came again in any answer, so nothing can be counted."
    assert own["MTLD"].kind == "measured"
    for name in ("semantic spread", "distinct-1"):
        assert _interval(babbler[name])[0] > _interval(own[name])[1], name
    assert _interval(babbler["self-BLEU"])[1] < _interval(own["self-BLEU"])[0]
    for name in ("creativity", "coherent answers"):
        assert _interval(babbler[name])[1] < _interval(own[name])[0], name
    assert _interval(babbler["bits per byte"])[0] > _interval(own["bits per byte"])[1]


def _interval(figure: Figure) -> tuple[float, float]:
    assert figure.interval is not None, figure
    return figure.interval
