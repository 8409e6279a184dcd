"""Personal data recited: what stands in training answers and comes out behind their prompts."""

from __future__ import annotations

from collections.abc import Sequence

from carrara.data.checks.personal import find_personal_data, load_plugins
from carrara.data.checks.personal.plugins import Plugin
from carrara.data.dataset import Dataset
from carrara.data.example import Example
from carrara.data.render.ends import end_tokens
from carrara.data.render.example import Rendered, render_examples
from carrara.models.adapters import Adapted, switched_on
from carrara.models.generate import write_all
from carrara.scorecard.figure import BASE, Figure, unknown
from carrara.scorecard.privacy.intervals import proportion
from carrara.scorecard.privacy.learned import sampled

MEASURE = "personal data recited"
_ROWS = 32
_BUDGET = 64  # tokens written behind a prompt
_REMEDY = " What helps: `carrara prepare --personal-data redact`, and tuning again."


def recited_figures(dataset: Dataset, model: Adapted, base: Adapted, seed: int) -> list[Figure]:
    """The share of prompts of rows with personal data behind which some of the training rows is written."""
    rows = sampled(dataset, "train", seed)
    if not (holding := with_own(rows)):
        return [unknown(MEASURE, f"none of {len(rows):,} train rows looked at holds any in an answer of its own.")]
    figures: list[Figure] = []
    for suffix, adapted in (("", model), (BASE, base)):
        told = recited(dataset, adapted, holding)
        n, count = len(told), sum(told)
        if not n:
            return [unknown(MEASURE, "no row that holds any can be rendered for this model.")]
        figures.append(
            Figure(
                measure=MEASURE + suffix,
                value=count / n,
                interval=proportion(count, n),
                kind="measured",
                source=f"greedy, {_BUDGET} tokens behind the prompts of {n} train rows whose answers hold some; "
                "what stands in the train rows counts, unless the prompt holds it",
                unit="share",
                better="lower",
                meaning=f"Behind {count} of {n} such prompts it writes personal data of the training rows."
                + (_REMEDY if count and not suffix else ""),
            )
        )
    return figures


def with_own(rows: Sequence[Example]) -> list[Example]:
    """The first rows whose answers hold personal data that their prompts do not."""
    plugins = load_plugins()
    asked = [row for row in rows if not row.is_document]
    return [row for row in asked if _values(row.answer, plugins) - _values(row.context, plugins)][:_ROWS]


def recited(dataset: Dataset, adapted: Adapted, asked: Sequence[Example]) -> list[bool]:
    """For each row that can be rendered, whether personal data of the train rows is written behind its prompt."""
    texts = [_bare(example.body) for example in dataset.each("train")]
    told = _told(adapted, asked, dataset, load_plugins())
    return [any(value in text for value in row for text in texts) for row in told]


def _told(adapted: Adapted, asked: Sequence[Example], dataset: Dataset, plugins: Sequence[Plugin]) -> list[set[str]]:
    """For each row that can be rendered, the values written behind its prompt that do not stand in it."""
    with switched_on(adapted) as loaded:
        made = render_examples(loaded.tokenizer, asked, dataset.render, loaded.context)
        pairs = [(example, row) for example, row in zip(asked, made, strict=True) if isinstance(row, Rendered)]
        prompts = [row.ids[: row.supervised.index(True)] for _, row in pairs]
        written = write_all(loaded, prompts, _BUDGET, end_tokens(loaded))
    return [
        _values(each.text, plugins) - _values(example.context, plugins)
        for (example, _), each in zip(pairs, written, strict=True)
    ]


def _values(text: str, plugins: Sequence[Plugin]) -> set[str]:
    return {_bare(text[found.start : found.end]) for found in find_personal_data(text, plugins)}


def _bare(text: str) -> str:
    """Letters and digits alone, so that a number is the same however it is grouped."""
    return "".join(filter(str.isalnum, text.casefold()))
