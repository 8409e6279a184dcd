"""Calling the command line inside the test's own process, where torch is already loaded."""

from __future__ import annotations

import contextlib
import io
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from carrara.cli.main import main


@dataclass(frozen=True)
class Result:
    """What a call left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        assert self.code == 0, self.err
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out
        value = json.loads(lines[0], parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
        assert isinstance(value, dict)
        return value

    @property
    def sentence(self) -> str:
        """The one sentence on stderr; progress may stand before it, nothing after it."""
        lines = self.err.splitlines()
        said = [line for line in lines if line.startswith("carrara: ")]
        assert len(said) == 1, self.err
        assert lines[-1] == said[0]
        assert "Traceback" not in self.err
        return said[0].removeprefix("carrara: ")


def call(workspace: Path, *arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    """Run `carrara` with a workspace, from the folder that holds the workspace."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = None
    settings = {"CARRARA_WORKSPACE": str(workspace), "CARRARA_BENCHMARKS": "", **(env or {})}
    with (
        mock.patch.dict(os.environ, settings),
        mock.patch("sys.argv", ["carrara", *map(str, arguments)]),
        contextlib.chdir(workspace.parent),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code
    assert isinstance(code, int)
    return Result(code, out.getvalue(), err.getvalue())


def listed(workspace: Path) -> set[str]:
    """The ids of all artefacts that `carrara runs` lists."""
    return {artefact["id"] for artefact in call(workspace, "runs", "--json").json["artefacts"]}


def write_questions(folder: Path, count: int = 12) -> Path:
    """Write a folder of benchmarks with some invented questions in the form of ARC-Easy."""
    path = folder / "arc" / "ARC-Easy" / "test.jsonl"
    path.parent.mkdir(parents=True)
    rows = [
        {
            "id": f"q{n}",
            "question": f"What is {n} and {n}?",
            "choices": {"text": [f"{2 * n}", "none of them", "x"], "label": ["A", "B", "C"]},
            "answerKey": "ABC"[n % 3],
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder
