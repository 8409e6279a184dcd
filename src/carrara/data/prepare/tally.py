"""What the checks found, added up over chunks, and the account of it that the dossier shows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from carrara.data.checks.duplicates import EXACT, NEAR
from carrara.data.checks.minhash import NORMALISATION
from carrara.data.checks.personal import detectors, error_rates, load_plugins
from carrara.data.dataset import Split
from carrara.data.histogram import lengths
from carrara.data.prepare.duplication import Duplication
from carrara.data.prepare.rows import KeptRows
from carrara.recipe import PrepareRecipe
from carrara.tasks.questions import Against, Question

OWN_TEST = "test split"
_MOST_CLASSES = 200  # labels; a column of more is text, and stratifying by it means nothing
_SHOWN, _SHOWN_ROWS, _SHOWN_PERSONAL, _SHOWN_LABELS = 20, 4, 50, 50


@dataclass(frozen=True, slots=True)
class RowHit:
    """A row that holds a question of a benchmark."""

    row: int
    benchmark: str
    item: str
    how: str
    share: float


@dataclass
class Tally:
    """Findings of single rows, which are named by their number from 0."""

    labels: list[str | None] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    personal: dict[int, list[Any]] = field(default_factory=dict)  # row: [[field, type, count], …]
    snippets: list[list[Any]] = field(default_factory=list)  # [row, field, type, masked text]
    hits: list[RowHit] = field(default_factory=list)
    languages: Counter[str] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    long: int = 0
    cut: int = 0
    own_test: dict[str, Question] = field(default_factory=dict)

    def add(self, answer: Mapping[str, Any]) -> None:
        """Take in what an `Inspector` says of the next chunk."""
        start = len(self.labels)
        self.labels += answer["labels"]
        self.groups += answer["groups"]
        self.personal |= {start + place: found for place, found in answer["personal"]}
        room = _SHOWN_PERSONAL - len(self.snippets)
        self.snippets += [[start + place, *rest] for place, *rest in answer["snippets"][:room]]
        self.add_hits(start, answer["hits"])
        self.languages.update(answer["languages"])
        self.words.update({int(words): count for words, count in answer["words"].items()})
        self.long += answer["long"]
        self.cut += answer["cut"]

    def add_hits(self, start: int, hits: Sequence[Sequence[Any]]) -> None:
        """Take in hits whose rows are counted from `start`."""
        self.hits += [RowHit(start + place, *rest) for place, *rest in hits]

    def classes(self) -> list[str | None]:
        """The labels, or none where they are too many to be classes."""
        return self.labels if len(set(self.labels)) <= _MOST_CLASSES else [None] * len(self.labels)


def collect_checks(
    rows: KeptRows,
    tally: Tally,
    found: Duplication,
    splits: Sequence[Split],
    fates: Sequence[str | None],
    against: Sequence[Against],
    options: PrepareRecipe,
    display: Callable[[str], str],
) -> dict[str, Any]:
    """The parts of a dossier that know no model; `display` masks a text."""
    return {
        "labels": _labels(tally, splits, fates),
        "groups": len(set(tally.groups) - {None}) if options.group else None,
        "duplicates": _duplicates(rows, found, splits, display),
        "personal_data": _personal(rows, tally, options),
        "contamination": _contamination(rows, tally, splits, fates, against, options, display),
        "languages": dict(tally.languages.most_common()),
        "words": lengths(tally.words),
        "endings": {"without_end_mark": tally.cut, "share": tally.cut / tally.long if tally.long else 0.0},
    }


def _labels(tally: Tally, splits: Sequence[Split], fates: Sequence[str | None]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for label, split, fate in zip(tally.labels, splits, fates, strict=True):
        if label is not None and fate is None:
            counts[label][split] += 1
    most = sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    shown = {label: dict(count) for label, count in most[:_SHOWN_LABELS]}
    if rest := most[_SHOWN_LABELS:]:
        shown[f"… and {len(rest):,} more labels"] = dict(sum((count for _, count in rest), Counter()))
    return shown


def _duplicates(
    rows: KeptRows, found: Duplication, splits: Sequence[Split], display: Callable[[str], str]
) -> dict[str, Any]:
    clusters: dict[int, list[int]] = defaultdict(list)
    for number in sorted([*found.exact, *found.near]):
        clusters[int(found.copies[number])].append(number)
    largest = sorted(clusters.items(), key=lambda item: (-len(item[1]), item[0]))[:_SHOWN]
    return {
        "exact": len(found.exact),
        "near": len(found.near),
        "conflicting": len(found.conflicts),
        "normalisation": f"Exact copies: {EXACT} Near-copies: {NORMALISATION}",
        "threshold": NEAR,
        "clusters": [
            {"size": len(members) + 1, "split": splits[first], "rows": _members(rows, first, members, display)}
            for first, members in largest
        ],
        "conflicts": [
            {
                "prompt": display(rows.example(members[0]).context),
                "answers": [_place(rows, number) | {"text": display(rows.example(number).answer)}
                            for number in members[:_SHOWN_ROWS]],
            }
            for members in found.conflicts[:_SHOWN]
        ],
    }  # fmt: skip


def _members(rows: KeptRows, first: int, members: Sequence[int], display: Callable[[str], str]) -> list[dict[str, Any]]:
    from carrara.data.checks.minhash import jaccard
    from carrara.data.prepare.inspect import body_of

    lead = body_of(rows.example(first))
    shown = [_place(rows, first) | {"text": display(lead), "jaccard": None}]
    for number in members[: _SHOWN_ROWS - 1]:
        text = body_of(rows.example(number))
        shown.append(_place(rows, number) | {"text": display(text), "jaccard": jaccard(lead, text)})
    return shown


def _place(rows: KeptRows, number: int) -> dict[str, Any]:
    example = rows.example(number)
    return {"file": example.file, "row": example.row}


def _personal(rows: KeptRows, tally: Tally, options: PrepareRecipe) -> dict[str, Any]:
    values: Counter[str] = Counter()
    holding: Counter[str] = Counter()
    for findings in tally.personal.values():
        for _, kind, count in findings:
            values[kind] += count
        holding.update({kind for _, kind, _ in findings})
    plugins = load_plugins()
    return {
        "policy": options.personal_data,
        "rows": len(tally.personal),
        "types": {kind: {"values": count, "rows": holding[kind]} for kind, count in values.most_common()},
        "detectors": detectors(plugins),
        "names_checked": bool(plugins),
        "examples": [
            _place(rows, row) | {"field": place, "type": kind, "text": text}
            for row, place, kind, text in tally.snippets
        ],
        "error_rates": error_rates(),
    }


def _contamination(
    rows: KeptRows,
    tally: Tally,
    splits: Sequence[Split],
    fates: Sequence[str | None],
    against: Sequence[Against],
    options: PrepareRecipe,
    display: Callable[[str], str],
) -> dict[str, Any]:
    texts = {(q.benchmark, q.id): q.text for each in against for q in each.questions}
    texts |= {(OWN_TEST, item): display(question.text) for item, question in tally.own_test.items()}
    by_benchmark: dict[str, list[RowHit]] = defaultdict(list)
    for hit in tally.hits:
        by_benchmark[hit.benchmark].append(hit)

    def account(name: str, questions: int, source: str, sha256: str) -> dict[str, Any]:
        hits = by_benchmark[name]
        return {"name": name, "questions": questions, "source": source, "sha256": sha256, "state": "checked", "why": "",
                "rows": len({hit.row for hit in hits}), "items": len({hit.item for hit in hits})}  # fmt: skip

    checked = [account(each.name, len(each.questions), each.source, each.sha256) for each in against]
    own = account(OWN_TEST, len(tally.own_test), "this dataset", "")
    return {
        "policy": options.contamination,
        "benchmarks": [*checked, own] if tally.own_test else checked,
        "hits": [
            {
                "benchmark": hit.benchmark,
                "item": hit.item,
                "question": texts[hit.benchmark, hit.item],
                **_place(rows, hit.row),
                "split": splits[hit.row],
                "text": display("\n".join(m.content for m in rows.example(hit.row).messages if m.role != "system")),
                "how": hit.how,
                "share": hit.share,
                "action": "dropped" if fates[hit.row] else "kept",
            }
            for hit in tally.hits
        ],
    }
