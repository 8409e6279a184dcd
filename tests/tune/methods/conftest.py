from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tiny import one_thread


@pytest.fixture(scope="package", autouse=True)
def _on_one_thread() -> Iterator[None]:
    with one_thread():
        yield
