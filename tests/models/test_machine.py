"""The machine: a container's limit counts, and freed memory can be handed back."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from carrara.models import machine
from carrara.models.machine import give_back_memory, inspect_machine, peak_memory_mb


def test_a_container_holds_no_more_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    without = inspect_machine()
    assert without.memory_free <= without.memory
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.stat").write_text("anon 30000000\nfile 60000000\n")
    assert machine.left_to_container() == math.inf
    (tmp_path / "memory.max").write_text("100000000\n")
    held = psutil.Process().memory_info().rss
    assert inspect_machine().memory_free == pytest.approx(70_000_000 + held, rel=0.05)
    (tmp_path / "memory.stat").write_text("nothing that is known\n")
    assert machine.left_to_container() == math.inf


@pytest.mark.parametrize(("text", "cores"), [("max 100000", math.inf), ("250000 100000", 2), ("50000 100000", 1)])
def test_a_container_gives_whole_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cores: float
) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert machine.cores_of_container() == math.inf  # where nothing is said
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert machine.cores_of_container() == cores


def test_freed_memory_is_handed_back_to_the_system() -> None:
    process = psutil.Process()
    kept = [bytearray(b"x" * 50_000) for _ in range(2000)]
    before = process.memory_info().rss
    del kept
    if give_back_memory():
        assert process.memory_info().rss < before - 50_000_000


def test_peak_memory_is_plausible() -> None:
    assert 50 < peak_memory_mb() < 100_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what a process itself held")
def test_peak_memory_is_not_the_parents() -> None:
    held = bytearray(400 << 20)
    held[::4096] = b"1" * len(held[::4096])
    asked = "from carrara.models.machine import peak_memory_mb; print(peak_memory_mb())"
    assert float(subprocess.check_output([sys.executable, "-c", asked])) < 300 < peak_memory_mb()
