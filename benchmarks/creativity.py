"""Whether creativity is measured: what each planted fault moves, and that diversity bought by noise does not win.

    .venv/bin/python benchmarks/creativity.py [MODEL]
The answers of MODEL (smollm2-135m-instruct unless named) to the open prompts of the scorecard at temperature 0.7, and
the same made worse in five ways; a cell is how far a figure moved, in bold where that leaves the 95 % interval of
the figure as it was, with a star where that is not as meant. Then the same model at rising temperatures.
It writes some 35,000 tokens.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from carrara.evaluate.text.recited import Recited
from carrara.models import resolve_model
from carrara.models.load import Loaded, load_model
from carrara.progress import Silent
from carrara.scorecard.creativity.answers import WORDS, Manner, write_answers
from carrara.scorecard.creativity.figures import interval_of, values_of
from carrara.scorecard.creativity.judging import judge_answers
from carrara.scorecard.creativity.measures import MEASURES, Judged
from carrara.scorecard.creativity.prompts import asking_of
from carrara.scorecard.embedder import load_embedder
from carrara.workspace import open_workspace

if TYPE_CHECKING:
    import torch

CALM, OWN = Manner(temperatures=(0.7,)), "temperature 0.7"
TEMPERATURES = (0.4, 0.7, 1.0, 1.3, 3.0)
FEW_TOKENS, NOISE = 52, 3.0
RAW = ("semantic spread", "distinct-1", "distinct-2", "MTLD", "self-BLEU", "compression ratio")
GUARDED = ("creativity", "coherent answers")
MEANT = {  # the measures that each fault is to move; all others are to stand still
    "looping": {*GUARDED, "repetition", "endless loops"},
    "cut short": {"missing ends"},
    "recited": {"novelty"},
    "temperature 3": {*GUARDED, *RAW, "bits per byte"},
    "noisy logits": {*GUARDED, *RAW, "bits per byte"},
}


def main() -> None:
    began = time.monotonic()
    workspace = open_workspace(None)
    loaded = load_model(resolve_model(workspace, [*sys.argv, "smollm2-135m-instruct"][1], Silent()))
    embedder = load_embedder(workspace, Silent())
    asking = asking_of([loaded])
    answers = {
        f"temperature {each:g}": write_answers(loaded, asking, replace(CALM, temperatures=(each,)), Silent())
        for each in TEMPERATURES
    }
    answers["looping"] = [replace(each, text=looping(each.text)) for each in answers[OWN]]
    answers["cut short"] = write_answers(loaded, asking, replace(CALM, budget=FEW_TOKENS), Silent())
    with noisy(loaded):
        answers["noisy logits"] = write_answers(loaded, asking, CALM, Silent())
    judged = judge_answers(loaded, asking, answers, OWN, embedder, Recited(each.ask for each in asking.prompts))
    rows = Recited(each.text for each in answers[OWN])
    judged["recited"] = [replace(each, recited=rows.share(each.text)) for each in judged[OWN]]
    show_faults(judged)
    show_temperatures(judged)
    print(f"{time.monotonic() - began:.0f} s")


def looping(text: str) -> str:
    """The text with its last words said again and again, once its first words are over."""
    words = text.split()
    return " ".join(words[:WORDS] + words[WORDS - 4 : WORDS] * 10) if len(words) > WORDS else text


@contextmanager
def noisy(loaded: Loaded) -> Iterator[None]:
    """Add noise to the logits meanwhile."""
    import torch

    chance = torch.Generator(loaded.device).manual_seed(0)

    def disturb(module: Any, given: Any, logits: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(logits.shape, generator=chance, device=logits.device)
        return logits + NOISE * noise.to(logits.dtype)

    hook = loaded.network.get_output_embeddings().register_forward_hook(disturb)
    try:
        yield
    finally:
        hook.remove()


def show_faults(judged: Mapping[str, Sequence[Judged]]) -> None:
    """Measure by measure what each fault moves; a star behind what it was not to move, or was to and did not."""
    print("| measure | as it is | " + " | ".join(MEANT) + " |\n|---|---|" + "---|" * len(MEANT))
    wrong = 0
    for measure in MEASURES:
        own = values_of(measure, judged[OWN])
        low, high = interval_of([*own.values()], measure.most)
        cells = [f"{fmean(own.values()):.3f} ({low:.3f} to {high:.3f})"]
        for fault, meant in MEANT.items():
            found = values_of(measure, judged[fault])
            value = fmean(found.values())
            has_moved = not low <= value <= high
            is_wrong = has_moved != (measure.name in meant)
            wrong += is_wrong
            told = f"{value - fmean(own.values()):+.3f}"
            cells.append((f"**{told}**" if has_moved else told) + "*" * is_wrong)
        name = f"1 / {measure.name}" if measure.fewest_read else measure.name
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{wrong} of {len(MEASURES) * len(MEANT)} cells are not as meant.\n")


def show_temperatures(judged: Mapping[str, Sequence[Judged]]) -> None:
    """Raw diversity beside what is left of it where coherence counts."""
    shown = [each for each in MEASURES if each.name in (*GUARDED, "semantic spread", "distinct-1", "bits per byte")]
    print("| temperature | " + " | ".join(measure.name for measure in shown) + " |\n|---|" + "---|" * len(shown))
    for temperature in TEMPERATURES:
        cells = []
        for measure in shown:
            values = [*values_of(measure, judged[f"temperature {temperature:g}"]).values()]
            low, high = interval_of(values, measure.most)
            cells.append(f"{fmean(values):.3f} ({low:.3f} to {high:.3f})")
        print(f"| {temperature:g} | " + " | ".join(cells) + " |", flush=True)
    print()


if __name__ == "__main__":
    main()
