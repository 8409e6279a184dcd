"""Whether a model is right as often as it is sure: reliability diagram, calibration error, Brier score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from carrara.evaluate.classification import Bin, bins_of, brier, calibration_error
from carrara.evaluate.scores import Record
from carrara.verdict.drawing import Scale, picture, place, scale

_LEFT, _RIGHT, _TOP, _FLOOR = 44, 312, 12, 252


@dataclass(frozen=True)
class Reliability:
    """`ece` is the expected calibration error, 0 at best; `brier` runs from 0 at best to 2."""

    n: int
    ece: float
    brier: float
    bins: tuple[Bin, ...]

    @property
    def counts(self) -> str:
        """How many items a bin holds, such as `54` or `54 to 55`."""
        counts = sorted({each.count for each in self.bins})
        return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"


def reliability(records: Sequence[Record]) -> Reliability | None:
    """The calibration of the likeliest choice, confidence being its probability among the choices; None elsewhere.

    The error is the mean distance of confidence from the share that is right over bins of as many items each
    (Guo et al. 2017, arXiv 1706.04599, with the equal masses of Nixon et al. 2019, arXiv 1904.01685); the Brier score
    is the mean squared distance of all probabilities from 1 for the right choice and 0 for the others (Brier 1950).
    """
    judged = [record.prediction is not None and record.gold is not None for record in records]
    if not records or not all(judged) or any(len(record.loglikelihoods) < 2 for record in records):
        return None
    return Reliability(len(records), calibration_error(records), brier(records), tuple(bins_of(records)))


def diagram(task: str, before: Reliability, after: Reliability) -> Markup:
    """Both models in one frame, confidence across and the share that is right upwards; on the diagonal they agree."""
    x, y = scale(0, 1, _LEFT, _RIGHT), scale(0, 1, _FLOOR, _TOP)
    parts = [_frame(x, y), _dots(before, "before", x, y), _dots(after, "after", x, y)]
    told = f"calibration error {before.ece:.3f} before, {after.ece:.3f} after"
    return picture(320, 290, f"Reliability of {task}: {told}", Markup("").join(parts))


def _frame(x: Scale, y: Scale) -> Markup:
    shape = (
        '<path class="rule" d="M{0} {1}H{2}"/><text class="right" x="{3}" y="{4}">{6}</text>'
        '<text class="middle" x="{5}" y="268">{6}</text>'
    )
    marks = (0.0, 0.25, 0.5, 0.75, 1.0)
    parts = [place(shape, x(0), y(m), x(1), _LEFT - 6, y(m) + 4, x(m), f"{100 * m:.0f} %") for m in marks]
    parts.append(place('<path class="diagonal" d="M{} {}L{} {}"/>', x(0), y(0), x(1), y(1)))
    parts.append(place('<text class="middle" x="{}" y="286">confidence</text>', (_LEFT + _RIGHT) / 2))
    return Markup("").join(parts)


def _dots(found: Reliability, kind: str, x: Scale, y: Scale) -> Markup:
    shape = '<circle class="{}" cx="{}" cy="{}" r="4"><title>{}</title></circle>'
    return Markup("").join(
        place(shape, kind, x(each.confidence), y(each.accuracy), _told(kind, each)) for each in found.bins
    )


def _told(kind: str, each: Bin) -> str:
    items = f"{each.count:,} item{'' if each.count == 1 else 's'}"
    return f"{kind}: {items}, confidence {100 * each.confidence:.1f} %, right {100 * each.accuracy:.1f} %"
