from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from carrara.models import Model
from carrara.serve.llamacpp_engine import LlamaCppEngine, Voice
from carrara.serve.reader import reader_of
from carrara.serve.transformers_engine import TransformersEngine, load_engine
from tests.tiny import one_thread

from .tiny import adapter_as_gguf, base_as_gguf, make_adapter, make_base


@pytest.fixture(scope="package", autouse=True)
def _on_one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    root: Path = tmp_path_factory.mktemp("tiny")
    base = make_base(root / "base")
    return {
        "base": base,
        "run/one": make_adapter(base.path, root / "one", seed=1),
        "run/two": make_adapter(base.path, root / "two", seed=2),
    }


@pytest.fixture(scope="session")
def engine(tiny_models: dict[str, Model]) -> TransformersEngine:
    return load_engine(tiny_models, "float32")


@pytest.fixture(scope="session")
def tiny_ggufs(tiny_models: dict[str, Model], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The base and the adapters of `tiny_models` as GGUF files, by the same names."""
    root: Path = tmp_path_factory.mktemp("ggufs")
    return {
        name: adapter_as_gguf(model, root / f"{index}.gguf") if model.adapter else base_as_gguf(model, root / "b.gguf")
        for index, (name, model) in enumerate(tiny_models.items())
    }


@pytest.fixture(scope="session")
def tiny_voices(tiny_models: dict[str, Model], tiny_ggufs: dict[str, Path]) -> dict[str, Voice]:
    return {
        name: Voice(reader_of(model), tiny_ggufs[name] if model.adapter else None)
        for name, model in tiny_models.items()
    }


@pytest.fixture(scope="session")
def llamacpp(tiny_ggufs: dict[str, Path], tiny_voices: dict[str, Voice]) -> Iterator[LlamaCppEngine]:
    """As exact as the reference, so that the two can be compared."""
    engine = LlamaCppEngine(tiny_ggufs["base"], tiny_voices, threads=1, exact=True)
    yield engine
    engine.close()
