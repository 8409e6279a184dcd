"""Four ways of scoring the choices of a question, beside each other: seconds a question, and how far they agree.

    .venv/bin/python benchmarks/shared_context.py [--dtype float32] [--choices 4] [--tokens 20] [--repeat 7]
*Alone* reads context and choice anew for each choice. *Rows* reads the context once into keys and values and gives each
choice a row behind them. *Tree* is one pass over the context and all choices under a mask. *Context first* reads the
context alone, without a mask, and then the choices as a tree. SmolLM2-135M-Instruct on random tokens; the four take
turns, so that what else the machine does falls on all alike.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from carrara.evaluate import scorer
from carrara.evaluate.rows import Pair, Row, rows_of_question
from carrara.models import resolve_model
from carrara.models.load import Loaded, load_model
from carrara.progress import Silent
from carrara.workspace import open_workspace

MODEL = "smollm2-135m-instruct"
CONTEXTS = (24, 48, 96, 192, 384, 768, 1536)  # tokens
LONGEST = 2048
NEVER, ALWAYS = 1 << 30, 0  # tokens, from which on a context is read first


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--choices", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--workspace", type=Path)
    arguments = parser.parse_args()
    model = resolve_model(open_workspace(arguments.workspace), MODEL, Silent())
    loaded = load_model(model, arguments.dtype)
    print(
        f"{arguments.dtype}, {arguments.choices} choices of {arguments.tokens} tokens, {arguments.repeat} repetitions\n"
    )
    print("| context, tokens | alone, ms | rows, ms | tree, ms | context first, ms | largest difference |")
    print("|---|---|---|---|---|---|")
    for context in CONTEXTS:
        _compare(loaded, _question(context, arguments.choices, arguments.tokens), arguments.repeat)


def _question(context: int, choices: int, tokens: int) -> list[Pair]:
    draw = random.Random(context)
    shared = [draw.randrange(1000, 40000) for _ in range(context)]
    return [(shared, [draw.randrange(1000, 40000) for _ in range(tokens)]) for _ in range(choices)]


def _compare(loaded: Loaded, pairs: list[Pair], repeat: int) -> None:
    tree = rows_of_question(pairs, LONGEST)
    apart = [row for pair in pairs for row in rows_of_question([pair], LONGEST)]
    read = tuple(pairs[0][0][:-1])
    behind = [row.behind(len(read)) for row in apart]
    ways: dict[str, Callable[[], list[float]]] = {
        "alone": lambda: [value for row in apart for value in _score(loaded, (), [row], NEVER)],
        "rows": lambda: _score(loaded, read, behind, NEVER),
        "tree": lambda: _score(loaded, (), tree, NEVER),
        "first": lambda: _score(loaded, (), tree, ALWAYS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    values = {name: way() for name, way in ways.items()}  # the first of each is not counted
    for _ in range(repeat):
        for name, way in ways.items():
            began = time.monotonic()
            way()
            seconds[name].append(time.monotonic() - began)
    worst = max(abs(a - b) for found in values.values() for a, b in zip(found, values["alone"], strict=True))
    cells = " | ".join(_cell(found) for found in seconds.values())
    print(f"| {len(pairs[0][0]):,} | {cells} | {worst:.1g} |", flush=True)


def _score(loaded: Loaded, read: tuple[int, ...], rows: list[Row], context_first_from: int) -> list[float]:
    """The answers' log-likelihoods by one way; beneath what chooses among the ways by itself."""
    scorer._LONG = context_first_from
    return [value for values in scorer.Scorer(loaded)._run(read, rows) for value in values]


def _cell(seconds: list[float]) -> str:
    middle, least, most = (1000 * f(seconds) for f in (statistics.median, min, max))
    return f"{middle:.0f} ({least:.0f} to {most:.0f})"


if __name__ == "__main__":
    main()
