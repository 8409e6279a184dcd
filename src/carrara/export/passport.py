"""The passport of an export: it answers as the model that was scored, or the step that broke it is named.

Checks stand in the order of causes: tokens, settings and weights before the answers that follow from them. So the first
check that fails names the step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from carrara.errors import Refusal
from carrara.export.checks.answers import check_answers
from carrara.export.checks.check import Check, Form
from carrara.export.checks.settings import check_settings
from carrara.export.checks.tokens import check_ends, check_tokens
from carrara.export.checks.weights import check_weights
from carrara.models.load import Loaded
from carrara.progress import Progress

__all__ = ["Check", "Form", "Passport", "check_all_but_weights", "examine", "require"]

# Read where the caller has too few texts: prose, a list, figures, code, another language.
_TEXTS = (
    "The marble of Carrara has been quarried since Roman times. Blocks were cut by hand, moved down the mountain on "
    "sledges, and shipped from the port of Luni to Rome, where they became columns, floors and statues.",
    "To make bread you need flour, water, salt and yeast. Mix them, knead the dough for ten minutes, let it rise for "
    "an hour, shape it, and bake it in a hot oven until the crust is brown.",
    "def mean(values):\n    total = 0\n    for each in values:\n        total += each\n    return total / len(values)",
    "In 2023 the company sold 1,204 machines for 3.6 million euros, 12 % more than in the year before.",
    "Der Bericht wurde am 3. März vorgelegt. Er beschreibt, wie sich die Preise seit dem Frühjahr verändert haben.",
)


@dataclass(frozen=True)
class Passport:
    """What was compared, in the order of causes; `missing` says in sentences what could not be.

    `model` holds the digests of the base and the adapter that were scored.
    """

    checks: tuple[Check, ...]
    missing: tuple[str, ...] = ()
    model: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether the export is the model that was scored, up to the rounding of its form."""
        return self.fault is None

    @property
    def fault(self) -> str | None:
        """A sentence that names the step that broke the export; None where every check holds."""
        return next((check.note for check in self.checks if not check.holds), None)

    def to_json(self) -> dict[str, Any]:
        checks = [check.to_json() for check in self.checks]
        return {"model": dict(self.model), "checks": checks, "holds": self.holds, "missing": [*self.missing]}


def examine(
    scored: Loaded,
    exported: Loaded,
    form: Form,
    texts: Sequence[str],
    progress: Progress,
    more: Iterable[Check] = (),
) -> Passport:
    """Compare a package that was read back with the model that was scored; both loaded in float32.

    `scored` may carry an adapter that is not merged. `texts` are held out from training; the first are read, and
    built-in ones where they are few. `more` are checks of the caller's own, such as the score on a part of the task,
    and are asked for only where all before hold.
    """
    checks = tuple(_checks(scored, exported, form, [*texts, *_TEXTS], progress))
    whole = (*checks, *more) if all(check.holds for check in checks) else checks
    return Passport(whole, model=scored.model.identity())


def require(passport: Passport) -> None:
    """Raise Refusal with the sentence that names the broken step, unless the passport holds."""
    if passport.fault:
        raise Refusal(f"the export is not the model that was scored: {passport.fault}")


def check_all_but_weights(scored: Loaded, exported: Loaded, texts: Sequence[str]) -> Iterator[Check]:
    """Tokens, chats, ends and settings, of which no weight is asked; `texts` are cut into tokens, too."""
    yield from check_tokens(scored, exported, texts)
    yield check_ends(scored, exported)
    yield from check_settings(scored, exported)


def _checks(scored: Loaded, exported: Loaded, form: Form, texts: Sequence[str], progress: Progress) -> Iterator[Check]:
    progress.say("comparing tokens and settings with those of the model that was scored")
    yield from check_all_but_weights(scored, exported, texts)
    progress.say("comparing weights")
    weights, fits = check_weights(scored, exported, form)
    yield weights
    if fits:  # otherwise there is nothing that could be asked of both
        progress.say("comparing answers")
        yield from check_answers(scored, exported, form, texts)
