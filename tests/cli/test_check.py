"""`carrara check`: exit 0 and counts when all is well, exit 2 and a sentence when not."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Command
from tests.tiny import write_pairs, write_tiny_model


def _recipe(folder: Path, tune: str) -> Path:
    rows, model, path = folder / "rows.jsonl", folder / "model", folder / "recipe.yaml"
    write_pairs(rows, 60)
    write_tiny_model(model)
    path.write_text(
        f"model: {model}\ndata: {rows}\nprepare: {{validation: 0, test: 0}}\ntune: {tune}\n", encoding="utf-8"
    )
    return path


def test_what_is_wrong_is_refused_and_may_be_allowed(carrara: Command, tmp_path: Path) -> None:
    recipe = str(_recipe(tmp_path, "{learning_rate: 10, batch_size: 4, rank: 4}"))
    refused = carrara("check", recipe, "--allow", "guessing", "--json")
    assert refused.returncode == 2, refused.stderr
    found = json.loads(refused.stdout)
    assert [each["check"] for each in found["findings"]] == ["learning-rate"]
    assert found["facts"]["rows"] == 60
    assert "--allow learning-rate" in refused.stderr
    allowed = carrara("check", recipe, "--allow", "guessing", "--allow", "learning-rate")
    assert allowed.returncode == 0, allowed.stderr
    assert "allowed   learning-rate: tune.learning_rate is 10" in allowed.stdout
    assert "lost      0 rows cannot be used, 0 were set aside" in allowed.stdout


def test_it_takes_what_tune_takes(carrara: Command, tmp_path: Path) -> None:
    recipe = str(_recipe(tmp_path, "{batch_size: 4, rank: 4}"))
    whole = carrara("check", recipe, "--method", "full", "--json")
    assert whole.returncode == 0, whole.stderr
    part = json.loads(carrara("check", recipe, "--json").stdout)["facts"]["trainable"]
    assert json.loads(whole.stdout)["facts"]["trainable"] > 2 * part
    nowhere = carrara("check", recipe, "--from", "dataset/0123")
    assert nowhere.returncode == 2
    assert "is no run of this workspace" in nowhere.stderr
