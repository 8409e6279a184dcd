"""Document similarity: whether a model's embeddings find alike what people find alike, and find it among others.

The raw cosines of two models say nothing beside each other, since a language model's embeddings crowd in one direction
(arXiv 1909.00512). So their ranks are judged, and how much they crowd is told beside: `anisotropy`, the mean cosine of
texts that were not paired.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from carrara.errors import Refusal
from carrara.evaluate.ask import Questions
from carrara.evaluate.correlation import Array, fisher_interval, is_constant, pearson_parts, spearman_parts
from carrara.evaluate.metrics import Figure
from carrara.evaluate.retrieval import ndcg, recall
from carrara.evaluate.scores import Record
from carrara.models.embedder import Embedded, embed
from carrara.models.load import Loaded
from carrara.progress import Progress
from carrara.tasks.task import Item

_CORRELATIONS = ("spearman", "pearson")
_METRICS = (*_CORRELATIONS, "recall_at_1", "recall_at_10", "ndcg_at_10", "anisotropy")
_RELEVANT = 0.8  # of the highest score, from which on the second text of a pair is what a search for the first is after
_SEED = 0  # of the pairs for anisotropy


@dataclass(frozen=True)
class _Pair:
    """An item with the embeddings of its two texts."""

    item: Item
    first: Embedded
    second: Embedded
    seconds: float

    @property
    def score(self) -> float:
        assert self.item.score is not None, "readers of pairs give each a score"
        return self.item.score


def similarity_records(loaded: Loaded, questions: Questions, progress: Progress) -> list[Record]:
    """The records of a task of pairs; `measures` has `cosine` and `gold`, and each item's part in every figure.

    `value` is the item's part in Spearman's rho. Queries are the first texts of the pairs that people find most alike,
    each once, at its first such pair; they are looked for among all second texts. Raises Refusal where no correlation
    is defined.
    """
    name = questions.task.name
    pairs = _embedded(loaded, questions, progress)
    firsts = _directions([pair.first.vector for pair in pairs])
    seconds = _directions([pair.second.vector for pair in pairs])
    gold, cosines = np.array([pair.score for pair in pairs]), np.sum(firsts * seconds, axis=1)
    _require_spread(gold, cosines)
    if cut := sum(pair.first.cut or pair.second.cut for pair in pairs):
        progress.say(f"{name}: {cut:,} items do not fit the model's context and lost the end of a text")
    columns = {
        "cosine": cosines,
        "gold": gold,
        "spearman": spearman_parts(gold, cosines),
        "pearson": pearson_parts(gold, cosines),
        "anisotropy": np.sum(firsts * seconds[_partners(len(pairs))], axis=1),
    }
    highest = max(item.score or 0.0 for item in questions.items.values())
    found = _searched(pairs, firsts, seconds, _RELEVANT * highest * (1 - 1e-12))  # 0.8 * 3 is more than 2.4
    return [
        _record(name, pair, {key: float(column[place]) for key, column in columns.items()} | found.get(place, {}))
        for place, pair in enumerate(pairs)
    ]


def similarity_figures(records: Sequence[Record]) -> list[Figure]:
    """The figures of a task of pairs with their standard errors; those of retrieval only where there are queries."""
    seconds = sum(record.seconds for record in records)
    found = []
    for metric in _METRICS:
        values = [record.measures[metric] for record in records if metric in record.measures]
        if values:
            error = stdev(values) / sqrt(len(values)) if len(values) > 1 else None
            found.append(Figure(records[0].task, metric, fmean(values), error, len(values), seconds))
    return found


def intervals(found: Sequence[Figure]) -> dict[str, dict[str, tuple[float, float]]]:
    """By task the 95 % interval of each correlation."""
    told: dict[str, dict[str, tuple[float, float]]] = {}
    for figure in found:
        if figure.metric in _CORRELATIONS and figure.stderr is not None:
            told.setdefault(figure.task, {})[figure.metric] = fisher_interval(figure.value, figure.stderr)
    return told


def _embedded(loaded: Loaded, questions: Questions, progress: Progress) -> list[_Pair]:
    """The wanted items with their embeddings, in order; whole blocks are embedded, so that a limit changes no bit."""
    found: dict[int, _Pair] = {}
    with progress.track(questions.task.name, sum(questions.wanted), "pair") as advance:
        for block in questions.blocks:
            wanted = [place for place in block if questions.wanted[place]]
            if not wanted:
                continue
            began = time.monotonic()
            items = {place: questions.item(place) for place in block}
            vectors = iter(embed(loaded, [text for item in items.values() for text in (item.context, item.choices[0])]))
            sides = {place: (next(vectors), next(vectors)) for place in block}
            seconds = (time.monotonic() - began) / len(block)
            found |= {place: _Pair(items[place], *sides[place], seconds) for place in wanted}
            advance(len(wanted))
    return [found[place] for place in sorted(found)]


def _directions(vectors: Sequence[NDArray[np.float32]]) -> Array:
    """The vectors at length 1, `(n, width)`."""
    stacked = np.array(vectors, dtype=float)
    with np.errstate(invalid="ignore"):  # what is no number is refused soon
        return stacked / np.linalg.norm(stacked, axis=1, keepdims=True)


def _require_spread(gold: Array, cosines: Array) -> None:
    if broken := int(np.sum(~np.isfinite(cosines))):
        raise Refusal(
            f"the embeddings of {broken} items are no numbers; the model's weights are damaged or overflow, or "
            "a text has no tokens; evaluate with --dtype float32, or mend the texts."
        )
    for values, what in ((gold, "scores that people gave"), (cosines, "cosines of the embeddings")):
        if is_constant(values):
            raise Refusal(f"the {what} are all the same, so nothing can be correlated; ask more items.")


def _partners(count: int) -> list[int]:
    """For each item another one, drawn so that every item is the partner of one."""
    order = np.random.default_rng(_SEED).permutation(count)
    partners = np.empty(count, dtype=int)
    partners[order] = np.roll(order, 1)
    return partners.tolist()


def _searched(pairs: Sequence[_Pair], firsts: Array, seconds: Array, relevant: float) -> dict[int, dict[str, float]]:
    """What was found for each query, by the place of its pair; the corpus is every second text, each once.

    A text is relevant to a query if a pair of both scores at least `relevant`; in nDCG each gains its pair's score.
    """
    gains: dict[str, dict[str, float]] = {}
    for pair in pairs:
        known = gains.setdefault(pair.item.context, {})
        known[pair.item.choices[0]] = max(pair.score, known.get(pair.item.choices[0], 0.0))
    corpus: dict[str, int] = {}
    for place, pair in enumerate(pairs):
        corpus.setdefault(pair.item.choices[0], place)
    texts, vectors = list(corpus), seconds[list(corpus.values())]
    found: dict[int, dict[str, float]] = {}
    done: set[str] = set()
    for place, pair in enumerate(pairs):
        query = pair.item.context
        if query in done or pair.score < relevant:
            continue
        done.add(query)
        ranked = [texts[index] for index in np.argsort(-(vectors @ firsts[place]), kind="stable")[:10]]
        sought = [text for text, score in gains[query].items() if score >= relevant]
        found[place] = {
            "recall_at_1": recall(ranked, sought, 1),
            "recall_at_10": recall(ranked, sought, 10),
            "ndcg_at_10": ndcg(ranked, gains[query], 10),
        }
    return found


def _record(task: str, pair: _Pair, measures: dict[str, float]) -> Record:
    item, text = pair.item, pair.item.choices[0]
    asked = "\0".join([item.context, text, repr(pair.score)])
    return Record(
        task=task,
        item=item.position,
        id=item.id,
        question=item.context,
        choices=[text],
        prompt_sha256=hashlib.sha256(asked.encode("utf-8")).hexdigest(),
        value=measures["spearman"],
        tokens=pair.first.tokens + pair.second.tokens,
        bytes=len(item.context.encode("utf-8")) + len(text.encode("utf-8")),
        seconds=pair.seconds,
        category=item.category,
        cluster=item.cluster,
        cut=pair.first.cut or pair.second.cut,
        measures=measures,
    )
