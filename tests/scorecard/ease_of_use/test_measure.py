"""The room as a whole: every figure of a tuned model beside its base, and what cannot be asked is unknown."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from carrara.errors import Refusal
from carrara.models import Model, resolve_model
from carrara.models.load import load_any
from carrara.progress import Silent
from carrara.recipe import CostRecipe
from carrara.scorecard import ease_of_use, embedder
from carrara.scorecard.ease_of_use import answers, speed, telling
from carrara.scorecard.figure import Figure
from carrara.scorecard.subject import Pair, Subject, load_pair
from carrara.workspace import Workspace
from tests.models.tiny_embedder import write_tiny_embedder
from tests.scorecard.invented import entry
from tests.tiny import one_thread, write_tiny_adapter, write_tiny_model


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "ROLE_TOKENS", 6)
    monkeypatch.setattr(answers, "PLAIN_TOKENS", 6)
    monkeypatch.setattr(speed, "_REPEATS", 2)
    monkeypatch.setattr(telling, "DRAWS", 99)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "model", context=1024)


def _subject(workspace: Workspace, model: Model, base: Model | None = None) -> Subject:
    return Subject(workspace, model, base, None, None, CostRecipe(), Silent())


def _measured(subject: Subject) -> dict[str, Figure]:
    with one_thread():
        found = ease_of_use.measure(subject, lambda: load_pair(subject, "float32"))
    assert len({figure.measure for figure in found}) == len(found)
    return {figure.measure: figure for figure in found}


def _embedder(workspace: Workspace, tmp_path: Path) -> Callable[..., object]:
    folder = write_tiny_embedder(tmp_path / "embedder", context=512)
    loaded = load_any(resolve_model(workspace, str(folder), Silent()), "float32")
    return lambda *_: loaded


def test_a_tuned_model_is_measured_beside_its_base(
    workspace: Workspace, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ease_of_use, "load_embedder", _embedder(workspace, tmp_path))
    adapter = write_tiny_adapter(folder, tmp_path / "adapter")
    model, base = (resolve_model(workspace, name, Silent()) for name in (str(adapter), str(folder)))
    found = _measured(_subject(workspace, model, base))
    assert {figure.kind for figure in found.values()} == {"measured", "published"}
    counted = {name.removesuffix(" (change)") for name in found if name.endswith(" (change)")}
    assert counted == {
        "first token p50", "tokens per second p50", "persona discrimination", "self-identification",
        "required words used", "forbidden words avoided", "persona consistency", "instructions followed",
        "answer length", "answers that end", "answers repeating themselves", "answers asking back", "refusals",
        "formality",
    }  # fmt: skip
    assert all({name, f"{name} (base)"} <= found.keys() for name in counted)
    assert found["formats (base)"].value == "safetensors"
    assert "context (base)" not in found
    assert 0 < found["persona discrimination p (base)"].value <= 1  # pyright: ignore[reportOperatorIssue]
    for figure in found.values():
        assert figure.source
        assert figure.meaning
        if figure.interval and isinstance(figure.value, float):
            assert figure.interval[0] - 1e-9 <= figure.value <= figure.interval[1] + 1e-9


def test_a_model_that_cannot_chat_keeps_what_needs_no_chat(workspace: Workspace, folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    found = _measured(_subject(workspace, resolve_model(workspace, str(folder), Silent())))
    gaps = [figure for figure in found.values() if figure.kind == "unknown"]
    assert [figure.measure for figure in gaps] == [
        "persona discrimination", "self-identification", "required words used", "forbidden words avoided",
        "persona consistency", "instructions followed", "answer length", "answers that end",
        "answers repeating themselves",
    ]  # fmt: skip
    assert all("no chat template" in figure.source for figure in gaps)
    assert found["context"].value == 1024
    assert found["first token p50"].kind == "measured"


def test_a_model_without_a_system_role_is_asked_all_but_roles(workspace: Workspace, folder: Path) -> None:
    template = folder / "chat_template.jinja"
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    template.write_text(refusing + template.read_text(encoding="utf-8"), encoding="utf-8")
    found = _measured(_subject(workspace, resolve_model(workspace, str(folder), Silent())))
    assert found["persona discrimination"].kind == "unknown"
    assert (
        found["persona discrimination"].source
        == "a system message is refused by the model's chat template, so it cannot be given a role."
    )
    assert found["answer length"].kind == "measured"


def test_a_base_that_cannot_chat_leaves_the_tuned_model_its_figures(
    workspace: Workspace, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ease_of_use, "load_embedder", _embedder(workspace, tmp_path))
    bare = Path(shutil.copytree(folder, tmp_path / "bare"))
    (bare / "chat_template.jinja").unlink()
    model, base = (resolve_model(workspace, str(each), Silent()) for each in (folder, bare))
    found = _measured(_subject(workspace, model, base))
    assert found["persona consistency"].kind == "measured"
    for name in ("persona discrimination", "persona consistency", "answer length"):
        assert found[f"{name} (base)"].kind == "unknown"
        assert f"{name} (change)" not in found
    assert found["system role (base)"].value == "no template"


def test_without_an_embedder_consistency_alone_is_unknown(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise Refusal("the package index cannot be reached.")

    monkeypatch.setattr(ease_of_use, "load_embedder", none)
    found = _measured(_subject(workspace, resolve_model(workspace, str(folder), Silent())))
    assert [name for name, figure in found.items() if figure.kind == "unknown"] == ["persona consistency"]
    assert found["persona consistency"].source == "the package index cannot be reached."


def test_weights_that_do_not_load_leave_the_abilities(workspace: Workspace, folder: Path) -> None:
    def broken() -> Pair:
        raise Refusal("the weights are damaged.")

    found = ease_of_use.measure(_subject(workspace, resolve_model(workspace, str(folder), Silent())), broken)
    assert [figure.measure for figure in found if figure.source == "the weights are damaged."][:3] == [
        "first token p50", "tokens per second p50", "persona discrimination",
    ]  # fmt: skip
    assert [figure.measure for figure in found if figure.kind != "unknown"] == [
        "system role", "system message of its own", "template sane", "tool calls", "context", "engines", "formats",
    ]  # fmt: skip


def test_terms_need_no_weights_and_change_with_the_embedder(
    workspace: Workspace, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise Refusal("the package index cannot be reached.")

    monkeypatch.setattr(embedder, "resolve_model", none)
    without = ease_of_use.terms(_subject(workspace, tiny_model))
    assert without.keys() == {"cards", "cores", "embedder"}
    assert without["embedder"] is None
    monkeypatch.setattr(embedder, "resolve_model", lambda *_: tiny_model)
    assert ease_of_use.terms(_subject(workspace, tiny_model)) == without | {"embedder": tiny_model.digest}


def test_of_a_model_that_is_not_here_no_role_is_promised() -> None:
    told = {figure.measure: figure for figure in ease_of_use.published(entry("smollm2-135m-instruct"))}
    assert told["chat template"].meaning == "It can be talked to."
