"""What more of the user's rows would bring: the probe's curve, its forecast, and a sentence on whether to go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from carrara.errors import GateFailed, Refusal
from carrara.evaluate.heldout import require_heldout
from carrara.scorecard.accuracy.forecast import Curve, Interval, fit_curve
from carrara.scorecard.accuracy.heldout import held_out_rows
from carrara.scorecard.accuracy.interval import parts_of, value_and_interval
from carrara.scorecard.accuracy.probe import FORMAT, TUNE, Point, learn, steps_of
from carrara.scorecard.figure import BASE, Better, Figure, figure_from_json, unknown
from carrara.scorecard.subject import Subject
from carrara.verdict.measures import ACC, LOSS, Measure
from carrara.workspace import Artefact, Draft, Workspace

NAME = "learning curve"
_FIGURES, _TRAINED = "figures.json", "trained"
_ALSO = 3000  # rows that are foretold in any case
_MORE = 10  # times the rows, for the sentence
_LIKELY = 0.6  # of an interval whose low end is passed with four chances in five


@dataclass(frozen=True)
class _Kind:
    """A measure of a curve: what it is called, from where to where it can go, and which gains are small and large.

    Small and large are in its unit, or shares of its value where `is_relative`.
    """

    name: str
    measure: Measure
    unit: str
    scale: float
    limits: Interval
    small: float
    large: float
    is_relative: bool = False

    @property
    def better(self) -> Better:
        return "higher" if self.measure.higher_is_better else "lower"


_LOSS = _Kind("loss", LOSS, "nats per token", 1.0, (0.0, np.inf), 0.02, 0.1, is_relative=True)
_ACCURACY = _Kind("accuracy", ACC, "%", 100.0, (0.0, 1.0), 1.0, 3.0)


def learning_curve(subject: Subject) -> list[Figure]:
    """Tune the base on ever more rows of the dataset and foretell what further ones would bring; kept once it is made.

    Of a tuned model its base is probed. Unknown, with the reason, where there is too little to learn from or to judge
    by, or where tuning is refused or diverges.
    """
    try:
        path = _probed(subject).path / _FIGURES
    except (Refusal, GateFailed) as reason:
        return [unknown(NAME, str(reason))]
    found = [figure_from_json(row) for row in json.loads(path.read_text(encoding="utf-8"))]
    suffix = BASE if subject.base else ""
    return [each if each.measure == NAME else replace(each, measure=each.measure + suffix) for each in found]


def _probed(subject: Subject) -> Artefact:
    """The figures of a probe as an artefact; its trainings live in the draft's folder, so that a kill loses none."""
    model, seed, progress = subject.base or subject.model, subject.seed, subject.progress
    asked, dataset = held_out_rows(subject.dataset, seed), require_heldout(subject.dataset)
    rows = int(dataset.artefact.summary["splits"]["train"])
    steps = steps_of(rows)

    def build(draft: Draft) -> None:
        progress.say(f"learning curve: {len(steps)} trainings on {sum(size for size, _ in steps):,} rows in all")
        points = learn(Workspace(draft.path / _TRAINED), model, dataset, asked, steps, progress)
        model.require_unchanged()
        figures = figures_of(points, rows, seed, has_labels=bool(asked.labels))
        told = [figure.to_json() for figure in figures]
        (draft.path / _FIGURES).write_text(json.dumps(told, ensure_ascii=False, indent=2), encoding="utf-8")

    made_by = {"format": FORMAT, **model.identity(), "dataset": dataset.artefact.digest}
    made_by |= {"seed": seed, "steps": steps, "tune": TUNE.model_dump()}
    return subject.workspace.make(
        "curve",
        made_by,
        build,
        name=f"{NAME} of {model.name}",
        inputs={"model": model.source, "dataset": dataset.artefact},
        resumable=True,
        scratch=(_TRAINED,),
        on_wait=progress.say,
    )


def figures_of(points: Sequence[Point], rows: int, seed: int, has_labels: bool) -> list[Figure]:
    """What was measured at each size, what is foretold of others up to ten times the `rows`, and the sentence."""
    kinds = (_ACCURACY, _LOSS) if has_labels else (_LOSS,)
    curves = [(kind, _fit(points, kind, seed)) for kind in kinds]
    most = max(point.rows for point in points)
    wanted = sorted({size for size in (_ALSO, rows, _MORE * rows) if size > most})
    found = [_sentence(*curves[0], rows)]
    for kind, curve in curves:
        found += [_seen(point, kind) for point in points if not point.order]
        found += [_foretold(kind, curve, size) for size in wanted]
    return found


def _fit(points: Sequence[Point], kind: _Kind, seed: int) -> Curve:
    learned = [point for point in points if point.rows]
    parts = [parts_of(point.records, kind.measure) for point in learned]
    tops, bottoms = (np.array([part[side] for part in parts]) for side in (0, 1))
    return fit_curve([point.rows for point in learned], tops, bottoms, kind.limits, seed)


def _seen(point: Point, kind: _Kind) -> Figure:
    value, interval = value_and_interval(point.records, kind.measure)
    source = f"LoRA of rank {TUNE.rank}, one epoch, {len(point.records)} held-out rows" if point.rows else "untrained"
    meaning = f"What learning {point.rows:,} rows gave on rows that it had not seen." if point.rows else ""
    name = f"{kind.name} at {point.rows:,} rows"
    return Figure(name, value, interval, "measured", source, kind.unit, kind.better, meaning)


def _foretold(kind: _Kind, curve: Curve, rows: int) -> Figure:
    value, ends = curve.at(rows)
    low, high = (kind.scale * end for end in ends)
    source = (
        f"power law through trainings on up to {curve.most:,.0f} rows, or no gain beyond these; chance of training and "
        "of held-out rows"
    )
    meaning = f"A training on {rows:,} rows should end between {low:.3g} and {high:.3g} {kind.unit}, 19 times in 20."
    name = f"{kind.name} foretold at {rows:,} rows"
    return Figure(name, kind.scale * value, (low, high), "derived", source, kind.unit, kind.better, meaning)


def _sentence(kind: _Kind, curve: Curve, rows: int) -> Figure:
    """Whether ten times the rows would be worth it."""
    value, ends = curve.gain(rows, _MORE * rows)
    scale = kind.scale if kind.measure.higher_is_better else -kind.scale
    low, high = sorted(scale * end for end in ends)
    likely = min(scale * end for end in curve.gain(rows, _MORE * rows, _LIKELY)[1])
    now = curve.at(rows)[0] if kind.is_relative else 1.0
    small, large = kind.small * now, kind.large * now
    unit = "points" if kind.unit == "%" else kind.unit
    told = f"{scale * value:+.3g} {unit} of {kind.name} ({low:+.3g} to {high:+.3g}, above 0 is better)"
    more = f"Ten times the rows ({_MORE * rows:,})"
    if high < small:
        word, meaning = "enough rows", f"{more} would bring next to nothing: {told}; more labelling is not worth it."
    elif likely > small:
        word, meaning = "more rows help", f"{more} would likely bring {told}."
    elif high >= large:
        word, meaning = "cannot tell", f"{more} may bring nothing or a lot: {told}; the probe cannot tell."
    else:
        word, meaning = "little to gain", f"{more} would bring little at best: {told}."
    source = (
        f"foretold from up to {curve.most:,.0f} rows; next to nothing is {small:.2g}, a lot {large:.2g} {unit}, likely "
        "four chances in five"
    )
    return Figure(NAME, word, None, "derived", source, meaning=meaning)
