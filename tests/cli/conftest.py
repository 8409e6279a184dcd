"""Fixtures: one workspace for all tests of bad input, since none of them may change what it holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.ground import Ground, make_ground


@pytest.fixture(scope="session")
def made(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return make_ground(tmp_path_factory.mktemp("bad") / "workspace", tiny_folder)


@pytest.fixture
def ground(made: Ground) -> Iterator[Ground]:
    """The same workspace for all; what a test writes beside it is removed."""
    before = set(made.folder.iterdir())
    yield made
    for path in set(made.folder.iterdir()) - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
