"""What a dossier holds; `dossier.json` is this, and the page shows all of it.

Every text from a row is masked of personal data unless `personal_data.values_shown` says otherwise. A row's place is
its file and its number in it, from 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict


class Source(TypedDict):
    """A file that was read; `mapping` names the field that each part came from."""

    file: str
    sha256: str
    format: str
    encoding: str
    shape: str
    mapping: Mapping[str, str]
    rows: int


class About(TypedDict):
    """The dataset; `created` is ISO 8601, `options` the recipe's section `prepare`."""

    name: str
    id: str
    created: str
    sources: Sequence[Source]
    options: Mapping[str, Any]


class Rows(TypedDict):
    """`read` is `kept` + `quarantined`, and `quarantined` is `unusable` + the sum of `dropped` by reason.

    `changed` are among the kept.
    """

    read: int
    kept: int
    quarantined: int
    unusable: int
    dropped: Mapping[str, int]
    changed: int


class Reason(TypedDict):
    """A kind of reason why rows were not taken, and where it was first met."""

    reason: str
    count: int
    file: str
    row: int
    field: str | None


class Copy(TypedDict):
    """A row of a cluster; `jaccard` is its likeness to the first, None for the first itself."""

    file: str
    row: int
    text: str
    jaccard: float | None


class Cluster(TypedDict):
    """Rows that are alike; all `size` of them are in `split`, a few are in `rows`."""

    size: int
    split: str
    rows: Sequence[Copy]


class Answer(TypedDict):
    file: str
    row: int
    text: str


class Conflict(TypedDict):
    """A prompt that is answered in more than one way."""

    prompt: str
    answers: Sequence[Answer]


class Duplicates(TypedDict):
    """`exact` and `near` count the rows that copy another, `conflicting` the prompts with several answers."""

    exact: int
    near: int
    kept: Mapping[str, int]
    conflicting: int
    normalisation: str
    threshold: float
    clusters: Sequence[Cluster]
    conflicts: Sequence[Conflict]


class TypeCount(TypedDict):
    values: int
    rows: int


class PersonalExample(TypedDict):
    file: str
    row: int
    field: str
    type: str
    text: str


class ErrorRate(TypedDict):
    recall: float
    precision: float


class PersonalData(TypedDict):
    """`rows` hold at least one value of any type; `detectors` are sentences that say what was looked for and how."""

    policy: Literal["report", "redact", "drop"]
    rows: int
    types: Mapping[str, TypeCount]
    detectors: Sequence[str]
    names_checked: bool
    values_shown: bool
    examples: Sequence[PersonalExample]
    error_rates: Mapping[str, ErrorRate]


class Benchmark(TypedDict):
    """`rows` were hit by `items` of its questions; `why` goes on after “was not checked because”."""

    name: str
    questions: int
    source: str
    sha256: str
    rows: int
    kept: int
    items: int
    state: Literal["checked", "not checked"]
    why: str


class Hit(TypedDict):
    """A row that copies a question; `share` is how much of the question is in the row."""

    benchmark: str
    item: str | int
    question: str
    file: str
    row: int
    split: str
    text: str
    how: Literal["verbatim", "near"]
    share: float
    action: Literal["kept", "dropped"]


class Contamination(TypedDict):
    policy: Literal["refuse", "drop", "report"]
    total: int
    benchmarks: Sequence[Benchmark]
    hits: Sequence[Hit]


# `from` is a keyword, so this one cannot be written as a class
Bin = TypedDict("Bin", {"from": int, "to": int, "count": int})


class Lengths(TypedDict):
    bins: Sequence[Bin]
    median: float
    p95: float
    longest: int


class Endings(TypedDict):
    """Of the completions of 20 words or more, those that end without a mark."""

    without_end_mark: int
    share: float


class CutRow(TypedDict):
    file: str
    row: int
    tokens: int
    lost: int


class Truncated(TypedDict):
    rows: int
    tokens_lost: int
    examples: Sequence[CutRow]


class SetAsideReason(TypedDict):
    reason: str
    count: int
    file: str
    row: int


class SetAside(TypedDict):
    """Rows that are kept but that the model's template cannot render, so that they are not trained on."""

    rows: int
    reasons: Sequence[SetAsideReason]


class Padding(TypedDict):
    share_useful: float


class Packing(TypedDict):
    window: int
    share_useful: float
    windows: int


class Tokens(Lengths):
    """Tokens under one model's tokenizer and template; `context` is what the model holds."""

    model: str
    context: int
    total: int
    supervised: int
    truncated: Truncated
    part_lost: str
    set_aside: SetAside
    padding: Padding
    packing: Packing


class Estimate(TypedDict):
    """What training will cost; `seconds` lies between `low` and `high`, `basis` says what that rests on."""

    method: str
    epochs: float
    tokens: int
    seconds: float
    low: float
    high: float
    memory: float  # bytes at the peak
    energy_wh: float
    money: float
    currency: str
    basis: str


class Shown(TypedDict):
    """A row token by token: `spans` are [kind, text], the kind being learned, context or special."""

    file: str
    row: int
    split: str
    learned: int
    tokens: int
    spans: Sequence[Sequence[str]]


class Dossier(TypedDict):
    """Everything; a part that was not measured is None or empty, and the page says so."""

    dataset: About
    rows: Rows
    splits: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int]]
    groups: int | None
    quarantine: Sequence[Reason]
    duplicates: Duplicates
    personal_data: PersonalData
    contamination: Contamination
    languages: Mapping[str, int]
    words: Lengths
    endings: Endings
    tokens: Tokens | None
    estimate: Estimate | None
    shown: Sequence[Shown]
