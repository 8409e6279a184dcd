"""The account of all checks that is kept beside the rows: the parts of a dossier that know no model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice
from typing import Any

from carrara.data.checks.duplicates import EXACT, NEAR
from carrara.data.checks.minhash import NORMALISATION, jaccard
from carrara.data.checks.personal import descriptions, error_rates, load_plugins
from carrara.data.histogram import lengths
from carrara.data.prepare.leaks import hit_entries
from carrara.data.prepare.outcome import Outcome
from carrara.data.prepare.tally import MOST_CLASSES, OWN_TEST, RowHit
from carrara.tasks.questions import Against

_SHOWN, _SHOWN_ROWS, _SHOWN_HITS = 20, 4, 500


def collect_checks(outcome: Outcome, against: Sequence[Against]) -> dict[str, Any]:
    """What was found, every text as it may be shown."""
    tally = outcome.tally
    return {
        "labels": _labels(outcome),
        "groups": len(set(tally.groups) - {None}) if outcome.options.group else None,
        "duplicates": _duplicates(outcome),
        "personal_data": _personal(outcome),
        "contamination": _contamination(outcome, against),
        "languages": dict(tally.languages.most_common()),
        "words": lengths(tally.words),
        "endings": {"without_end_mark": tally.cut, "share": tally.cut / tally.long if tally.long else 0.0},
    }


def _labels(outcome: Outcome) -> dict[str, dict[str, int]]:
    """Rows of each label by split; of a column with too many values only how many there are."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for number, label in enumerate(outcome.tally.labels):
        if label is not None and outcome.is_kept(number):
            counts[label][outcome.splits[number]] += 1
    if len(counts) > MOST_CLASSES:
        return {f"{len(counts):,} values, too many to be classes": dict(sum(counts.values(), Counter()))}
    most = sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    return {outcome.display(label): dict(count) for label, count in most}


def _duplicates(outcome: Outcome) -> dict[str, Any]:
    found = outcome.found
    conflicts = [members for members in found.conflicts if _still_conflicts(outcome, members)]
    clusters: dict[int, list[int]] = defaultdict(list)
    for number in sorted([*found.exact, *found.near]):
        clusters[int(found.copies[number])].append(number)
    largest = sorted(clusters.items(), key=lambda item: (-len(item[1]), item[0]))[:_SHOWN]
    return {
        "exact": len(found.exact),
        "near": len(found.near),
        "kept": {
            "exact": sum(outcome.is_kept(row) for row in found.exact),
            "near": sum(outcome.is_kept(row) for row in found.near),
        },
        "conflicting": len(conflicts),
        "normalisation": f"Exact copies: {EXACT} Near-copies: {NORMALISATION}",
        "threshold": NEAR,
        "clusters": [
            {"size": len(members) + 1, "split": outcome.splits[first], "rows": _members(outcome, first, members)}
            for first, members in largest
        ],
        "conflicts": [_conflict(outcome, members) for members in conflicts[:_SHOWN]],
    }


def _still_conflicts(outcome: Outcome, members: Sequence[int]) -> bool:
    """Whether the rows that are kept answer their prompt in more than one way."""
    return len({int(outcome.rows.answer[row]) for row in members if outcome.is_kept(row)}) > 1


def _members(outcome: Outcome, first: int, members: Sequence[int]) -> list[dict[str, Any]]:
    lead = outcome.rows.example(first).body
    shown = [outcome.where(first) | {"text": outcome.display(lead), "jaccard": None}]
    for number in members[: _SHOWN_ROWS - 1]:
        text = outcome.rows.example(number).body
        shown.append(outcome.where(number) | {"text": outcome.display(text), "jaccard": jaccard(lead, text)})
    return shown


def _conflict(outcome: Outcome, members: Sequence[int]) -> dict[str, Any]:
    answers = [
        outcome.where(number) | {"text": outcome.display(outcome.rows.example(number).answer)}
        for number in members[:_SHOWN_ROWS]
    ]
    return {"prompt": outcome.display(outcome.rows.example(members[0]).context), "answers": answers}


def _personal(outcome: Outcome) -> dict[str, Any]:
    values: Counter[str] = Counter()
    holding: Counter[str] = Counter()
    for found in outcome.tally.personal.values():
        for _, kind, count in found:
            values[kind] += count
        holding.update({kind for _, kind, _ in found})
    plugins = load_plugins()
    return {
        "policy": outcome.options.personal_data,
        "rows": len(outcome.tally.personal),
        "types": {kind: {"values": count, "rows": holding[kind]} for kind, count in values.most_common()},
        "detectors": descriptions(plugins),
        "names_checked": bool(plugins),
        "examples": [
            outcome.where(row) | {"field": field, "type": kind, "text": text}
            for row, field, kind, text in outcome.tally.snippets
        ],
        "error_rates": error_rates(),
    }


def _contamination(outcome: Outcome, against: Sequence[Against]) -> dict[str, Any]:
    hits = [hit for row in outcome.tally.hits.values() for hit in row]
    checked = [_checked(outcome, each.name, len(each.questions), each.source, each.sha256, hits) for each in against]
    if outcome.tally.own_test:
        checked.append(_checked(outcome, OWN_TEST, len(outcome.tally.own_test), "this dataset", "", hits))
    return {
        "policy": outcome.options.contamination,
        "benchmarks": checked,
        "total": len(hits),
        "hits": list(islice(hit_entries(outcome, against), _SHOWN_HITS)),
    }


def _checked(
    outcome: Outcome, name: str, questions: int, source: str, sha256: str, hits: Sequence[RowHit]
) -> dict[str, Any]:
    mine = [hit for hit in hits if hit.benchmark == name]
    return {
        "name": name,
        "questions": questions,
        "source": source,
        "sha256": sha256,
        "state": "checked",
        "why": "",
        "rows": len({hit.row for hit in mine}),
        "kept": len({hit.row for hit in mine if outcome.is_kept(hit.row)}),
        "items": len({hit.item for hit in mine}),
    }
