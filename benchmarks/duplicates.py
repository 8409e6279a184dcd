"""Near duplicates: recall and precision against an exact oracle, Carrara beside datasketch, and the cost of scale.

    .venv/bin/python benchmarks/duplicates.py --data DATA [--rows 4000] [--scale 10000,100000]
DATA is a folder of benchmark files with alpaca/alpaca_data_5k.jsonl and gsm8k/train.jsonl. Half of the corpus are rows
of them, the other half the same rows with seeded edits, from a word to a third of the text. The oracle compares every
pair by sets of strings, not by hashes. `--peer FILE` is how this file runs itself with datasketch's interpreter.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from side_by_side import PEERS, require_peers, run_json

THRESHOLD = 0.8
BLOCK = 500  # rows of the oracle's products held at a time
WEIGHTS = {"as it comes": (0.5, 0.5), "for recall": (0.1, 0.9)}  # of false positives and of false negatives
Pairs = set[tuple[int, int]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--scale", default="")
    parser.add_argument("--peer", type=Path)
    arguments = parser.parse_args()
    if arguments.peer:
        print(json.dumps(datasketch_pairs(json.loads(arguments.peer.read_text()))))
        return
    require_peers()
    rows = read_rows(arguments.data)
    compare(corpus_of(rows, arguments.rows))
    scale(rows, [int(size) for size in arguments.scale.split(",") if size])


def read_rows(data: Path) -> list[str]:
    """The texts of Alpaca and of GSM8K, mixed."""
    texts = []
    for name in ("alpaca/alpaca_data_5k.jsonl", "gsm8k/train.jsonl"):
        with (data / name).open(encoding="utf-8") as lines:
            texts += ["\n".join(value for value in json.loads(line).values() if value) for line in lines]
    return random.Random(0).sample(texts, len(texts))


def corpus_of(texts: list[str], rows: int) -> list[str]:
    """Rows and an edited copy of each, shuffled; of texts that are equal once normalised, one."""
    from carrara.data.checks.minhash import normalise

    draw = random.Random(1)
    vocabulary = sorted({word for text in texts for word in text.split()})
    some = texts[:rows]
    some += [edited(draw, text, vocabulary) for text in some]
    return draw.sample(distinct := list({normalise(text): text for text in some}.values()), len(distinct))


def edited(draw: random.Random, text: str, vocabulary: list[str]) -> str:
    """Words replaced, removed, put in or moved, in between none and a third of the text."""
    words = text.split()
    for _ in range(1 + int(len(words) * draw.choice((0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.15, 0.3)))):
        place = draw.randrange(len(words))
        kind = draw.randrange(4)
        moved = words.pop(place) if kind != 0 else draw.choice(vocabulary)
        if kind == 3:
            words.insert(draw.randrange(len(words) + 1), moved)
        elif kind == 2 or not words:
            words.insert(place, draw.choice(vocabulary))
        elif kind == 0:
            words.insert(place, moved)
    return " ".join(words)


def word_shingles(text: str) -> set[str]:
    words = text.split(" ")
    return {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def character_shingles(text: str) -> set[str]:
    padded = "\0" * 4 + text + "\0" * 4
    return {padded[i : i + 5] for i in range(len(text) + 4)}


SHINGLES: dict[str, Callable[[str], set[str]]] = {"words": word_shingles, "characters": character_shingles}


def oracle(sets: Iterable[set[str]], least: float) -> dict[tuple[int, int], float]:
    """Every pair of sets whose Jaccard similarity is at least `least`, by an inverted index of all elements."""
    import numpy as np
    from scipy import sparse

    numbers: dict[str, int] = {}
    lists = [[numbers.setdefault(piece, len(numbers)) for piece in pieces] for pieces in sets]
    sizes = np.array([len(each) for each in lists])
    bounds = np.concatenate(([0], np.cumsum(sizes)))
    flat = np.concatenate([np.array(each) for each in lists])
    index = sparse.csr_array((np.ones(flat.size, np.int32), flat, bounds), shape=(len(lists), len(numbers)))
    found = {}
    for start in range(0, len(lists), BLOCK):
        shared = (index[start : start + BLOCK] @ index.T).tocoo()
        first, second = shared.row + start, shared.col
        alike = shared.data / (sizes[first] + sizes[second] - shared.data)
        kept = (first < second) & (alike >= least)
        found |= dict(zip(zip(first[kept].tolist(), second[kept].tolist()), alike[kept].tolist()))
    return found


def datasketch_pairs(texts: list[str]) -> dict[str, Any]:
    """By weights and kind of shingle the candidates of datasketch's LSH, those that are true, and the seconds."""
    from datasketch import MinHash, MinHashLSH  # type: ignore[import-not-found]

    result: dict[str, dict[str, Any]] = {name: {} for name in WEIGHTS}
    for name, kind in itertools.product(WEIGHTS, SHINGLES):
        began = time.perf_counter()
        sets = [SHINGLES[kind](text) for text in texts]
        index = MinHashLSH(threshold=THRESHOLD, num_perm=128, weights=WEIGHTS[name])
        candidates = set()
        for row, pieces in enumerate(sets):
            sketch = MinHash(num_perm=128)
            sketch.update_batch([piece.encode() for piece in pieces])
            candidates |= {(other, row) for other in index.query(sketch)}
            index.insert(row, sketch)
        middle = time.perf_counter()
        verified = [(a, b) for a, b in candidates if len(sets[a] & sets[b]) / len(sets[a] | sets[b]) >= THRESHOLD]
        seconds = (middle - began, time.perf_counter() - began)
        result[name][kind] = {"candidates": sorted(candidates), "verified": sorted(verified), "seconds": seconds}
    return result


def carrara_pairs(texts: list[str], folder: Path) -> tuple[Pairs, float, float]:
    """The pairs that Carrara reports, and the seconds of sketching and of finding; sketches lie on the disk."""
    import numpy as np

    from carrara.data.checks.duplicates import find_near
    from carrara.data.checks.minhash import PERMUTATIONS, sketch

    began = time.perf_counter()
    shape = (len(texts), 2, PERMUTATIONS)
    sketches = np.lib.format.open_memmap(folder / "sketches.npy", mode="w+", dtype=np.uint32, shape=shape)
    for start in range(0, len(texts), 1000):
        sketches[start : start + 1000] = sketch(texts[start : start + 1000])
    middle = time.perf_counter()
    near = find_near(sketches, texts.__getitem__, THRESHOLD)
    return {(pair.first, pair.second) for pair in near}, middle - began, time.perf_counter() - middle


def compare(texts: list[str]) -> None:
    """Carrara and datasketch on one corpus."""
    from carrara.data.checks.minhash import normalise

    plain = [normalise(text) for text in texts]
    by_kind = {kind: oracle(map(shingles, plain), THRESHOLD - 0.1) for kind, shingles in SHINGLES.items()}
    best = {
        pair: max(alike.get(pair, 0.0) for alike in by_kind.values()) for alike in by_kind.values() for pair in alike
    }
    true = {kind: {pair for pair, value in alike.items() if value >= THRESHOLD} for kind, alike in by_kind.items()}
    either = true["words"] | true["characters"]
    around = sum(abs(value - THRESHOLD) <= 0.05 for value in best.values())
    print(f"{len(texts)} rows; {len(either)} pairs at {THRESHOLD} or more by words or characters,")
    print(f"{len(true['words'])} by words; {around} pairs within 0.05 of {THRESHOLD}.\n")
    with tempfile.TemporaryDirectory() as name:
        (input_file := Path(name) / "texts.json").write_text(json.dumps(plain))
        ours, *seconds = carrara_pairs(texts, Path(name))
        peer = run_json([PEERS, Path(__file__).resolve(), "--peer", input_file])
    print("| finder | oracle | recall | precision | seconds |\n|---|---|---|---|---|")
    show("Carrara", "words or characters", ours, either, sum(seconds))
    for name, (at, what) in itertools.product(WEIGHTS, enumerate(("candidates", "verified"))):
        pairs = {kind: {(a, b) for a, b in found[what]} for kind, found in peer[name].items()}
        taken = {kind: found["seconds"][at] for kind, found in peer[name].items()}
        show(f"datasketch {name}, words, {what}", "words", pairs["words"], true["words"], taken["words"])
        both = pairs["words"] | pairs["characters"]
        show(f"datasketch {name}, two indexes, {what}", "words or characters", both, either, sum(taken.values()))


def show(finder: str, against: str, pairs: Pairs, true: Pairs, seconds: float) -> None:
    hits = len(pairs & true)
    print(f"| {finder} | {against} | {hits / len(true):.4f} | {hits / len(pairs):.4f} | {seconds:.1f} |")


def scale(rows: list[str], sizes: list[int]) -> None:
    """Carrara on larger corpora: texts of about 100 words put together of real ones, one in ten a near copy."""
    words = " ".join(rows).split()
    if sizes:
        print("\n| rows | pairs | sketching, s | finding, s | ms a row |\n|---|---|---|---|---|")
    for size in sizes:
        draw = random.Random(size)
        texts: list[str] = []
        while len(texts) < size:
            if texts and len(texts) % 10 == 0:
                text = draw.choice(texts).split()
                text[draw.randrange(len(text))] = draw.choice(words)
            else:
                starts = [draw.randrange(len(words) - 10) for _ in range(10)]
                text = [word for start in starts for word in words[start : start + 10]]
            texts.append(" ".join(text))
        with tempfile.TemporaryDirectory() as folder:
            pairs, sketching, finding = carrara_pairs(texts, Path(folder))
        each = 1000 * (sketching + finding) / size
        print(f"| {size:,} | {len(pairs):,} | {sketching:.1f} | {finding:.1f} | {each:.3f} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
