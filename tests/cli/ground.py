"""A workspace in which something was made before, for tests that try to lose it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cli.calling import call, listed, write_questions
from tests.tiny import write_pairs


@dataclass(frozen=True)
class Ground:
    """A workspace that already holds a model, a dataset and scores, and the folder that the commands run in."""

    workspace: Path
    model: Path
    scores: str
    made: set[str]

    @property
    def folder(self) -> Path:
        return self.workspace.parent

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def recipe(self, **fields: Any) -> Path:
        return self.write("recipe.yaml", yaml.safe_dump({"model": str(self.model), "data": "pairs.jsonl", **fields}))

    def refusal(self, *arguments: str | Path, env: dict[str, str] | None = None) -> str:
        """The sentence with which a command is refused, after which everything still lists."""
        result = call(self.workspace, *arguments, env=env)
        assert result.code == 2
        assert result.out == ""
        assert listed(self.workspace) >= self.made
        return result.sentence


def make_ground(workspace: Path, model: Path) -> Ground:
    """Prepare a dataset and score `model` in a new workspace."""
    folder = workspace.parent
    write_pairs(folder / "pairs.jsonl")
    write_questions(folder / "benchmarks", 4)
    assert call(workspace, "prepare", "pairs.jsonl", "--model", model).code == 0
    told = call(workspace, "evaluate", model, "--tasks", "arc_easy", "--benchmarks", "benchmarks", "--json").json
    return Ground(workspace, model, told["scores"], listed(workspace))
