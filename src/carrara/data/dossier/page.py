"""The dossier as JSON and as one page for people, which holds everything, loads nothing and runs nothing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from carrara import wording
from carrara.data.align import align_words
from carrara.data.dataset import FATES
from carrara.data.dossier.content import Dossier, Hit
from carrara.data.dossier.plots import histogram
from carrara.data.dossier.remarks import Remark, fitness, remarks, unaccounted
from carrara.pages import environment
from carrara.workspace.files import write_atomically

_Piece = tuple[str, bool]  # some words, and whether the text beside has them too

DOSSIER_JSON = "dossier.json"
DOSSIER_PAGE = "dossier.html"

_MOST_DECISIONS = 5  # at the top of the page; the rest follows among the notes
_MOST_HITS = 200
_MOST_LANGUAGES = 12
_HEADLINES = {
    "fit": "This data is fit to train on.",
    "fit once decided": "This data is fit to train on once {} decided.",
    "not fit": "This data is not fit to train on yet.",
}


def write_dossier(folder: Path, dossier: Dossier) -> Path:
    """Write `dossier.json` and `dossier.html` into a folder, each whole or not at all; returns the page's path."""
    text = json.dumps(dossier, indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n"
    _write(folder / DOSSIER_JSON, text)
    page = folder / DOSSIER_PAGE
    _write(page, _render(dossier))
    return page


def _write(path: Path, text: str) -> None:
    write_atomically(path, text.encode("utf-8", errors="replace"))  # a hostile text may hold half a character


def _render(dossier: Dossier) -> str:
    made = remarks(dossier)
    deciding = [remark for remark in made if remark.severity != "note"]
    hits = dossier["contamination"]["hits"]
    template = environment(Path(__file__).parent).get_template("dossier.html.j2")
    return template.render(
        say=wording,
        fitness=fitness(made),
        headline=_headline(made),
        decisions=deciding[:_MOST_DECISIONS],
        notes=[*deciding[_MOST_DECISIONS:], *(remark for remark in made if remark.severity == "note")],
        account=_account(dossier),
        unaccounted=unaccounted(dossier),
        clusters=[(each, _beside_first(each["rows"])) for each in dossier["duplicates"]["clusters"]],
        conflicts=[(each["prompt"], _beside_first(each["answers"])) for each in dossier["duplicates"]["conflicts"]],
        hits=[(hit, *_compared(hit)) for hit in hits[:_MOST_HITS]],
        more_hits=dossier["contamination"]["total"] - len(hits[:_MOST_HITS]),
        spoken=_languages(dossier["languages"]),
        words_plot=histogram(dossier["words"], "word"),
        tokens_plot=histogram(dossier["tokens"], "token") if dossier["tokens"] else "",
        command=_command(dossier["dataset"]["name"], dossier["dataset"]["options"]),
        **dossier,
    )


def _headline(made: Sequence[Remark]) -> str:
    number = sum(remark.severity == "decide" for remark in made)
    counted = "one thing is" if number == 1 else f"{number} things are"
    return _HEADLINES[fitness(made)].format(counted)


def _account(dossier: Dossier) -> list[tuple[str, int]]:
    """What became of the rows read: the parts of the sum, in words."""
    counts = dossier["rows"]
    dropped = [(FATES[fate], number) for fate, number in counts["dropped"].items()]
    quarantined = [("could not be used", counts["unusable"]), *dropped]
    return [("kept", counts["kept"]), *((f"in quarantine: {why}", number) for why, number in quarantined)]


def _beside_first(entries: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], list[_Piece]]]:
    """Entries with their texts in pieces that say what the first text has too; of two, the first likewise."""
    texts = [wording.short(entry["text"]) for entry in entries]
    marked = [_marked(texts[0], text) for text in texts[1:]]
    first = marked[0][0] if len(marked) == 1 else [(text, True) for text in texts[:1]]
    return list(zip(entries, [first, *(other for _, other in marked)], strict=True))


def _compared(hit: Hit) -> tuple[list[_Piece], list[_Piece]]:
    """The question and the row, in pieces that say what they share."""
    return _marked(wording.short(hit["question"]), wording.short(hit["text"]))


def _marked(one: str, other: str) -> tuple[list[_Piece], list[_Piece]]:
    runs = align_words(one, other)
    return [(run.before, run.alike) for run in runs], [(run.after, run.alike) for run in runs]


def _languages(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The most frequent first, the rare ones together."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rare = ordered[_MOST_LANGUAGES:]
    rest = [(f"{len(rare)} others", sum(number for _, number in rare))] if rare else []
    return ordered[:_MOST_LANGUAGES] + rest


def _command(name: str, options: Mapping[str, Any]) -> str:
    """The command that prepares the same rows in the same way, all options written out."""
    words = ["carrara", "prepare", name]
    for key, value in options.items():
        if text := _option(value):
            words += [f"--{key.replace('_', '-')}", text]
    return " ".join(shlex.quote(wording.line(word, 1000)) for word in words)


def _option(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={inner}" for key, inner in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ",".join(str(inner) for inner in value)
    return str(value)
