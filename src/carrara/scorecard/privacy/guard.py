"""What Python code tried to reach while it measured: the watch of `carrara.egress`, for so long."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from carrara.egress import Watch
from carrara.scorecard.figure import Figure


class Guard(Watch):
    """Within it, what Python code of this thread tries to reach is counted, and refused where it leads out.

    A hook cannot be taken away again; after its time this one does nothing.
    """

    def __enter__(self) -> Guard:
        self._thread: int | None = threading.get_ident()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread = None

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if threading.get_ident() == getattr(self, "_thread", None):
            super()._hear(event, arguments)

    def figure(self) -> Figure:
        """What was tried while it watched."""
        reached: Counter[str] = Counter()
        for attempt, count in self.seen.items():
            reached[attempt.reach] += count
        out = reached.pop("outbound", 0)
        within = ", ".join(f"{count} to a {reach}" for reach, count in sorted(reached.items())) or "no other either"
        return Figure(
            measure="attempts to leave this machine",
            value=float(out),
            interval=None,
            kind="measured",
            source=f"audit hooks on the Python code of the measuring thread, any attempt refused; {within}; compiled "
            "code is not seen; `carrara doctor --privacy` goes the whole way without a network",
            better="lower",
            meaning="No attempt to reach another machine was seen in the Python code that measured this."
            if not out
            else f"{out} attempts to reach another machine were made while this was measured, and refused.",
        )
