"""What users can bring: rows and recipes with one thing wrong, its size drawn by chance."""

from __future__ import annotations

import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tests.faults.ground import CONTEXT, SetUp, UserFault
from tests.faults.rows import Row, chats, sentence, some


def _tune(setup: SetUp, **settings: Any) -> None:
    setup.recipe["tune"].update(settings)


# ---- rows ----


def _emptied(row: Row) -> None:
    row["completion"] = ""


def all_answers_empty(setup: SetUp, chance: random.Random) -> None:
    del chance
    for row in setup.rows:
        _emptied(row)


def some_answers_empty(setup: SetUp, chance: random.Random) -> None:
    some(setup.rows, chance, 0.2, _emptied)


def some_answers_blank(setup: SetUp, chance: random.Random) -> None:
    some(setup.rows, chance, 0.2, lambda row: row.update(completion=chance.choice([" ", "\n", " \t "])))


def some_answers_missing(setup: SetUp, chance: random.Random) -> None:
    some(setup.rows, chance, 0.2, lambda row: row.pop("completion"))


def some_answers_placeholders(setup: SetUp, chance: random.Random) -> None:
    word = chance.choice(["nan", "NaN", "null", "None", "N/A", "undefined", "NULL"])
    some(setup.rows, chance, 0.25, lambda row: row.update(completion=word))


def one_answer_for_all(setup: SetUp, chance: random.Random) -> None:
    answer = chance.choice(["yes", "I cannot help with that.", sentence(chance)])
    for row in setup.rows:
        row["completion"] = answer


def answers_are_prompts(setup: SetUp, chance: random.Random) -> None:
    del chance
    setup.recipe["prepare"]["map"] = {"completion": "prompt"}


def answers_in_prompts(setup: SetUp, chance: random.Random) -> None:
    lead = chance.choice(["Answer: ", "\n", "The reply is: "])
    for row in setup.rows:
        row["prompt"] += f"\n{lead}{row['completion']}"


def rows_rendered_already(setup: SetUp, chance: random.Random) -> None:
    def rendered(row: Row) -> None:
        row["completion"] += setup.kit.end

    some(setup.rows, chance, 0.25, rendered)


def answers_do_not_fit(setup: SetUp, chance: random.Random) -> None:
    _tune(setup, max_length=chance.randint(4, 24))


def prompts_do_not_fit(setup: SetUp, chance: random.Random) -> None:
    for row in setup.rows:
        row["prompt"] = " ".join(sentence(chance) for _ in range(6))
    _tune(setup, max_length=chance.randint(180, 240))


def nothing_weighted(setup: SetUp, chance: random.Random) -> None:
    setup.rows = chats(chance, 40, False)

    def unweighted(row: Row) -> None:
        for message in row["messages"]:
            if message["role"] == "assistant":
                message["weight"] = 0

    some(setup.rows, chance, 0.25, unweighted)


# ---- recipes ----


def learning_rate_huge(setup: SetUp, chance: random.Random) -> None:
    _tune(setup, learning_rate=10 ** chance.uniform(-0.5, 2))


def learning_rate_tiny(setup: SetUp, chance: random.Random) -> None:
    _tune(setup, learning_rate=10 ** chance.uniform(-13, -7))


def warmup_longer_than_half(setup: SetUp, chance: random.Random) -> None:
    _tune(setup, warmup=chance.uniform(0.55, 0.99))


def one_step_of_many(setup: SetUp, chance: random.Random) -> None:
    _tune(setup, batch_size=chance.randint(1, 3), epochs=chance.uniform(1e-4, 0.02))


def epochs_absurd(setup: SetUp, chance: random.Random) -> None:
    _tune(setup, epochs=chance.randint(150, 100_000))


def decay_absurd(setup: SetUp, chance: random.Random) -> None:
    _tune(setup, weight_decay=10 ** chance.uniform(3.5, 5))


def clip_absurd(setup: SetUp, chance: random.Random) -> None:
    _tune(setup, clip=10 ** chance.uniform(-12, -7))


def rank_absurd(setup: SetUp, chance: random.Random) -> None:
    _tune(setup, rank=chance.randint(40, 1000))


def alpha_absurd(setup: SetUp, chance: random.Random) -> None:
    _tune(setup, alpha=4 * 10 ** chance.choice([chance.uniform(2, 5), chance.uniform(-6, -2)]))


def target_unknown(setup: SetUp, chance: random.Random) -> None:
    _tune(setup, targets=[chance.choice(["query", "c_attn", "attention.wq", "W_pack"])])


def length_beyond_context(setup: SetUp, chance: random.Random) -> None:
    _tune(setup, max_length=chance.randint(CONTEXT + 1, 10 * CONTEXT))


FAULTS: Mapping[str, UserFault] = MappingProxyType(
    {
        "rows: all answers empty": all_answers_empty,
        "rows: some answers empty": some_answers_empty,
        "rows: some answers blank": some_answers_blank,
        "rows: some answers missing": some_answers_missing,
        "rows: some answers are placeholders": some_answers_placeholders,
        "rows: one answer for all": one_answer_for_all,
        "rows: the prompt is the answer": answers_are_prompts,
        "rows: prompts hold their answers": answers_in_prompts,
        "rows: hold control tokens": rows_rendered_already,
        "rows: answers do not fit": answers_do_not_fit,
        "rows: prompts do not fit": prompts_do_not_fit,
        "rows: some have nothing to learn": nothing_weighted,
        "recipe: learning rate huge": learning_rate_huge,
        "recipe: learning rate tiny": learning_rate_tiny,
        "recipe: warm-up longer than half": warmup_longer_than_half,
        "recipe: a single step, few rows seen": one_step_of_many,
        "recipe: epochs absurd": epochs_absurd,
        "recipe: weight decay absurd": decay_absurd,
        "recipe: clipping absurd": clip_absurd,
        "recipe: rank absurd": rank_absurd,
        "recipe: alpha absurd": alpha_absurd,
        "recipe: target unknown": target_unknown,
        "recipe: longer than the context": length_beyond_context,
    }
)
