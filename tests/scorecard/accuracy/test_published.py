"""Published scores keep their protocol and source; what has none is unknown."""

from __future__ import annotations

from carrara.models import read_catalogue
from carrara.models.catalogue import PublishedScore
from carrara.scorecard.accuracy import published
from carrara.scorecard.figure import figure_from_json

_ENTRY = read_catalogue()["smollm2-135m-instruct"]


def _score(protocol: str | None, source: str) -> PublishedScore:
    return PublishedScore(benchmark="mmlu", metric="acc", shots=5, value=43.0, protocol=protocol, source=source)


def test_a_score_names_protocol_shots_and_source() -> None:
    found = {figure.measure: figure for figure in published(_ENTRY)}
    figure = found["hellaswag (lighteval-smollm2)"]
    assert (figure.value, figure.kind, figure.unit) == (40.9, "published", "%")
    assert "model card" in figure.source
    assert "0 shots" in figure.source
    assert figure_from_json(figure.to_json()) == figure


def test_a_benchmark_without_a_score_is_unknown() -> None:
    figure = next(figure for figure in published(_ENTRY) if figure.measure == "truthfulqa")
    assert (figure.value, figure.kind) == (None, "unknown")
    assert _ENTRY.name in figure.source


def test_a_score_without_protocol_or_source_is_never_published() -> None:
    for score, missing in ((_score(None, "a paper"), "protocol"), (_score("p", " "), "source")):
        figure = published(_ENTRY.model_copy(update={"scores": (score,)}))[0]
        assert (figure.measure, figure.value, figure.kind) == ("mmlu acc", None, "unknown")
        assert missing in figure.source


def test_measures_of_every_entry_are_told_apart() -> None:
    for entry in read_catalogue().values():
        names = [figure.measure for figure in published(entry)]
        assert len(set(names)) == len(names), entry.name


def test_a_model_that_is_not_in_the_catalogue_has_four_gaps() -> None:
    assert [figure.measure for figure in published(None)] == ["arc", "hellaswag", "truthfulqa", "mmlu"]
    assert {figure.kind for figure in published(None)} == {"unknown"}
