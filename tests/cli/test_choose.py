"""`carrara choose` and `carrara scorecard` from the outside: fast, without torch, a sentence where it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from carrara.cli.scorecard import _print
from carrara.scorecard.figure import Figure
from tests.cli.calling import call
from tests.scorecard.invented import card

SCRIPT = """
import json, resource, sys
sys.argv = ["carrara", *sys.argv[1:]]
from carrara.cli.main import main
try:
    main()
except SystemExit as leaving:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps([leaving.code, "torch" in sys.modules, used.ru_utime + used.ru_stime]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["choose", "--task", "chat"], ["scorecard", "llama-2-7b", "phi-3.5-mini-instruct"]]
)
def test_the_catalogue_alone_needs_no_torch_and_under_two_seconds(tmp_path: Path, arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments, "--json", "--workspace", str(tmp_path / "ws")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"},  # where nobody answers
    )
    code, has_torch, seconds = json.loads(result.stderr.splitlines()[-1])
    assert (code, has_torch) == (0, False)
    assert seconds < 2
    assert len(result.stdout.splitlines()) == 1


def test_choose_says_who_and_why_at_the_terminal(tmp_path: Path) -> None:
    told = call(tmp_path / "ws", "choose", "--task", "chat", "--licence", "commercial", "--memory", "16 GB").out
    first = next(line for line in told.splitlines() if line.startswith("take "))
    assert "tuned by" in first
    assert "assumed, not measured" in told
    assert "llama-1-7b" in told
    assert "allows no commercial use." in told
    assert "no other weight of one alone changes who comes first" in told


def test_where_nobody_fits_the_json_stands_and_the_sentence_names_the_nearest(tmp_path: Path) -> None:
    result = call(tmp_path / "ws", "choose", "--task", "chat", "--context", "2M", "--json")
    assert result.code == 2
    told = json.loads(result.out)
    assert told["recommendation"] is None
    assert all(each["why_not"] and each["rank"] is None for each in told["candidates"])
    assert "no candidate fits; nearest is" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["choose", "--task", "paint"], "there is no task 'paint'"),
        (["choose", "--task", "chat", "--memory", "5 apples"], "--memory is an amount above 0 with its unit"),
        (["choose", "--task", "chat", "--weights", "luck=1"], "names no criterion"),
        (["choose", "--task", "chat", "--per-hour", "-1"], "key 'cost.per_hour'"),
        (["choose", "--task", "chat", "--data", "nowhere.jsonl"], "nowhere.jsonl"),
        (["scorecard", "lama-2-7b"], "did you mean 'llama-2-7b'?"),
        (["scorecard", "hub:nobody/nothing"], "is not here and not in the catalogue"),
        (["scorecard", "llama-2-7b", "--weights", "cost"], "cost has a number of 0 or more"),
        (["scorecard", "llama-2-7b", "--page", "nowhere/cards.html"], "the folder of --page nowhere/cards.html"),
        (["scorecard", "llama-2-7b", "--data", "nowhere.jsonl"], "the data file nowhere.jsonl does not exist"),
        (["scorecard", "run/0123"], "is no artefact of the workspace"),
        (["scorecard", "llama-2-7b", "--label-rate", "0"], "invalid value"),
        (["scorecard", "llama-2-7b", "--label-rate", "inf"], "--label-rate has to be a number that ends, not inf."),
    ],
)
def test_bad_input_is_refused_in_a_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = call(tmp_path / "ws", *arguments)
    assert result.code == 2
    assert result.out == ""
    assert said in result.err


def test_cards_side_by_side_and_their_page(tmp_path: Path) -> None:
    page = tmp_path / "cards.html"
    asked = ["scorecard", "llama-2-7b", "smollm2-360m", "--weights", "accuracy=2", "--api-price", "1", "--page", page]
    told = call(tmp_path / "ws", *asked)
    assert told.code == 0, told.err
    lines = told.out.splitlines()
    assert any(line.startswith("memory of tuning, GB") and line.count("derived") == 2 for line in lines)
    assert any(line.startswith("weights   accuracy = 2") for line in lines)
    html = page.read_text(encoding="utf-8")
    assert "price of the API per million tokens" in html
    assert "Weighed" in html


def test_what_more_rows_would_bring_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    meaning = "Ten times the rows (5,000) would likely bring +3 points of accuracy."
    curve = Figure("learning curve", "more rows help", None, "derived", "foretold", meaning=meaning)
    _print([card("small", {"accuracy": [curve]}), card("other")], None)
    lines = capsys.readouterr().out.splitlines()
    assert f"rows      small: {meaning}" in lines
    assert lines[-1] == "measured  in 2 s, the learning curve apart, and kept"


def test_options_that_do_nothing_say_so(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Where?", "completion": "Here."}\n', encoding="utf-8")
    told = call(tmp_path / "ws", "scorecard", "llama-2-7b", "--weights", "cost=2", "--data", rows, "--probe")
    assert told.code == 0
    assert "--weights does nothing" in told.err
    assert "--data does nothing for llama-2-7b" in told.err
    assert "--probe does nothing for llama-2-7b" in told.err


@pytest.mark.parametrize(("per_hour", "is_said"), [("0", True), ("2", False)])
def test_a_budget_without_a_price_of_the_hour_counts_energy_alone(tmp_path: Path, per_hour: str, is_said: bool) -> None:
    asked = ["choose", "--task", "chat", "--budget", "5EUR", "--per-hour", per_hour, "--json"]
    notes = call(tmp_path / "ws", *asked).json["notes"]
    assert any(note.startswith("Only energy counts towards --budget") for note in notes) is is_said


def test_scorecard_of_several_is_a_list_and_of_one_an_object(tmp_path: Path) -> None:
    one = call(tmp_path / "ws", "scorecard", "llama-2-7b", "--json").json
    assert set(one["criteria"]) == {"accuracy", "creativity", "privacy", "ease_of_use", "cost"}
    several = json.loads(call(tmp_path / "ws", "scorecard", "llama-2-7b", "smollm2-360m", "--json").out)
    assert [each["model"] for each in several] == ["llama-2-7b", "smollm2-360m"]
    assert sorted(each["standing"]["rank"] for each in several) == [1, 2]


def test_a_model_that_is_named_in_two_ways_has_one_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrara.scorecard.card.find_card", lambda *_: card("own"))
    told = json.loads(call(tmp_path / "ws", "scorecard", "own", "run/own", "--json").out)
    assert [each["model"] for each in told] == ["own"]
