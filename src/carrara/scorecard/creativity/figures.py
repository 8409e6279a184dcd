"""From judged answers to figures: the mean over the prompts, with what chance could make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from carrara.scorecard.creativity.measures import CREATIVITY, MEASURES, Judged, Measure, Need
from carrara.scorecard.figure import BASE, Figure, unknown

Values = Mapping[int, float]  # of a measure by prompt, those left out for which it cannot say
MODEL = ""  # what follows a measure's name where it is the model's own
_FEWEST = 3  # prompts, below which no spread can be told


def figures_of(judged: Mapping[str, Sequence[Judged]], source: str, lacking: Mapping[Need, str]) -> list[Figure]:
    """All figures, each of the model and then of its base, first over both temperatures, then creativity at each.

    `lacking` gives the reason for each thing that measures need and that is not there.
    """
    temperatures = sorted({each.answer.temperature for each in judged[MODEL]})
    form = " of openings" if "chat" in lacking else ""  # what is asked otherwise is another measure
    wanted = [(each, temperatures) for each in MEASURES]
    for each in temperatures:  # which tell of `creativity` in part, and count no second time
        wanted.append((replace(CREATIVITY, name=f"{CREATIVITY.name} at {each:g}", better=None), [each]))
    found: list[Figure] = []
    for measure, only in wanted:
        values = {
            name: values_of(measure, [each for each in answers if each.answer.temperature in only])
            for name, answers in judged.items()
        }
        for name, own in values.items():
            if measure.needs and measure.needs in lacking:
                found.append(unknown(measure.name + name, lacking[measure.needs]))
            else:
                asked = replace(measure, name=measure.name + form)
                found.append(figure_of(asked, own, source, name, values.get(BASE) if name == MODEL else None))
    return found


def values_of(measure: Measure, answers: Sequence[Judged]) -> Values:
    """A measure of each prompt: the mean over the temperatures."""
    groups: dict[tuple[int, float], list[Judged]] = {}
    for each in answers:
        groups.setdefault((each.answer.prompt, each.answer.temperature), []).append(each)
    found: dict[int, list[float]] = {}
    for (prompt, _), group in groups.items():
        if (value := measure.of(group)) is not None:
            found.setdefault(prompt, []).append(value)
    return {prompt: fmean(values) for prompt, values in found.items()}


def figure_of(measure: Measure, values: Values, source: str, suffix: str = MODEL, base: Values | None = None) -> Figure:
    """The figure of a measure with its 95 % interval, the prompts being what chance draws.

    `suffix` follows the measure's name; with `base`, the meaning says how far the two lie apart on the same prompts.
    """
    name = measure.name + suffix
    if len(values) < _FEWEST:
        return unknown(name, f"only {len(values)} of the open prompts got answers long enough to count.")
    value = fmean(values.values())
    interval = interval_of([*values.values()], measure.most)
    if measure.fewest_read:
        if not value:
            return unknown(name, "no word came again in any answer, so nothing can be counted.")
        least = 1 / (measure.fewest_read * len(values))  # what would have been seen not once
        low, high = interval
        value, interval = 1 / value, (1 / high, 1 / max(least, low))
    meaning = measure.tell(value) + (_beside(values, base) if base and not measure.fewest_read else "")
    return Figure(name, value, interval, "measured", source, measure.unit, measure.better, meaning)


def interval_of(values: Sequence[float], most: float | None) -> tuple[float, float]:
    """The 95 % interval of a mean over prompts, by a clustered bootstrap: each prompt's answers are drawn together.

    Where all prompts have the value 0, or all have `most`, it reaches as far as the share of prompts that are otherwise
    and could have been missed (Clopper and Pearson 1934).
    """
    from carrara.verdict.statistics import bootstrap_interval

    hidden = 1 - 0.025 ** (1 / len(values))
    if most is not None and max(values) == 0:
        return 0.0, most * hidden
    if most is not None and min(values) == most:
        return most * (1 - hidden), most
    low, high = bootstrap_interval(values, [1.0] * len(values))
    return max(0.0, low), high if most is None else min(most, high)


def _beside(values: Values, base: Values) -> str:
    """A sentence on the paired difference from the base."""
    from carrara.verdict.statistics import bootstrap_interval

    both = [values[prompt] - base[prompt] for prompt in values if prompt in base]
    if len(both) < _FEWEST:
        return ""
    if not any(both):
        return " Its base has the same on every prompt."
    difference, (low, high) = fmean(both), bootstrap_interval(both, [1.0] * len(both))
    if low <= 0 <= high:
        return f" No difference from its base is shown ({difference:+.2g}, {low:+.2g} to {high:+.2g})."
    word = "more" if low > 0 else "less"
    return f" That is {word} than its base by {abs(difference):.2g} ({low:+.2g} to {high:+.2g})."
