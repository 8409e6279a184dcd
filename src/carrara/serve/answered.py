"""What the gateway tells of each request, to whoever keeps count or a record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answered:
    """One request, once it is over: answered, refused or given up.

    `request` is its id, `who` the name of the key that asked, `reason` how the answer ended or the code of the
    refusal. `asked` is the conversation or text as JSON, `offered` the tools beside it, `said` the answer; these may
    hold what nobody else should read. `engine` is what answered and in which number format, as the engine says it,
    `role` the name of the stored role that was asked for.
    """

    request: str
    who: str
    route: str
    model: str
    status: int
    reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    asked: str
    said: str
    engine: str = ""
    role: str = ""
    offered: str = ""
