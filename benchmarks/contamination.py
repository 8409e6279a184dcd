"""How many planted benchmark questions are found among training rows, and how many clean rows are flagged.

The plants are the benchmarks' own questions in the forms that leak, as they are and lightly edited. Beside Carrara's
matcher run two rules that papers use, written here in a few lines: a row holds a question if they share a run of 13
words (Brown et al. 2020, GPT-3), or of 8 (the shortest that paper allows).
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from carrara.data.checks.contamination import Matcher, words_of
from carrara.errors import Refusal
from carrara.progress import Silent
from carrara.tasks.questions import Against, Question, questions_at_hand, questions_of
from carrara.workspace import Workspace, open_workspace

Row = list[str]
Found = Callable[[Sequence[str]], set[tuple[str, str]]]  # a row -> the (benchmark, id) of the questions in it
Key = tuple[tuple[str, str], str, str, str]  # (benchmark, length), rule, form, edit
SHORT = 8  # questions of fewer words are counted apart
FORMS = ("answer", "choices", "inside")  # before its answer, with its choices, alone inside running text
EDITS = ("verbatim", "case", "punctuation", "words", "order")


def run_rule(questions: Sequence[Question], size: int) -> Found:
    """The rule of the papers: one shared run of `size` words."""
    index: dict[tuple[str, ...], set[tuple[str, str]]] = {}
    for question in questions:
        for run in _runs(words_of(question.text), size):
            index.setdefault(run, set()).add((question.benchmark, question.id))

    def found(row: Sequence[str]) -> set[tuple[str, str]]:
        return {key for text in row for run in _runs(words_of(text), size) for key in index.get(run, ())}

    return found


def _runs(words: list[str], size: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[offset:] for offset in range(size)))


def own_rule(questions: Sequence[Question]) -> Found:
    matcher = Matcher(questions)
    return lambda row: {(hit.benchmark, hit.item) for hit in matcher.hits(row)}


# ---- plants ----


def plant(question: Question, form: str, edit: str, carriers: Sequence[str], draw: random.Random) -> Row:
    """A row that holds the question; the choices are shuffled by the edit `order` alone."""
    change = {"case": _case, "punctuation": _punctuation, "words": _words}.get(edit, lambda text, draw: text)
    text = change(question.text, draw)
    answers = list(question.answers)
    gold = answers[question.gold or 0]
    if form == "answer":
        return [text, change(gold, draw)]
    if form == "inside":
        before, after = draw.choice(carriers), draw.choice(carriers)
        return [f"{before} {text} {after}", draw.choice(carriers)]
    if edit == "order":
        draw.shuffle(answers)
    lines = [f"{chr(ord('A') + place)}) {change(answer, draw)}" for place, answer in enumerate(answers)]
    return ["\n".join([f"Question: {text}", *lines, "Answer:"]), chr(ord("A") + answers.index(gold))]


def _case(text: str, draw: random.Random) -> str:
    return draw.choice([str.upper, str.lower, str.title])(text) if text.isascii() else text.lower()


def _punctuation(text: str, draw: random.Random) -> str:
    """Without its marks, or with others; apostrophes stay, which belong to their words."""
    mark = draw.choice([" ", " - ", ", "])
    return re.sub(r"[.,;:!?\"()]+", mark, text) + draw.choice(["", " ...", "!"])


def _words(text: str, draw: random.Random) -> str:
    """One word in ten, and at least one of five or more, is replaced, misspelt or left out."""
    words = text.split()
    count = max(round(len(words) / 10), len(words) >= 5)
    for place in draw.sample(range(len(words)), count):
        words[place] = draw.choice(
            [draw.choice(["river", "seven", "quickly", "notable", "under"]), words[place][1:], words[place] + "s", ""]
        )
    return " ".join(word for word in words if word)


# ---- clean rows ----


def clean_rows(data: Path) -> dict[str, list[Row]]:
    """Real rows that were not made from the benchmarks, by source."""
    alpaca = _lines(data / "alpaca" / "alpaca_data_5k.jsonl")
    seeds = _lines(data / "self_instruct" / "seed_tasks.jsonl")
    with (data / "stsb" / "stsb-en-train.csv").open(encoding="utf-8", newline="") as file:
        pairs = [row[:2] for row in csv.reader(file)]
    sentences = (data / "sst2" / "train.tsv").read_text(encoding="utf-8").split("\n")
    paragraphs = (data / "wikitext-2" / "test.txt").read_text(encoding="utf-8").split("\n")
    return {
        "gsm8k train": [[row["question"], row["answer"]] for row in _lines(data / "gsm8k" / "train.jsonl")],
        "alpaca": [[f"{row['instruction']}\n{row['input']}", row["output"]] for row in alpaca],
        "self_instruct": [
            [f"{row['instruction']}\n{case['input']}", case["output"]] for row in seeds for case in row["instances"]
        ],
        "sst2 train": [[line.rpartition("\t")[0]] for line in sentences[1:] if line],
        "stsb train": pairs,
        "wikitext-2": [[line] for line in paragraphs if len(line.split()) > 20],
    }


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


# ---- tables ----


def print_plants(against: Sequence[Against], rules: dict[str, Found], carriers: Sequence[str], sample: int) -> None:
    """Per benchmark and length of question, then per form: the share of plants that each rule finds, by edit."""
    print(f"\nplants found, % (up to {sample} questions of each kind, each in every form)")
    print(f"{'questions':<24}{'words':<6}{'rule':<10}{'plants':>8}" + "".join(f"{edit:>12}" for edit in EDITS))
    pools = {
        (each.name, words): pool
        for each in against
        for words in ("8+", "<8")
        if (pool := [q for q in each.questions if words_of(q.text) and _length(q) == words])
    }
    chosen = {kind: random.Random(0).sample(pool, min(sample, len(pool))) for kind, pool in pools.items()}
    counts = {
        (kind, rule, form, edit): _count(questions, form, edit, find, carriers)
        for kind, questions in chosen.items()
        for rule, find in rules.items()
        for form in FORMS
        for edit in EDITS
        if edit != "order" or form == "choices"
    }
    for kind in pools:
        for rule in rules:
            _print_shares(
                *kind, rule, {edit: [(kind, rule, form, edit) for form in FORMS] for edit in EDITS}, counts, {}
            )
    weights = {kind: len(pool) / len(chosen[kind]) for kind, pool in pools.items()}
    for form, words in ((form, words) for form in (*FORMS, "all forms") for words in ("8+", "<8", "all")):
        kinds = [kind for kind in pools if words in (kind[1], "all")]
        forms = FORMS if form == "all forms" else (form,)
        for rule in rules:
            keys = {edit: [(kind, rule, each, edit) for kind in kinds for each in forms] for edit in EDITS}
            _print_shares(f"all: {form}", words, rule, keys, counts, weights)


def _length(question: Question) -> str:
    return "<8" if len(words_of(question.text)) < SHORT else "8+"


def _count(
    questions: Sequence[Question], form: str, edit: str, find: Found, carriers: Sequence[str]
) -> tuple[int, int]:
    draw = random.Random(f"{form} {edit}")
    rows = [(question, plant(question, form, edit, carriers, draw)) for question in questions]
    return sum((question.benchmark, question.id) in find(row) for question, row in rows), len(rows)


def _print_shares(
    name: str, words: str, rule: str, keys: dict[str, list[Key]], counts: dict[Key, tuple[int, int]],
    weights: dict[tuple[str, str], float],
) -> None:  # fmt: skip
    """One line; `weights` makes a sample count as much as all the questions that it was drawn from."""
    shares, planted = "", 0
    for edit in EDITS:
        known = [(key, *counts[key]) for key in keys[edit] if key in counts]
        planted += sum(count for _, _, count in known)
        whole = sum(weights.get(key[0], 1.0) * count for key, _, count in known)
        found = sum(weights.get(key[0], 1.0) * found for key, found, _ in known)
        shares += f"{100 * found / whole:>12.2f}" if whole else f"{'-':>12}"
    print(f"{name:<24}{words:<6}{rule:<10}{planted:>8}{shares}", flush=True)


def print_clean(clean: dict[str, list[Row]], rules: dict[str, Found], known: dict[tuple[str, str], str]) -> None:
    """Per source: how many rows in a thousand each rule flags, what a row costs, and every row that Carrara flags."""
    print("\nclean rows flagged")
    print(f"{'source':<15}{'rows':>7}  {'rule':<13}{'flagged':>8}{'in 1,000':>10}{'ms/100 words':>14}")
    listed: list[str] = []
    totals = dict.fromkeys(rules, 0)
    for source, rows in clean.items():
        words = sum(len(words_of(text)) for row in rows for text in row)
        for name, rule in rules.items():
            began = time.process_time()
            flagged = [(row, keys) for row in rows if (keys := rule(row))]
            totals[name] += len(flagged)
            cost = 1e5 * (time.process_time() - began) / words
            per_thousand = 1000 * len(flagged) / len(rows)
            print(f"{source:<15}{len(rows):>7}  {name:<13}{len(flagged):>8}{per_thousand:>10.2f}{cost:>14.3f}")
            if name == "carrara":
                listed += [
                    f"{source}: {row[0][:100]!r} ~ {known[key]!r} {key}" for row, keys in flagged for key in keys
                ]
    total = sum(map(len, clean.values()))
    for name, flagged in totals.items():
        print(f"{'all':<15}{total:>7}  {name:<13}{flagged:>8}{1000 * flagged / total:>10.2f}")
    print("\n".join(["", "flagged by carrara:", *listed]))


def print_arc(data: Path, against: Sequence[Against]) -> None:
    """How many rows of ARC's training splits hold a question of its test splits."""
    tests = {each.name: each.questions for each in against if each.name.startswith("arc")}
    print("\nARC: training rows (question and right answer) that hold a test question")
    for folder in ("ARC-Easy", "ARC-Challenge"):
        rows = [json.loads(line) for line in (data / "arc" / folder / "train.jsonl").open(encoding="utf-8")]
        texts = [[r["question"], r["choices"]["text"][r["choices"]["label"].index(r["answerKey"])]] for r in rows]
        for name, questions in tests.items():
            matcher = Matcher(questions)
            found = [hits for row in texts if (hits := matcher.hits(row))]
            verbatim = sum(any(hit.how == "verbatim" for hit in hits) for hits in found)
            items = len({hit.item for hits in found for hit in hits})
            print(f"{folder + ' train':<20}{len(rows):>6} rows, against {name:<14}{len(found):>4} rows "
                  f"({verbatim} verbatim), {items} of {len(questions)} test questions")  # fmt: skip


def find_questions(workspace: Workspace, data: Path) -> list[Against]:
    """The benchmarks in the folder; those it lacks are fetched, or it is said that they are not measured."""
    against, missing = questions_at_hand(workspace, data)
    for name in missing:
        try:
            against += questions_of(workspace, [name], None, Silent())
        except Refusal as refusal:
            print(f"{name} is not measured: {refusal}")
    return against


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("--workspace", type=Path, help="where what is fetched is kept; else a temporary one")
    parser.add_argument("--sample", type=int, default=400, help="questions planted for each benchmark and length")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        against = find_questions(open_workspace(arguments.workspace or Path(folder)), arguments.data)
        questions = [question for each in against for question in each.questions]
        began = time.process_time()
        own = own_rule(questions)
        print(f"{len(questions):,} questions indexed in {time.process_time() - began:.1f} s of CPU time")
        rules = {"carrara": own, "13 words": run_rule(questions, 13), "8 words": run_rule(questions, 8)}
        clean = clean_rows(arguments.data)
        print_plants(against, rules, [row[0] for row in clean["wikitext-2"]], arguments.sample)
        print_clean(clean, rules, {(q.benchmark, q.id): q.text for q in questions})
        print_arc(arguments.data, against)


if __name__ == "__main__":
    main()
