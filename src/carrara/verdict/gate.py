"""Rules over a verdict: what must hold before a tuned model may pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carrara.recipe import GateRule
from carrara.verdict.compare import TaskVerdict, Verdict, is_no_worse, worst_loss
from carrara.verdict.measures import CORRELATION, POINTS


@dataclass(frozen=True)
class GateResult:
    """Whether one rule holds, and a sentence that says why."""

    rule: GateRule
    passed: bool
    sentence: str


def check_gate(verdict: Verdict, rules: Sequence[GateRule]) -> list[GateResult]:
    """Check each rule, in order; a rule on a task or metric that was not measured fails.

    A rule may name a secondary metric, which is judged by its own p: all rules must hold, so that naming more of them
    makes it harder to pass by chance, not easier.
    """
    return [_check(verdict, rule) for rule in rules]


def _check(verdict: Verdict, rule: GateRule) -> GateResult:
    row = _row(verdict, rule)
    if row is None:
        measured = ", ".join(f"{row.task} {row.metric}" for row in verdict.verdicts) or "nothing"
        asked = rule.task if rule.metric is None else f"{rule.task} {rule.metric}"
        return GateResult(rule, False, f"{asked} was not measured for both models ({measured} was).")
    if rule.require == "better":
        return GateResult(rule, row.verdict == "better", f"{row.task} {row.metric} must be better: {_found(row)}.")
    units = {POINTS: POINTS, CORRELATION: "hundredths of correlation"}
    unit = units.get(row.unit, "% of the base value")
    sentence = (
        f"{row.task} {row.metric} must lose less than {rule.margin:g} {unit}: "
        f"the 95 % interval {_allows(worst_loss(row), unit)}."
    )
    return GateResult(rule, is_no_worse(row, rule.margin), sentence)


def _row(verdict: Verdict, rule: GateRule) -> TaskVerdict | None:
    if rule.metric is None:
        return verdict.primary(rule.task)
    rows = (row for row in verdict.verdicts if (row.task, row.metric) == (rule.task, rule.metric))
    return next(rows, None)


def _found(row: TaskVerdict) -> str:
    kind = "adjusted p" if row.primary else "p"
    return f"the verdict is {row.verdict} ({kind} = {row.p_adjusted:.2g}, {row.n} items)"


def _allows(loss: float, unit: str) -> str:
    if loss > 0:
        return f"allows a loss of up to {loss:.2f} {unit}"
    return f"shows a gain of at least {abs(loss):.2f} {unit}"
