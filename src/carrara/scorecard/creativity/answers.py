"""What a model writes on the open prompts, several times each, by chances that are the same for every model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from carrara.data.render.ends import end_tokens
from carrara.errors import Refusal
from carrara.models.generate import Draw, write_all
from carrara.models.load import Loaded
from carrara.progress import Progress
from carrara.scorecard.creativity.prompts import Asking

TEMPERATURES = (0.7, 1.0)  # as models are often served, and the model's own distribution
SAMPLES = 4  # of each prompt at each temperature
BUDGET = 80  # tokens
WORDS = 32  # of each answer that diversity is measured on, so that longer answers have no other figures
_BEGINNING = re.compile(rf"(?:\s*\S+){{1,{WORDS}}}")


@dataclass(frozen=True)
class Answer:
    """One text for the prompt at a place; `ended` says that the model ended it, not the budget."""

    prompt: int
    temperature: float
    text: str
    ended: bool

    @property
    def beginning(self) -> str:
        """Its first words."""
        found = _BEGINNING.match(self.text)
        return found[0] if found else ""


@dataclass(frozen=True)
class Manner:
    """How answers are drawn; a benchmark draws them worse."""

    temperatures: tuple[float, ...] = TEMPERATURES
    samples: int = SAMPLES
    budget: int = BUDGET
    seed: int = 0


def write_answers(loaded: Loaded, asking: Asking, manner: Manner, progress: Progress) -> list[Answer]:
    """The answers of a model, temperature by temperature, prompt by prompt.

    Raises Refusal if the model's context has no room for them.
    """
    ids, ends = asking.ids(loaded), end_tokens(loaded)
    longest = max(map(len, ids)) + manner.budget
    if longest > loaded.context:
        raise Refusal(
            f"an open prompt with its answer takes {longest:,} tokens, and {loaded.model.name} holds "
            f"{loaded.context:,}; its creativity can be measured only on a model with a longer context."
        )
    asked = [place for place in range(len(ids)) for _ in range(manner.samples)]
    found: list[Answer] = []
    with progress.track(
        f"creativity of {loaded.model.name}", len(asked) * len(manner.temperatures), "answer"
    ) as advance:
        for turn, temperature in enumerate(manner.temperatures):
            draw = Draw(temperature, seed=(manner.seed * len(manner.temperatures) + turn) * len(asked))
            written = write_all(loaded, [ids[place] for place in asked], manner.budget, ends, draw=draw)
            found += [Answer(p, temperature, text.text, text.ended) for p, text in zip(asked, written, strict=True)]
            advance(len(asked))
    return found
