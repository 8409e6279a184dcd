"""`carrara serve`, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from carrara.models import Model
from carrara.serve.audit import audit_path, verify
from carrara.serve.keys import FILE, add_key
from carrara.workspace import Workspace
from tests.conftest import Command

from .asking import MESSAGES, openai_of


def command(*arguments: str, workspace: Path) -> subprocess.Popen[str]:
    code = (
        "import typer; from carrara.cli.serve import serve_command\n"
        "from carrara.serve.transformers_engine import TransformersEngine\n"
        "TransformersEngine.close = lambda self: print('closed', flush=True)\n"
        "app = typer.Typer(add_completion=False); app.command()(serve_command); app()"
    )
    options = ["--port", "0", "--workspace", str(workspace), "--dtype", "float32"]
    environment = {name: value for name, value in os.environ.items() if name != "CARRARA_KEY"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.parametrize(("number", "stored"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_the_command_serves_and_stops(
    tiny_models: dict[str, Model], tmp_path: Path, number: signal.Signals, stored: bool
) -> None:
    folder = str(tiny_models["base"].path)
    key = add_key(tmp_path / FILE, "ann") if stored else ""
    with command(folder, "--json-logs", workspace=tmp_path) as process:
        try:
            assert process.stderr is not None
            assert process.stdout is not None
            url = next(line for line in process.stderr if "serving" in line).split()[-1]
            if not stored:
                key = next(line for line in process.stderr if line.startswith("key:")).split()[-1]
            answer = openai_of(url, key).chat.completions.create(model=folder, messages=MESSAGES, max_tokens=3)
            assert answer.usage is not None
            assert json.loads(next(process.stderr))["who"] == ("ann" if stored else "key")
            process.send_signal(number)
            assert process.wait(10) == (130 if number == signal.SIGINT else -number)
            assert process.stdout.read() == "closed\n"
            log = verify(audit_path(Workspace(tmp_path)))
            assert (log.lines, log.fault) == (1, None)
            said = process.stderr.read()
            assert "Traceback" not in said
            assert "carrara serve" not in said  # the command may hold a key, and starting anew goes on nowhere
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--cors", "*"], "is no origin"),
        (["--tls-cert", "cert.pem"], "give both"),
        (["--key", " x "], "spaces around it"),
        (["--rate", "0"], "invalid value for '--rate'"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_loaded(
    carrara: Command, options: list[str], sentence: str
) -> None:
    result = carrara("serve", "no-such-model", "--port", "0", *options)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
