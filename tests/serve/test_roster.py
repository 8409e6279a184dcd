"""Who answers, and what is known of it: a model that could not be added leaves no trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from carrara.errors import Refusal
from carrara.models import Model
from carrara.progress import Silent
from carrara.serve import roster as rostering
from carrara.serve.engines import Choice
from carrara.serve.remote import Loaded
from carrara.serve.roster import Roster
from carrara.workspace import Workspace, digest_of_value

from .scripted import Scripted


class Near(Scripted):
    """Takes models, but none called bad, and has withdrawn all called withdrawn."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        super().__init__()
        self.names = list(models)

    def models(self) -> list[str]:
        return [name for name in self.names if name != "withdrawn"]

    def add(self, models: Mapping[str, Model]) -> None:
        if "bad" in models:
            raise Refusal("bad cannot be loaded.")
        self.names += models


@pytest.fixture
def models(tiny_models: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> dict[str, Model]:
    """What references mean: a test may change it."""
    known = {"a": tiny_models["base"], "withdrawn": tiny_models["base"], "bad": tiny_models["run/two"]}
    known["b"] = tiny_models["run/one"]
    monkeypatch.setattr(rostering, "resolve_model", lambda workspace, reference, progress: known[reference])
    monkeypatch.setattr(rostering, "open_engine", lambda kind, models, *_: Near(models))
    return known


def digests(models: Mapping[str, Model], *names: str) -> dict[str, str]:
    return {name: digest_of_value(models[name].identity()) for name in names}


def same(names: Sequence[str]) -> dict[str, str]:
    return {name: name for name in names}


def test_what_could_not_be_added_leaves_no_trace(workspace: Workspace, models: dict[str, Model]) -> None:
    roster = Roster(Choice("auto"), same(["a"]), workspace, "auto", Silent())
    held = roster.digests
    for _ in range(2):  # it is not taken, either
        with pytest.raises(Refusal, match="bad cannot be loaded"):
            roster.add(same(["b", "bad"]))
        assert (roster.engine.models(), held) == (["a"], digests(models, "a"))
    roster.add(same(["b"]))
    assert (roster.engine.models(), held) == (["a", "b"], digests(models, "a", "b"))


def test_a_name_stays_taken_when_its_model_is_withdrawn(workspace: Workspace, models: dict[str, Model]) -> None:
    roster = Roster(Choice("auto"), same(["a", "withdrawn"]), workspace, "auto", Silent())
    assert roster.engine.models() == ["a"]
    for name in ("a", "withdrawn"):
        with pytest.raises(Refusal, match=f"{name} is served here already; name another"):
            roster.add({name: "b"})
    assert roster.digests == digests(models, "a", "withdrawn")


def test_a_far_server_that_refuses_changes_no_digest(
    workspace: Workspace, models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All names are resolved anew, also those that are served."""

    def open_remote(choice: Choice, names: Sequence[str], resolve: Callable[[str], Model], _: Loaded) -> Near:
        found = {name: resolve(name) for name in names}
        if "bad" in names:
            raise Refusal("bad cannot be loaded.")
        return Near(found)

    monkeypatch.setattr(rostering, "open_remote", open_remote)
    roster = Roster(Choice("vllm", "http://127.0.0.1:9/v1"), same(["a"]), workspace, "auto", Silent())
    before = digests(models, "a")
    models["a"] = models["b"]
    with pytest.raises(Refusal, match="bad cannot be loaded"):
        roster.add(same(["bad"]))
    assert roster.digests == before
    roster.add(same(["b"]))
    assert roster.digests == digests(models, "a", "b") != before
