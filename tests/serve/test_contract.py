"""What every engine has to do, asked of each of them: the same small models, once per engine."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from carrara.data.example import Message
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import load_tokenizer
from carrara.serve.engine import ChatRequest, Engine, Piece, TextRequest, UnknownModel
from carrara.serve.llamacpp_engine import LlamaCppEngine
from carrara.serve.openai_engine import OpenAIEngine
from carrara.serve.remote import Loaded, open_vllm
from carrara.serve.transformers_engine import TransformersEngine

from .standin import KEY, standing_in
from .tiny import CONTEXT
from .vllm_standin import VllmStandIn, vllm_standing_in

NAMES = ["base", "run/one", "run/two"]
TEXTS = ["hello", "where is the quarry?", "Grüße 🙂", "It is in Italy.", "hello " * 25]


@pytest.fixture(scope="module", params=["transformers", "llamacpp", "openai", "vllm"])
def tested(
    request: pytest.FixtureRequest,
    engine: TransformersEngine,
    llamacpp: LlamaCppEngine,
    tiny_models: dict[str, Model],
) -> Iterator[Engine]:
    if request.param == "openai":
        with standing_in(engine) as (url, _, _), pytest.MonkeyPatch.context() as patch:
            patch.setenv("STAND_IN_KEY", KEY)
            yield OpenAIEngine(url, "STAND_IN_KEY")
    elif request.param == "vllm":
        with vllm_standing_in(VllmStandIn(engine, tiny_models)) as url:
            yield open_vllm(url, NAMES, tiny_models.__getitem__, Loaded())
    else:
        yield engine if request.param == "transformers" else llamacpp


def never() -> bool:
    return False


def chat(engine: Engine, model: str, text: str, cancelled: Callable[[], bool] = never, **more: Any) -> list[Piece]:
    fields = {"max_tokens": 24, "temperature": 0.0, **more}
    return list(engine.answer(ChatRequest(model=model, messages=(Message("user", text),), **fields), cancelled))


def resume(engine: Engine, model: str, text: str, **more: Any) -> list[Piece]:
    fields = {"max_tokens": 24, "temperature": 0.0, **more}
    return list(engine.answer(TextRequest(model=model, prompt=text, **fields), never))


def told(pieces: list[Piece]) -> tuple[str, str | None, int | None, int | None]:
    last = pieces[-1]
    text = "".join(piece.text for piece in pieces)
    return text, last.finish_reason, last.prompt_tokens, last.completion_tokens


def logprobs_of(pieces: list[Piece]) -> list[tuple[str, float, tuple[tuple[str, float], ...]]]:
    return [(each.text, each.logprob, each.top) for piece in pieces for each in piece.logprobs]


def test_it_tells_its_models(tested: Engine) -> None:
    assert tested.models() == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", TEXTS)
def test_greedy_text_reason_and_counts_are_the_references(
    tested: Engine, engine: TransformersEngine, name: str, text: str
) -> None:
    pieces = chat(tested, name, text)
    assert told(pieces) == told(chat(engine, name, text))
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert {piece.prompt_tokens for piece in pieces[:-1]} <= {None, pieces[-1].prompt_tokens}


@pytest.mark.parametrize("text", ["It is in", "", "<|im_start|>user\n"])
def test_a_text_is_continued_as_it_stands(
    tested: Engine, engine: TransformersEngine, tiny_models: dict[str, Model], text: str
) -> None:
    pieces = resume(tested, "run/one", text)
    assert told(pieces) == told(resume(engine, "run/one", text))
    assert pieces[-1].prompt_tokens == max(1, len(load_tokenizer(tiny_models["run/one"]).encode(text)))


def test_an_answer_comes_in_pieces(tested: Engine) -> None:
    assert len(chat(tested, "base", "hello")) > 5


def test_length_and_end_are_told_apart(tested: Engine) -> None:
    assert told(chat(tested, "base", "hello", max_tokens=5))[1::2] == ("length", 5)
    whole = chat(tested, "base", "where is the quarry?", max_tokens=None)
    assert told(whole)[1] == "stop"
    assert (told(whole)[3] or 0) < 100


def test_stop_strings_are_obeyed_across_tokens(tested: Engine) -> None:
    whole = told(chat(tested, "run/one", "hello"))[0]
    stop = whole[4:7]
    text, reason, _, count = told(chat(tested, "run/one", "hello", stop=("never there", stop)))
    assert (text, reason) == (whole[: whole.index(stop)], "stop")
    assert (count or 0) < 24


def test_the_answer_may_fill_the_context_to_the_last_token(tested: Engine) -> None:
    prompt = chat(tested, "run/two", "hello", max_tokens=1)[-1].prompt_tokens or 0
    text, reason, _, count = told(chat(tested, "run/two", "hello", max_tokens=CONTEXT - prompt))
    assert reason == "stop" or count == CONTEXT - prompt
    assert text
    with pytest.raises(Refusal, match=rf"the answer may take {CONTEXT - prompt + 1}, but the model holds {CONTEXT}"):
        chat(tested, "run/two", "hello", max_tokens=CONTEXT - prompt + 1)


def test_an_overlong_prompt_is_refused_with_the_numbers(tested: Engine) -> None:
    with pytest.raises(Refusal, match=rf"the prompt has \d\d\d+ tokens.*the model holds {CONTEXT}"):
        chat(tested, "base", "x" * CONTEXT)


def test_an_unknown_model_is_refused_at_once(tested: Engine) -> None:
    request = ChatRequest(model="gpt", messages=(Message("user", "hello"),))
    with pytest.raises(UnknownModel, match="no model 'gpt' here; this server answers as base, run/one, run/two"):
        tested.answer(request, never)


def test_the_seed_decides_what_is_drawn(tested: Engine) -> None:
    drawn = [told(chat(tested, "base", "hello", temperature=1.5, seed=seed))[0] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    free = {told(chat(tested, "base", "hello", temperature=1.5))[0] for _ in range(4)}
    assert len(free) > 1


def test_tokens_are_drawn_by_temperature_and_then_top_p(tested: Engine, tiny_models: dict[str, Model]) -> None:
    """What 200 seeds draw first, against what the log-probabilities say; only the likeliest may be drawn at all."""
    size = len(load_tokenizer(tiny_models["base"]))
    ((_, _, top),) = logprobs_of(chat(tested, "base", "hello", max_tokens=1, top_logprobs=size))
    weights = [math.exp(logprob / 1.5) for _, logprob in top]
    shares = [weight / sum(weights) for weight in weights]
    kept = next(count for count in range(1, size) if sum(shares[:count]) >= 0.7)
    drawn = Counter(
        logprobs_of(chat(tested, "base", "hello", max_tokens=1, temperature=1.5, top_p=0.7, seed=seed, top_logprobs=0))
        [0][0]
        for seed in range(200)
    )  # fmt: skip
    expected: defaultdict[str, float] = defaultdict(float)  # halves of characters look alike
    for (text, _), share in zip(top[:kept], shares, strict=False):
        expected[text] += share / sum(shares[:kept])
    assert set(drawn) <= set(expected)
    for text, share in expected.items():
        assert drawn[text] == pytest.approx(200 * share, abs=4 * math.sqrt(200 * share * (1 - share)))


def test_top_p_zero_is_greedy(tested: Engine) -> None:
    drawn = chat(tested, "base", "hello", temperature=1.5, top_p=0.0)
    assert told(drawn) == told(chat(tested, "base", "hello"))


def test_logprobs_are_the_references(tested: Engine, engine: TransformersEngine) -> None:
    for name, text in zip(NAMES, TEXTS, strict=False):
        found = logprobs_of(chat(tested, name, text, top_logprobs=3))
        right = logprobs_of(chat(engine, name, text, top_logprobs=3))
        assert [token for token, _, _ in found] == [token for token, _, _ in right]
        assert [value for _, value, _ in found] == pytest.approx([value for _, value, _ in right], abs=1e-3)
        tops = [value for _, _, top in found for _, value in top]
        assert tops == pytest.approx([value for _, _, top in right for _, value in top], abs=1e-3)
        assert all(len(top) == 3 and top[0][1] == value for _, value, top in found)  # greedy: the likeliest


def test_logprobs_are_those_before_temperature(tested: Engine) -> None:
    hot = logprobs_of(chat(tested, "base", "hello", max_tokens=1, temperature=2.0, seed=1, top_logprobs=2))
    cold = logprobs_of(chat(tested, "base", "hello", max_tokens=1, top_logprobs=2))
    assert dict(hot[0][2]) == pytest.approx(dict(cold[0][2]), abs=1e-3)


def test_giving_up_ends_the_pieces_and_lets_others_go_on(tested: Engine) -> None:
    stop = threading.Event()
    request = ChatRequest(model="base", messages=(Message("user", "hello"),), max_tokens=200, temperature=0.0)
    running = tested.answer(request, stop.is_set)
    first = next(running)
    stop.set()
    began = time.monotonic()
    rest = list(running)
    assert time.monotonic() - began < 1
    assert all(piece.finish_reason is None for piece in [first, *rest])
    assert chat(tested, "base", "hello", cancelled=lambda: True) == []
    assert told(chat(tested, "run/one", "hello", max_tokens=3))[3] == 3


def test_an_abandoned_answer_leaves_nothing_behind(tested: Engine, engine: TransformersEngine) -> None:
    for _ in range(6):  # more than any engine answers at once
        request = ChatRequest(model="base", messages=(Message("user", "hello"),), max_tokens=50, temperature=0.0)
        abandoned = tested.answer(request, never)
        next(abandoned)
        del abandoned
    assert told(chat(tested, "run/two", "hello")) == told(chat(engine, "run/two", "hello"))


def test_base_and_adapters_never_answer_for_each_other(tested: Engine) -> None:
    """150 requests over 8 threads in random order, each compared with its model's answer alone."""
    alone = {(name, text): told(chat(tested, name, text, max_tokens=10)) for name in NAMES for text in TEXTS}
    assert len({alone[name, "hello"] for name in NAMES}) == 3
    jobs = [(name, text) for name in NAMES for text in TEXTS] * 10
    random.Random(0).shuffle(jobs)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda job: told(chat(tested, *job, max_tokens=10)), jobs))
    assert len(answers) == 150
    assert [job for job, answer in zip(jobs, answers, strict=True) if answer != alone[job]] == []


def test_vectors_are_the_references(tested: Engine, engine: TransformersEngine, tiny_models: dict[str, Model]) -> None:
    found = tested.embed("run/one", ["hello", "where is the quarry?"], never)
    right = engine.embed("run/one", ["hello", "where is the quarry?"], never)
    assert [sum(value * value for value in vector) for vector in found.vectors] == pytest.approx([1, 1])
    for vector, other in zip(found.vectors, right.vectors, strict=True):
        assert vector == pytest.approx(other, abs=1e-4)
    assert found.tokens == right.tokens
    tokenizer = load_tokenizer(tiny_models["run/one"])
    assert found.tokens == sum(len(tokenizer.encode(text)) for text in ("hello", "where is the quarry?"))
