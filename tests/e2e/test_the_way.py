"""The product as a user meets it: the demonstration, killed and run again, then a chat and a server with its result."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CARRARA = [sys.executable, "-m", "carrara"]
pytestmark = [pytest.mark.slow, pytest.mark.model]


def _environment(workspace: Path) -> dict[str, str]:
    return {**os.environ, "CARRARA_WORKSPACE": str(workspace)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "workspace"


@pytest.fixture(scope="module")
def demo(place: Path) -> tuple[dict[str, Any], str]:
    """The demonstration in small, killed while it trains, and run again to its verdict."""
    command = [*CARRARA, "demo", "--quick", "--json"]
    first = subprocess.Popen(
        command, env=_environment(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and first.poll() is None and not list(place.glob("work/run/*")):
        time.sleep(0.1)
    time.sleep(6)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = subprocess.run(
        command,
        env=_environment(place),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert second.returncode == 0, second.stderr
    return json.loads(second.stdout), second.stderr


def test_a_killed_demo_ends_in_a_verdict(demo: tuple[dict[str, Any], str]) -> None:
    result, said = demo
    assert result["verdict"] in {"better", "mixed", "worse", "no worse", "can't tell"}
    rows = {(row["task"], row["metric"]): row for row in result["verdicts"]}
    assert {"arc_easy", "hellaswag", "heldout"} == {task for task, _ in rows}
    assert rows["heldout", "loss"]["verdict"] == "better"
    assert rows["arc_easy", "acc_norm"]["tuned"] > rows["arc_easy", "acc_norm"]["base"]
    assert "converting" not in said  # what stood before the kill is not done again


def test_the_report_needs_no_network(demo: tuple[dict[str, Any], str]) -> None:
    report = Path(demo[0]["report"]).read_text(encoding="utf-8")
    assert "default-src 'none'" in report
    fetched = re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)([^"']+)|url\((?!["']?(?:#|data:))""", report)
    assert fetched == []
    assert "<svg" in report


def test_running_it_again_does_nothing_anew(demo: tuple[dict[str, Any], str], place: Path) -> None:
    began = time.monotonic()
    again = subprocess.run(
        [*CARRARA, "demo", "--quick", "--json"], env=_environment(place), capture_output=True, text=True, check=True
    )
    assert json.loads(again.stdout) == demo[0]
    assert "of them learned" not in again.stderr
    assert time.monotonic() - began < 60


def test_the_terminal_chat_talks_to_the_tuned_model(demo: tuple[dict[str, Any], str], place: Path) -> None:
    command = [*CARRARA, "chat", demo[0]["run"], "--max-tokens", "12", "--role", "You are a teacher."]
    chat = subprocess.run(
        command, input="Why is the sky blue?\n", env=_environment(place), capture_output=True, text=True, check=False
    )
    assert chat.returncode == 0, chat.stderr
    assert chat.stdout.strip()


@pytest.fixture(scope="module")
def server(demo: tuple[dict[str, Any], str], place: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    models = [demo[0]["run"], "smollm2-135m-instruct"]
    command = [*CARRARA, "serve", *models, "--port", str(port), "--key", "secret"]
    process = subprocess.Popen(command, env=_environment(place), stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/healthz", timeout=1).read()
                break
            except OSError:
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.25)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_the_openai_client_talks_to_the_tuned_model(server: str, demo: tuple[dict[str, Any], str]) -> None:
    from openai import OpenAI

    client = OpenAI(base_url=f"{server}/v1", api_key="secret")
    names = [model.id for model in client.models.list()]
    assert names == [demo[0]["run"], "smollm2-135m-instruct"]
    ask = {"messages": [{"role": "user", "content": "What do plants need?"}], "max_tokens": 12, "temperature": 0}
    answers = {}
    for name in names:
        whole = client.chat.completions.create(model=name, **ask)  # type: ignore[call-overload]
        stream = client.chat.completions.create(model=name, stream=True, **ask)  # type: ignore[call-overload]
        pieces = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        assert pieces == whole.choices[0].message.content
        assert whole.usage.completion_tokens <= 12
        answers[name] = pieces
    assert answers[names[0]] != answers[names[1]]
