"""Vectors by llama.cpp are those of the reference: base and adapters, with and without tokens around a text."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from carrara.errors import Refusal
from carrara.models import Model
from carrara.serve.engine import ContextExceeded, Interrupted, Unavailable
from carrara.serve.llamacpp_engine import LlamaCppEngine, Voice
from carrara.serve.reader import reader_of
from carrara.serve.transformers_engine import load_engine

from .test_contract import NAMES, TEXTS, never
from .tiny import CONTEXT, base_as_gguf, model_at

BOUND = 0.999  # the least cosine between llama.cpp's vector in float16 and the reference's


@pytest.fixture(scope="module")
def framed(tiny_models: dict[str, Model], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """The tiny models with a tokenizer that puts a token in front of every text, and one behind it."""
    folder = tmp_path_factory.mktemp("framed") / "base"
    shutil.copytree(tiny_models["base"].path, folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A <|im_end|>", special_tokens=[("<|im_start|>", 0), ("<|im_end|>", 1)]
    )
    tokenizer.save_pretrained(folder)
    return {name: model_at(folder, model.adapter) for name, model in tiny_models.items()}


@pytest.fixture(scope="module", params=["plain", "framed"])
def models(request: pytest.FixtureRequest, tiny_models: dict[str, Model], framed: dict[str, Model]) -> dict[str, Model]:
    return framed if request.param == "framed" else tiny_models


@pytest.fixture(scope="module")
def embedding(
    models: dict[str, Model], tiny_ggufs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LlamaCppEngine]:
    base = base_as_gguf(models["base"], tmp_path_factory.mktemp("f16") / "b.gguf", "F16")
    voices = {
        name: Voice(reader_of(model), tiny_ggufs[name] if model.adapter else None) for name, model in models.items()
    }
    engine = LlamaCppEngine(base, voices, threads=1)
    yield engine
    engine.close()


def cosines(found: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> list[float]:
    return [sum(a * b for a, b in zip(one, other, strict=True)) for one, other in zip(found, right, strict=True)]


def test_vectors_are_the_references(embedding: LlamaCppEngine, models: dict[str, Model]) -> None:
    reference = load_engine(models, "float32")
    right = {name: reference.embed(name, TEXTS, never) for name in NAMES}
    apart = cosines(right["base"].vectors, right["run/one"].vectors)
    assert max(apart) < 0.9  # or the bound would say little
    for name in [*NAMES, *NAMES[::-1]]:  # each adapter after each other
        found = embedding.embed(name, TEXTS, never)
        assert min(cosines(found.vectors, right[name].vectors)) >= BOUND
        assert [sum(value * value for value in vector) for vector in found.vectors] == pytest.approx([1.0] * len(TEXTS))
        assert found.tokens == right[name].tokens


def test_what_has_no_vector_is_refused_before_anything_is_read(embedding: LlamaCppEngine) -> None:
    with pytest.raises(Refusal, match="text 1 has no tokens of its own"):
        embedding.embed("base", ["hello", ""], never)
    with pytest.raises(ContextExceeded, match=f"the model holds {CONTEXT}"):
        embedding.embed("base", ["hello", "hello " * CONTEXT], never)


def test_the_longest_text_is_read_and_a_client_that_leaves_stops_it(
    embedding: LlamaCppEngine, models: dict[str, Model]
) -> None:
    reader = embedding._voices["base"].reader
    text = next(t for n in range(CONTEXT, 0, -1) if len(reader.tokenizer.encode(t := "hello " * n)) <= CONTEXT)
    assert len(embedding.embed("base", [text], never).vectors) == 1
    asked: list[int] = []
    found = embedding.embed("base", ["hello"] * 10, lambda: asked.append(1) or len(asked) > 3)
    assert 0 < len(found.vectors) < 5


def test_its_process_starts_with_the_first_text_and_comes_back(
    tiny_ggufs: dict[str, Path], tiny_voices: dict[str, Voice]
) -> None:
    engine = LlamaCppEngine(tiny_ggufs["base"], tiny_voices, threads=1)
    lasting = engine._embedder._lasting
    assert lasting.process is None
    before = engine.embed("run/two", ["hello"], never)
    process = lasting.process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process._process.wait()
    assert engine.embed("run/two", ["hello"], never) == before
    again = lasting.process
    assert again is not None
    assert again is not process
    engine.close()
    assert not again.folder.exists()
    with pytest.raises(Interrupted):
        engine.embed("run/two", ["hello"], never)


def test_a_model_that_changed_gives_no_vectors(
    tiny_ggufs: dict[str, Path], tiny_voices: dict[str, Voice], tmp_path: Path
) -> None:
    """Its file is overwritten with another adapter's, which the next process loads; also one that takes over."""
    path = Path(shutil.copyfile(tiny_ggufs["run/one"], tmp_path / "one.gguf"))
    voices = {**tiny_voices, "run/one": replace(tiny_voices["run/one"], adapter=path)}
    engine = LlamaCppEngine(tiny_ggufs["base"], voices, threads=1)
    before = {name: engine.embed(name, ["where?"], never) for name in voices}
    shutil.copyfile(tiny_ggufs["run/two"], path)
    process = engine._embedder._lasting.process
    assert process is not None
    process.kill()
    another = engine.renewed()
    for each in (engine, another):
        with pytest.raises(Unavailable, match="run/one turns a text into another vector than when it was first asked"):
            each._embedder.embed("run/one", tiny_voices["run/one"].reader, each._scales("run/one"), ["where?"], never)
        assert {name: each.embed(name, ["where?"], never) for name in ("base", "run/two")} == {
            name: before[name] for name in ("base", "run/two")
        }
        each.close()


def test_a_base_without_adapters_has_vectors(tiny_ggufs: dict[str, Path], tiny_voices: dict[str, Voice]) -> None:
    voice = replace(tiny_voices["base"], adapter=None)
    engine = LlamaCppEngine(tiny_ggufs["base"], {"m": voice}, threads=1)
    assert len(engine.embed("m", ["hello", "where?"], never).vectors) == 2
    engine.close()
