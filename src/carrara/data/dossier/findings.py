"""What a dossier's figures mean for whoever must decide: sentences, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from carrara.data.dossier.content import Dossier
from carrara.data.prepare.tally import OWN_TEST
from carrara.pages import line, rows, share

Severity = Literal["stop", "decide", "note"]
Fitness = Literal["fit", "fit once decided", "not fit"]

_ORDER: tuple[Severity, ...] = ("stop", "decide", "note")
_MANY = 0.01  # share of rows from which a loss is something to decide about, and not merely to know
_ENDINGS = 0.05  # share of longer answers without a closing mark from which it is worth a word


@dataclass(frozen=True)
class Finding:
    """A sentence, what to do about it (may be empty), and the section of the page that tells more.

    `stop` forbids training, `decide` asks for a decision, `note` is worth knowing.
    """

    severity: Severity
    sentence: str
    remedy: str
    section: str


def findings(dossier: Dossier) -> list[Finding]:
    """Everything that a reader should know before training, the gravest first; the texts are single printable lines."""
    checks = (_sums, _contamination, _unchecked, _personal, _rows, _duplicates, _splits, _tokens, _endings)
    found = [finding for check in checks for finding in check(dossier)]
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))


def fitness(found: Sequence[Finding]) -> Fitness:
    """Whether the data is fit to train on, by the gravest of its findings."""
    severities = {finding.severity for finding in found}
    return "not fit" if "stop" in severities else "fit once decided" if "decide" in severities else "fit"


def unaccounted(dossier: Dossier) -> int:
    """Rows that were read and are neither kept, unusable nor dropped; anything but 0 is a fault of Carrara."""
    counts = dossier["rows"]
    return counts["read"] - counts["kept"] - counts["unusable"] - sum(counts["dropped"].values())


def _sums(dossier: Dossier) -> Iterator[Finding]:
    if missing := unaccounted(dossier):
        sentence = f"The counts do not add up: {rows(abs(missing))} too {'few' if missing > 0 else 'many'}."
        yield Finding("stop", sentence, "This is a fault of Carrara; please report it with `dossier.json`.", "rows")
    if not dossier["splits"].get("train"):
        yield Finding("stop", "No row is left to train on.", "Mend the rows in quarantine, or add rows.", "quarantine")


def _contamination(dossier: Dossier) -> Iterator[Finding]:
    for action in ("kept", "dropped"):
        places: dict[str, set[tuple[str, int]]] = {}
        for hit in dossier["contamination"]["hits"]:
            if hit["action"] == action:
                places.setdefault(hit["benchmark"], set()).add((hit["file"], hit["row"]))
        for benchmark, hit_rows in places.items():
            name = "the test split" if benchmark == OWN_TEST else line(benchmark)
            number = len(hit_rows)
            copy = f"{rows(number)} {'copies a question' if number == 1 else 'copy questions'} of {name}"
            if action == "dropped":
                yield Finding("note", f"{copy} and {_were(number)} dropped.", "", "contamination")
                continue
            remedy = f"Run again with `--contamination drop`; otherwise scores on {name} mean nothing."
            yield Finding("decide", f"{copy}.", remedy, "contamination")


def _unchecked(dossier: Dossier) -> Iterator[Finding]:
    benchmarks = dossier["contamination"]["benchmarks"]
    for benchmark in benchmarks:
        if benchmark["state"] == "not checked":
            why = line(benchmark["why"]).partition(";")[0]  # what follows is the way out, which is said below
            sentence = f"{line(benchmark['name'])} was not checked because {why.rstrip('.')}."
            remedy = "Name the folder that holds it with `--benchmarks`, or do not judge the model by it."
            yield Finding("decide", sentence, remedy, "contamination")
    if not benchmarks:
        sentence = "The rows were compared with no benchmark."
        yield Finding("note", sentence, "Name those that will judge the model with `--against`.", "contamination")


def _personal(dossier: Dossier) -> Iterator[Finding]:
    personal = dossier["personal_data"]
    number = personal["rows"]
    kinds = sorted(personal["types"].items(), key=lambda item: -item[1]["rows"])
    listed = ", ".join(f"{line(kind.replace('_', ' '))} in {count['rows']:,}" for kind, count in kinds[:4])
    listed += f" and {len(kinds) - 4} more kinds" if len(kinds) > 4 else ""
    if number and personal["policy"] == "report":
        sentence = f"{rows(number)} {'holds' if number == 1 else 'hold'} personal data: {listed}."
        remedy = "Run again with `--personal-data redact` or `--personal-data drop`, unless you may train on it."
        yield Finding("decide", sentence, remedy, "personal")
    elif number and personal["policy"] == "redact":
        sentence = f"Personal data in {rows(number)} was replaced by placeholders: {listed}."
        yield Finding("note", sentence, "", "personal")
    elif number:
        yield Finding("note", f"{rows(number)} with personal data {_were(number)} dropped: {listed}.", "", "personal")
    if personal["values_shown"]:
        sentence = "This dossier shows personal values as they are."
        yield Finding(
            "decide", sentence, "Keep it as you keep the data, or run again without `--show-values`.", "personal"
        )
    if not personal["names_checked"]:
        remedy = "No detector of names is installed; read a sample with `carrara data sample`."
        yield Finding("note", "Names of persons were not looked for.", remedy, "personal")


def _rows(dossier: Dossier) -> Iterator[Finding]:
    number, read = dossier["rows"]["unusable"], dossier["rows"]["read"]
    if number and dossier["quarantine"]:
        first = dossier["quarantine"][0]
        field = f"'{line(first['field'])}' " if first["field"] else "the row "
        sentence = f"{rows(number)} could not be used, most often because {field}{line(first['reason']).rstrip('.')}."
        yield Finding(_weight(number, read), sentence, "Mend them; `quarantine.jsonl` names every one.", "quarantine")


def _duplicates(dossier: Dossier) -> Iterator[Finding]:
    duplicates, dropped = dossier["duplicates"], dossier["rows"]["dropped"]
    if number := duplicates["conflicting"]:
        sentence = f"{number:,} prompt{' is' if number == 1 else 's are'} answered in more than one way."
        yield Finding("decide", sentence, "Keep the right answers, or both if both are right.", "duplicates")
    for kind, word in (("exact", "copy"), ("near", "nearly copy")):
        left = duplicates[kind] - dropped.get(f"{kind}_duplicate", 0)
        if left > 0:
            verb = word.replace("copy", "copies") if left == 1 else word
            sentence = f"{rows(left)} {verb} another row and {_were(left, 'is', 'are')} kept, in the same split as it."
            yield Finding("note", sentence, f"`--drop-duplicates {kind}` would keep one of each.", "duplicates")


def _splits(dossier: Dossier) -> Iterator[Finding]:
    for split, purpose in (("validation", "watch training"), ("test", "measure the result")):
        if not dossier["splits"].get(split) and dossier["splits"].get("train"):
            sentence = f"No row is held back to {purpose}."
            yield Finding("note", sentence, f"Give `--{split}` a share, such as 0.05.", "splits")
    absent = [line(label, 40) for label, counts in dossier["labels"].items() if not counts.get("train")]
    if absent:
        named = ", ".join(f"'{label}'" for label in absent[:3]) + (f" and {len(absent) - 3} more" * (len(absent) > 3))
        sentence = f"{len(absent):,} label{' has' if len(absent) == 1 else 's have'} no row to learn from: {named}."
        yield Finding("decide", sentence, "Add rows with it, or take it out of the other splits.", "splits")


def _tokens(dossier: Dossier) -> Iterator[Finding]:
    tokens, kept = dossier["tokens"], dossier["rows"]["kept"]
    if tokens is None:
        yield Finding("note", "Tokens were not counted, for want of a model.", "Name one with `--model`.", "tokens")
        return
    if number := tokens["set_aside"]["rows"]:
        first = tokens["set_aside"]["reasons"][:1]
        because = f": {line(first[0]['reason']).rstrip('.')}" if first else ""
        sentence = f"{rows(number)} cannot be rendered for the model and {_were(number)} set aside{because}."
        yield Finding(_weight(number, kept), sentence, "Mend these rows, or choose another model.", "tokens")
    if number := tokens["truncated"]["rows"]:
        verb = "is too long for the model and loses" if number == 1 else "are too long for the model and lose"
        sentence = f"{rows(number)} {verb} {line(tokens['part_lost'])}."
        remedy = "Shorten them, or choose a model with a longer context."
        yield Finding(_weight(number, kept), sentence, remedy, "tokens")


def _endings(dossier: Dossier) -> Iterator[Finding]:
    endings = dossier["endings"]
    if endings["share"] >= _ENDINGS:
        sentence = (
            f"{endings['without_end_mark']:,} answers ({share(endings['share'])} of the longer ones) end without a "
            "closing mark and may have been cut."
        )
        yield Finding("note", sentence, "Look at some of them before training.", "lengths")


def _weight(number: int, total: int) -> Severity:
    """A decision where many rows are concerned, a note where few are."""
    return "decide" if number > _MANY * total else "note"


def _were(number: int, one: str = "was", many: str = "were") -> str:
    return one if number == 1 else many
