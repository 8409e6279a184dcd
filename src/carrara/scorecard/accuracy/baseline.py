"""What a model makes of the user's own rows that were held out: loss, and what fits the kind of rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from carrara.data.render.ends import end_tokens
from carrara.data.render.example import Rendered, render_examples
from carrara.errors import Refusal
from carrara.evaluate.classification import macro_f1
from carrara.evaluate.correlation import fisher_interval, is_constant, spearman_parts
from carrara.evaluate.heldout import require_unlearned
from carrara.evaluate.scores import Record
from carrara.evaluate.text.overlap import chrf
from carrara.models.adapters import Adapted, switched_on
from carrara.models.embedder import embed
from carrara.models.generate import write_all
from carrara.models.load import Loaded
from carrara.progress import Progress
from carrara.scorecard.accuracy.heldout import Asked, held_out_rows, judge, parted
from carrara.scorecard.accuracy.interval import of_ratio, parts_of, resampled, value_and_interval
from carrara.scorecard.figure import BASE, Better, Figure, unknown
from carrara.scorecard.subject import Pair, Subject
from carrara.verdict.measures import ACC, BITS_PER_BYTE, LOSS, Measure

_FEWEST = 10  # pairs, of which a rank correlation is told
_WRITTEN, _LONGEST = 24, 96  # answers that are written, and their tokens


def baseline(subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
    """The model's figures on the held-out rows of its dataset, its base's beside; unknown, with the reason, if none."""
    try:
        asked = held_out_rows(subject.dataset, subject.seed)
        require_unlearned(subject.workspace, subject.model, subject.dataset)
        return _figures(pair(), asked, subject.seed, subject.progress)
    except Refusal as refusal:
        return [unknown("held-out loss", str(refusal))]


def _figures(pair: Pair, asked: Asked, seed: int, progress: Progress) -> list[Figure]:
    before = _judged(pair.base, asked, progress) if pair.base else []
    records = _judged(pair.model, asked, progress)
    how = f"{len(records):,} held-out rows, seed {seed}"
    found = _losses(records, before, "", how)
    found += _losses(before, [], BASE, how) if before else []
    for adapted, own, suffix in ((pair.model, records, ""), (pair.base, before, BASE)):
        if adapted and asked.labels:
            found += _labels(own, suffix, how)
        elif adapted:
            found.append(_other(adapted, asked, suffix, how))
    return found


def _judged(adapted: Adapted, asked: Asked, progress: Progress) -> list[Record]:
    with switched_on(adapted) as loaded:
        return judge(loaded, asked, progress)


def _losses(records: Sequence[Record], before: Sequence[Record], suffix: str, how: str) -> list[Figure]:
    loss, interval = value_and_interval(records, LOSS)
    bits, of_bits = value_and_interval(records, BITS_PER_BYTE)
    perplexity, source = math.exp(min(loss, 700.0)), f"answers of {how}; a ratio of sums, bootstrap over prompts"
    ends = interval and (math.exp(min(interval[0], 700.0)), math.exp(min(interval[1], 700.0)))
    unsure = f"It foretells the right answers as if it chose among {perplexity:,.1f} equally likely tokens each time."
    compared = _compared(records, before, LOSS) if before else ""
    figure = _measured(source, None, suffix)  # by tokens, which models of another family cut otherwise
    return [
        figure("held-out loss", loss, interval, "nats per token", compared or unsure),
        figure("held-out perplexity", perplexity, ends, "tokens", unsure),
        _measured(source, "lower", suffix)(
            "held-out bits per byte",
            bits,
            of_bits,
            "bits per byte",
            f"Each byte of the right answers costs it {bits:.2f} bits, whichever way a model cuts text into tokens.",
        ),
    ]


def _compared(records: Sequence[Record], before: Sequence[Record], measure: Measure) -> str:
    """What the paired difference to the base says, where both answered the same rows."""
    if [record.id for record in records] != [record.id for record in before]:
        return ""
    (tops, bottoms), (earlier, _) = parts_of(records, measure), parts_of(before, measure)
    if (interval := of_ratio(tops - earlier, bottoms)) is None:
        return ""
    low, high = interval
    change = float((tops - earlier).sum() / bottoms.sum())
    told = f"{change:+.3f} nats against its base ({low:+.3f} to {high:+.3f})"
    if high < 0:
        return f"It foretells the right answers better than before tuning: {told}."
    return f"It foretells them worse than before tuning: {told}." if low > 0 else f"No change can be told: {told}."


def _labels(records: Sequence[Record], suffix: str, how: str) -> list[Figure]:
    accuracy, interval = value_and_interval(records, ACC)
    right, count = sum(bool(record.correct) for record in records), len(records)
    commonest = Counter(record.gold for record in records).most_common(1)[0][1] / count
    labels = len(records[0].choices)
    meaning = (
        f"It gives {right} of {count} rows the right label; always the commonest would be right in {commonest:.0%}."
    )
    even, ends = macro_f1(records), resampled(records, macro_f1)
    if right in (0, count):  # drawn anew, all stay alike
        ends = interval and (interval[0] / 100, interval[1] / 100)
    alike = f"Where each label counts alike, however rare, it comes to {even:.0%}."
    figure = _measured(f"the likeliest of {labels} labels, {how}", "higher", suffix)
    return [
        figure("held-out accuracy", accuracy, interval, "%", meaning),
        figure("held-out macro-F1", 100 * even, ends and (100 * ends[0], 100 * ends[1]), "%", alike),
    ]


def _other(adapted: Adapted, asked: Asked, suffix: str, how: str) -> Figure:
    """How rows without labels are answered: pairs by the likeness of their embeddings, others by what is written."""
    with switched_on(adapted) as loaded:
        if all(example.pair and example.score is not None for example in asked.examples):
            return _similarity(loaded, asked, suffix, how)
        return _chrf(loaded, asked, suffix)


def _similarity(loaded: Loaded, asked: Asked, suffix: str, how: str) -> Figure:
    import numpy as np

    name = f"held-out Spearman{suffix}"
    if len(asked.examples) < _FEWEST:
        return unknown(name, f"{len(asked.examples)} held-out pairs are too few to rank; hold out {_FEWEST} or more")
    texts = [text for example in asked.examples for text in example.pair or ()]
    vectors = np.array([each.vector for each in embed(loaded, texts)], dtype=float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = np.sum(vectors[::2] * vectors[1::2], axis=1)
    scores = np.array([example.score for example in asked.examples], dtype=float)
    if not np.isfinite(cosines).all() or is_constant(scores) or is_constant(cosines):
        return unknown(name, "the scores or the embeddings of the held-out pairs are all alike, so none is nearer")
    parts = spearman_parts(scores, cosines)
    rho, error = float(parts.mean()), float(parts.std(ddof=1) / math.sqrt(len(parts)))
    source = f"cosines of mean hidden states against the rows' scores, {how}"
    meaning = f"It finds pairs alike as the rows' scores do with a rank correlation of {rho:.2f}; 1 is the same order."
    return _measured(source, "higher", suffix)("held-out Spearman", rho, fisher_interval(rho, error), "", meaning)


def _chrf(loaded: Loaded, asked: Asked, suffix: str) -> Figure:
    """chrF of answers that are written greedily, both sides cut at so many tokens."""
    import numpy as np

    name, ends = "held-out chrF", end_tokens(loaded)
    asks = [example for example in asked.examples if not example.is_document]
    asks = asks[:: math.ceil(len(asks) / _WRITTEN) or 1]  # from all over the file, which may be sorted
    rendered = render_examples(loaded.tokenizer, asks, asked.render, loaded.context)
    rows = [parted(row) for row in rendered if isinstance(row, Rendered)]
    if len(rows) < 2 or not ends:
        return unknown(f"{name}{suffix}", "the rows ask nothing that could be answered, or no token ends an answer")
    written = write_all(loaded, [prompt for prompt, _ in rows], _LONGEST, ends)
    wanted = [loaded.tokenizer.decode([*answer[:_LONGEST]], skip_special_tokens=True) for _, answer in rows]
    values = np.array([100 * chrf(answer.text, [str(text)]) for answer, text in zip(written, wanted, strict=True)])
    source = f"greedy, {len(rows)} held-out rows, the first {_LONGEST} tokens of either side"
    value, drawn = float(values.mean()), of_ratio(values, np.ones(len(values)))
    interval = drawn and (max(0.0, drawn[0]), min(100.0, drawn[1]))
    meaning = (
        f"What it writes shares {value:.0f} % of its runs of letters with the rows' answers; 100 is word for word."
    )
    return _measured(source, "higher", suffix)(name, value, interval, "%", meaning)


def _measured(source: str, better: Better | None, suffix: str) -> Callable[..., Figure]:
    """Figures that were measured in one way."""

    def figure(name: str, value: float, interval: tuple[float, float] | None, unit: str, meaning: str) -> Figure:
        return Figure(f"{name}{suffix}", value, interval, "measured", source, unit, better, meaning)

    return figure
