"""Plugins: found by entry point, named when they break, their findings after the built-in ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint

import pytest

from carrara.data.checks.personal import (
    TYPES,
    Plugin,
    Redactor,
    descriptions,
    detectors,
    display,
    find_personal_data,
    load_plugins,
)
from carrara.data.checks.personal import plugins as module
from carrara.errors import Refusal


def names(text: str) -> Iterable[tuple[str, int, int]]:
    """A detector as another package would bring it."""
    start = text.find("Jane Roe")
    return [("person", start, start + 8)] if start >= 0 else []


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    entries: list[EntryPoint] = []
    monkeypatch.setattr(module, "entry_points", lambda group: entries if group == "carrara.personal_data" else [])
    load_plugins.cache_clear()
    yield entries
    load_plugins.cache_clear()


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, "carrara.personal_data")


def test_without_a_plugin_names_are_not_looked_for(installed: list[EntryPoint]) -> None:
    assert load_plugins() == ()
    assert find_personal_data("I am Jane Roe", load_plugins()) == []


def test_a_plugin_finds_names_and_is_loaded_once(installed: list[EntryPoint]) -> None:
    installed.append(entry("names", f"{__name__}:names"))
    loaded = load_plugins()
    assert load_plugins() is loaded
    assert detectors(loaded)[-1] == "plugin names"
    assert Redactor(loaded).redact(["Jane Roe, jane@x.com", "Dear Jane Roe"])[0] == [
        "<PERSON_1>, <EMAIL_1>",
        "Dear <PERSON_1>",
    ]


def test_texts_are_shown_without_what_plugins_find_unless_values_are_asked_for(installed: list[EntryPoint]) -> None:
    text = "Jane Roe, jane@x.com, 7 years old"
    assert display(show_values=False)(text) == "Jane Roe, <EMAIL>, 7 years old"
    installed.append(entry("names", f"{__name__}:names"))
    load_plugins.cache_clear()
    assert display(show_values=False)(text) == "<PERSON>, <EMAIL>, 7 years old"
    assert display(show_values=True)(text) == text


def test_every_detector_is_described_and_a_plugin_as_not_measured() -> None:
    described = descriptions([Plugin("names", names)])
    assert len(described) == len(TYPES) + 1
    assert described[list(TYPES).index("national_id")].startswith("national id: numbers of 35 countries by form")
    assert described[-1] == "plugin names: not measured"


@pytest.mark.parametrize("value", ["no.such.module:find", f"{__name__}:missing", f"{__name__}:__doc__"])
def test_a_plugin_that_cannot_be_loaded_is_named(installed: list[EntryPoint], value: str) -> None:
    installed.append(entry("broken", value))
    with pytest.raises(Refusal, match="'broken'"):
        load_plugins()


@pytest.mark.parametrize(
    "answer", [[("PERSON", 0, 2)], [("person", 2, 1)], [("person", 0, 99)], [("person", "0", 2)], [3], None]
)
def test_a_plugin_that_answers_badly_is_named(answer: object) -> None:
    plugin = Plugin("odd", lambda text: answer)  # pyright: ignore[reportArgumentType]
    with pytest.raises(Refusal, match="'odd'"):
        find_personal_data("text", [plugin])


def test_what_a_plugin_finds_within_another_finding_is_dropped() -> None:
    plugin = Plugin("all", lambda text: [("person", 0, len(text))])
    assert [finding.type for finding in find_personal_data("bob@x.com", [plugin])] == ["email"]
