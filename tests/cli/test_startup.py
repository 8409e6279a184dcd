"""Starting: help is answered without the heavy libraries, and a program gets JSON from the installed command."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from carrara.cli.main import main
from tests.conftest import Command

HEAVY = ("torch", "transformers", "starlette", "pyarrow", "peft", "huggingface_hub", "numpy", "scipy", "uvicorn")
SCRIPT = """
import json, sys
sys.argv = ["carrara", *sys.argv[1:]]
from carrara.cli.main import main
try:
    main()
except SystemExit as leaving:
    print(json.dumps([leaving.code, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["tune", "--help"],
        ["choose", "--help"],
        ["scorecard", "--help"],
        ["serve", "--help"],
        ["models", "list"],
        ["models", "show", "llama-2-7b"],
    ],
)
def test_what_needs_no_model_loads_no_heavy_library(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    code, modules = json.loads(result.stderr)
    assert code == 0
    assert len(result.stdout.splitlines()) > 5
    assert not set(HEAVY) & set(modules)


def test_comparing_scores_needs_no_torch() -> None:
    loaded = "import sys, carrara.verdict.stage; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", loaded], timeout=60, check=True)


def test_help_names_every_verb(carrara: Command) -> None:
    result = carrara("--help")
    assert result.returncode == 0
    assert result.stderr == ""
    verbs = (
        "prepare tune evaluate compare explain export chat roles conversations serve keys audit run runs models doctor"
    )
    for verb in ["demo", *verbs.split()]:
        assert f"\n  {verb} " in result.stdout


def test_the_command_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="carrara")
    assert script.load() is main
