"""A dossier with something in every part, and one with nothing in most."""

from __future__ import annotations

from carrara.data.dossier import Dossier
from carrara.data.dossier.content import Benchmark, Hit, Lengths

LENGTHS: Lengths = {
    "bins": [{"from": 0, "to": 15, "count": 20}, {"from": 16, "to": 31, "count": 61}],
    "median": 18,
    "p95": 30,
    "longest": 31,
}


def benchmark(name: str, checked: bool = True) -> Benchmark:
    return {
        "name": name,
        "questions": 1172 if checked else 0,
        "source": "folder" if checked else "",
        "sha256": "ab" * 32 if checked else "",
        "rows": 1 if checked else 0,
        "kept": 1 if checked else 0,
        "items": 1 if checked else 0,
        "state": "checked" if checked else "not checked",
        "why": "" if checked else "it is not at hand",
    }


def hit(row: int = 7, text: str = "Which stone is white, marble?") -> Hit:
    return {
        "benchmark": "arc_challenge",
        "item": "Mercury_1",
        "question": "Which stone is white?",
        "file": "pairs.jsonl",
        "row": row,
        "split": "train",
        "text": text,
        "how": "verbatim",
        "share": 1.0,
        "action": "kept",
    }


def full() -> Dossier:
    """100 rows: 81 kept, 19 in quarantine, 10 of them dropped."""
    return {
        "dataset": {
            "name": "pairs.jsonl",
            "id": "dataset/0123456789abcdef",
            "created": "2025-03-04T05:06:07.000008+00:00",
            "sources": [
                {
                    "file": "pairs.jsonl",
                    "sha256": "cd" * 32,
                    "format": "JSON lines",
                    "encoding": "UTF-8",
                    "shape": "prompt and completion",
                    "mapping": {"prompt": "question"},
                    "rows": 100,
                }
            ],
            "options": {"map": {"prompt": "question"}, "seed": 3, "group": None, "against": ["arc_challenge", "x y"]},
        },
        "rows": {
            "read": 100,
            "kept": 81,
            "quarantined": 19,
            "unusable": 9,
            "dropped": {"exact_duplicate": 7, "near_duplicate": 3},
            "changed": 2,
        },
        "splits": {"train": 70, "validation": 4, "test": 7},
        "labels": {"good": {"train": 60, "validation": 4}, "rare": {"test": 2}},
        "groups": 5,
        "quarantine": [{"reason": "is empty", "count": 9, "field": "completion", "file": "pairs.jsonl", "row": 12}],
        "duplicates": {
            "exact": 7,
            "near": 4,
            "kept": {"exact": 0, "near": 0},
            "conflicting": 1,
            "normalisation": "Case and white space do not count.",
            "threshold": 0.8,
            "clusters": [
                {
                    "size": 8,
                    "split": "train",
                    "rows": [
                        {"file": "pairs.jsonl", "row": 1, "text": "one block of marble", "jaccard": None},
                        {"file": "pairs.jsonl", "row": 2, "text": "one slab of marble", "jaccard": 0.85},
                    ],
                }
            ],
            "conflicts": [
                {
                    "prompt": "Is marble hard?",
                    "answers": [
                        {"file": "pairs.jsonl", "row": 3, "text": "Yes, it is."},
                        {"file": "pairs.jsonl", "row": 4, "text": "No, it is soft."},
                    ],
                }
            ],
        },
        "personal_data": {
            "policy": "report",
            "rows": 2,
            "types": {"email": {"values": 3, "rows": 2}},
            "detectors": ["e-mail addresses by their form"],
            "names_checked": False,
            "values_shown": False,
            "examples": [
                {"file": "pairs.jsonl", "row": 5, "field": "prompt", "type": "email", "text": "to <EMAIL> by"}
            ],
            "error_rates": {"email": {"recall": 0.991, "precision": 0.982}},
        },
        "contamination": {
            "policy": "report",
            "benchmarks": [benchmark("arc_challenge"), benchmark("truthfulqa", checked=False)],
            "total": 1,
            "hits": [hit()],
        },
        "languages": {"en": 80, "it": 1},
        "words": LENGTHS,
        "endings": {"without_end_mark": 6, "share": 0.12},
        "tokens": {
            "model": "tiny",
            "context": 30,
            "total": 2000,
            "supervised": 1240,
            **LENGTHS,
            "truncated": {
                "rows": 1,
                "tokens_lost": 1,
                "examples": [{"file": "pairs.jsonl", "row": 12, "tokens": 31, "lost": 1}],
            },
            "part_lost": "the beginning of the context",
            "set_aside": {
                "rows": 1,
                "reasons": [{"reason": "two users in turn", "count": 1, "file": "pairs.jsonl", "row": 12}],
            },
            "padding": {"share_useful": 0.94},
            "packing": {"window": 1024, "share_useful": 0.991, "windows": 2},
        },
        "estimate": {
            "method": "LoRA",
            "epochs": 1.0,
            "tokens": 2000,
            "seconds": 1500,
            "low": 1200,
            "high": 2100,
            "memory": 2.5e9,
            "energy_wh": 9.87,
            "money": 0.003,
            "currency": "EUR",
            "basis": "It rests on this machine's speed.",
        },
        "shown": [
            {
                "file": "pairs.jsonl",
                "row": 12,
                "split": "train",
                "learned": 4,
                "tokens": 9,
                "spans": [["special", "<|user|>"], ["context", "Hard?"], ["learned", "Yes, it is."]],
            }
        ],
    }


def clean() -> Dossier:
    """100 rows in which nothing was found and nothing beyond the rows was measured."""
    dossier = full()
    dossier["rows"] = {"read": 100, "kept": 100, "quarantined": 0, "unusable": 0, "dropped": {}, "changed": 0}
    dossier["splits"] = {"train": 80, "validation": 10, "test": 10}
    dossier["labels"], dossier["groups"], dossier["quarantine"] = {}, None, []
    dossier["duplicates"].update(
        {"exact": 0, "near": 0, "kept": {"exact": 0, "near": 0}, "conflicting": 0, "clusters": [], "conflicts": []}
    )
    dossier["personal_data"].update({"rows": 0, "types": {}, "names_checked": True, "examples": [], "error_rates": {}})
    dossier["contamination"].update({"benchmarks": [], "total": 0, "hits": []})
    dossier["languages"] = {}
    dossier["words"] = {"bins": [], "median": 0, "p95": 0, "longest": 0}
    dossier["endings"] = {"without_end_mark": 0, "share": 0.0}
    dossier["tokens"], dossier["estimate"], dossier["shown"] = None, None, []
    return dossier
