from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from carrara.models import Model
from carrara.serve.transformers_engine import TransformersEngine, load_engine
from tests.tiny import one_thread

from .tiny import make_adapter, make_base


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
