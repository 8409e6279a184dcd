"""One comparison of an exported model with the one that was scored, and the forms in which models leave."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

Form = Literal["safetensors", "adapter", "f16", "q8_0", "q4_0"]


@dataclass(frozen=True)
class Check:
    """A measured value beside its bound. `note` says what was compared; where it fails, which step broke it.

    `basis` counts what the value was told from; where nothing could be compared, the value is no number and it holds.
    """

    name: str
    value: float
    bound: float
    holds: bool
    note: str
    basis: str = ""

    @property
    def word(self) -> str:
        """How it came out, for people."""
        if self.holds and math.isnan(self.value):
            return "not compared"
        return "holds" if self.holds else "fails"

    def to_json(self) -> dict[str, Any]:
        value = self.value if math.isfinite(self.value) else None  # JSON knows no infinity
        return {"name": self.name, "value": value, "bound": self.bound, "holds": self.holds, "basis": self.basis}


def at_most(name: str, value: float, bound: float, note: str) -> Check:
    """A check that holds up to its bound; a value that is no number does not."""
    return Check(name, value, bound, value <= bound, note)


def at_least(name: str, value: float, bound: float, note: str) -> Check:
    """A check that holds from its bound on; a value that is no number does not."""
    return Check(name, value, bound, value >= bound, note)
