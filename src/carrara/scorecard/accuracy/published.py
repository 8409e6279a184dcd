"""What others published of a model, each score with the protocol that it can be compared within."""

from __future__ import annotations

from carrara.models import CatalogueModel
from carrara.models.catalogue import PublishedScore
from carrara.scorecard.figure import Figure, unknown

_WANTED = ("arc", "hellaswag", "truthfulqa", "mmlu")  # what names of benchmarks begin with


def published(entry: CatalogueModel | None) -> list[Figure]:
    """The scores of a catalogue entry in per cent; unknown where there is none, or one that nobody could check.

    A measure names the protocol, since only scores of one protocol can be compared.
    """
    scores = entry.scores if entry else ()
    found = [_figure(score) for score in scores]
    why = f"the catalogue has no such score of {entry.name}" if entry else "the model is not in the catalogue"
    named = [score.benchmark for score in scores]
    return found + [unknown(name, why) for name in _WANTED if not any(each.startswith(name) for each in named)]


def _figure(score: PublishedScore) -> Figure:
    name = f"{score.benchmark} {score.metric}" if score.metric else score.benchmark
    if not (score.protocol and score.source.strip()):
        missing = "protocol" if score.source.strip() else "source"
        return unknown(
            name, f"the catalogue has {score.value:g} % without a {missing}, so it can be compared with none"
        )
    shots = "number of shots not told" if score.shots is None else f"{score.shots} shots"
    return Figure(
        f"{name} ({score.protocol})",
        score.value,
        None,
        "published",
        f"{score.source}; protocol {score.protocol}, {shots}",
        "%",
        "higher",
        f"Its publisher or a leaderboard reports {score.value:g} %; compare it with scores of {score.protocol} alone.",
    )
