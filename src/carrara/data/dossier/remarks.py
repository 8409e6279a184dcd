"""What a dossier's figures mean for whoever must decide: sentences, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from carrara.data.dossier.content import Dossier
from carrara.data.prepare.tally import OWN_TEST
from carrara.wording import count_of_rows, line, percent

Severity = Literal["stop", "decide", "note"]
Fitness = Literal["fit", "fit once decided", "not fit"]

_ORDER: tuple[Severity, ...] = ("stop", "decide", "note")
_MANY = 0.01  # share of rows from which a loss is something to decide about, and not merely to know
_TELLING = 100  # rows below which shares come out by chance
_ENDINGS = 0.05  # share of longer answers without a closing mark from which it is worth a word


@dataclass(frozen=True)
class Remark:
    """A sentence, what to do about it (may be empty), and the section of the page that tells more.

    `stop` forbids training, `decide` asks for a decision, `note` is worth knowing.
    """

    severity: Severity
    sentence: str
    remedy: str
    section: str


def remarks(dossier: Dossier) -> list[Remark]:
    """Everything that a reader should know before training, the gravest first; the texts are single printable lines."""
    checks = (_sums, _contamination, _unchecked, _personal, _rows, _duplicates, _splits, _tokens, _endings)
    made = [remark for check in checks for remark in check(dossier)]
    return sorted(made, key=lambda remark: _ORDER.index(remark.severity))


def fitness(made: Sequence[Remark]) -> Fitness:
    """Whether the data is fit to train on, by the gravest of its remarks."""
    severities = {remark.severity for remark in made}
    return "not fit" if "stop" in severities else "fit once decided" if "decide" in severities else "fit"


def unaccounted(dossier: Dossier) -> int:
    """Rows that were read and are neither kept, unusable nor dropped; anything but 0 is a fault of Carrara."""
    counts = dossier["rows"]
    return counts["read"] - counts["kept"] - counts["unusable"] - sum(counts["dropped"].values())


def _sums(dossier: Dossier) -> Iterator[Remark]:
    if missing := unaccounted(dossier):
        sentence = f"The counts do not add up: {count_of_rows(abs(missing))} too {'few' if missing > 0 else 'many'}."
        yield Remark("stop", sentence, "This is a fault of Carrara; please report it with `dossier.json`.", "rows")
    if not dossier["splits"].get("train"):
        yield Remark("stop", "No row is left to train on.", "Mend the rows in quarantine, or add rows.", "quarantine")


def _contamination(dossier: Dossier) -> Iterator[Remark]:
    for benchmark in dossier["contamination"]["benchmarks"]:
        name = "the test split" if benchmark["name"] == OWN_TEST else line(benchmark["name"])
        for number, action in ((benchmark["kept"], "kept"), (benchmark["rows"] - benchmark["kept"], "dropped")):
            if not number:
                continue
            copy = f"{count_of_rows(number)} {'copies a question' if number == 1 else 'copy questions'} of {name}"
            if action == "dropped":
                yield Remark("note", f"{copy} and {_were(number)} dropped.", "", "contamination")
                continue
            asked = f"{benchmark['items']:,} of the {benchmark['questions']:,} questions"
            remedy = f"Run again with `--contamination drop`; otherwise {asked} flatter the score on {name}."
            yield Remark("decide", f"{copy}.", remedy, "contamination")


def _unchecked(dossier: Dossier) -> Iterator[Remark]:
    benchmarks = dossier["contamination"]["benchmarks"]
    for benchmark in benchmarks:
        if benchmark["state"] == "not checked":
            why = line(benchmark["why"]).partition(";")[0]  # what follows is the way out, which is said below
            sentence = f"{line(benchmark['name'])} was not checked because {why.rstrip('.')}."
            remedy = "Name the folder that holds it with `--benchmarks`, or do not judge the model by it."
            yield Remark("decide", sentence, remedy, "contamination")
    if all(benchmark["name"] == OWN_TEST for benchmark in benchmarks):
        sentence = "The rows were compared with no benchmark."
        yield Remark("note", sentence, "Name those that will judge the model with `--against`.", "contamination")


def _personal(dossier: Dossier) -> Iterator[Remark]:
    personal = dossier["personal_data"]
    number = personal["rows"]
    kinds = sorted(personal["types"].items(), key=lambda item: -item[1]["rows"])
    listed = ", ".join(f"{line(kind.replace('_', ' '))} in {count['rows']:,}" for kind, count in kinds)
    if number and personal["policy"] == "report":
        sentence = f"{count_of_rows(number)} {'holds' if number == 1 else 'hold'} personal data: {listed}."
        remedy = "Run again with `--personal-data redact` or `--personal-data drop`, unless you may train on it."
        yield Remark("decide", sentence, remedy, "personal")
    elif number and personal["policy"] == "redact":
        sentence = f"Personal data in {count_of_rows(number)} was replaced by placeholders: {listed}."
        yield Remark("note", sentence, "", "personal")
    elif number:
        sentence = f"{count_of_rows(number)} with personal data {_were(number)} dropped: {listed}."
        yield Remark("note", sentence, "", "personal")
    if personal["values_shown"]:
        sentence = "This dossier shows personal values as they are."
        yield Remark(
            "decide", sentence, "Keep it as you keep the data, or run again without `--show-values`.", "personal"
        )
    if not personal["names_checked"]:
        remedy = "No detector of names is installed; read a sample with `carrara data sample`."
        yield Remark("note", "Names of persons were not looked for.", remedy, "personal")


def _rows(dossier: Dossier) -> Iterator[Remark]:
    number, read = dossier["rows"]["unusable"], dossier["rows"]["read"]
    if number and dossier["quarantine"]:
        first = dossier["quarantine"][0]
        field = f"'{line(first['field'])}'" if first["field"] else "the row"
        because = f"{field} {line(first['reason']).rstrip('.')}"
        sentence = f"{count_of_rows(number)} could not be used, most often because {because}."
        yield Remark(_weight(number, read), sentence, "Mend them; `quarantine.jsonl` names every one.", "quarantine")


def _duplicates(dossier: Dossier) -> Iterator[Remark]:
    duplicates = dossier["duplicates"]
    if number := duplicates["conflicting"]:
        sentence = f"{number:,} prompt{' is' if number == 1 else 's are'} answered in more than one way."
        yield Remark("decide", sentence, "Keep the right answers, or both if both are right.", "duplicates")
    for kind, word in (("exact", "copy"), ("near", "nearly copy")):
        left = duplicates["kept"][kind]
        if left > 0:
            verb = word.replace("copy", "copies") if left == 1 else word
            kept = f"{_were(left, 'is', 'are')} kept, in the same split as it"
            sentence = f"{count_of_rows(left)} {verb} another row and {kept}."
            yield Remark("note", sentence, f"`--drop-duplicates {kind}` would keep one of each.", "duplicates")


def _splits(dossier: Dossier) -> Iterator[Remark]:
    for split, purpose in (("validation", "watch training"), ("test", "measure the result")):
        if not dossier["splits"].get(split) and dossier["splits"].get("train"):
            sentence = f"No row is held back to {purpose}."
            share = dossier["dataset"]["options"].get(split)
            remedy = "Clusters and groups stay whole, and none fell there; add rows." if share else ""
            yield Remark("note", sentence, remedy or f"Give `--{split}` a share, such as 0.05.", "splits")
    yield from _shares(dossier)
    absent = [line(label, 40) for label, counts in dossier["labels"].items() if not counts.get("train")]
    if absent:
        named = ", ".join(f"'{label}'" for label in absent[:3]) + (f" and {len(absent) - 3} more" * (len(absent) > 3))
        sentence = f"{len(absent):,} label{' has' if len(absent) == 1 else 's have'} no row to learn from: {named}."
        yield Remark("decide", sentence, "Add rows with it, or take it out of the other splits.", "splits")


def _shares(dossier: Dossier) -> Iterator[Remark]:
    """Splits that clusters or groups, which stay whole, have made much larger than asked for."""
    kept = dossier["rows"]["kept"]
    for split in ("validation", "test"):
        asked, number = dossier["dataset"]["options"].get(split) or 0.0, dossier["splits"].get(split, 0)
        if asked and kept >= _TELLING and number > 2 * asked * kept:
            got = f"{percent(number / kept)} of the rows instead of {percent(asked)}"
            sentence = f"The {split} split holds {got}, since clusters and groups stay whole."
            yield Remark("decide", sentence, "Look at the largest cluster; another --seed draws again.", "splits")


def _tokens(dossier: Dossier) -> Iterator[Remark]:
    tokens, kept = dossier["tokens"], dossier["rows"]["kept"]
    if tokens is None:
        yield Remark("note", "Tokens were not counted, for want of a model.", "Name one with `--model`.", "tokens")
        return
    if number := tokens["set_aside"]["rows"]:
        first = tokens["set_aside"]["reasons"][:1]
        because = f": {line(first[0]['reason']).rstrip('.')}" if first else ""
        sentence = f"{count_of_rows(number)} cannot be rendered for the model nor trained on{because}."
        severity = "stop" if number == kept else _weight(number, kept)
        yield Remark(severity, sentence, "Choose another model or `--render plain`, or mend these rows.", "tokens")
    if number := tokens["truncated"]["rows"]:
        verb = "is too long for the model and loses" if number == 1 else "are too long for the model and lose"
        sentence = f"{count_of_rows(number)} {verb} {line(tokens['part_lost'])}."
        remedy = "Shorten them, or choose a model with a longer context."
        yield Remark(_weight(number, kept), sentence, remedy, "tokens")


def _endings(dossier: Dossier) -> Iterator[Remark]:
    endings = dossier["endings"]
    if endings["share"] >= _ENDINGS:
        sentence = (
            f"{endings['without_end_mark']:,} answers ({percent(endings['share'])} of the longer ones) end without a "
            "closing mark and may have been cut."
        )
        yield Remark("note", sentence, "Look at some of them before training.", "lengths")


def _weight(number: int, total: int) -> Severity:
    """A decision where many rows are concerned, a note where few are."""
    return "decide" if number > _MANY * total else "note"


def _were(number: int, one: str = "was", many: str = "were") -> str:
    return one if number == 1 else many
