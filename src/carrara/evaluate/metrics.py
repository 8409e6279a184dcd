"""From log-likelihoods to records, and from records to a task's figures with their standard errors."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from carrara.evaluate import classification
from carrara.evaluate.classification import shares_of
from carrara.evaluate.protocol import Protocol
from carrara.evaluate.scores import Record
from carrara.evaluate.text.diversity import compression, distinct, self_bleu
from carrara.evaluate.text.overlap import corpus_bleu, corpus_chrf
from carrara.tasks.task import Item, Task

# Of texts that are compared with references: means over items, and then what only all texts together have.
LIKENESS = (
    "chrf",
    "bleu",
    "rouge_l",
    "repeated",
    "loops",
    "missing_end",
    "words",
    "corpus_chrf",
    "corpus_bleu",
    "distinct_1",
    "distinct_2",
    "distinct_3",
    "self_bleu",
    "compression",
)


def _texts(records: Sequence[Record]) -> list[str]:
    return [record.written for record in records]


def _references(records: Sequence[Record]) -> list[list[str]]:
    return [record.choices for record in records]


_OF_ALL: MappingProxyType[str, Callable[[Sequence[Record]], float]] = MappingProxyType(  # no mean over items
    {
        "macro_f1": classification.macro_f1,
        "balanced_accuracy": classification.balanced_accuracy,
        "brier": classification.brier,
        "ece": classification.calibration_error,
        "corpus_chrf": lambda records: corpus_chrf(_texts(records), _references(records)),
        "corpus_bleu": lambda records: corpus_bleu(_texts(records), _references(records)),
        "distinct_1": lambda records: distinct(_texts(records), 1),
        "distinct_2": lambda records: distinct(_texts(records), 2),
        "distinct_3": lambda records: distinct(_texts(records), 3),
        "self_bleu": lambda records: self_bleu(_texts(records)),
        "compression": lambda records: compression(_texts(records)),
    }
)
_OF_INSTRUCTIONS = MappingProxyType({"instruction_strict": "followed_strict", "instruction_loose": "followed_loose"})


@dataclass(frozen=True)
class Figure:
    """One figure of a task; `stderr` None where it has none."""

    task: str
    metric: str
    value: float
    stderr: float | None
    n: int
    seconds: float


def record_of_choice(
    task: Task,
    protocol: Protocol,
    item: Item,
    prompt: str,
    loglikelihoods: list[float],
    tokens: int,
    seconds: float,
    cut: bool = False,
) -> Record:
    """The record of a question with choices. Ties go to the first choice, as in the harness."""
    characters = [ll / max(1, len(choice)) for ll, choice in zip(loglikelihoods, item.choices, strict=True)]
    prediction, prediction_norm = _first_largest(loglikelihoods), _first_largest(characters)
    texts = [task.target_delimiter + choice for choice in item.choices]
    is_choice = task.kind == "choice"
    share = shares_of(loglikelihoods)
    mass = truth_mass(loglikelihoods, item.labels, protocol) if not is_choice else 0.0
    return Record(
        task=task.name,
        item=item.position,
        id=item.id,
        question=item.question or item.context,
        choices=list(item.answers or item.choices),
        prompt_sha256=hashlib.sha256("\0".join([prompt, *item.stems]).encode("utf-8")).hexdigest(),
        loglikelihoods=loglikelihoods,
        prediction=prediction,
        gold=item.gold,
        correct=prediction == item.gold if is_choice else None,
        prediction_norm=prediction_norm if is_choice else None,
        correct_norm=prediction_norm == item.gold if is_choice else None,
        value=float(prediction == item.gold) if is_choice else mass,
        gold_probability=share[item.gold],
        gold_bits_per_byte=-loglikelihoods[item.gold] / math.log(2) / len(texts[item.gold].encode("utf-8")),
        tokens=tokens,
        bytes=sum(len(text.encode("utf-8")) for text in texts),
        seconds=seconds,
        labels=list(item.labels),
        category=item.category,
        cluster=item.cluster,
        cut=cut,
    )


def _first_largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda index: (values[index], -index))


def truth_mass(loglikelihoods: Sequence[float], labels: Sequence[int], protocol: Protocol) -> float:
    """mc2: the probability of the true choices. The old harness took all choices before the first false one."""
    share = shares_of(loglikelihoods)
    if protocol.truth_labels == "split_at_first_false":
        first_false = labels.index(0) if 0 in labels else len(labels)
        return sum(share[:first_false])
    return sum(p for p, label in zip(share, labels, strict=True) if label == 1)


def figures(records: Sequence[Record], protocol: Protocol, task: Task | None = None) -> list[Figure]:
    """The figures of a task's records, at least one; without a task they are of a dataset's own rows.

    Beside the metrics of a task with choices stand the bits per byte of the right answer and its probability among the
    choices, which see small changes sooner than which answer is likeliest (arXiv 2508.13144).
    """
    name, seconds, n = records[0].task, sum(record.seconds for record in records), len(records)
    if task is None and not records[0].measures:
        return _text_figures(records, name, seconds)
    metrics = (*LIKENESS, "recited") if task is None else task.metrics
    if task is not None and task.kind != "text":
        metrics = (*metrics, "gold_bits_per_byte", "gold_probability")
    by_category = task is not None and task.has_category_mean and protocol.category_mean
    found = []
    for metric in metrics:
        value, error = _figure(records, metric, by_category)
        found.append(Figure(name, metric, value, error, n, seconds))
    return found


def _figure(records: Sequence[Record], metric: str, by_category: bool) -> tuple[float, float | None]:
    """A metric over records, and its standard error if it has one. Each instruction counts alike, not each item."""
    if metric in _OF_ALL:
        return _OF_ALL[metric](records), None
    if metric in _OF_INSTRUCTIONS:
        followed = [record.measures[_OF_INSTRUCTIONS[metric]] for record in records]
        return _ratio(followed, [record.measures["instructions"] for record in records])
    values = [_value(record, metric) for record in records]
    return _mean_of_categories(records, values) if by_category else (_mean(values), _stderr(values))


def guessing(records: Sequence[Record]) -> tuple[float, float]:
    """What guessing among the choices scores, and the standard error of that."""
    chances = [1 / len(record.choices) for record in records]
    return _mean(chances), math.sqrt(sum(chance * (1 - chance) for chance in chances)) / len(chances)


def below_guessing(records: Sequence[Record], found: Sequence[Figure]) -> list[str]:
    """A sentence for each accuracy among choices that is more than 2 standard errors below guessing."""
    accuracies = [figure for figure in found if figure.metric in ("acc", "acc_norm")]
    if not accuracies:
        return []
    chance, error = guessing(records)
    return [
        f"{figure.task} {figure.metric}: {100 * figure.value:.1f} % is more than 2 standard errors below guessing "
        f"({100 * chance:.1f} %); the labels may be shifted, the prompt in another form, or the model damaged."
        for figure in accuracies
        if figure.value < chance - 2 * error
    ]


def _value(record: Record, metric: str) -> float:
    if metric in record.measures:
        return record.measures[metric]
    if metric == "none":
        return float(record.prediction is None)
    if metric == "acc":
        return float(bool(record.correct))
    if metric == "acc_norm":
        return float(bool(record.correct_norm))
    value = record.value if metric == "mc2" else getattr(record, metric)
    return float(value)


def _mean_of_categories(records: Sequence[Record], values: Sequence[float]) -> tuple[float, float | None]:
    """The mean of the categories' means, and its standard error from theirs."""
    members: dict[str, list[float]] = {}
    for record, value in zip(records, values, strict=True):
        members.setdefault(record.category, []).append(value)
    errors = [_stderr(of_one) for of_one in members.values()]
    known = [error for error in errors if error is not None]
    error = math.sqrt(sum(error**2 for error in known)) / len(errors) if len(known) == len(errors) else None
    return _mean([_mean(of_one) for of_one in members.values()]), error


def _text_figures(records: Sequence[Record], task: str, seconds: float) -> list[Figure]:
    nats = [record.value for record in records]
    loss, loss_error = _ratio(nats, [record.tokens for record in records])
    perplexity = math.exp(min(loss, 700.0))
    bits, bits_error = _ratio([value / math.log(2) for value in nats], [record.bytes for record in records])
    n = len(records)
    return [
        Figure(task, "loss", loss, loss_error, n, seconds),
        Figure(task, "perplexity", perplexity, perplexity * loss_error if loss_error is not None else None, n, seconds),
        Figure(task, "bits_per_byte", bits, bits_error, n, seconds),
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _stderr(values: Sequence[float]) -> float | None:
    """Sample standard deviation over the root of n; None for a single value."""
    n = len(values)
    if n < 2:
        return None
    mean = _mean(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)


def _ratio(tops: Sequence[float], bottoms: Sequence[float]) -> tuple[float, float | None]:
    """A ratio of sums, and its standard error by linearisation over the rows."""
    total = sum(bottoms)
    ratio = sum(tops) / total
    residuals = [(top - ratio * bottom) * len(tops) / total for top, bottom in zip(tops, bottoms, strict=True)]
    return ratio, _stderr(residuals)
