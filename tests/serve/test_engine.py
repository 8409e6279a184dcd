"""The transformers engine says what the network says, ends where it should, and never speaks for another model."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from carrara.data.example import Message
from carrara.data.render.example import render_prompt
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.embedder import embed
from carrara.models.load import load_model
from carrara.serve.engine import ChatRequest, ContextExceeded, Piece, UnknownModel, Unsupported, with_role
from carrara.serve.transformers_engine import TransformersEngine, load_engine

from .tiny import CONTEXT, make_adapter, make_base, model_at

PROMPTS = ["hello", "where is the quarry?", "Grüße 🙂", "It is in Italy.", "a b c d e"]


def never() -> bool:
    return False


def ask(
    engine: TransformersEngine, model: str, text: str, cancelled: Callable[[], bool] = never, **settings: Any
) -> list[Piece]:
    settings = {"max_tokens": 24, "temperature": 0.0, **settings}
    return list(engine.answer(ChatRequest(model=model, messages=(Message("user", text),), **settings), cancelled))


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def generated(model: Model, text: str, count: int = 24) -> tuple[str, int, int]:
    """What `generate` says: text, tokens of the prompt, tokens of the answer."""
    loaded = load_model(model, "float32")
    prompt = render_prompt(loaded.tokenizer, (Message("user", text),))
    with torch.inference_mode():
        output = loaded.network.generate(
            input_ids=torch.tensor([prompt]), do_sample=False, max_new_tokens=count, pad_token_id=1
        )[0, len(prompt) :]
    return str(loaded.tokenizer.decode(output, skip_special_tokens=True)).rstrip("\ufffd"), len(prompt), len(output)


@pytest.mark.parametrize("name", ["base", "run/one", "run/two"])
@pytest.mark.parametrize("text", PROMPTS)
def test_greedy_text_and_counts_are_those_of_generate(
    engine: TransformersEngine, tiny_models: dict[str, Model], name: str, text: str
) -> None:
    pieces = ask(engine, name, text)
    last = pieces[-1]
    assert (text_of(pieces), last.prompt_tokens, last.completion_tokens) == generated(tiny_models[name], text)
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)


def test_long_prompts_are_read_in_chunks_without_a_difference(
    engine: TransformersEngine, tiny_models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carrara.serve.generation.CHUNK", 7)
    assert text_of(ask(engine, "base", "hello " * 8)) == generated(tiny_models["base"], "hello " * 8)[0]


def test_base_and_adapters_share_a_network_and_never_answer_for_each_other(
    engine: TransformersEngine, tiny_models: dict[str, Model]
) -> None:
    right = {(name, text): generated(model, text, 12)[0] for name, model in tiny_models.items() for text in PROMPTS}
    assert len({right[name, "hello"] for name in tiny_models}) == 3
    jobs = [(name, PROMPTS[round_ % len(PROMPTS)]) for round_ in range(20) for name in ("base", "run/one", "run/two")]
    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(lambda job: text_of(ask(engine, *job, max_tokens=12)), jobs)
        wrong = [job for job, answer in zip(jobs, answers, strict=True) if answer != right[job]]
    assert len(jobs) == 60
    assert wrong == []


def test_an_adapter_that_touches_the_base_gets_a_network_of_its_own(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", bias=True)
    models = {
        "base": base,
        "plain": make_adapter(base.path, tmp_path / "plain", seed=1),
        "bias": make_adapter(base.path, tmp_path / "bias", seed=2, bias="all"),
    }
    engine = load_engine(models, "float32")
    for name in ("bias", "base", "plain", "bias", "base"):
        assert text_of(ask(engine, name, "hello")) == generated(models[name], "hello")[0]


def test_each_model_reads_and_ends_by_its_own_tokenizer(tmp_path: Path, tiny_models: dict[str, Model]) -> None:
    base, one = tiny_models["base"], tiny_models["run/one"]
    folder = Path(shutil.copytree(one.adapter or "", tmp_path / "own"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(base.path / name, folder / name)
    template = (base.path / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text("hello " + template)
    models = {"own": model_at(base.path, folder), "base": base, "one": one}
    engine = load_engine(models, "float32")
    for name, model in models.items():
        pieces = ask(engine, name, "where is the quarry?")
        last = pieces[-1]
        expected = generated(model, "where is the quarry?")
        assert (text_of(pieces), last.prompt_tokens, last.completion_tokens) == expected


def test_an_adapter_of_another_base_is_refused(tmp_path: Path, tiny_models: dict[str, Model]) -> None:
    base = tiny_models["base"]
    foreign = tmp_path / "adapter"
    shutil.copytree(tiny_models["run/one"].adapter or "", foreign)
    config = json.loads((foreign / "adapter_config.json").read_text())
    (foreign / "adapter_config.json").write_text(json.dumps({**config, "r": 8}))
    with pytest.raises(Refusal, match="does not fit"):
        load_engine({"one": tiny_models["run/one"], "foreign": model_at(base.path, foreign)}, "float32")


def test_length_is_told_as_length(engine: TransformersEngine) -> None:
    last = ask(engine, "base", "hello", max_tokens=5)[-1]
    assert (last.finish_reason, last.completion_tokens) == ("length", 5)


def test_end_tokens_of_the_generation_settings_end_an_answer(tmp_path: Path, tiny_models: dict[str, Model]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_models["base"].path, folder)
    loaded = load_model(tiny_models["base"], "float32")
    prompt = render_prompt(loaded.tokenizer, (Message("user", "hello"),))
    output = loaded.network.generate(
        input_ids=torch.tensor([prompt]), do_sample=False, max_new_tokens=8, pad_token_id=1
    )
    end = int(output[0, len(prompt) + 3])
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, end]}))
    pieces = ask(load_engine({"m": model_at(folder, None)}, "float32"), "m", "hello")
    assert (pieces[-1].finish_reason, pieces[-1].completion_tokens) == ("stop", 4)
    assert text_of(pieces) == generated(tiny_models["base"], "hello", 3)[0]


def test_the_templates_own_end_of_turn_ends_an_answer(tmp_path: Path, tiny_models: dict[str, Model]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_models["base"].path, folder)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        settings = json.loads((folder / name).read_text())
        settings.pop("eos_token_id", None)
        if "eos_token" in settings:
            settings["eos_token"] = "<|im_start|>"
            settings["additional_special_tokens"] = ["<|im_end|>"]
        (folder / name).write_text(json.dumps(settings))
    usual = ask(load_engine({"m": tiny_models["base"]}, "float32"), "m", "where is the quarry?")
    assert usual[-1].finish_reason == "stop"
    pieces = ask(load_engine({"m": model_at(folder, None)}, "float32"), "m", "where is the quarry?")
    assert pieces[-1] == usual[-1]


def test_stop_strings_cut_the_text_even_across_tokens(engine: TransformersEngine) -> None:
    whole = text_of(ask(engine, "base", "hello"))
    pieces = [piece.text for piece in ask(engine, "base", "hello")]
    border = len(pieces[0] + pieces[1])
    stop = whole[border - 1 : border + 1]
    cut = ask(engine, "base", "hello", stop=("never there", stop))
    assert text_of(cut) == whole[: whole.index(stop)]
    assert cut[-1].finish_reason == "stop"
    assert (cut[-1].completion_tokens or 0) < 24


def test_the_seed_decides_what_is_drawn(engine: TransformersEngine) -> None:
    drawn = [text_of(ask(engine, "base", "hello", temperature=1.5, seed=seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_top_p_zero_is_greedy(engine: TransformersEngine) -> None:
    assert text_of(ask(engine, "base", "hello", temperature=1.5, top_p=0.0)) == text_of(ask(engine, "base", "hello"))


def test_too_long_a_prompt_is_refused_with_the_numbers(engine: TransformersEngine) -> None:
    with pytest.raises(ContextExceeded, match=rf"prompt has \d\d\d+ tokens.*model holds {CONTEXT}"):
        engine.answer(ChatRequest(model="base", messages=(Message("user", "x" * CONTEXT),)), never)
    with pytest.raises(ContextExceeded, match=rf"prompt has 11 tokens and the answer may take 250, .* holds {CONTEXT}"):
        engine.answer(ChatRequest(model="base", messages=(Message("user", "hello"),), max_tokens=250), never)


def test_without_a_limit_the_answer_may_fill_the_context(engine: TransformersEngine) -> None:
    last = ask(engine, "base", "hello", max_tokens=None)[-1]
    assert last.finish_reason == "stop" or (last.prompt_tokens or 0) + (last.completion_tokens or 0) == CONTEXT


def test_an_unknown_model_is_refused_at_once(engine: TransformersEngine) -> None:
    with pytest.raises(UnknownModel, match="no model 'gpt' here; this server answers as base, run/one, run/two"):
        engine.answer(ChatRequest(model="gpt", messages=(Message("user", "hello"),)), never)


def test_a_model_without_a_template_cannot_chat(tmp_path: Path, tiny_models: dict[str, Model]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_models["base"].path, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(Refusal, match="plain/base cannot chat: the model has no chat template"):
        load_engine({"plain/base": model_at(folder, None)}, "float32")


def test_giving_up_frees_the_engine_and_the_line(engine: TransformersEngine) -> None:
    stop = threading.Event()
    running = engine.answer(
        ChatRequest(model="base", messages=(Message("user", "hello"),), max_tokens=200, seed=3), stop.is_set
    )
    next(running)
    gave_up = ask(engine, "base", "hello", cancelled=lambda: True)
    assert gave_up == []
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(ask, engine, "run/one", "hello", max_tokens=1)
        time.sleep(0.1)
        assert not waiting.done()
        stop.set()
        start = time.monotonic()
        assert all(piece.finish_reason is None for piece in running)
        assert waiting.result()[-1].completion_tokens == 1
    assert time.monotonic() - start < 1


def test_an_abandoned_answer_leaves_the_right_adapter(
    engine: TransformersEngine, tiny_models: dict[str, Model]
) -> None:
    request = ChatRequest(model="base", messages=(Message("user", "hello"),), max_tokens=50, temperature=0.0)
    abandoned = engine.answer(request, never)
    next(abandoned)
    del abandoned
    assert text_of(ask(engine, "run/two", "hello")) == generated(tiny_models["run/two"], "hello")[0]
    assert text_of(ask(engine, "base", "hello")) == generated(tiny_models["base"], "hello")[0]


def test_vectors_are_the_mean_of_the_last_hidden_states(
    engine: TransformersEngine, tiny_models: dict[str, Model]
) -> None:
    found = engine.embed("run/one", ["hello", "where is the quarry?"], never)
    loaded = load_model(tiny_models["run/one"], "float32")
    for text, vector in zip(("hello", "where is the quarry?"), found.vectors, strict=True):
        ids = torch.tensor([loaded.tokenizer.encode(text)])
        with torch.inference_mode():
            mean = loaded.network(input_ids=ids, output_hidden_states=True).hidden_states[-1][0].mean(dim=0)
        assert vector == pytest.approx((mean / mean.norm()).tolist(), abs=1e-5)
    assert engine.embed("base", ["hello"], never).vectors[0] != pytest.approx(found.vectors[0], abs=0.01)


def test_texts_without_a_vector_are_refused(engine: TransformersEngine) -> None:
    with pytest.raises(Refusal, match="text 1 has no tokens of its own"):
        engine.embed("base", ["hello", ""], never)
    with pytest.raises(ContextExceeded, match=rf"has 301 tokens, but the model holds {CONTEXT}"):
        engine.embed("base", ["z" * 301], never)
    with pytest.raises(UnknownModel):
        engine.embed("gpt", ["hello"], never)


def test_embedding_is_given_up_between_texts(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(loaded: Any, texts: Any) -> Any:
        read.append(len(texts))
        return embed(loaded, texts)

    monkeypatch.setattr("carrara.serve.transformers_engine.embed", counted)
    texts = ["z" * 200] * 30  # a token each letter
    whole = engine.embed("base", texts, never)
    assert len(whole.vectors) == sum(read) == 30
    assert read == [10, 10, 10]
    read.clear()
    engine.embed("base", texts, lambda: bool(read))
    assert len(read) == 1
    engine.embed("base", texts, lambda: True)
    assert len(read) == 1


def test_a_schema_is_not_for_the_reference_engine(engine: TransformersEngine) -> None:
    with pytest.raises(Unsupported, match="transformers does not support 'schema'"):
        ask(engine, "base", "hello", schema={"type": "object"})


def test_a_role_goes_in_front_unless_there_is_one() -> None:
    user = Message("user", "hello")
    assert with_role([user], "a poet") == (Message("system", "a poet"), user)
    assert with_role([user], None) == (user,)
    own = replace(user, role="system")
    assert with_role([own, user], "a poet") == (own, user)
