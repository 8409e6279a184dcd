"""Telling a run that diverges from one that is only noisy, and the rows it happened on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

_LONGEST, _SHORTEST = 20, 5  # steps that must all be far above what was usual
_HOPELESS = 3  # steps that must all be worse than guessing
_MEMORY = 50  # steps over which the usual loss is averaged
_SETTLED = 10  # steps after which the lowest average is trusted
_NATS, _SHARE = 1.5, 0.75  # above the usual loss, over 20 steps
_SPREADS = 3  # times their own standard deviation


@dataclass
class Watch:
    """Follows the training loss, in nats per supervised token; it travels in each checkpoint.

    A run diverges when each of its last steps, 20 or a quarter of a short run, was far above what was usual before, or
    each of the last three was worse than guessing all tokens alike. A batch that is hard, or a spike from which it
    comes back, is neither.
    """

    usual: float = 0.0  # mean of the losses before `recent`
    count: int = 0  # of these
    lowest: float = math.inf  # the least that `usual` was once it had settled
    recent: list[float] = field(default_factory=list)

    def see(self, loss: float, steps: int, vocabulary: int) -> str:
        """Take in the loss of a step of a run of `steps`; returns why the run diverges, empty if it does not."""
        span = _span(steps)
        self.recent.append(loss)
        if not self.count or len(self.recent) > span:
            self._forget(self.recent.pop(0))
        last = self.recent[-_HOPELESS:]
        if len(last) == _HOPELESS and min(last) > self._hopeless(vocabulary):
            return f"the loss of the last {_HOPELESS} steps is {_listed(last)}, worse than guessing all tokens alike"
        if len(self.recent) == span and self._has_left(span):
            lowest = min(self.recent)
            return f"the loss, once around {self._reference:.2f}, has been at {lowest:.2f} or above for {span} steps"
        return ""

    def see_held_out(self, loss: float, vocabulary: int) -> str:
        """Why a held-out loss says that the run has diverged, empty if it does not."""
        if math.isfinite(loss) and loss <= self._hopeless(vocabulary):
            return ""
        return f"the held-out loss is {loss:.2f}, worse than guessing all tokens alike"

    def is_uneasy(self, steps: int) -> bool:
        """Whether the last step was bad, so that its weights should not take the place of good ones on the disk."""
        return bool(self.recent) and self.recent[-1] > self._limit(_span(steps))

    @property
    def _reference(self) -> float:
        return min(self.usual, self.lowest)

    def _limit(self, span: int) -> float:
        """The fewer steps must agree, the further away they must be."""
        return self._reference + max(_NATS, _SHARE * self._reference) * math.sqrt(_LONGEST / span)

    def _has_left(self, span: int) -> bool:
        """Whether all recent losses are above the limit, by more than noise such as theirs explains."""
        rise = statistics.fmean(self.recent) - self._reference
        return min(self.recent) > self._limit(span) and rise > _SPREADS * statistics.pstdev(self.recent)

    def _hopeless(self, vocabulary: int) -> float:
        return max(math.log(vocabulary) + 1, 2 * self._reference + 1)

    def _forget(self, loss: float) -> None:
        self.count += 1
        self.usual += (loss - self.usual) / min(self.count, _MEMORY)
        if self.count >= _SETTLED:
            self.lowest = min(self.lowest, self.usual)


def _span(steps: int) -> int:
    return min(_LONGEST, max(_SHORTEST, steps // 4))


def _listed(losses: Sequence[float]) -> str:
    return ", ".join(f"{loss:.2f}" for loss in losses)
