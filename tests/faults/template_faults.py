"""What users can bring: templates, tokenizers and weights with one thing wrong, its size drawn by chance."""

from __future__ import annotations

import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tests.faults.ground import DoesNotApply, SetUp, UserFault
from tests.faults.rows import Row, chats, sentence, some


def _changed(text: str, old: str, new: str) -> str:
    if old not in text:
        raise DoesNotApply
    return text.replace(old, new)


def _template(setup: SetUp, old: str, new: str) -> None:
    setup.tokens.template = _changed(setup.tokens.template, old, new)


# ---- templates ----


def end_left_out(setup: SetUp, chance: random.Random) -> None:
    for token in ("eos_token", f"'{setup.kit.end}'"):
        setup.tokens.template = setup.tokens.template.replace(token, "''")
    setup.tokens.template = setup.tokens.template.replace(setup.kit.end, chance.choice(["", "\\n"]))


def end_misspelt(setup: SetUp, chance: random.Random) -> None:
    wrong = setup.kit.end[:-1] + chance.choice(["x", "_"]) + setup.kit.end[-1]
    setup.tokens.template = setup.tokens.template.replace("eos_token", f"'{wrong}'").replace(setup.kit.end, wrong)


def stops_elsewhere(setup: SetUp, chance: random.Random) -> None:
    others = [token for token in setup.tokens.specials if token not in (setup.kit.end, setup.kit.bos)]
    if "eos_token" in setup.tokens.template or not others:
        raise DoesNotApply
    setup.tokens.eos = chance.choice(others)
    setup.stops = [setup.tokens.eos]


def bos_missing(setup: SetUp, chance: random.Random) -> None:
    del chance
    if not setup.kit.adds_bos:
        raise DoesNotApply
    setup.tokens.template = setup.tokens.template.replace("{{ bos_token }}", "").replace("bos_token + ", "")


def bos_twice(setup: SetUp, chance: random.Random) -> None:
    if not setup.kit.adds_bos:
        raise DoesNotApply
    setup.tokens.template = "{{ bos_token }}" * chance.randint(1, 2) + setup.tokens.template


def header_misspelt(setup: SetUp, chance: random.Random) -> None:
    used = [token for token in setup.kit.controls if token in setup.tokens.template]
    if not used:
        raise DoesNotApply
    token = chance.choice(used)
    letter, other = next(pair for pair in ("sz", "uv", "nm") if pair[0] in token)
    setup.tokens.template = setup.tokens.template.replace(token, token.replace(letter, other, 1))


def header_token_unknown(setup: SetUp, chance: random.Random) -> None:
    used = [token for token in setup.kit.controls if token in setup.tokens.template]
    if not used or len(setup.kit.controls) < 2:
        raise DoesNotApply
    setup.tokens.specials.remove(chance.choice(used))
    setup.tokens.specials.append("<|spare_0|>")


def header_asked_otherwise(setup: SetUp, chance: random.Random) -> None:
    before, mark, after = setup.tokens.template.rpartition("add_generation_prompt")
    if not mark:
        raise DoesNotApply
    more = chance.choice([" ", "\\n", "Sure, ", "\\n\\n"])
    setup.tokens.template = before + mark + after.replace("' }}", f"{more}' }}}}", 1)


def header_never(setup: SetUp, chance: random.Random) -> None:
    del chance
    _template(setup, "add_generation_prompt", "false")


def another_role_asked(setup: SetUp, chance: random.Random) -> None:
    before, mark, after = setup.tokens.template.rpartition("add_generation_prompt")
    for name in ("assistant", "Assistant", "ASSISTANT", "model", "Response"):
        if mark and name in after:
            setup.tokens.template = before + mark + after.replace(name, chance.choice(["bot", "ai", "expert"]))
            return
    raise DoesNotApply


def system_dropped(setup: SetUp, chance: random.Random) -> None:
    if not setup.kit.system:
        raise DoesNotApply
    setup.rows = chats(chance, 40, True)
    drop = "{% set messages = messages[1:] if messages[0]['role'] == 'system' else messages %}"
    setup.tokens.template = drop + setup.tokens.template


def earlier_turns_dropped(setup: SetUp, chance: random.Random) -> None:
    setup.rows = chats(chance, 40, False)
    setup.tokens.template = f"{{% set messages = messages[-{chance.choice([2, 3])}:] %}}" + setup.tokens.template


def prompts_cut(setup: SetUp, chance: random.Random) -> None:
    cut = f"message['content'][:{chance.randint(10, 60)}]"
    _template(setup, "message['content']", f"({cut} if message['role'] == 'user' else message['content'])")


def prompts_in_capitals(setup: SetUp, chance: random.Random) -> None:
    how = chance.choice(["upper", "lower", "title"])
    _template(
        setup,
        "message['content']",
        f"(message['content'] | {how} if message['role'] == 'user' else message['content'])",
    )


def prompts_changed(setup: SetUp, chance: random.Random) -> None:
    old, new = chance.choice([(" ", "  "), ("the", "a"), (".", "!"), ("(", "[")])
    changed = f"message['content'] | replace('{old}', '{new}')"
    _template(setup, "message['content']", f"({changed} if message['role'] == 'user' else message['content'])")


def answers_changed(setup: SetUp, chance: random.Random) -> None:
    how = chance.choice(["upper", "replace('.', '')", "truncate(12)"])
    _template(setup, "message['content']", f"(message['content'] | {how})")


def chance_in_prompt(setup: SetUp, chance: random.Random) -> None:
    words = [sentence(chance) for _ in range(30)]
    setup.tokens.template = f"{{{{ {words} | random }}}}" + setup.tokens.template


def no_template(setup: SetUp, chance: random.Random) -> None:
    del chance
    setup.tokens.template = ""


# ---- tokenizers and weights ----


def tokenizer_ends_everything(setup: SetUp, chance: random.Random) -> None:
    del chance
    setup.tokens.end_behind = True


def tokenizer_of_another_model(setup: SetUp, chance: random.Random) -> None:
    setup.own_tokenizer, setup.width = False, 192  # not a toy
    setup.tokens.shift = chance.randint(20, 200)


def tokenizer_too_large(setup: SetUp, chance: random.Random) -> None:
    setup.own_tokenizer = False
    setup.tokens.extra = [f"<|extra_{n}|>" for n in range(chance.randint(1, 20))]
    _template(setup, "message['content']", f"'{setup.tokens.extra[-1]}' + message['content']")
    setup.tokens.template = setup.tokens.template.replace("| trim", "")


def tokenizer_much_smaller(setup: SetUp, chance: random.Random) -> None:
    more = chance.randint(60, 400)
    setup.weights.append(lambda network, _: network.resize_token_embeddings(more + network.config.vocab_size))


def no_end_token(setup: SetUp, chance: random.Random) -> None:
    del chance
    if "eos_token" not in setup.tokens.template:
        raise DoesNotApply
    setup.tokens.eos = None


def _embedding(network: Any) -> Any:
    return network.get_input_embeddings().weight.data


def controls_are_zero(setup: SetUp, chance: random.Random) -> None:
    token, size = setup.kit.end, chance.choice([0.0, 1e-9, 1e-5])
    setup.weights.append(lambda network, known: _embedding(network)[known.convert_tokens_to_ids(token)].mul_(size))


def controls_are_alike(setup: SetUp, chance: random.Random) -> None:
    others = [token for token in setup.tokens.specials if token != setup.kit.end]
    token = chance.choice(others)

    def copy(network: Any, known: Any) -> None:
        mine, other = known.convert_tokens_to_ids([setup.kit.end, token])
        _embedding(network)[mine] = _embedding(network)[other]

    setup.weights.append(copy)


def script_unknown(setup: SetUp, chance: random.Random) -> None:
    if setup.kit.style != "pieces":
        raise DoesNotApply
    setup.tokens.fallback = False
    words = ["слово", "камень", "мрамор", "λόγος", "大理石", "石"]

    def foreign(row: Row) -> None:
        row["prompt"] = " ".join(chance.choices(words, k=8)) + row["prompt"]

    some(setup.rows, chance, 0.3, foreign)


FAULTS: Mapping[str, UserFault] = MappingProxyType(
    {
        "template: no end behind an answer": end_left_out,
        "template: end misspelt": end_misspelt,
        "settings stop at another token": stops_elsewhere,
        "template: BOS missing": bos_missing,
        "template: BOS twice": bos_twice,
        "template: a header's token misspelt": header_misspelt,
        "tokenizer: a header's token unknown": header_token_unknown,
        "template: header asked for otherwise": header_asked_otherwise,
        "template: header never asked for": header_never,
        "template: asks for another role": another_role_asked,
        "template: system message dropped": system_dropped,
        "template: earlier turns dropped": earlier_turns_dropped,
        "template: prompts cut": prompts_cut,
        "template: prompts in another case": prompts_in_capitals,
        "template: prompts changed": prompts_changed,
        "template: answers changed": answers_changed,
        "template: chance": chance_in_prompt,
        "template: none": no_template,
        "tokenizer: ends every text": tokenizer_ends_everything,
        "tokenizer: another model's": tokenizer_of_another_model,
        "tokenizer: larger than the embeddings": tokenizer_too_large,
        "tokenizer: much smaller than the embeddings": tokenizer_much_smaller,
        "tokenizer: no end": no_end_token,
        "tokenizer: script unknown": script_unknown,
        "weights: end's embedding next to zero": controls_are_zero,
        "weights: end's embedding a copy": controls_are_alike,
    }
)
