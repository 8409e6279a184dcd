from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from carrara.models import Model
from carrara.serve.transformers_engine import TransformersEngine, load_engine

from .tiny import make_adapter, make_base


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Such small matrices are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
