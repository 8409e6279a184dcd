"""llama.cpp's process while it starts: what fails leaves nothing, and nobody who stops has to wait for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from carrara.serve.engine import Interrupted, Unavailable
from carrara.serve.llamacpp_engine import LlamaCppEngine, Voice

from .test_contract import chat
from .test_llamacpp import fresh, process_of, runs, wait_until  # noqa: F401  # one is a fixture


def test_a_process_that_cannot_be_started_leaves_nothing(
    tmp_path: Path, tiny_ggufs: dict[str, Path], tiny_voices: dict[str, Voice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(Unavailable, match=r"llama.cpp's process cannot be started \(No such file"):
        LlamaCppEngine(tiny_ggufs["base"], tiny_voices, threads=1)
    assert list(tmp_path.iterdir()) == []


def test_closing_does_not_wait_for_a_process_that_loads(
    tmp_path: Path,
    fresh: LlamaCppEngine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stopped process stands for one that loads for minutes."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    start, started = subprocess.Popen, threading.Event()

    def frozen(*arguments: Any, **options: Any) -> Any:
        child = start(*arguments, **options)
        child.send_signal(signal.SIGSTOP)
        started.set()
        return child

    monkeypatch.setattr(subprocess, "Popen", frozen)
    os.kill(process_of(fresh).pid, signal.SIGKILL)
    wait_until(lambda: not runs(process_of(fresh).pid))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(chat, fresh, "base", "hello")
        assert started.wait(10)
        closing = threading.Thread(target=fresh.close)
        closing.start()
        closing.join(5)
        hangs, loading = closing.is_alive(), process_of(fresh)
        os.kill(loading.pid, signal.SIGCONT) if hangs else None
        with pytest.raises(Interrupted):
            asked.result(10)
    assert not hangs
    assert not runs(loading.pid)
    assert list(tmp_path.iterdir()) == []
