"""What the data takes: its rows and their tokens."""

from __future__ import annotations

from collections.abc import Callable

from carrara.data.render.dataset import count_tokens, render_usable
from carrara.scorecard.figure import Figure, unknown
from carrara.scorecard.subject import Pair, Subject

ROWS, TOKENS, LEARNED = "rows to label", "tokens to train on", "tokens that are learned"


def data_figures(subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
    """Rows of the dataset, all of which somebody labelled, and the training rows' tokens under this tokenizer."""
    if subject.dataset is None:
        return [unknown(ROWS, "no dataset is known of this model; name one with --data")]
    loaded = pair().model.loaded
    splits = subject.dataset.artefact.summary["splits"]
    rows = sum(splits.values())
    told = ", ".join(f"{count:,} {name}" for name, count in splits.items())
    tokens = count_tokens(render_usable(subject.dataset, "train", loaded.tokenizer, loaded.context, subject.progress))
    name = subject.dataset.artefact.name
    source = f"counted, {splits['train']:,} training rows of {name} under the model's tokenizer"
    return [
        Figure(ROWS, rows, None, "measured", f"counted in {name}: {told}", "rows", None, "Each had to be written."),
        Figure(TOKENS, tokens.total, None, "measured", source, "tokens", None, "What one epoch goes through."),
        Figure(LEARNED, tokens.supervised, None, "measured", source, "tokens", None, "The answers among them."),
    ]
