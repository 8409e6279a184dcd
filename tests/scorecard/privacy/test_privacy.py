"""The room as a whole: licence, guard, personal data, and what is unknown said so."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from carrara.errors import Refusal
from carrara.models import Model, read_catalogue
from carrara.progress import Silent
from carrara.recipe import CostRecipe
from carrara.scorecard import privacy
from carrara.scorecard.figure import Figure
from carrara.scorecard.privacy.guard import Guard
from carrara.scorecard.privacy.licence import licence_figures
from carrara.scorecard.subject import Pair, find_subject, load_pair
from carrara.workspace import Workspace
from tests.scorecard.privacy.tiny_words import plain_rows, tuned
from tests.tiny import one_thread, write_pairs


def _named(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.measure: figure for figure in figures}


@pytest.mark.parametrize("name", read_catalogue())
def test_every_licence_is_told_or_said_to_be_unknown(name: str) -> None:
    entry = read_catalogue()[name]
    found = _named(privacy.published(entry))
    assert found["licence"].kind == ("published" if entry.licence.source else "unknown")
    assert found["can run closed"].value is True
    assert all(figure.meaning or figure.kind == "unknown" for figure in found.values())


def test_a_licence_without_a_source_is_unknown() -> None:
    entry = next(iter(read_catalogue().values()))
    found = licence_figures(entry.model_copy(update={"licence": entry.licence.model_copy(update={"source": None})}))
    assert [figure.kind for figure in found] == ["unknown"]
    assert "names no source" in found[0].source


def test_a_model_that_was_not_tuned_gives_nothing_away(workspace: Workspace, tiny_model: Model) -> None:
    subject = find_subject(workspace, tiny_model.name, None, CostRecipe(), Silent())
    found = _named(privacy.measure(subject, lambda: pytest.fail("nothing is loaded")))
    assert found["membership inference AUC"].kind == "unknown"
    assert "not tuned here" in found["canary exposure"].source
    assert "not in the catalogue" in found["licence"].source


def test_what_does_not_load_keeps_its_licence(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    rows = plain_rows(workspace, write_pairs(tmp_path / "pairs.jsonl", 20), test=0.2, validation=0.0)
    subject = tuned(workspace, tiny_model, rows, epochs=0.1)

    def broken() -> Pair:
        raise Refusal("it cannot be loaded.")

    found = _named(privacy.measure(subject, broken))
    assert found["membership inference AUC"].source == "it cannot be loaded."
    assert {"licence", "canary exposure", "attempts to leave this machine"} <= found.keys()


def test_a_refused_attempt_is_told(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    rows = plain_rows(workspace, write_pairs(tmp_path / "pairs.jsonl", 20), test=0.2, validation=0.0)
    subject = tuned(workspace, tiny_model, rows, epochs=0.1)

    def asking() -> Pair:
        with socket.create_connection(("192.0.2.1", 80), timeout=0.1):
            pytest.fail("the guard refuses")

    found = _named(privacy.measure(subject, asking))
    assert "refused: nothing may leave this machine (192.0.2.1:80)." in found["canary exposure"].source
    assert "licence" in found
    assert found["attempts to leave this machine"].value == 1.0


@pytest.mark.slow
def test_a_run_by_heart_recites_personal_data(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    """A few rows with an address, again and again; what the model says is looked for in all training rows."""
    source = tmp_path / "people.jsonl"
    lines = [{"prompt": f"{n}?\n", "completion": f"{'ab'[n % 2] * 3}@post.example.com"} for n in range(40)]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    subject = tuned(
        workspace, tiny_model, plain_rows(workspace, source, test=0.3, validation=0.0), epochs=30, learning_rate=0.02
    )
    with one_thread():
        found = _named(privacy.measure(subject, lambda: load_pair(subject)))
    recited = found["personal data recited"]
    assert isinstance(recited.value, float)
    assert recited.value > 0.5
    assert "redact" in recited.meaning
    assert found["personal data recited (base)"].value == 0.0
    assert "redact" not in found["personal data recited (base)"].meaning
    assert not any("@" in f"{figure.meaning}{figure.source}" for figure in found.values())
    assert "--canaries" in found["canary exposure"].source
    assert found["attempts to leave this machine"].value == 0.0


def test_the_guard_refuses_what_leads_out_and_counts_it() -> None:
    with Guard() as guard:
        assert "was seen in the Python code that measured this" in guard.figure().meaning
        with pytest.raises(OSError, match="nothing may leave"):
            socket.create_connection(("192.0.2.1", 80), timeout=0.1)
        elsewhere: list[type[BaseException] | None] = []
        other = threading.Thread(target=lambda: elsewhere.append(_tried()))
        other.start()
        other.join()
    assert guard.figure().value == 1.0
    assert "1 attempts to reach another machine" in guard.figure().meaning
    assert elsewhere[0] is not ConnectionRefusedError  # another thread is not watched
    assert _tried() is not ConnectionRefusedError  # and nobody is afterwards
    assert guard.figure().value == 1.0


def _tried() -> type[BaseException] | None:
    """What became of sending to an address that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))
        except OSError as error:
            return type(error)
    return None
