"""Privacy: what the licence asks, where the model can run, and what its tuned weights give away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from carrara.errors import Refusal
from carrara.models import CatalogueModel
from carrara.scorecard.figure import Figure, unknown
from carrara.scorecard.privacy.licence import closed_figure, licence_figures
from carrara.scorecard.subject import Pair, Subject

FORMAT = 3  # raised when the same model would get other figures
_OF_TUNED = (
    "canary exposure",
    "verbatim extraction from the prompt",
    "membership inference AUC",
    "personal data recited",
)


def terms(subject: Subject) -> dict[str, Any]:
    """What determines the figures beside the model, its base, the rows and the seed."""
    return {"licence": subject.entry.licence.model_dump() if subject.entry else None}


def published(entry: CatalogueModel) -> list[Figure]:
    """What is known of a model that need not be here."""
    return [*licence_figures(entry), closed_figure(entry.parameters)]


def measure(subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
    """The figures of this criterion; `pair` loads the weights where they are needed."""
    from carrara.models.shape import shape_in
    from carrara.scorecard.privacy.guard import Guard

    told = [*licence_figures(subject.entry)]
    with Guard() as guard:
        try:
            told += [closed_figure(shape_in(subject.model.path)[1]), *_given_away(subject, pair)]
        except Refusal as refusal:  # a model that does not load; its licence is known all the same
            told += _untold(str(refusal))
        except ConnectionRefusedError as refused:  # by the guard
            told += _untold(f"measuring it tried to reach another machine and was refused: {refused.strerror}.")
    return [*told, guard.figure()]


def _given_away(subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
    """What the tuned weights give away of what they learned."""
    from carrara.scorecard.privacy.exposure import exposure_figures
    from carrara.scorecard.privacy.extraction import extraction_figures
    from carrara.scorecard.privacy.learned import look_at
    from carrara.scorecard.privacy.membership import membership_figures
    from carrara.scorecard.privacy.recited import recited_figures
    from carrara.scorecard.privacy.remedies import remedy_of

    dataset = subject.tuned_on
    if dataset is None:
        return _untold("it was not tuned here, so there are no rows and no base to hold it against.")
    model, base = pair().model, pair().base
    assert base is not None  # what was tuned has one
    learned = look_at(model, base, dataset, subject.seed)
    remedy = remedy_of(subject.model.source, dataset)
    return [
        *exposure_figures(subject, model, base),
        *extraction_figures(learned, model, base, remedy),
        *membership_figures(learned, remedy),
        *recited_figures(dataset, model, base, subject.seed),
    ]


def _untold(why: str) -> list[Figure]:
    return [unknown(measure, why) for measure in _OF_TUNED]
