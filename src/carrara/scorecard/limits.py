"""What a candidate cannot do or keep to, a sentence a limit; who misses least where all do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from carrara.models.plan import Plan
from carrara.scorecard.candidate import Candidate
from carrara.scorecard.cost.serving import memory_figure
from carrara.scorecard.needs import Needs


@dataclass(frozen=True)
class Miss:
    """A limit that a candidate does not keep to; `by` is how many times over, infinite where it is yes or no."""

    limit: str
    sentence: str
    by: float = math.inf


def find_misses(candidate: Candidate, needs: Needs, plans: Mapping[str, Plan]) -> list[Miss]:
    """Every limit that the candidate misses or that nothing shows it to keep to; none for one that fits."""
    checks: tuple[Callable[[], Iterator[Miss]], ...] = (
        lambda: _task(candidate, needs),
        lambda: _licence(candidate, needs),
        lambda: _context(candidate, needs),
        lambda: _language(candidate, needs),
        lambda: _memory(needs, plans) if plans else _memory_to_serve(candidate, needs),
        lambda: _budget(needs, plans),
    )
    return [miss for check in checks for miss in check()]


def _task(candidate: Candidate, needs: Needs) -> Iterator[Miss]:
    limit = f"--task {needs.task}"
    if needs.task != "similarity" and not candidate.writes:
        yield Miss(limit, "It turns texts into vectors and writes none.")
    elif needs.task == "chat" and not candidate.chats:
        yield Miss(limit, "It has no chat template, so it cannot be asked in roles.")


def _licence(candidate: Candidate, needs: Needs) -> Iterator[Miss]:
    limit = "--licence commercial"
    licence = candidate.entry.licence if candidate.entry else None
    if not needs.commercial:
        return
    if licence is None:
        yield Miss(limit, "Its licence is not known here, so commercial use cannot be promised.")
    elif licence.source is None:
        yield Miss(limit, f"The catalogue names no source for its licence ({licence.name}), so it counts as unknown.")
    elif licence.commercial == "no":
        yield Miss(limit, f"Its licence ({licence.name}) allows no commercial use.")


def _context(candidate: Candidate, needs: Needs) -> Iterator[Miss]:
    limit = f"--context {needs.context}"
    if needs.context and candidate.context is None:
        yield Miss(limit, "Its publisher does not say how many tokens it holds.")
    elif needs.context and candidate.context and candidate.context < needs.context:
        by = needs.context / candidate.context
        yield Miss(limit, f"It holds {candidate.context:,} tokens, fewer than {needs.context:,}.", by)


def _language(candidate: Candidate, needs: Needs) -> Iterator[Miss]:
    limit = f"--language {needs.language}"
    if needs.language and candidate.languages is None:
        yield Miss(limit, f"Nothing says that it knows the language '{needs.language}'.")
    elif needs.language and candidate.languages and needs.language not in candidate.languages:
        yield Miss(limit, f"Its languages are {', '.join(candidate.languages)}, not {needs.language}.")


def _memory(needs: Needs, plans: Mapping[str, Plan]) -> Iterator[Miss]:
    if any(plan.fits for plan in plans.values()):
        return
    least = min(plans.values(), key=lambda plan: plan.memory.likely)
    needed = least.memory.shown(lambda value: f"{value / 1e9:.1f}")
    if needs.memory:
        limit, room = f"--memory {needs.memory / 1e9:g}GB", f"the limit is {needs.memory / 1e9:g} GB"
    else:
        limit, room = "the memory of this machine", "that is more than is free here"
    by = least.memory.likely / needs.memory if needs.memory else math.inf
    why = "" if least.reason.endswith("GB more") else f" and {least.reason}"
    yield Miss(limit, f"Tuning it takes {needed} GB at the least ({least.method}){why}, and {room}.", by)


def _memory_to_serve(candidate: Candidate, needs: Needs) -> Iterator[Miss]:
    """Of a model that is not tuned."""
    takes = float(memory_figure(candidate.shape, candidate.parameters).value or 0)
    if needs.memory and takes * 1e9 > needs.memory:
        limit = needs.memory / 1e9
        told = f"Running it takes {takes:.1f} GB, and the limit is {limit:g} GB."
        yield Miss(f"--memory {limit:g}GB", told, takes / limit)


def _budget(needs: Needs, plans: Mapping[str, Plan]) -> Iterator[Miss]:
    if needs.budget is None or not plans:
        return
    possible = [plan for plan in plans.values() if plan.fits] or [*plans.values()]
    least = min(possible, key=lambda plan: plan.money.likely)
    if least.money.likely > needs.budget:
        by = least.money.likely / needs.budget if needs.budget else math.inf
        costs = least.money.shown("{:.2g}".format)
        limit = f"--budget {needs.budget:g}{least.currency}"
        what = f"{costs} {least.currency} at the least ({least.method})"
        yield Miss(limit, f"Tuning it costs {what}, over the budget of {needs.budget:g} {least.currency}.", by)


def nobody_fits(names: Sequence[str], missed: Sequence[Sequence[Miss]]) -> str:
    """Who comes nearest and what it misses; and which limits contradict each other, if no single one rules out all."""

    def distance(misses: Sequence[Miss]) -> tuple[bool, int, float]:
        return _is_unable({miss.limit for miss in misses}), len(misses), sum(min(miss.by, 1e6) for miss in misses)

    nearest, misses = min(zip(names, missed, strict=True), key=lambda pair: distance(pair[1]))
    reasons = " ".join(miss.sentence for miss in misses)
    told = f"no candidate fits; nearest is {nearest}, which misses {' and '.join(m.limit for m in misses)}: {reasons}"
    return f"{told} {conflict}" if (conflict := _conflict(missed)) else told


def _conflict(missed: Sequence[Sequence[Miss]]) -> str:
    """A sentence about the first two limits that some candidates keep to each, and none both."""
    sets = [limits for misses in missed if not _is_unable(limits := {miss.limit for miss in misses})]
    limits = sorted({limit for each in sets for limit in each})
    kept = {limit: sum(limit not in each for each in sets) for limit in limits}
    for one, other in combinations([limit for limit in limits if kept[limit]], 2):
        if not any(one not in each and other not in each for each in sets):
            return (
                f"Of {len(sets)} models that can do the task, {one} is kept by {kept[one]} and {other} by "
                f"{kept[other]}, but both by none: these limits contradict each other, so loosen one."
            )
    return ""


def _is_unable(limits: set[str]) -> bool:
    """Whether what is missed is the task itself, which is no limit that could be loosened."""
    return any(limit.startswith("--task") for limit in limits)
