"""The engine is chosen by what the machine and the models allow, and the reason is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.shape import shape_in
from carrara.progress import Silent
from carrara.serve.engine import Engine, UnknownModel
from carrara.serve.engines import LlamaCppBases, Local, Reopened, open_engine, room_in
from carrara.serve.llamacpp_engine import LlamaCppEngine
from carrara.workspace import Workspace

from .test_contract import chat, never, told
from .tiny import adapter_as_gguf, base_as_gguf, make_base


class Heard(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In place of the exporter, one that writes tiny models; gives the names that it refuses."""
    refused: list[str] = []

    def base_gguf(workspace: Workspace, model: Model, quantization: str, progress: object) -> Path:
        if model.name in refused:
            raise Refusal(f"{model.name} cannot be a GGUF file.")
        return base_as_gguf(model, tmp_path / f"{model.digest}.gguf", {"q8_0": "Q8_0", "f16": "F16"}[quantization])

    def adapter_gguf(workspace: Workspace, model: Model, progress: object) -> Path:
        return adapter_as_gguf(model, tmp_path / f"{model.adapter_digest}.gguf")

    package = SimpleNamespace(base_gguf=base_gguf, adapter_gguf=adapter_gguf)
    monkeypatch.setitem(sys.modules, "carrara.export.package", package)
    monkeypatch.setattr("carrara.serve.engines._has_accelerator", lambda: False)
    return refused


@pytest.fixture
def opened() -> Iterator[list[Engine]]:
    """Engines that are closed in the end."""
    engines: list[Engine] = []
    yield engines
    for engine in engines:
        engine.close()


@pytest.mark.parametrize(
    ("kind", "dtype", "expected"),
    [
        ("auto", "auto", LlamaCppBases),
        ("auto", "float32", Reopened),
        ("auto", "f16", LlamaCppBases),
        ("llamacpp", "auto", LlamaCppBases),
        ("transformers", "auto", Reopened),
    ],
)
def test_the_engine_is_the_one_asked_for(
    workspace: Workspace,
    tiny_models: dict[str, Model],
    exported: list[str],
    opened: list[Engine],
    kind: Local,
    dtype: str,
    expected: type[Engine],
) -> None:
    opened.append(open_engine(kind, tiny_models, workspace, dtype, Silent()))
    assert type(opened[0]) is expected
    assert opened[0].models() == ["base", "run/one", "run/two"]
    assert len({told(chat(opened[0], name, "hello"))[0] for name in tiny_models}) == 3


def test_what_llamacpp_cannot_hold_the_reference_answers_and_says_why(
    workspace: Workspace, tiny_models: dict[str, Model], exported: list[str], opened: list[Engine]
) -> None:
    exported.append("base")
    heard = Heard()
    opened.append(open_engine("auto", tiny_models, workspace, "auto", heard))
    assert isinstance(opened[0], Reopened)
    assert heard.said == ["transformers answers instead of the faster llama.cpp: base cannot be a GGUF file."]
    with pytest.raises(Refusal, match="base cannot be a GGUF file"):
        open_engine("llamacpp", tiny_models, workspace, "auto", heard)
    with pytest.raises(Refusal, match="base cannot be a GGUF file"):  # its numbers were asked for
        open_engine("auto", tiny_models, workspace, "q4_0", heard)


def test_an_accelerator_is_for_the_reference_engine(
    workspace: Workspace,
    tiny_models: dict[str, Model],
    exported: list[str],
    opened: list[Engine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("carrara.serve.engines._has_accelerator", lambda: True)
    opened.append(open_engine("auto", tiny_models, workspace, "auto", Silent()))
    assert isinstance(opened[0], Reopened)


def test_models_that_do_not_fit_beside_those_that_answer_are_refused(
    workspace: Workspace, tiny_models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one base there is one more network, whatever the adapters."""
    needed = 4 * shape_in(tiny_models["base"].path)[1]
    engine = open_engine("transformers", {"base": tiny_models["base"]}, workspace, "float32", Silent())
    monkeypatch.setattr("carrara.serve.engines._free_memory", lambda: needed - 1)
    with pytest.raises(Refusal, match=r"0\.0 GB are free; stop the server, and start it with all of them"):
        engine.add({"run/one": tiny_models["run/one"]})
    assert engine.models() == ["base"]
    monkeypatch.setattr("carrara.serve.engines._free_memory", lambda: needed)
    engine.add({"run/one": tiny_models["run/one"]})
    assert engine.models() == ["base", "run/one"]


def test_two_bases_have_a_process_each(
    workspace: Workspace,
    tiny_models: dict[str, Model],
    exported: list[str],
    opened: list[Engine],
    tmp_path: Path,
) -> None:
    other = replace(make_base(tmp_path / "other", seed=9), name="other")
    models = {"base": tiny_models["base"], "other": other, "run/one": tiny_models["run/one"]}
    opened.append(open_engine("llamacpp", models, workspace, "f16", Silent()))
    several = opened[0]
    assert isinstance(several, LlamaCppBases)
    assert sorted(several.models()) == ["base", "other", "run/one"]
    assert len({told(chat(several, name, "hello"))[0] for name in models}) == 3
    with pytest.raises(UnknownModel):
        chat(several, "gpt", "hello")
    with pytest.raises(UnknownModel):
        several.embed("gpt", ["hello"], never)


def test_a_base_that_fails_closes_the_others(
    workspace: Workspace, tiny_models: dict[str, Model], exported: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    closed: list[str] = []
    close = LlamaCppEngine.close
    monkeypatch.setattr(LlamaCppEngine, "close", lambda self: (closed.append("one"), close(self))[1])
    exported.append("other")
    models = {"base": tiny_models["base"], "other": replace(make_base(tmp_path / "other", seed=9), name="other")}
    with pytest.raises(Refusal, match="other cannot be a GGUF file"):
        open_engine("llamacpp", models, workspace, "auto", Silent())
    assert closed == ["one"]


def test_a_context_comes_before_more_answers_at_once() -> None:
    assert room_in(100_000, 8192) == (4, 8192)
    assert room_in(20_000, 8192) == (2, 8192)
    assert room_in(8_192, 8192) == (1, 8192)
    assert room_in(5_000, 8192) == (1, 5_000)
